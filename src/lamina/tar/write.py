"""The header blocks of one entry, the same bytes for the same entry on every machine.

Plain ustar where it can say everything; a PAX header before it where it cannot (nanoseconds, long or large values,
xattrs). Holes are not written as such: readers of container images expand no sparse files.
"""

from __future__ import annotations

from lamina.tar import entry as kinds
from lamina.tar import header as tarheader
from lamina.tar import pax
from lamina.tar.entry import Entry

#: What ends an archive: two blocks of zeros. No filling up to a record of 10 KiB: images are not on tape.
END = tarheader.ZEROS * 2


def header(entry: Entry) -> bytes:
    """Return everything of `entry` that comes before its content."""
    records = {pax.xattr_key(name): value for name, value in entry.xattrs.items()}
    prefix, name = _split_name(entry.name)
    if name is None:
        records[b"path"] = entry.name
        name = entry.name[:100]
    link = entry.link
    if len(link) > 100:
        records[b"linkpath"] = link
        link = link[:100]
    seconds, nanoseconds = divmod(entry.mtime, 10**9)
    if nanoseconds or not tarheader.fits(seconds, 11):
        records[b"mtime"] = pax.make_time(entry.mtime)
        seconds = min(max(seconds, 0), 8**11 - 1)
    block = tarheader.make(
        name=name,
        prefix=prefix,
        mode=entry.mode,
        uid=_number(records, b"uid", entry.uid, 7),
        gid=_number(records, b"gid", entry.gid, 7),
        size=_number(records, b"size", entry.size if entry.kind == kinds.FILE else 0, 11),
        mtime=seconds,
        kind=entry.kind,
        link=link,
        major=entry.major & 0o7777777,
        minor=entry.minor & 0o7777777,
    )
    return _extended(records) + block if records else block


def _number(records: pax.Records, key: bytes, value: int, digits: int) -> int:
    if tarheader.fits(value, digits):
        return value
    records[key] = b"%d" % value
    return 0


def _split_name(name: bytes) -> tuple[bytes, bytes | None]:
    """Return (prefix, name) for the ustar fields; the name is None where it does not fit them."""
    if len(name) <= 100:
        return b"", name
    # The last character may be the slash of a directory: it is no place to split.
    cut = name.find(b"/", len(name) - 101, min(156, len(name) - 1))
    return (name[:cut], name[cut + 1 :]) if cut > 0 else (b"", None)


def _extended(records: pax.Records) -> bytes:
    data = pax.make(records)
    block = tarheader.make(
        name=b"PaxHeaders.0", mode=0o644, uid=0, gid=0, size=len(data), mtime=0, kind=tarheader.PAX_NEXT[0]
    )
    return block + data + bytes(tarheader.padding(len(data)))
