"""Id maps as values, and choosing the one of this user.

A map says which ids of the host stand behind the ids inside. There are three kinds:

- host: root's own ids, no user namespace;
- range: an ordinary user's own id is root inside, and the range from /etc/subuid (subuid(5)) is 1 to its length;
- single: an ordinary user without a range: their id is root inside, and there is no other.

user_namespaces(7) describes what the kernel allows.
"""

from __future__ import annotations

import os

from lamina.errors import StoreError
from lamina.ids.subid import Range, find_program, range_command, range_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal["host", "range", "single"]


class IdMap:
    """One id map. `uid` and `gid` are the host ids behind 0; `uids` and `gids` the ranges behind 1 and up, or None."""

    __slots__ = ("gid", "gids", "kind", "uid", "uids")

    def __init__(self, kind: Kind, uid: int, gid: int, uids: Range | None = None, gids: Range | None = None) -> None:
        self.kind = kind
        self.uid = uid
        self.gid = gid
        self.uids = uids
        self.gids = gids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdMap) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        """The form that a store records: "host", "single 1000 1000", "range 1000 1000 100000:65536 100000:65536"."""
        words: list[object] = [self.kind]
        if self.kind != "host":
            words += [self.uid, self.gid]
        if self.uids and self.gids:
            words += [self.uids, self.gids]
        return " ".join(map(str, words))

    @classmethod
    def parse(cls, text: str) -> IdMap:
        """Read what `str` wrote; raises StoreError."""
        match text.split():
            case ["host"]:
                return HOST
            case ["single", uid, gid] if uid.isdecimal() and gid.isdecimal():
                return cls("single", int(uid), int(gid))
            case ["range", uid, gid, uids, gids] if uid.isdecimal() and gid.isdecimal():
                try:
                    return cls("range", int(uid), int(gid), Range.parse(uids), Range.parse(gids))
                except ValueError:
                    pass
        raise StoreError("read the id map", repr(text), "it is none of host, range, single")

    def describe(self) -> str:
        """Return one phrase for people."""
        match self.kind:
            case "host":
                return "root's own ids"
            case "single":
                return f"one id: {self.uid} is root inside, no other user exists"
            case "range":
                assert self.uids is not None
                first, count = self.uids.first, self.uids.count
                return f"{self.uid} is root inside, {first}-{first + count - 1} are 1-{count}"

    def has(self, inside: int) -> bool:
        """Tell whether the id exists inside (user ids and group ids, since their ranges are cut to the same length)."""
        if self.kind == "host":
            return 0 <= inside < (1 << 32) - 1
        return inside == 0 or bool(self.uids and self.gids and 0 < inside <= min(self.uids.count, self.gids.count))

    def lines(self, *, groups: bool) -> str:
        """Return the text for /proc/PID/uid_map or gid_map, written from outside."""
        first, others = (self.gid, self.gids) if groups else (self.uid, self.uids)
        text = f"0 {first} 1\n"
        return text + (f"1 {others.first} {others.count}\n" if others else "")

    def inner_lines(self, *, groups: bool) -> str:
        """Return the text for a namespace made inside this one that has the same ids.

        Each line lies within one line of the outer map, as the kernel wants it.
        """
        others = self.gids if groups else self.uids
        return "0 0 1\n" + (f"1 1 {others.count}\n" if others else "")


HOST = IdMap("host", 0, 0)


def choose(uid: int, gid: int) -> IdMap:
    """Return the map for the user with these effective ids: reads /etc/subuid and looks for newuidmap(1)."""
    if uid == 0:
        return HOST if _more_than_one_id() else IdMap("single", uid, gid)
    uids, gids = range_of("/etc/subuid", uid), range_of("/etc/subgid", uid)
    if uids and gids and find_program("newuidmap") and find_program("newgidmap"):
        return IdMap("range", uid, gid, uids, gids)
    return IdMap("single", uid, gid)


def _more_than_one_id() -> bool:
    """Tell whether root has other ids beside its own: not in a user namespace that somebody made with one."""
    try:
        with open("/proc/self/uid_map", encoding="utf-8") as file:
            return sum(int(line.split()[2]) for line in file) > 1
    except FileNotFoundError:  # a kernel without user namespaces
        return True


def why_single(uid: int) -> str:
    """Return what keeps this user from having a range, as a remedy for people: one line."""
    name = user_name(uid)
    if not range_of("/etc/subuid", uid) or not range_of("/etc/subgid", uid):
        return f"to have more than one id: {range_command(name)}"
    return "to use the range in /etc/subuid, install newuidmap (Debian: apt-get install uidmap)"


def user_name(uid: int) -> str:
    """Return the user's login name, or the number where there is none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def check_same(recorded: IdMap, current: IdMap, store: str) -> None:
    """Refuse to use a store that was made with another map: its files would belong to the wrong users."""
    if recorded == current:
        return
    raise StoreError(
        "use the store",
        store,
        f"it was made with {recorded.describe()}; now there is {current.describe()}",
        f"name another store (--root or LAMINA_ROOT), or remove this one as uid {recorded.uid} with `lamina prune`"
        if recorded.uid != os.geteuid()
        else "name another store (--root or LAMINA_ROOT), or restore the range in /etc/subuid",
    )
