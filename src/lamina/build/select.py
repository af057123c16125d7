"""Which files a COPY takes: wildcards, .dockerignore, --exclude and --parents, over a union as the source."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from lamina.build.dockerfile.ignore import Matched, exclude_matcher, name_matcher, parse_ignore
from lamina.errors import InvalidInput
from lamina.overlay.union.union import Union

_ESCAPED = re.compile(r"\\.")


class Selected:
    """A file to be taken: its `path` in the source, and its `place` below the destination, "" for that itself.

    With `follow`, a link is taken for what it leads to: a source that COPY names is, what is found below one, or with
    --parents, is not.
    """

    __slots__ = ("follow", "path", "place")

    def __init__(self, path: str, place: str, *, follow: bool = False) -> None:
        self.path = path
        self.place = place
        self.follow = follow


class Selection:
    """The files of `tree` that sources name; `ignore` is the text of a .dockerignore, `exclude` patterns."""

    def __init__(self, tree: Union, *, ignore: str, exclude: list[str], parents: bool) -> None:
        self._tree = tree
        self._ignore = parse_ignore(ignore) if ignore else None
        self._exclude = exclude_matcher(exclude)
        self._parents = parents
        self.listed: set[str] = set()  # directories whose lists of names counted

    def of(self, sources: list[str]) -> Iterator[Selected]:
        """Yield all that the sources name, directories before what is in them.

        Raises InvalidInput for a source without a wildcard that does not exist, or is left out.
        """
        for source in sources:
            found = False
            for top in self._expand(_cleaned(source)):
                for selected in self._walk(top, _pivot(source)):
                    found = True
                    yield selected
            if not found and not _has_wildcard(source):
                exists = self._tree.lexists("/" + _cleaned(source))
                reason = "the .dockerignore leaves it out" if exists else "there is no such file"
                raise InvalidInput("copy", source, reason)

    def names(self, source: str) -> list[str]:
        """Return what a source with wildcards names, as sources; one without stands for itself."""
        if not _has_wildcard(source):
            return [source]
        return [name for name in self._expand(_cleaned(source)) if not self._enter_all(name)[0]]

    def _expand(self, pattern: str) -> Iterator[str]:
        """Yield the names that match, segment by segment; one without wildcards matches itself."""
        found, wild = [""], False
        for segment in pattern.split("/") if pattern else ():
            following: list[str] = []
            wild = wild or _has_wildcard(segment)
            self.listed.update("/" + directory for directory in found if wild)
            for directory in found:
                if not _has_wildcard(segment):
                    path = posixpath.join(directory, segment)
                    following += [path] if self._tree.lexists("/" + path) else []
                elif segment == "**" and self._parents:
                    following += self._directories(directory)
                elif self._tree.is_dir("/" + directory):
                    names = sorted(self._tree.listdir("/" + directory))
                    matches = name_matcher(segment)
                    following += [posixpath.join(directory, name) for name in names if matches(name)]
            found = following
        yield from found

    def _directories(self, top: str) -> Iterator[str]:
        """Yield a directory and all below it."""
        if not self._is_directory(top):
            return
        yield top
        self.listed.add("/" + top)
        for name in sorted(self._tree.listdir("/" + top)):
            yield from self._directories(posixpath.join(top, name))

    def _walk(self, top: str, pivot: str) -> Iterator[Selected]:
        """Yield `top` and what is below it: of a directory, the content goes to the destination, not the directory.

        A directory that is left out, but for something below it, comes along with that.
        """
        if self._parents:
            yield from self._walk_with_parents(top, pivot)
            return
        is_directory = self._tree.is_dir("/" + top)
        ignored, matched = self._enter_all(top)
        first = Selected("/" + top, "" if is_directory else posixpath.basename(top), follow=True)
        if not ignored or (is_directory and not top):
            yield first
        elif not is_directory or self._prunes(top):
            return
        if is_directory:
            waiting = [first] if ignored and top else []
            yield from self._walk_below(top, len(top) + 1 if top else 0, "", matched, waiting)

    def _walk_with_parents(self, top: str, pivot: str) -> Iterator[Selected]:
        """Yield the directories between `pivot` and `top`, `top` and what is below it, with their places below `pivot`.

        --exclude judges all of them from the pivot on.
        """
        below = len(pivot) + 1 if pivot else 0
        parts = top[below:].split("/")
        paths = [top[:below] + "/".join(parts[:end]) for end in range(1, len(parts) + 1)] if top else [""]
        if top and self._exclude.matches(top[below:]):
            return
        waiting = [Selected("/" + path, path[below:]) for path in paths[:-1] if self._is_directory(path)]
        ignored, matched = self._enter_all(top)
        waiting.append(Selected("/" + top, top[below:]))
        if not ignored:
            yield from waiting
            waiting = []
        if self._is_directory(top) and not (ignored and self._prunes(top)):
            yield from self._walk_below(top, below, top[below:], matched, waiting)

    def _walk_below(
        self, directory: str, below: int, place: str, matched: Matched, waiting: list[Selected]
    ) -> Iterator[Selected]:
        """Yield what is in a directory; paths without their first `below` characters are what --exclude judges.

        Before the first of it come the directories that are `waiting`.
        """
        self.listed.add("/" + directory)
        for name in sorted(self._tree.listdir("/" + directory)):
            path = f"{directory}/{name}" if directory else name
            if self._exclude.matches(path[below:]):
                continue
            ignored, inner = self._ignore.enter(path, matched) if self._ignore else (False, ())
            selected = Selected("/" + path, posixpath.join(place, name))
            if not ignored:
                yield from waiting
                waiting.clear()
                yield selected
            if self._is_directory(path) and not (ignored and self._prunes(path)):
                count = len(waiting)
                waiting += [selected] if ignored else []
                yield from self._walk_below(path, below, selected.place, inner, waiting)
                del waiting[count:]

    def _is_directory(self, path: str) -> bool:
        return self._tree.is_dir("/" + path) and not self._tree.is_symlink("/" + path)

    def _enter_all(self, top: str) -> tuple[bool, Matched]:
        """Ask the .dockerignore about `top`, from the root down."""
        ignored = False
        matched: Matched = ()
        if self._ignore is not None and top:
            parts = top.split("/")
            for end in range(1, len(parts) + 1):
                ignored, matched = self._ignore.enter("/".join(parts[:end]), matched)
        return ignored, matched

    def _prunes(self, directory: str) -> bool:
        return self._ignore is not None and self._ignore.prunes(directory)


def _cleaned(source: str) -> str:
    return posixpath.normpath("/" + source).lstrip("/")


def _pivot(source: str) -> str:
    """Return what stands before `/./`: with --parents, the directories above it are not kept."""
    return _cleaned(source.partition("/./")[0]) if "/./" in source else ""


def _has_wildcard(text: str) -> bool:
    """Return whether a wildcard stands in a text that no backslash takes the meaning from."""
    return any(character in _ESCAPED.sub("", text) for character in "*?[")
