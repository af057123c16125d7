"""What a build made, as text for people: read from the archive that `save` writes, by nothing of lamina's own.

    Env ["PATH=/bin", "A=b"]                a field of the config that the base image does not have like that
    + RUN /bin/sh -c touch /x # buildkit    history: + for what changed files, - for what did not
    srv/one -rw-r--r-- 0:0 'one\\n' @981173106
    srv/two = srv/one                       another name of that file
    etc/file gone

Of the tree, what differs from the base image is shown. A time is shown where it is one of the context's or of an
archive's, so before 2015; a time of the build itself is not. A plain picture is for builders that agree on what an
image does, not on how it says so: without history, times, and what each writes of itself.
"""

from __future__ import annotations

import hashlib
import io
import json
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

#: Times before this one are of what was copied; 2015-01-01.
OLD = 1420070400

_TYPES = {
    tarfile.REGTYPE: stat.S_IFREG,
    tarfile.AREGTYPE: stat.S_IFREG,
    tarfile.GNUTYPE_SPARSE: stat.S_IFREG,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.FIFOTYPE: stat.S_IFIFO,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
}
_SHOWN = 60  # bytes of content that are shown as they are

# What of an image is its builder's own affair: no field of the config that a runtime heeds, and the names that are
# made for its mounts.
_OWN_FIELDS = frozenset({"ArgsEscaped", "Hostname", "Image"})
_OWN_LABELS = "io.buildah."
_OWN_XATTRS = "user.overlay."  # buildah leaves them in layers where it runs without root
_OWN_FILES = frozenset({"etc/hostname", "run"})


