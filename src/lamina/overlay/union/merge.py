"""Merging: what a directory that lies in several places shows, and where the places of a directory are.

This is the rule of overlayfs: the topmost entry of a name counts, directories of a name are merged down to one that is
opaque or to something that is no directory, a whiteout hides the name below itself, and a redirect says that the rest
of a directory is at another path of the lower layers (Documentation/filesystems/overlayfs).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from lamina.overlay.union.branch import DT_DIR, Marks, Scan, join
from lamina.overlay.union.lower import Lower
from lamina.overlay.union.node import UPPER, Found, Listing, Place


class Lookup:
    """What merging a directory's places found: `lowers`, topmost first, and the marks of the upper one or None."""

    __slots__ = ("lowers", "origin", "upper")

    def __init__(self) -> None:
        self.lowers: list[Place] = []
        self.upper: Marks | None = None
        self.origin: bytes | None = None


def list_places(upper: Place | None, lowers: list[Place]) -> Listing:
    """Return the merged listing of the upper place, if there is one, and the lower places, topmost first."""
    found: dict[bytes, Found] = {}
    closed: set[bytes] = set()  # names that lower places have no say in
    covered: set[bytes] = set()  # names that the lower places show, among those that the upper has or hides
    touched: set[bytes] = set()
    whiteouts: dict[bytes, bytes] = {}
    if upper:
        scan = upper.branch.scan(upper.path, upper.opacity)
        whiteouts = scan.whiteouts
        touched = scan.entries.keys() | whiteouts.keys()
        _take(found, closed, scan, UPPER)
        if scan.opaque:
            lowers = []
    unreadable = False
    decided: set[bytes] = set()  # names of the upper on which a lower place has spoken
    for rank, place in enumerate(lowers):
        scan = place.branch.scan(place.path, place.opacity)
        unreadable |= scan.unreadable and not upper
        if touched:
            covered |= touched & scan.entries.keys() - decided
            decided |= touched & (scan.entries.keys() | scan.whiteouts.keys())
        _take(found, closed, scan, rank)
        if scan.opaque:
            break
    listing = Listing(found)
    listing.whiteouts, listing.covered = whiteouts, covered
    listing.unreadable = unreadable
    return listing


def _take(found: dict[bytes, Found], closed: set[bytes], scan: Scan, rank: int) -> None:
    """Add one place's entries. Its whiteouts act on the places below it, not on its own entries."""
    entries = scan.entries
    shared = {kind: Found([rank], kind) for kind in set(entries.values())}
    if closed.isdisjoint(entries) and found.keys().isdisjoint(entries):  # most places: each step is one for all names
        found.update(zip(entries, map(shared.__getitem__, entries.values()), strict=True))
    else:
        for name, kind in entries.items():
            if name in closed:
                continue
            known = found.get(name)
            if known is None:
                found[name] = shared[kind]
            elif kind == DT_DIR:
                found[name] = Found([*known.ranks, rank], kind)
    closed.update([name for name, kind in entries.items() if kind != DT_DIR] if DT_DIR in shared else entries)
    closed.update(scan.whiteouts)


def merge_directory(
    upper: Place | None, lowers: list[Place], found: Found, name: bytes, *, origin: bytes | None, roots: list[Place]
) -> Lookup:
    """Return the places of the directory `name`, which `found` says to be in the places `upper` and `lowers`.

    `origin` is the path of the parent in the lower layers, `roots` are the roots of the lower layers, topmost first.
    """
    result = Lookup()
    for rank in found.ranks:
        parent = upper if rank == UPPER else lowers[rank]
        assert parent is not None, "a rank names a place that there is"
        path = join(parent.path, name)
        own = parent.branch.marks_of(path)
        if rank == UPPER:
            result.upper = own
        else:
            result.lowers.append(Place(parent.branch, path, own.opacity, impure=own.impure))
            if result.origin is None and origin is not None:
                result.origin = join(origin, name)
        if own.opacity == b"y":
            break
        if own.redirect:
            rest = redirected(own.redirect, parent, lowers, roots)
            result.lowers += rest
            if rank == UPPER and rest:
                result.origin = _origin_of(own.redirect, origin)
            break
    return result


def _origin_of(redirect: bytes, origin: bytes | None) -> bytes | None:
    if redirect.startswith(b"/"):
        return redirect[1:]
    return None if origin is None else join(origin, redirect)


def redirected(redirect: bytes, parent: Place, lowers: list[Place], roots: list[Place]) -> list[Place]:
    """Return the places, below the layer of `parent`, of the directory that the redirect names."""
    below = parent.branch.index
    if not redirect.startswith(b"/"):
        return find_directory([place for place in lowers if place.branch.index < below], [redirect], roots)
    return find_directory([place for place in roots if place.branch.index < below], redirect[1:].split(b"/"), roots)


def find_directory(places: list[Place], components: list[bytes], roots: list[Place]) -> list[Place]:
    """Walk down from the merged directory of `places`; return the places of the end, none where it is no directory."""
    for component in components:
        found = _find(places, component)
        if not found or found.kind != DT_DIR:
            return []
        places = merge_directory(None, places, found, component, origin=None, roots=roots).lowers
    return places


def find_file(places: list[Place], components: list[bytes], roots: list[Place]) -> Place | None:
    """Return the place of the file at the end of the walk, or None; for the data of metacopy files."""
    places = find_directory(places, components[:-1], roots)
    found = _find(places, components[-1])
    if not found or found.kind == DT_DIR:
        return None
    place = places[found.ranks[0]]
    return Place(place.branch, join(place.path, components[-1]), impure=place.impure)


def find_anything(roots: list[Place], path: bytes) -> Place | None:
    """Return the topmost place of what is at the path, b"" for the root, following no link; None for nothing."""
    if not path:
        return roots[0] if roots else None
    components = path.split(b"/")
    directories = find_directory(roots, components, roots)
    return directories[0] if directories else find_file(roots, components, roots)


def find_data(branch: Lower, path: bytes, lowers: list[Place], roots: list[Place]) -> Place:
    """Return where the data of the metacopy file at `path` of `branch` are; EPERM, as the kernel says, for nowhere.

    `lowers` are the places of its directory.
    """
    while True:
        redirect = branch.redirect_of(path) or path.rpartition(b"/")[2]
        start = roots if redirect.startswith(b"/") else lowers
        components = redirect.lstrip(b"/").split(b"/")
        place = find_file([place for place in start if place.branch.index < branch.index], components, roots)
        if place is None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), os.fsdecode(path))
        branch, path = place.branch, place.path
        if not branch.is_metacopy(path):
            return place


def _find(places: list[Place], name: bytes) -> Found | None:
    """Return where one name is in places that are not worth a listing of their own."""
    found = list_places(None, places).get(name)
    return found if isinstance(found, Found) else None


def root_places(branches: Sequence[Lower]) -> list[Place]:
    """Return the roots of lower branches, which are given base first, as places, topmost first."""
    places: list[Place] = []
    for branch in reversed(branches):
        own = branch.marks_of(b"")
        places.append(Place(branch, b"", own.opacity, impure=own.impure))
        if own.opacity == b"y":  # as the kernel, which has no root that hides another: what is said is done
            break
    return places
