"""The merged tree in memory: nodes, which are inodes of the union, and listings, which are directories' names.

A node knows where it is in one of three ways: in a lower layer (`rank`, the place among its directory's lower places),
in the upper at the path that its directory and name make (`UPPER`), or, once its last name is gone, behind a descriptor
(`pin`). A listing is the only source of names, so looking a name up and listing its directory cannot disagree.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lamina.overlay.union.branch import DT_DIR, join

if TYPE_CHECKING:
    from lamina.overlay.format import Opacity
    from lamina.overlay.union.lower import Lower

UPPER = -1


class Place:
    """Where something really is in one layer, and of a directory the marks that it has there."""

    __slots__ = ("branch", "impure", "opacity", "path")

    def __init__(self, branch: Lower, path: bytes, opacity: Opacity = b"", *, impure: bool = False) -> None:
        self.branch = branch
        self.path = path
        self.opacity = opacity
        self.impure = impure


class Moves:
    """Counts of what changes names; who holds the tree's lock raises them.

    `count` rises when what a path leads to may change: at a rename, and when a link or a directory goes. It is odd
    while something is renamed. What was derived from paths holds while it stays. `names` rises by one, to an odd
    number, before any name goes or moves, and again behind it (`with moves`): what was read by a path in between may
    be of another entry.
    """

    __slots__ = ("count", "names")

    def __init__(self) -> None:
        self.count = 0
        self.names = 0

    def __enter__(self) -> None:
        self.names += 1

    def __exit__(self, *_: object) -> None:
        self.names += 1


class Node:
    """An inode that is no directory.

    `kind` is its type (DT_*). `parent`, `name` and `rank` are one of its names, `others` the further ones that were met
    (hard links); `key` finds it by its inode. `index` is the path in the work directory of the copied-up data of a
    lower file with several names, or b"". `data` is where the data are while the entry itself holds metadata alone
    (metacopy). `gone` says that its last name was removed. `plain` says that it is known to have no file
    capabilities, for which the kernel asks at every write. `id` and `lookups` belong to whoever serves the tree.
    """

    __slots__ = (
        "data",
        "gone",
        "id",
        "index",
        "ino",
        "key",
        "kind",
        "lookups",
        "name",
        "others",
        "parent",
        "pin",
        "plain",
        "rank",
    )

    def __init__(self, parent: Directory | None, name: bytes, rank: int, kind: int, ino: int) -> None:
        self.parent = parent
        self.name = name
        self.rank = rank
        self.kind = kind
        self.ino = ino
        self.others: tuple[tuple[Directory, bytes, int], ...] = ()
        self.key: tuple[int, int, int] | None = None
        self.index = b""
        self.data: Place | None = None
        self.pin: Pin | None = None
        self.plain = False
        self.gone = False
        self.id = 0
        self.lookups = 0

    def upper_path(self) -> bytes:
        """Return the path that the entry has, or would have, in the upper."""
        return b"" if self.parent is None else join(self.parent.upper_path(), self.name)


class Pin:
    """A descriptor (O_PATH, or the file's own) that keeps an inode without a name; closed with the last reference."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


class Directory(Node):
    """A merged directory.

    `lowers` are the lower directories that are merged, topmost first; `rank` is UPPER if there is an upper one above
    them, `opacity` and `impure` are that one's marks. `ranks` are the places of its name in its parent that it was
    found in. `origin` is the path by which the lower layers alone know the directory, None where they do not. `dead`
    is the last state of a removed directory. `default_acl` is the ACL of what is made in it, b"" for none, None if
    unknown.
    """

    __slots__ = (
        "_path",
        "dead",
        "default_acl",
        "impure",
        "listing",
        "lowers",
        "moves",
        "opacity",
        "origin",
        "ranks",
    )

    def __init__(self, parent: Directory | None, name: bytes, ranks: list[int], ino: int, lowers: list[Place]) -> None:
        super().__init__(parent, name, ranks[0], DT_DIR, ino)
        self.moves: Moves = parent.moves if parent else Moves()  # one for all of the tree
        self._path = (-1, b"")  # after how many renames it was made, and the path: set at once, for other threads
        self.ranks = ranks
        self.lowers = lowers
        self.opacity: Opacity = b""
        self.impure = False
        self.default_acl: bytes | None = None
        self.origin: bytes | None = None
        self.listing: Listing | None = None
        self.dead: os.stat_result | None = None

    def upper_path(self) -> bytes:
        """Return the path that the directory has, or would have, in the upper."""
        now = self.moves.count
        made, path = self._path
        if made == now:
            return path
        # In a loop, since a tree may be deeper than Python's stack.
        names: list[bytes] = []
        above: Directory | None = self
        while above is not None and above.parent is not None:
            made, path = above._path
            if made == now:
                break
            names.append(above.name)
            above = above.parent
        else:
            path = b""
        path = b"/".join([path, *reversed(names)] if path else reversed(names))
        if not now & 1:
            self._path = (now, path)
        return path


class Found:
    """Where a name is: the `ranks` of its directory's places, topmost first (several for a directory), and its type.

    Names of one type in one place share the object.
    """

    __slots__ = ("kind", "ranks")

    def __init__(self, ranks: list[int], kind: int) -> None:
        self.ranks = ranks
        self.kind = kind


class Listing:
    """The names of a merged directory, each with a cookie that never changes while the name stays.

    `whiteouts` maps the names that the upper hides to the entry that does. `covered` are the names that the upper has
    or hides and the lower layers show, were there no upper. An `unreadable` one is empty because this process may not
    read the directory.
    """

    __slots__ = ("_cookies", "_found", "_index", "_names", "covered", "unreadable", "whiteouts")

    def __init__(self, found: dict[bytes, Found]) -> None:
        self._names: list[bytes | None] = list(found)
        self._found: list[Found | Node] = list(found.values())
        self._index = dict(zip(found, range(len(found)), strict=True))
        self._cookies = array("Q", range(1, len(found) + 1))
        self.whiteouts: dict[bytes, bytes] = {}
        self.covered: set[bytes] = set()
        self.unreadable = False

    def __contains__(self, name: bytes) -> bool:
        return name in self._index

    def __len__(self) -> int:
        return len(self._index)

    @property
    def last(self) -> int:
        """The largest cookie that was ever given, 0 for none."""
        return self._cookies[-1] if self._cookies else 0

    def names(self) -> list[bytes]:
        """Return the names, in the order of their cookies."""
        return list(self._index)

    def get(self, name: bytes) -> Found | Node | None:
        """Return what is known of the name: where it is, its node once there is one, None where it does not exist."""
        at = self._index.get(name)
        return None if at is None else self._found[at]

    def put(self, name: bytes, found: Found | Node) -> None:
        """Set what is known of the name, which is added if it was not there."""
        at = self._index.get(name)
        if at is not None:
            self._found[at] = found
            return
        if len(self._names) > 64 + 2 * len(self._index):
            self._compact()
        self._index[name] = len(self._names)
        self._names.append(name)
        self._found.append(found)
        self._cookies.append(self.last + 1)

    def remove(self, name: bytes) -> None:
        """Take the name out; the cookies of the others stay."""
        at = self._index.pop(name)
        self._names[at] = None
        self._found[at] = _GONE

    def entries(self) -> Iterator[tuple[bytes, Found | Node]]:
        """Yield each name with what is known of it, in the order of the cookies."""
        if len(self._index) == len(self._names):  # nothing was removed
            return zip(self._names, self._found, strict=True)  # type: ignore[arg-type]  # no name is None
        return ((name, found) for name, found in zip(self._names, self._found, strict=True) if name is not None)

    def position(self, name: bytes) -> int:
        """Return the place of the name in the order of the listing, which may change as names go; -1 for none."""
        return self._index.get(name, -1)

    def nodes(self, start: int, end: int) -> list[Node]:
        """Return the nodes that there are from one place to before another."""
        return [found for found in self._found[start:end] if isinstance(found, Node)]

    def after(self, cookie: int) -> Iterator[tuple[int, bytes, Found | Node]]:
        """Yield (cookie, name, what is known) of each name whose cookie is larger; names may come and go meanwhile."""
        at = bisect_right(self._cookies, cookie)
        names, found, cookies = self._names, self._found, self._cookies  # `_compact` leaves these as they are
        for here in range(at, len(names)):
            name = names[here]
            if name is not None:
                yield cookies[here], name, found[here]

    def _compact(self) -> None:
        """Drop the slots of removed names, into new arrays: the old ones may be being read."""
        kept = [at for at, name in enumerate(self._names) if name is not None]
        last = self.last
        names, found = [self._names[at] for at in kept], [self._found[at] for at in kept]
        cookies = array("Q", [self._cookies[at] for at in kept])
        if not cookies or cookies[-1] != last:  # the largest cookie given is never given again
            names.append(None)
            found.append(_GONE)
            cookies.append(last)
        self._names, self._found, self._cookies = names, found, cookies
        self._index = {name: at for at, name in enumerate(names) if name is not None}


_GONE = Found([], 0)
