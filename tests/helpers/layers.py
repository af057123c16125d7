"""Trees for the tests of layers: made at random, looked at completely, and the jobs with their usual arguments."""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st

from lamina.events import ignore
from lamina.ids.worker import Fd
from lamina.layer import jobs
from lamina.overlay import format as marks
from tests.helpers import probes

FILE, DIRECTORY, SYMLINK, FIFO, DEVICE, LINK = "file", "directory", "symlink", "fifo", "device", "link"


def is_single_id() -> bool:
    """Return whether this process has one id only."""
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    return sum(int(line.split()[2]) for line in lines) == 1


def space() -> str:
    """Return the xattr space in which this process can write marks."""
    return marks.TRUSTED if probes.who() == "root" else marks.USER


@dataclass(slots=True)
class Node:
    """What to make: metadata that does not apply to the kind is left out."""

    kind: str
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)
    mtime: int = 0
    content: list[bytes | int] = field(default_factory=list)  # an int is a hole
    target: bytes = b""
    device: tuple[int, int] = (1, 3)
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    children: dict[bytes, Node] = field(default_factory=dict)


def names() -> st.SearchStrategy[bytes]:
    """Any name that a directory takes and a layer can hold."""
    short = st.binary(min_size=1, max_size=12)
    odd = st.sampled_from(
        [b"a", b"b", b"c", b"-", b"\\", b" ", b"\n", b"\xff\xfe", b"\xc3\xa4", b"x" * 255, b"y" * 150]
    )
    return st.one_of(odd, short).filter(_is_name)


def _is_name(name: bytes) -> bool:
    return not set(name) & set(b"/\0") and name not in (b".", b"..") and not name.startswith(b".wh.")


def _ids() -> st.SearchStrategy[tuple[int, int]]:
    some = st.sampled_from([0] if is_single_id() else [0, 1, 6, 1000, 65533])
    return st.tuples(some, some)


def _acl() -> st.SearchStrategy[bytes]:
    ids = st.sampled_from([0] if is_single_id() else [0, 1, 1000])
    bits = st.integers(0, 7)
    return st.builds(
        lambda user, group, perms: struct.pack(
            "<I" + "HHI" * 6, 2, 1, perms[0], _NONE, 2, perms[1], user, 4, perms[2], _NONE, 8, perms[3], group,
            0x10, perms[4], _NONE, 0x20, perms[5], _NONE,
        ),
        ids, ids, st.lists(bits, min_size=6, max_size=6),
    )  # fmt: skip


_NONE = 0xFFFFFFFF
#: cap_net_raw=ep, version 2.
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)


def _xattrs(kind: str) -> st.SearchStrategy[dict[bytes, bytes]]:
    values = st.binary(max_size=40)
    keys: dict[bytes, st.SearchStrategy[bytes]] = {}
    if kind in (FILE, DIRECTORY):
        keys |= {b"user.a": values, b"user.\xc3\xa4=\n": values, b"system.posix_acl_access": _acl()}
    if kind == FILE:
        keys[b"security.capability"] = st.just(CAPABILITY)
    if kind == DIRECTORY:
        keys[b"system.posix_acl_default"] = _acl()
    if probes.who() == "root":
        keys[b"trusted.t"] = values
    return st.fixed_dictionaries({}, optional=keys)


def _times() -> st.SearchStrategy[int]:
    return st.one_of(
        st.just(0), st.integers(-(2**31) * 10**9, 2**33 * 10**9), st.integers(1, 2**30).map(lambda s: s * 10**9)
    )


def nodes(depth: int = 3) -> st.SearchStrategy[Node]:
    """A node of any kind; a directory is at most `depth` levels high."""
    pieces = st.one_of(st.binary(max_size=600), st.sampled_from([4096, 65536, 70000, b"x" * 66000, bytes(80000)]))
    kinds = [
        _node(FILE, content=st.lists(pieces, max_size=3)),
        _node(SYMLINK, target=st.one_of(names(), st.sampled_from([b"/etc", b"../../x", b"t" * 300]))),
        _node(FIFO),
        _node(LINK),
    ]
    if probes.who() == "root":
        kinds.append(_node(DEVICE, device=st.sampled_from([(1, 3), (5, 1), (300, 70000)])))
    if depth:
        kinds.append(trees(depth - 1))
    return st.one_of(kinds)


def trees(depth: int = 3) -> st.SearchStrategy[Node]:
    """A directory with its children."""
    return _node(DIRECTORY, children=st.dictionaries(names(), st.deferred(lambda: nodes(depth)), max_size=5))


def _node(kind: str, **fields: st.SearchStrategy[object]) -> st.SearchStrategy[Node]:
    # A directory that its owner may not enter is closed to nobody here: the tests run as root of some namespace.
    return st.builds(
        Node, st.just(kind), mode=st.integers(0, 0o7777), owner=_ids(), mtime=_times(), xattrs=_xattrs(kind), **fields
    )


def make_tree(path: Path, top: Node) -> None:
    """Make the directory `path` with all that `top` says. A link becomes another name of the first file there is."""
    path.mkdir(mode=0o700)
    files: list[bytes] = []
    _fill(os.fsencode(path), top, files)
    _finish(os.fsencode(path), top)


