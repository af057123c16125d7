"""What an upper directory changes of the layers below: each change once, sorted, directories before their children.

The upper is in overlayfs's format, as a kernel mount, our own union or fuse-overlayfs leaves it. Redirects and
metacopies are resolved here: a directory that was renamed comes out with all that it shows, so that whoever consumes
the changes meets entries, whiteouts and opaque directories only.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from lamina.errors import InvalidInput
from lamina.layer.descend import Descent
from lamina.layer.lower import Found, Lower, LowerDir
from lamina.overlay import format as marks
from lamina.overlay.names import join

# An opaque directory that hides no more names than this is written as whiteouts: they say what happened, and more
# programs understand them.
_FEW = 64


@dataclass(slots=True)
class Visible:
    """Something that the upper (or a redirect in it) shows at `path`.

    It is the entry `name` of the directory `fd`, valid until the next change is asked for, or `source` in the layers
    below. `base` is what they show at the same path; `origin` what it may have been copied up from; `data` the layer's
    file that holds the content of a metacopy.
    """

    path: bytes
    st: os.stat_result
    fd: int = -1
    name: bytes = b""
    source: Found | None = None
    base: Found | None = None
    origin: Found | None = None
    data: Found | None = None

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.st.st_mode)


@dataclass(frozen=True, slots=True)
class Whiteout:
    """The name at `path`, which the layers below have, is gone."""

    path: bytes
    base: Found


@dataclass(frozen=True, slots=True)
class Opaque:
    """The directory at `path`, just seen, hides all that the layers below have there: `hidden`, if not shown anew.

    `inner` where a directory above it is opaque already.
    """

    path: bytes
    hidden: tuple[Found, ...]
    inner: bool


Change = Visible | Whiteout | Opaque


@dataclass(slots=True)
class _Level:
    """A directory on the way down: what is left of it, and which lower directories it is merged with and lies over."""

    path: bytes
    names: list[bytes]  # reversed
    merged: LowerDir | None
    base: LowerDir | None
    opacity: marks.Opacity
    hidden: bool  # what `base` holds is hidden by this directory or one above it
    shown: dict[bytes, Found]  # what a redirected directory shows of the lower layers beside its own entries


class Walk:
    """The changes of the upper directory `upper` over `lower` at `prefix`.

    `ignore` are paths of mount targets: what is empty there and was not below is none of the upper's doing.
    """

    def __init__(self, upper: str, prefix: bytes, lower: Lower, ignore: frozenset[bytes]) -> None:
        self._upper = upper
        self._prefix = prefix
        self._lower = lower
        self._ignore = ignore
        self._on_the_way = {path[:at] for path in ignore for at in _cuts(path)}

    def changes(self) -> Iterator[Change]:
        """Yield the changes; the first is the top directory itself, with `name` b".".

        InvalidInput for a name that a layer cannot hold.
        """
        fd = os.open(self._upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            base = self._lower.directory(self._prefix)
            found = self._lower.find(self._prefix)
            yield Visible(self._prefix, os.fstat(fd), fd, b".", base=found, origin=found)
            with Descent(fd) as down:
                # The kernel does not ask the top of an upper whether it is opaque.
                yield from self._walk(down, _Level(self._prefix, [], base, base, b"", False, {}))
        finally:
            os.close(fd)

    def _walk(self, down: Descent, top: _Level) -> Iterator[Change]:
        yield from self._begin(down, top)
        levels = [top]
        while levels:
            level = levels[-1]
            if not level.names:
                levels.pop()
                if levels:
                    down.leave()
                continue
            name = level.names.pop()
            if name in level.shown:
                yield from self._lower_tree(join(level.path, name), level.shown[name])
                continue
            st = os.stat(name, dir_fd=down.fd, follow_symlinks=False)
            for change in self._entry(down, level, name, st):
                yield change
                if isinstance(change, Visible) and change.is_dir:
                    deeper = self._deeper(down, level, name)
                    levels.append(deeper)
                    down.enter(name)
                    yield from self._begin(down, deeper)

    def _begin(self, down: Descent, level: _Level) -> Iterator[Change]:
        """Read the directory just entered, and yield what it hides as a whole."""
        level.opacity = marks.opacity_of(down.fd)
        own = {os.fsencode(text) for text in os.listdir(down.fd)}
        apart = level.merged != level.base or level.hidden
        if apart and level.merged is not None:
            level.shown = {name: found for name, found in self._lower.names(level.merged).items() if name not in own}
        level.names = sorted(own | level.shown.keys(), reverse=True)
        if apart and level.base is not None:
            yield from self._hide(down, level, own)

    def _hide(self, down: Descent, level: _Level, own: set[bytes]) -> Iterator[Change]:
        assert level.base is not None
        below = self._lower.names(level.base)
        anew = {name for name in own if not self._is_whiteout(down.fd, level, name)} | level.shown.keys()
        hidden = tuple(found for name, found in below.items() if name not in anew)
        again = any(found.is_dir for name, found in below.items() if name in anew)
        if not level.hidden and not again and len(hidden) <= _FEW:
            for name, found in below.items():
                if name not in anew:
                    yield Whiteout(join(level.path, name), found)
        else:
            yield Opaque(level.path, hidden, level.hidden)
        level.hidden = True

    def _is_whiteout(self, fd: int, level: _Level, name: bytes) -> bool:
        return marks.is_whiteout(fd, name, os.stat(name, dir_fd=fd, follow_symlinks=False), level.opacity)

    def _entry(self, down: Descent, level: _Level, name: bytes, st: os.stat_result) -> Iterator[Change]:
        path = join(level.path, name)
        base = self._lower.entry(level.base, name) if level.base else None
        if marks.is_whiteout(down.fd, name, st, level.opacity):
            if base is not None and not level.hidden:
                yield Whiteout(path, base)
            return
        if name.startswith(marks.WHITEOUT_PREFIX):
            if name == marks.OPAQUE_NAME:
                return
            raise InvalidInput("capture", path, "a layer cannot hold names that begin with .wh.", "rename it")
        if self._is_leftover(down.fd, path, name, st, base):
            return
        origin = self._lower.entry(level.merged, name) if level.merged else None
        change = Visible(path, st, down.fd, name, base=base, origin=origin)
        if stat.S_ISREG(st.st_mode) and marks.is_metacopy(down.fd, at=name):
            change.data = self._data(down.fd, level, name, path)
        yield change

    def _deeper(self, down: Descent, level: _Level, name: bytes) -> _Level:
        base = self._lower.child(level.base, name) if level.base else None
        merged = None
        if marks.opacity_of(down.fd, at=name) != b"y":
            redirect = marks.redirect_of(down.fd, at=name)
            if redirect is None:
                merged = self._lower.child(level.merged, name) if level.merged else None
            elif redirect.startswith(b"/"):
                merged = self._lower.directory(join(self._prefix, redirect[1:]))
            elif level.merged:
                merged = self._lower.child(level.merged, redirect)
        return _Level(join(level.path, name), [], merged, base, b"", level.hidden, {})

    def _data(self, fd: int, level: _Level, name: bytes, path: bytes) -> Found:
        redirect = marks.redirect_of(fd, at=name)
        found = None
        if redirect is not None and redirect.startswith(b"/"):
            found = self._lower.find(join(self._prefix, redirect[1:]))
        elif level.merged:
            found = self._lower.entry(level.merged, redirect or name)
        if found is None or not stat.S_ISREG(found.st.st_mode):
            raise InvalidInput("capture", path, "it is a metacopy, and its data is not in the layers below")
        return found

    def _lower_tree(self, path: bytes, found: Found) -> Iterator[Change]:
        """Yield `found`, which a redirect shows at `path`, and all below it."""
        rest = [(path, found)]
        while rest:
            path, found = rest.pop()
            yield Visible(path, found.st, source=found, base=self._lower.find(path), origin=found)
            if found.is_dir:
                directory = self._lower.directory(found.path)
                inner = self._lower.names(directory) if directory else {}
                rest += [(join(path, name), child) for name, child in reversed(inner.items())]

    # Mount targets

    def _is_leftover(self, fd: int, path: bytes, name: bytes, st: os.stat_result, base: Found | None) -> bool:
        """Tell whether the entry is here for nothing but being a mount target, or holding some."""
        if path in self._ignore and base is None:
            if stat.S_ISREG(st.st_mode):
                return st.st_size == 0
            return stat.S_ISDIR(st.st_mode) and self._only_leftovers(fd, path, name)
        if path in self._on_the_way and base is not None and base.is_dir and stat.S_ISDIR(st.st_mode):
            same = (st.st_mode, st.st_uid, st.st_gid) == (base.st.st_mode, base.st.st_uid, base.st.st_gid)
            copied_up = same and marks.opacity_of(fd, at=name) != b"y" and marks.redirect_of(fd, at=name) is None
            return copied_up and self._only_leftovers(fd, path, name, some=True)
        return False

    def _only_leftovers(self, parent: int, path: bytes, name: bytes, *, some: bool = False) -> bool:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=parent)
        try:
            names = [os.fsencode(text) for text in os.listdir(fd)]
            for child in names:
                st = os.stat(child, dir_fd=fd, follow_symlinks=False)
                inner = join(path, child)
                if not self._is_leftover(fd, inner, child, st, self._lower.find(inner)):
                    return False
            return bool(names) or not some
        finally:
            os.close(fd)


def same_metadata(visible: Visible, base: os.stat_result) -> bool:
    """Tell whether type, mode and owner are those of `base`."""
    st = visible.st
    return (st.st_mode, st.st_uid, st.st_gid) == (base.st_mode, base.st_uid, base.st_gid)


def _cuts(path: bytes) -> Iterator[int]:
    """Yield where the paths of the directories above `path` end."""
    at = path.find(b"/")
    while at >= 0:
        yield at
        at = path.find(b"/", at + 1)
