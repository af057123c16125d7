"""GNU tar as oracle, in both directions: we unpack what it packed, it unpacks what we packed, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import layers
from tests.helpers.trees import remove_tree

pytestmark = [pytest.mark.requires("tar"), pytest.mark.requires("root")]

_XATTRS = ("--xattrs", "--xattrs-include=*")
#: How GNU tar is asked to write, and whether that keeps nanoseconds, xattrs and negative times.
_FORMATS = {
    "--format=posix": True,
    "--format=posix --sparse": True,
    "--format=posix --sparse --sparse-version=0.1": True,
    "--format=posix --sparse --sparse-version=0.0": True,
    "--format=gnu": False,
    "--format=gnu --sparse": False,
}


def _look(path: Path, *, full: bool) -> layers.Look:
    """Look at a tree; without `full` no more than the old formats hold."""
    seen: layers.Look = {}
    for name, (mode, uid, gid, device, mtime, one, xattrs, content) in layers.look(path).items():
        assert isinstance(mtime, int) and isinstance(xattrs, dict)
        if full:
            seen[name] = (mode, uid, gid, device, mtime, one, xattrs, content)
        else:
            seen[name] = (mode, uid, gid, device, mtime // 10**9, one, {}, content)
    return seen


@settings(max_examples=40, database=None)
@given(top=layers.trees(), way=st.sampled_from(sorted(_FORMATS)), compression=st.sampled_from(["", "-z", "-j", "-J"]))
def test_what_gnu_tar_writes(top: layers.Node, way: str, compression: str) -> None:
    scratch = Path(tempfile.mkdtemp())
    try:
        full = _FORMATS[way]
        source = scratch / "source"
        layers.make_tree(source, top)
        extra = _XATTRS if full else ()
        argv = ["tar", "-C", str(source), *way.split(), *extra, *compression.split(), "-cf", str(scratch / "tar"), "."]
        subprocess.run(argv, check=True)
        layer = layers.apply(scratch / "tar", scratch / "layer")
        assert _look(layer.tree, full=full) == _look(source, full=full)
        made = layers.assemble(layer, scratch / "again").read_bytes()
        assert made == _plain(scratch / "tar", compression)
    finally:
        remove_tree(str(scratch))


def _plain(path: Path, compression: str) -> bytes:
    program = {"": "cat", "-z": "gunzip", "-j": "bunzip2", "-J": "unxz"}[compression]
    with path.open("rb") as file:
        return subprocess.run([program], stdin=file, stdout=subprocess.PIPE, check=True).stdout


@settings(max_examples=40, database=None)
@given(top=layers.trees())
def test_what_gnu_tar_reads(top: layers.Node) -> None:
    scratch = Path(tempfile.mkdtemp())
    try:
        source = scratch / "source"
        layers.make_tree(source, top)
        archive = layers.assemble(layers.apply_directory(source, scratch / "layer"), scratch / "tar")
        unpacked = scratch / "unpacked"
        unpacked.mkdir()
        argv = ["tar", "-C", str(unpacked), *_XATTRS, "--numeric-owner", "--delay-directory-restore", "-xpf"]
        subprocess.run([*argv, str(archive)], check=True, stderr=subprocess.PIPE)
        assert _look(unpacked, full=True) == _look(source, full=True)
    finally:
        remove_tree(str(scratch))


def test_large_numbers_and_long_names(scratch: Path) -> None:
    source = scratch / "source"
    deep = source / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    (deep / "f").write_bytes(b"x")
    (deep / "link").symlink_to("t/" * 150)
    (deep / "hard").hardlink_to(deep / "f")
    with (source / "large").open("xb") as file:
        file.truncate(9 << 30)  # more than eleven octal digits
    os.chown(source / "large", 3_000_000, 2**31)
    for name in ("gnu", "posix"):
        tar = scratch / name
        subprocess.run(["tar", "-C", str(source), f"--format={name}", "--sparse", "-cf", str(tar), "."], check=True)
        layer = layers.apply(tar, scratch / f"layer-{name}")
        assert _look_sparsely(layer.tree) == _look_sparsely(source)
        assert layers.assemble(layer, scratch / f"{name}-again").read_bytes() == tar.read_bytes()


def _look_sparsely(path: Path) -> dict[str, tuple[int, int, int, bool]]:
    seen = {}
    for found in path.rglob("*"):
        info = found.lstat()
        seen[str(found.relative_to(path))] = (info.st_mode, info.st_uid, info.st_size, info.st_blocks < 100)
    return seen
