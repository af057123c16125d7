"""The users of a container: /etc/passwd and /etc/group as the image has them (passwd(5), group(5)), and `-u`.

The files come from an image and may say anything: damaged lines are skipped, sizes are capped, nothing but a regular
file is read. What they say decides ids inside the container only.
"""

from __future__ import annotations

import os
import stat

from lamina.errors import InvalidInput
from lamina.runtime.spec import Plain

_MAX_FILE = 8 << 20
_MAX_ID = (1 << 32) - 2


class User(Plain):
    """Who the command runs as: numbers inside the container, and the home directory."""

    __slots__ = ("gid", "groups", "home", "uid")

    def __init__(self, uid: int, gid: int, groups: list[int], home: str) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home


def resolve(wanted: str, passwd: bytes, group: bytes) -> User:
    """Return the user for "", "name", "uid", "name:group", "uid:gid" with docker's rules.

    A number needs no entry: its group is then 0. Groups that list the user as a member are added unless a group was
    named, which then is the only one. Raises InvalidInput for a name that the files do not have.
    """
    try:
        os.fsencode(wanted)
    except UnicodeEncodeError as error:
        raise InvalidInput("run as", wanted, "it holds half a character (a lone surrogate)") from error
    name, colon, group_name = wanted.partition(":")
    entry = _entry(_lines(passwd, 7), name or "0", by_number=2)
    if entry:
        login, uid, gid, home = entry[0], _number(entry[2]), _number(entry[3]), os.fsdecode(entry[5]) or "/"
    else:
        number = _number(os.fsencode(name or "0"))
        if number is None:
            raise InvalidInput("run as", wanted, "the image's /etc/passwd has no such user")
        login, uid, gid, home = b"", number, 0, "/"
    if uid is None or gid is None:
        raise InvalidInput("run as", wanted, "the entry in the image's /etc/passwd is damaged")
    groups = _lines(group, 4)
    if colon:
        gid = _group_id(groups, group_name)
        return User(uid, gid, [gid], home)
    more = [_number(fields[2]) for fields in groups if login and login in fields[3].split(b",")]
    return User(uid, gid, sorted({gid, *(number for number in more if number is not None)}), home)


def read_database(path: str) -> bytes:
    """Return a file's content, or nothing where there is no regular file of a sane size."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    if not stat.S_ISREG(os.fstat(fd).st_mode):  # open(2) takes a directory, too, and `open` does not
        os.close(fd)
        return b""
    with open(fd, "rb") as file:
        content: bytes = file.read(_MAX_FILE + 1)
    return content if len(content) <= _MAX_FILE else b""


def _group_id(groups: list[list[bytes]], name: str) -> int:
    entry = _entry(groups, name, by_number=2)
    number = _number(entry[2] if entry else os.fsencode(name))
    if number is None:
        raise InvalidInput("run with the group", name, "the image's /etc/group has no such group")
    return number


def _lines(content: bytes, fields: int) -> list[list[bytes]]:
    lines = (line for line in content.splitlines() if b"\0" not in line)
    return [line.split(b":") for line in lines if line.count(b":") >= fields - 1]


def _entry(lines: list[list[bytes]], name: str, *, by_number: int) -> list[bytes] | None:
    """Return the first entry with this name; what is a number is always one, though a user may be called that."""
    raw = os.fsencode(name)
    if (number := _number(raw)) is not None:
        return next((fields for fields in lines if _number(fields[by_number]) == number), None)
    return next((fields for fields in lines if fields[0] == raw), None)


def _number(text: bytes) -> int | None:
    if text.isdigit() and len(text) < 12 and int(text) <= _MAX_ID:
        return int(text)
    return None
