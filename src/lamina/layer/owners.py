"""The table of owners: what a layer's tar says about its entries and its directory on disk cannot hold.

Where files have one id only, their owners, devices and the set-id bits of other owners' programs stand here; where a
user namespace refuses devices or an xattr, those do. docs/formats/owners.md describes the file.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from lamina.errors import InvalidInput, StoreError

_TITLE = b"lamina owners "
_VERSION = 1


@dataclass(slots=True)
class Owner:
    """What the disk does not hold of one entry; a field that is None or empty is on disk as it should be.

    `mode` are the permission bits with set-id. `device` is (type, major, minor), the type being `b"3"` or `b"4"` as in
    tar; on disk such an entry is an empty regular file.
    """

    uid: int = 0
    gid: int = 0
    mode: int | None = None
    device: tuple[bytes, int, int] | None = None
    xattrs: dict[bytes, bytes] = field(default_factory=dict)


Owners = dict[bytes, Owner]


def dump(owners: Owners) -> bytes:
    """Return the table as the file's bytes, one line an entry in the order of their names."""
    lines = [_TITLE + b"%d\n" % _VERSION]
    lines += [_line(path, owners[path]) for path in sorted(owners)]
    return b"".join(lines)


def _line(path: bytes, owner: Owner) -> bytes:
    fields = [b"%d:%d" % (owner.uid, owner.gid)]
    if owner.mode is not None:
        fields.append(b"mode=%04o" % owner.mode)
    if owner.device is not None:
        kind, major, minor = owner.device
        fields.append(b"device=%b:%d:%d" % (b"c" if kind == b"3" else b"b", major, minor))
    fields += [b"xattr.%b=%b" % (_quote(name), value.hex().encode()) for name, value in sorted(owner.xattrs.items())]
    return b"%b /%b\n" % (b" ".join(fields), _quote(path))


def parse(data: bytes, subject: str) -> Owners:
    """Return the table in `data`; `subject` names it in errors. StoreError for a newer version or a damaged line."""
    title, _, rest = data.partition(b"\n")
    if not title.startswith(_TITLE) or not title[len(_TITLE) :].isdigit():
        raise StoreError("read the owners table", subject, "it is not one")
    if int(title[len(_TITLE) :]) > _VERSION:
        raise StoreError("read the owners table", subject, "it was written by a newer lamina", "update lamina")
    owners: Owners = {}
    for number, line in enumerate(rest.splitlines(), 2):
        try:
            fields, _, path = line.partition(b" /")
            owners[_unquote(path)] = _parse_fields(fields.split(b" "))
        except ValueError as error:
            raise StoreError("read the owners table", subject, f"line {number} is damaged") from error
    return owners


def _parse_fields(fields: list[bytes]) -> Owner:
    uid, gid = fields[0].split(b":")
    owner = Owner(int(uid), int(gid))
    for part in fields[1:]:
        key, _, value = part.rpartition(b"=")  # in an xattr's name there may be others
        if key == b"mode":
            owner.mode = int(value, 8)
        elif key == b"device":
            letter, major, minor = value.split(b":")
            owner.device = (b"3" if letter == b"c" else b"4", int(major), int(minor))
        elif key.startswith(b"xattr."):
            owner.xattrs[_unquote(key[6:])] = bytes.fromhex(value.decode("ascii"))
        else:
            raise ValueError(key)
    return owner


def read(path: str) -> Owners:
    """Return the table in the file `path`, an empty one where there is no such file."""
    try:
        with open(path, "rb") as file:
            return parse(file.read(), path)
    except FileNotFoundError:
        return {}


class LowerOwners:
    """The tables of the layers below. A table belongs to the tree that lies beside it in the same directory."""

    def __init__(self, trees: list[str], tables: list[str]) -> None:
        beside = {os.path.dirname(os.path.abspath(path)): path for path in tables}
        self._paths = [beside.get(os.path.dirname(os.path.abspath(tree))) for tree in trees]
        self._tables: dict[int, Owners] = {}

    def of(self, layer: int, path: bytes) -> Owner | None:
        """Return what the table of layer number `layer` (base first) says of `path` there, None for nothing."""
        table = self._paths[layer]
        if table is None:
            return None
        if layer not in self._tables:
            self._tables[layer] = read(table)
        return self._tables[layer].get(path)


_PLAIN = re.compile(rb"[^!-\[\]-~]")
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


def _quote(name: bytes) -> bytes:
    return _PLAIN.sub(lambda match: b"\\x%02x" % match[0][0], name)


def _unquote(name: bytes) -> bytes:
    return _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), name)


def check_id(value: int, doing: str, name: bytes, what: str) -> None:
    """Refuse an id that no kernel has: 2**32-1 means "none" to chown."""
    if not 0 <= value < 0xFFFFFFFF:
        raise InvalidInput(doing, name, f"its {what} {value} is not an id")
