"""Archives that attack, and such that are broken: a clean error, nothing outside touched, nothing left."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from lamina.errors import InvalidInput
from lamina.tar import entry as kinds
from tests.helpers import layers
from tests.helpers.archives import archive, directory, hardlink, item, symlink

_XATTR = {b"user.x": b"1"}

REFUSED = {
    "upwards": (item(b"../evil"), "leads upwards"),
    "upwards in the middle": (item(b"a/../../evil"), "leads upwards"),
    "upwards as a whole": (directory(b".."), "leads upwards"),
    "hard link upwards": (hardlink(b"a", b"../evil"), "leads upwards"),
    "hard link to nothing": (hardlink(b"a", b"b"), "not in the layer"),
    "hard link to the host": (hardlink(b"a", b"/etc/passwd"), "not in the layer"),
    "hard link to itself": (hardlink(b"a", b"a"), "not in the layer"),
    "hard link to a directory": (directory(b"d/") + hardlink(b"a", b"d"), "directory"),
    "hard link to the top": (hardlink(b"a", b"./"), "no usable target"),
    "hard link over its target": (item(b"d/f") + hardlink(b"d", b"d/f"), "its own target"),
    "link without a target": (symlink(b"a", b""), "no usable target"),
    "links in a circle": (symlink(b"a", b"b") + symlink(b"b", b"a") + item(b"a/f"), "too many symbolic links"),
    "link to itself": (symlink(b"a", b"a/a") + item(b"a/f"), "too many symbolic links"),
    "file as a directory": (item(b"a") + item(b"a/f"), "is not a directory"),
    "file as the top": (item(b"."), "only be a directory"),
    "fifo as the top": (item(b".", kinds.FIFO), "only be a directory"),
    "bare whiteout": (item(b"a/.wh."), "names nothing"),
    "whiteout of the directory": (item(b".wh.."), "names nothing"),
    "whiteout of the parent": (item(b"a/.wh..."), "names nothing"),
    "whiteout as a directory": (item(b".wh.a/f"), "cannot be a directory"),
    "hard link to a whiteout": (item(b".wh.a") + hardlink(b"b", b".wh.a"), "not in the layer"),
    "long component": (item(b"n" * 256), "File name too long"),
    "large id": (item(b"a", uid=2**32 - 1), "is not an id"),
    "very large id": (item(b"a", gid=2**64 - 1), "is not an id"),
    "large device": (item(b"a", kinds.FILE)[:156] + b"9" + bytes(355), "checksum"),
    "xattr of no name": (item(b"a", xattrs={b"": b"x"}), "xattr"),
    "xattr of no space": (item(b"a", xattrs={b"x" * 300: b"x"}), "xattr"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def outside(tmp_path: Path) -> None:
    """Make something that an attack could change."""
    (tmp_path / "evil").write_text("untouched")


def _refused(scratch: Path, path: Path, reason: str) -> None:
    before = sorted(os.listdir(scratch))
    with pytest.raises(InvalidInput, match=reason):
        layers.apply(path, scratch / "staging", single_id=os.geteuid() != 0)
    assert not list((scratch / "staging").iterdir())
    (scratch / "staging").rmdir()
    assert sorted(os.listdir(scratch)) == before
    assert (scratch / "evil").read_text() == "untouched"


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path: Path, name: str) -> None:
    items, reason = REFUSED[name]
    _refused(tmp_path, archive(tmp_path / "tar", items), reason)


def _applied(tmp_path: Path, *items: bytes) -> Path:
    layer = layers.apply(archive(tmp_path / "tar", *items), tmp_path / "staging", single_id=os.geteuid() != 0)
    assert layers.assemble(layer, tmp_path / "again").read_bytes() == (tmp_path / "tar").read_bytes()
    assert (tmp_path / "evil").read_text() == "untouched"
    return layer.tree


@pytest.mark.parametrize("target", [b"/", b"..", b"/etc", b"../../../etc", b"x/../../.."])
def test_links_lead_nowhere_outside(tmp_path: Path, target: bytes) -> None:
    tree = _applied(tmp_path, directory(b"d"), symlink(b"d/out", target), item(b"d/out/evil", content=b"x"))
    found = list(tree.rglob("evil"))
    assert len(found) == 1
    assert found[0].read_bytes() == b"x"
    assert tree in found[0].parents


def test_absolute_names_are_the_trees_own(tmp_path: Path) -> None:
    tree = _applied(tmp_path, item(b"/etc/passwd", content=b"x"), hardlink(b"/a", b"/etc/passwd"))
    assert (tree / "a").read_bytes() == b"x"


def test_a_link_that_becomes_a_file_is_not_written_through(tmp_path: Path) -> None:
    outside = os.fsencode(tmp_path / "evil")
    tree = _applied(tmp_path, symlink(b"a", outside), item(b"a", content=b"x"), symlink(b"b", b".."), directory(b"b"))
    assert (tree / "a").read_bytes() == b"x"
    assert (tree / "b").is_dir() and not (tree / "b").is_symlink()


def test_overlayfs_marks_in_an_archive_mean_nothing(tmp_path: Path) -> None:
    marks = {b"user.overlay.redirect": b"/etc", b"trusted.overlay.opaque": b"y", b"user.fuseoverlayfs.opaque": b"y"}
    tree = _applied(tmp_path, directory(b"d", xattrs=marks), item(b"f", xattrs={b"user.overlay.metacopy": b""}))
    assert not os.listxattr(tree / "d")
    assert not os.listxattr(tree / "f")


def test_device_0_0_is_a_whiteout(tmp_path: Path) -> None:
    tree = _applied(tmp_path, item(b"a", kinds.CHARDEV))
    assert not list(tree.iterdir())  # over nothing there is nothing to hide


@pytest.mark.parametrize("left", [0, 1, 123])
def test_the_last_content_may_lack_its_padding(tmp_path: Path, left: int) -> None:
    # So ends what `umoci insert` makes, and what Go's reader takes.
    whole = item(b"a", content=b"x" * 900)
    cut = whole[: len(whole) - 124 + left]
    layer = layers.apply(archive(tmp_path / "tar", cut, end=b""), tmp_path / "staging", single_id=os.geteuid() != 0)
    assert (layer.tree / "a").read_bytes() == b"x" * 900
    assert layers.assemble(layer, tmp_path / "again").read_bytes() == cut


@pytest.mark.parametrize("cut", [125, 511, 512, 700, 1024, 1536 + 100])
def test_truncated(tmp_path: Path, cut: int) -> None:
    whole = item(b"a", content=b"x" * 900, mtime=1)
    (tmp_path / "tar").write_bytes(whole[: len(whole) - cut])
    if len(whole) == cut:
        pytest.fail("nothing left")
    _refused(tmp_path, tmp_path / "tar", "truncated|ends after an extended header|checksum")


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 511, b"x" * 2048, b"PK\3\4" + bytes(600), bytes(100)])
def test_no_archive(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "tar").write_bytes(data)
    _refused(tmp_path, tmp_path / "tar", "tar archive: (it is empty|the archive is truncated|.*checksum)")


def _number(block: bytes, at: int, field: bytes) -> bytes:
    """Return a header with another field, and its sum right."""
    block = block[:at] + field + block[at + len(field) :]
    return block[:148] + b"%06o\0 " % (sum(block[:148]) + 256 + sum(block[156:])) + block[156:]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda h: _number(h, 124, b"\x80" + (2**62).to_bytes(11, "big")), "truncated|too large"),
        (lambda h: _number(h, 124, b"\xff" * 12), "negative"),
        (lambda h: _number(h, 124, b"0000000000x\0"), "octal"),
        (lambda h: _number(_number(h, 124, b"%011o\0" % 2**32), 156, b"x"), "not believable"),
        (lambda h: _number(_number(h, 124, b"\xff" * 12), 156, b"L"), "not believable"),
        (lambda h: _number(h, 100, b"-000644\0"), "octal"),
    ],
)
def test_claims(tmp_path: Path, change: Callable[[bytes], bytes], reason: str) -> None:
    header = item(b"a", content=b"x")
    _refused(tmp_path, archive(tmp_path / "tar", change(header[:512]) + header[512:]), reason)


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        (b"5 a=\n", None),
        (b"x a=b\n", "length"),
        (b"99 a=b\n", "malformed"),
        (b"6 a=b ", "malformed"),
        (b"5 ab\n", "malformed"),
        (b"0 a=b\n", "malformed"),
        (b"15 mtime=1.x.y\n", "not a time"),
        (b"10 uid=-1\n", "not a number"),
        (b"17 path=a\0b/ccccc\n"[:16] + b"\n", "NUL"),
        (b"26 GNU.sparse.map=1,2,3,4\n", "sparse"),
        (b"22 GNU.sparse.major=1\n" + b"22 GNU.sparse.minor=0\n", "sparse"),
    ],
)
def test_extended_headers(tmp_path: Path, records: bytes, reason: str | None) -> None:
    extended = item(b"p", content=records)
    extended = _number(extended[:512], 156, b"x") + extended[512:]
    path = archive(tmp_path / "tar", extended, item(b"a", content=b"x"))
    if reason is None:
        layers.apply(path, tmp_path / "staging", single_id=os.geteuid() != 0)
    else:
        _refused(tmp_path, path, reason)


@pytest.mark.parametrize("pairs", [[(0, 10), (5, 10)], [(0, 30)], [(2**62, 10)], [(0, 5)], [(10, 5), (0, 5)]])
def test_sparse_maps_that_lie(tmp_path: Path, pairs: list[tuple[int, int]]) -> None:
    header = item(b"a", content=b"x" * 20)
    block = header[:386] + b"".join(struct.pack("12s12s", b"%011o" % a, b"%011o" % b) for a, b in pairs)
    block = block.ljust(483, b"\0") + b"%011o\0" % 20 + bytes(17)
    broken = _number(_number(block, 156, b"S"), 257, b"ustar  \0")
    _refused(tmp_path, archive(tmp_path / "tar", broken + header[512:]), "sparse map|octal")


def test_damaged_compression(tmp_path: Path) -> None:
    plain = archive(tmp_path / "plain", item(b"a", content=os.urandom(5000)))
    packed = gzip.compress(plain.read_bytes(), mtime=0)
    for damaged in (packed[:-6], packed[:2000], packed[:40] + b"\xff" * 40 + packed[80:]):
        (tmp_path / "tar").write_bytes(damaged)
        _refused(tmp_path, tmp_path / "tar", "gzip stream: the compressed stream is (truncated|damaged)|archive")


def test_another_digest(tmp_path: Path) -> None:
    path = archive(tmp_path / "tar", item(b"a"))
    with pytest.raises(InvalidInput, match="its content is sha256:"):
        layers.apply(path, tmp_path / "staging", single_id=os.geteuid() != 0, expected="sha256:" + "0" * 64)
    assert not list((tmp_path / "staging").iterdir())


@pytest.mark.parametrize("seconds", [2**63, -(2**63) - 1, 2**86])
def test_times_that_no_kernel_has(tmp_path: Path, seconds: int) -> None:
    header = item(b"a", content=b"x")
    field = (seconds % 2**95 | (1 << 95 if seconds >= 0 else 3 << 94)).to_bytes(12, "big")
    binary = _number(header[:512], 136, field) + header[512:]
    record = b" mtime=%d\n" % seconds
    extended = item(b"p", content=b"%d%b" % (len(record) + 2, record))
    extended = _number(extended[:512], 156, b"x") + extended[512:]
    for number, items in enumerate((binary, extended + header)):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "evil").write_text("untouched")
        _refused(tmp_path / str(number), archive(tmp_path / str(number) / "tar", items), "a time is out of range")
