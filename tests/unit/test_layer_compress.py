"""Streams compressed in every way that layers are."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from lamina.errors import InvalidInput
from lamina.layer.encode import encoder, maker_of, parse_compression
from lamina.tar.compress import Decompressed, sniff
from lamina.tar.zstd import ZstdCompressor

_DATA = b"".join(b"%d\n" % number for number in range(200_000)) + os.urandom(100_000)


def _zstd(data: bytes) -> bytes:
    compressor = ZstdCompressor()
    return compressor.compress(data) + compressor.flush()


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def _xz(data: bytes) -> bytes:
    return lzma.compress(data, preset=0)


_PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": _gzip,
    "zstd": _zstd,
    "xz": _xz,
    "bzip2": bz2.compress,
    "none": bytes,
}


def _read(path: Path) -> tuple[bytes, str, int]:
    with path.open("rb") as file:
        stream = Decompressed(file.fileno())
        whole = b"".join(iter(stream.read, b""))
        assert stream.read() == b""
        return whole, stream.compression, stream.consumed


@pytest.mark.parametrize("name", _PACK)
@pytest.mark.parametrize("data", [b"", b"x", _DATA])
def test_whole_streams(tmp_path: Path, name: str, data: bytes) -> None:
    packed = _PACK[name](data)
    (tmp_path / "f").write_bytes(packed)
    assert _read(tmp_path / "f") == (data, name, len(packed))


@pytest.mark.parametrize("name", [name for name in _PACK if name != "none"])
@pytest.mark.parametrize("between", [b"", bytes(8)])
def test_members_follow_each_other_and_junk_ends_them(tmp_path: Path, name: str, between: bytes) -> None:
    between = between if name == "xz" else b""
    packed = _PACK[name](b"one") + between + _PACK[name](b"") + _PACK[name](b"two")
    for junk in (b"", bytes(4096), b"junk", b"\x1f"):
        (tmp_path / "f").write_bytes(packed + junk)
        assert _read(tmp_path / "f")[0] == b"onetwo"


@pytest.mark.parametrize("name", [name for name in _PACK if name != "none"])
def test_truncation_and_damage_are_told(tmp_path: Path, name: str) -> None:
    packed = _PACK[name](_DATA)
    for cut in (7, len(packed) // 2, len(packed) - 1):
        (tmp_path / "f").write_bytes(packed[:cut])
        with pytest.raises(InvalidInput, match=f"cannot read the {name} stream: .* is truncated near byte {cut}"):
            _read(tmp_path / "f")
    (tmp_path / "f").write_bytes(packed[: len(packed) // 2] + bytes(200) + packed[len(packed) // 2 + 200 :])
    with pytest.raises(InvalidInput, match=r"damaged|truncated"):
        _read(tmp_path / "f")


def test_a_skippable_frame_comes_first(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\x51\x2a\x4d\x18\x04\0\0\0abcd" + _zstd(b"data"))
    assert _read(tmp_path / "f")[:2] == (b"data", "zstd")


def test_from_a_pipe_that_is_slow() -> None:
    read, write = os.pipe()
    packed = gzip.compress(b"slow")
    pid = os.fork()
    if pid == 0:
        for at in range(len(packed)):
            os.write(write, packed[at : at + 1])
        os._exit(0)
    os.close(write)
    assert b"".join(iter(Decompressed(read).read, b"")) == b"slow"
    os.close(read)
    os.waitpid(pid, 0)


def test_sniff_of_little() -> None:
    assert [sniff(head) for head in (b"", b"\x1f", b"BZ", b"\xfd7z")] == ["none"] * 4


@pytest.mark.parametrize(("least", "most"), [("gzip:0", "gzip"), ("zstd:1", "zstd:19")])
def test_levels_differ_and_are_part_of_who_made_it(least: str, most: str) -> None:
    words = Random(1).randbytes(4096)
    data = b"".join(words[at : at + 40] for at in Random(2).choices(range(4000), k=20_000))
    sizes = []
    for compression in (least, most):
        encode = encoder(compression)
        sizes.append(len(encode.compress(data) + encode.flush()))
    assert sizes[0] > sizes[1] and maker_of(least) != maker_of(most)


@pytest.mark.parametrize("text", ["", "xz", "gzip:", "gzip:4", "zstd:0", "zstd:23", "zstd:-1", "zstd:x", "none:1"])
def test_what_is_no_compression_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="cannot compress with"):
        parse_compression(text)