def _fill(path: bytes, node: Node, files: list[bytes]) -> None:
    for name, child in node.children.items():
        inner = path + b"/" + name
        if child.kind == DIRECTORY:
            os.mkdir(inner, 0o700)
            _fill(inner, child, files)
        elif child.kind == FILE:
            _write(inner, child.content)
            files.append(inner)
        elif child.kind == SYMLINK:
            os.symlink(child.target, inner)
        elif child.kind == FIFO:
            os.mkfifo(inner, 0o600)
        elif child.kind == DEVICE:
            os.mknod(inner, stat.S_IFCHR | 0o600, os.makedev(*child.device))
        elif files:
            os.link(files[0], inner)
            continue
        else:
            continue
        _finish(inner, child)
    # Times last: making children changed them.


def _finish(path: bytes, node: Node) -> None:
    os.chown(path, *node.owner, follow_symlinks=False)
    if node.kind != SYMLINK:
        os.chmod(path, node.mode)
    for name in sorted(node.xattrs, key=lambda name: name == b"security.capability"):
        os.setxattr(path, name, node.xattrs[name], follow_symlinks=False)
    os.utime(path, ns=(node.mtime, node.mtime), follow_symlinks=False)


def _write(path: bytes, content: list[bytes | int]) -> None:
    with open(path, "xb") as file:
        size = 0
        for piece in content:
            if isinstance(piece, int):
                size += piece
                file.seek(size)
            else:
                size += file.write(piece)
        file.truncate(size)


Look = dict[bytes, tuple[object, ...]]


def look(path: Path, *, times: bool = True) -> Look:
    """Return all that can be seen of a tree, by relative path: content, metadata, xattrs, which names are one file."""
    seen: Look = {}
    first: dict[tuple[int, int], bytes] = {}
    top = os.fsencode(path)
    rest = [b""]
    while rest:
        name = rest.pop()
        full = top + name
        info = os.lstat(full)
        one = first.setdefault((info.st_dev, info.st_ino), name) if info.st_nlink > 1 else name
        content: object = None
        if stat.S_ISREG(info.st_mode):
            content = Path(os.fsdecode(full)).read_bytes()
        elif stat.S_ISLNK(info.st_mode):
            content = os.readlink(full)
        elif stat.S_ISDIR(info.st_mode):
            rest += sorted((name + b"/" + os.fsencode(child) for child in os.listdir(full)), reverse=True)
            one = name
        mtime = info.st_mtime_ns if times else 0
        seen[name] = (
            oct(info.st_mode),
            info.st_uid,
            info.st_gid,
            info.st_rdev,
            mtime,
            one,
            _seen_xattrs(full),
            content,
        )
    return seen


def _seen_xattrs(path: bytes) -> dict[str, bytes]:
    return {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in sorted(os.listxattr(path, follow_symlinks=False))
        if not marks.is_mark(os.fsencode(name)) and name != "security.selinux"
    }


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that a job made, and what the job said of it."""

    path: Path
    said: dict[str, object]

    @property
    def tree(self) -> Path:
        return self.path / "tree"

    @property
    def tables(self) -> list[str]:
        table = self.path / "owners"
        return [str(table)] if table.exists() else []


def trees_of(below: list[Layer]) -> tuple[list[str], list[str]]:
    """Return the arguments `below` and `owners_below`."""
    return [str(layer.tree) for layer in below], [table for layer in below for table in layer.tables]


def apply(
    archive: Path,
    staging: Path,
    below: list[Layer] | None = None,
    *,
    single_id: bool | None = None,
    expected: str = "",
    most: int | None = None,
) -> Layer:
    """Apply a tar archive in a file, of at most `most` bytes, uncompressed."""
    trees, tables = trees_of(below or [])
    with archive.open("rb") as file:
        said = jobs.apply_layer(
            stream=Fd(file.fileno()), staging=str(staging), below=trees, owners_below=tables, space=space(),
            single_id=is_single_id() if single_id is None else single_id, expected_diff_id=expected, on_event=ignore,
            max_size=most,
        )  # fmt: skip
    return Layer(staging, said)


def apply_directory(source: Path, staging: Path) -> Layer:
    """Make a base layer of a plain directory."""
    said = jobs.apply_directory(
        source=str(source), staging=str(staging), space=space(), single_id=is_single_id(), on_event=ignore
    )
    return Layer(staging, said)


def capture(
    uppers: list[tuple[str, Path]],
    staging: Path,
    below: list[Layer],
    ignored: list[str] | None = None,
    *,
    single_id: bool | None = None,
) -> Layer:
    """Make a layer of uppers."""
    trees, tables = trees_of(below)
    said = jobs.capture_layer(
        uppers=[[prefix, str(upper)] for prefix, upper in uppers], below=trees, owners_below=tables,
        ignore=ignored or [], staging=str(staging), space=space(),
        single_id=is_single_id() if single_id is None else single_id, on_event=ignore,
    )  # fmt: skip
    return Layer(staging, said)


def assemble(layer: Layer, out: Path) -> Path:
    """Write the layer's tar and check that it is the one that its diff id says."""
    with out.open("xb") as file:
        said = jobs.assemble_layer(layer=str(layer.path), out=Fd(file.fileno()))
    assert said == {"diff_id": layer.said["diff_id"], "size": layer.said["size"]}
    return out
