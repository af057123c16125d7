"""The directories of an upper, each with what shows through it from the layers below."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from lamina.overlay import format as marks
from lamina.overlay.union import merge
from lamina.overlay.union.branch import DT_DIR, Scan, join
from lamina.overlay.union.node import Found, Listing, Place
from lamina.overlay.upper.stopped import Stopped


class Folder:
    """A directory of the upper.

    `merged` are the lower directories that show through it, topmost first; `base` those at its own path, were there no
    upper. `redirect` is its mark, or b""; `trouble` says what is wrong with it, or nothing.
    """

    __slots__ = (
        "_base_listing",
        "_listing",
        "base",
        "impure",
        "merged",
        "path",
        "place",
        "redirect",
        "scan",
        "trouble",
    )

    def __init__(self, place: Place, scan: Scan, merged: list[Place], base: list[Place]) -> None:
        self.path = place.path
        self.place = place
        self.scan = scan
        self.merged = merged
        self.base = base
        self.impure = place.impure
        self.redirect = b""
        self.trouble = ""
        self._listing: Listing | None = None
        self._base_listing: Listing | None = None

    def below(self) -> Listing:
        """Return what the lower directories that show through hold."""
        if self._listing is None:
            self._listing = merge.list_places(None, self.merged)
        return self._listing

    def below_base(self) -> Listing:
        """Return what the layers hold at this very path."""
        if self._base_listing is None:
            self._base_listing = merge.list_places(None, self.base)
        return self._base_listing

    def lower(self, name: bytes) -> tuple[Place, int] | None:
        """Return where the topmost lower entry of a name is, and its type (DT_*); None where there is none."""
        found = self.below().get(name)
        if not isinstance(found, Found):
            return None
        place = self.merged[found.ranks[0]]
        return Place(place.branch, join(place.path, name), impure=place.impure), found.kind


def folders(room: Stopped, top: Folder | None = None) -> Iterator[Folder]:
    """Yield the upper's directories, or those from `top` down, each before those in it, sorted by name."""
    pending = [(top or _root(room), b"")]
    while pending:
        parent, name = pending.pop()
        folder = _inside(room, parent, name) if name else parent
        yield folder
        deeper = [name for name, kind in folder.scan.entries.items() if kind == DT_DIR]
        pending += [(folder, name) for name in sorted(deeper, reverse=True)]


def _root(room: Stopped) -> Folder:
    own = room.upper.marks_of(b"")
    place = Place(room.upper, b"", own.opacity, impure=own.impure)
    lowers = [] if own.opacity == b"y" else list(room.roots)
    return Folder(place, room.upper.scan(b"", own.opacity), lowers, list(room.roots))


def _inside(room: Stopped, parent: Folder, name: bytes) -> Folder:
    path = join(parent.path, name)
    redirect, trouble = b"", ""
    with room.upper.near(path) as (fd, short):
        opacity = marks.opacity_of(fd, at=short)
        try:
            redirect = marks.redirect_of(fd, at=short) or b""
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            trouble = "its redirect is not a path in the layers"
    impure = room.upper.marks_of(path).impure if not trouble else False
    if opacity == b"y" or trouble:
        merged: list[Place] = []
    elif redirect:
        merged = merge.redirected(redirect, parent.place, parent.merged, room.roots)
        if not merged:
            trouble = "its redirect leads to no directory of the layers"
    else:
        merged = _child(room, parent.merged, parent.below(), name)
    base = _child(room, parent.base, parent.below_base(), name)
    place = Place(room.upper, path, opacity, impure=impure)
    folder = Folder(place, room.upper.scan(path, opacity), merged, base)
    folder.redirect, folder.trouble = redirect, trouble
    return folder


def _child(room: Stopped, places: list[Place], listing: Listing, name: bytes) -> list[Place]:
    found = listing.get(name)
    if not isinstance(found, Found) or found.kind != DT_DIR:
        return []
    return merge.merge_directory(None, places, found, name, origin=None, roots=room.roots).lowers