@dataclass(eq=False, slots=True)
class Node:
    """A file of a tree; several names may lead to it."""

    mode: int
    owner: str
    what: str
    time: int
    xattrs: dict[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """Return all that is known of it but its name."""
        words = [stat.filemode(self.mode), self.owner, *([self.what] if self.what else [])]
        words += [f"{name}={value}" for name, value in sorted(self.xattrs.items())]
        return " ".join([*words, *([f"@{self.time}"] if self.time < OLD else [])])


Tree = dict[str, Node]


def picture(archive: Path, base: Path) -> str:
    """Return what the image in `archive` is beyond the one in `base`."""
    return pictures(archive, base)[0]


def pictures(archive: Path, base: Path) -> tuple[str, str]:
    """Return the picture of an image and the plain one."""
    config, layers = _open(archive)
    below, base_layers = _base(base)
    if config["rootfs"]["diff_ids"][:1] != below["rootfs"]["diff_ids"]:
        below, base_layers = {}, []
    settings, settings_below = config.get("config") or {}, below.get("config") or {}
    before, after = _flatten(base_layers), _flatten(layers)
    lines = list(_config(settings, settings_below))
    lines += _history(config["history"], layers)[len(below.get("history", ())) :]
    lines += _changes(before, after)
    plain = [*_config(_plain_settings(settings), settings_below), *_changes(_plain(before), _plain(after))]
    return _text(lines), _text(plain)


def portrait(archive: Path) -> str:
    """Return all of an image: every field of its config, and every file of its tree."""
    config, layers = _open(archive)
    return _text([*json.dumps(config, indent=1, sort_keys=True).splitlines(), *_changes({}, _flatten(layers))])


def _text(lines: list[str]) -> str:
    return "".join(f"{line.encode('unicode_escape').decode()}\n" for line in lines)


@cache
def _base(path: Path) -> tuple[dict[str, Any], list[list[tuple[str, Node | str]]]]:
    return _open(path)


def _open(path: Path) -> tuple[dict[str, Any], list[list[tuple[str, Node | str]]]]:
    with tarfile.open(path) as archive:
        (manifest,) = json.loads(_member(archive, "manifest.json"))
        config = json.loads(_member(archive, manifest["Config"]))
        return config, [list(_entries(archive, name)) for name in manifest["Layers"]]


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


def _entries(archive: tarfile.TarFile, name: str) -> Iterator[tuple[str, Node | str]]:
    """Yield the entries of a layer: a node, or for a hard link the name that it stands for."""
    file = archive.extractfile(name)
    assert file is not None
    whole = io.BytesIO(file.read() + bytes(tarfile.BLOCKSIZE))  # what `umoci insert` makes lacks its last padding
    with tarfile.open(fileobj=whole, errors="surrogateescape") as layer:
        for entry in layer:
            path = entry.name.removeprefix("./").strip("/") or "."
            yield path, entry.linkname.removeprefix("./").lstrip("/") if entry.islnk() else _node(layer, entry)


def _node(layer: tarfile.TarFile, entry: tarfile.TarInfo) -> Node:
    what = ""
    if entry.isreg():
        file = layer.extractfile(entry)
        assert file is not None
        data = file.read()
        what = repr(data)[1:] if len(data) <= _SHOWN else f"{len(data)}:{hashlib.sha256(data).hexdigest()[:12]}"
    elif entry.issym():
        what = f"-> {entry.linkname}"
    elif entry.isdev():
        what = f"{entry.devmajor},{entry.devminor}"
    xattrs = {
        name.removeprefix("SCHILY.xattr."): repr(value)
        for name, value in entry.pax_headers.items()
        if name.startswith("SCHILY.xattr.")
    }
    mode = 0o777 if entry.issym() else entry.mode
    return Node(_TYPES[entry.type] | mode, f"{entry.uid}:{entry.gid}", what, int(entry.mtime), xattrs)


def _flatten(layers: list[list[tuple[str, Node | str]]]) -> Tree:
    tree: Tree = {}
    for layer in layers:
        for path, _ in layer:
            folder, _, name = path.rpartition("/")
            if name == ".wh..wh..opq":
                _remove(tree, folder, itself=False)
            elif name.startswith(".wh."):
                _remove(tree, f"{folder}/{name[4:]}".lstrip("/"))
        for path, entry in layer:
            if path.rpartition("/")[2].startswith(".wh."):
                continue
            node = tree[entry] if isinstance(entry, str) else entry
            if not stat.S_ISDIR(node.mode):
                _remove(tree, path)
            tree[path] = node
    return tree


def _remove(tree: Tree, path: str, *, itself: bool = True) -> None:
    for name in [name for name in tree if name.startswith(f"{path}/") or (itself and name == path)]:
        del tree[name]


def _plain_settings(config: dict[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in config.items() if name not in _OWN_FIELDS}
    labels = plain.get("Labels") or {}
    plain["Labels"] = {name: value for name, value in labels.items() if not name.startswith(_OWN_LABELS)}
    if plain.get("WorkingDir") == "/":  # the same as none
        del plain["WorkingDir"]
    return plain


def _plain(tree: Tree) -> Tree:
    plain: dict[Node, Node] = {}  # names of one file stay names of one file
    for node in tree.values():
        xattrs = {name: value for name, value in node.xattrs.items() if not name.startswith(_OWN_XATTRS)}
        plain.setdefault(node, replace(node, time=OLD, xattrs=xattrs))
    return {path: plain[node] for path, node in tree.items() if path not in _OWN_FILES}


def _config(config: dict[str, Any], below: dict[str, Any]) -> Iterator[str]:
    for name in sorted(config.keys() | below.keys()):
        value = config.get(name) or None
        if value != (below.get(name) or None) and name != "Image":
            yield f"{name} {json.dumps(value, sort_keys=True, ensure_ascii=False)}"


def _history(history: list[dict[str, Any]], layers: list[list[tuple[str, Node | str]]]) -> list[str]:
    """Return a line for each entry; an instruction that changes no file counts as none whose layer is left out."""
    left = iter(layers)
    return [
        f"{'-' if one.get('empty_layer') or not next(left) else '+'} {one.get('created_by', '')}" for one in history
    ]


def _changes(before: Tree, after: Tree) -> Iterator[str]:
    first: dict[Node, str] = {}
    for path in sorted(after):
        node = after[path]
        if path == "." and _same_folder(node, before.get(path)):
            continue
        if node in first:
            yield f"{path} = {first[node]}"
            continue
        first[node] = path
        line = node.line()
        if path not in before or before[path].line() != line:
            yield f"{path} {line}"
    for path in sorted(before.keys() - after.keys()):
        if path.rpartition("/")[0] in {"", *after}:
            yield f"{path} gone"


def _same_folder(node: Node, other: Node | None) -> bool:
    """The root is in a layer or is not, as the program likes, and its time tells nothing."""
    return other is None or (node.mode, node.owner) == (other.mode, other.owner)
