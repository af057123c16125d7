"""Check: what in an upper no driver would have left there, and how it is mended.

Looked for are marks that the layers below do not explain or that contradict each other, redirects and metacopies that
lead nowhere, spellings that the kernel does not read, and what was left in the work directory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from lamina.errors import shown
from lamina.overlay import format as marks
from lamina.overlay.strange import is_strange
from lamina.overlay.union import merge
from lamina.overlay.union.branch import DT_DIR, DT_REG, join
from lamina.overlay.union.node import Found
from lamina.overlay.upper.folders import Folder, folders
from lamina.overlay.upper.leftovers import Finding, leftovers
from lamina.overlay.upper.steps import DropAttribute, PutWhiteout, Remove, SetMark, Step, name_of
from lamina.overlay.upper.stopped import Stopped, raw_marks
from lamina.overlay.upper.vacuum import data_of

_OPAQUE, _REDIRECT, _METACOPY, _WHITEOUT = b"opaque", b"redirect", b"metacopy", b"whiteout"
#: The marks that decide what is shown. The others are bookkeeping.
_DECIDING = (_OPAQUE, _REDIRECT, _METACOPY, _WHITEOUT)
_FUSE_OPAQUE = "user.fuseoverlayfs.opaque"


def check(room: Stopped) -> list[Finding]:
    """Return all that is wrong, in the order of the tree; the upper is not changed."""
    seen: dict[bytes, Folder] = {}
    found: list[Finding] = []
    for folder in folders(room):
        seen[folder.path] = folder
        found += _folder(room, folder)
        found += _whiteouts(folder)
        for name, kind in sorted(folder.scan.entries.items()):
            if kind != DT_DIR:
                found += _file(room, folder, name, kind)
    found += _shown_twice(room, seen)
    return [*found, *leftovers(room)]


def repair(room: Stopped) -> tuple[list[Finding], list[Finding]]:
    """Mend what can be mended; return what was found and mended, and what is still wrong."""
    mended: list[Finding] = []
    while True:
        found = check(room)
        todo = [finding for finding in found if finding.repair]
        # What was mended and is found again would be found for ever.
        if not todo or any(finding in mended for finding in todo):
            return mended, found
        for finding in todo:
            for step in finding.repair:
                step.do(room)
        mended += todo


def _marks(room: Stopped, path: bytes) -> tuple[dict[bytes, bytes], dict[tuple[bytes, bytes], bytes]]:
    own, foreign = {}, {}
    for (space, mark), value in raw_marks(room.upper, path).items():
        if space == room.space.encode():
            own[mark] = value
        elif mark in _DECIDING and space == marks.TRUSTED.encode():  # the others are content: any writer may set them
            foreign[space, mark] = value
    return own, foreign


def _folder(room: Stopped, folder: Folder) -> Iterator[Finding]:
    path = folder.path
    own, foreign = _marks(room, path)
    yield from _respelled(room, path, own, foreign)
    opaque = own.get(_OPAQUE)
    if opaque not in (None, b"y", b"x"):
        text = f"overlay.opaque is {shown(opaque)}, which no version of overlayfs writes"
        yield Finding(path, "value", text, (_drop(room, path, _OPAQUE),))
    for mark in (_METACOPY, _WHITEOUT):
        if mark in own:
            yield _misplaced(room, path, mark, "a directory")
    if not path and _REDIRECT in own:
        yield _misplaced(room, path, _REDIRECT, "the top of the upper")
    yield from _unknown(room, path, own, directory=True)
    if folder.trouble:
        yield Finding(path, "redirect", folder.trouble, tuple(_without_redirect(room, folder)))
    elif opaque == b"y" and folder.redirect:
        text = "it is opaque, and redirected to what it would hide"
        yield Finding(path, "contradiction", text, (_drop(room, path, _REDIRECT),))
    yield from _foreign_spelling(room, folder, opaque)


def _without_redirect(room: Stopped, folder: Folder) -> Iterator[Step]:
    """Yield the steps after which the directory shows what the upper has in it, as it did."""
    if folder.base:
        yield SetMark(folder.path, "opaque", b"y", "what the layers have there was not shown")
    yield _drop(room, folder.path, _REDIRECT)


def _drop(room: Stopped, path: bytes, mark: bytes) -> DropAttribute:
    return DropAttribute(path, f"{room.space}{mark.decode()}", "it means nothing here")


def _misplaced(room: Stopped, path: bytes, mark: bytes, what: str) -> Finding:
    return Finding(path, "misplaced", f"{what} has overlay.{mark.decode()}", (_drop(room, path, mark),))


def _unknown(
    room: Stopped, path: bytes, own: dict[bytes, bytes], *, directory: bool = False, regular: bool = False
) -> Iterator[Finding]:
    """Find bookkeeping that is none: names, places and values that no version of overlayfs knows."""
    for mark, value in own.items():
        if mark not in _DECIDING and is_strange(mark, value, directory=directory, regular=regular):
            text = f"overlay.{shown(mark)} is {shown(value)}, which no version of overlayfs writes there"
            yield Finding(
                path, "value", text, (DropAttribute(path, room.space + os.fsdecode(mark), "it says nothing"),)
            )


def _respelled(
    room: Stopped, path: bytes, own: dict[bytes, bytes], foreign: dict[tuple[bytes, bytes], bytes]
) -> Iterator[Finding]:
    """Find marks in the spelling that the upper's other marks do not have: the kernel reads one of the two."""
    for (space, mark), value in foreign.items():
        text = f"it has {shown(space + mark)}, while the upper's marks are {room.space}*"
        steps: list[Step] = [DropAttribute(path, (space + mark).decode(), "the kernel does not read it")]
        if mark not in own:
            steps.insert(0, SetMark(path, mark.decode(), value, "as it was meant"))
        yield Finding(path, "spelling", text, tuple(steps))


def _foreign_spelling(room: Stopped, folder: Folder, opaque: bytes | None) -> Iterator[Finding]:
    """Find forms of deletion that our union reads and the kernel does not."""
    path = folder.path
    set_opaque = () if opaque == b"y" else (SetMark(path, "opaque", b"y", "as it was meant"),)
    if folder.scan.opaque:
        entry = join(path, marks.OPAQUE_NAME)
        remove = Remove(entry, "the kernel shows it as a file")
        yield Finding(path, "spelling", "it is opaque by an entry .wh..wh..opq", (*set_opaque, remove))
    with room.upper.near(path) as (fd, short):
        fuse = marks.fuse_opaque(fd, at=short)
    if fuse and opaque != b"y":
        drop = DropAttribute(path, _FUSE_OPAQUE, "the kernel does not read it")
        yield Finding(path, "spelling", f"it is opaque by {_FUSE_OPAQUE}", (*set_opaque, drop))


def _whiteouts(folder: Folder) -> Iterator[Finding]:
    """Find whiteouts that hide nothing, or are spelled in a way that the kernel shows as a file."""
    for name, entry in sorted(folder.scan.whiteouts.items()):
        path, at = join(folder.path, entry), join(folder.path, name)
        if name not in folder.below() or name in folder.scan.entries:
            text = "the whiteout hides nothing that the layers below have"
            yield Finding(at, "whiteout", text, (Remove(path, "it hides nothing"),))
        elif entry != name:
            steps = (Remove(path, "the kernel shows it as a file"), PutWhiteout(at, "as it was meant"))
            yield Finding(at, "spelling", f"it is hidden by an entry {shown(entry)}", steps)


def _file(room: Stopped, folder: Folder, name: bytes, kind: int) -> Iterator[Finding]:
    path = join(folder.path, name)
    own, foreign = _marks(room, path)
    yield from _respelled(room, path, own, foreign)
    if _OPAQUE in own:
        yield _misplaced(room, path, _OPAQUE, "what is no directory")
    yield from _unknown(room, path, own, regular=kind == DT_REG)
    if kind != DT_REG:
        for mark in (_METACOPY, _WHITEOUT, _REDIRECT):
            if mark in own:
                yield _misplaced(room, path, mark, "what is no regular file")
        return
    if _WHITEOUT in own:
        yield _unread_whiteout(room, folder, name)
    if _METACOPY in own:
        yield from _metacopy(room, folder, path, own[_METACOPY])
    elif _REDIRECT in own and not marks.is_redirect(own[_REDIRECT]):
        yield Finding(path, "redirect", "its redirect is not a path in the layers", (_drop(room, path, _REDIRECT),))


def _unread_whiteout(room: Stopped, folder: Folder, name: bytes) -> Finding:
    """Return the finding for an xattr whiteout that is none where it stands."""
    path = join(folder.path, name)
    if room.upper.stat(path).st_size:
        return _misplaced(room, path, _WHITEOUT, "a file with content")
    text = "it has overlay.whiteout, and its directory does not say that it holds such"
    step: Step = Remove(path, "it hides nothing")
    if folder.place.opacity == b"" and name in folder.below():
        step = SetMark(folder.path, "opaque", b"x", "it holds whiteouts")
    return Finding(path, "whiteout", text, (step,))


def _metacopy(room: Stopped, folder: Folder, path: bytes, value: bytes) -> Iterator[Finding]:
    if is_strange(_METACOPY, value, directory=False, regular=True):
        text = f"overlay.metacopy is {shown(value)}, which no version of overlayfs writes"
        yield Finding(path, "value", text, ())
        return
    try:
        branch, source = data_of((room.upper, path), folder, room)
        lost = not stat.S_ISREG(branch.stat(source).st_mode)
    except OSError:
        lost = True
    if lost:
        yield Finding(path, "metacopy", "its data are in no layer", ())
    elif not folder.impure:
        text = "it is copied up, and its directory does not say that it holds such"
        step = SetMark(folder.path, "impure", b"y", "it holds copied-up entries")
        yield Finding(path, "impure", text, (step,))


def _shown_twice(room: Stopped, seen: dict[bytes, Folder]) -> Iterator[Finding]:
    """Find directories of a layer that are shown by a redirect and in another place as well."""
    owners: dict[tuple[int, bytes], Folder] = {}
    for folder in seen.values():
        if not folder.merged:
            continue
        top = (folder.merged[0].branch.index, folder.merged[0].path)
        other = owners.setdefault(top, folder)
        if other is not folder and (folder.redirect or other.redirect):
            text = f"it shows the same directory of the layers as {name_of(other.path)}"
            yield Finding(folder.path, "twice", text, ())
    for folder in seen.values():
        if folder.redirect and folder.merged:
            top = (folder.merged[0].branch.index, folder.merged[0].path)
            if owners[top] is folder and (where := _also_shown(room, seen, folder)):
                text = f"the directory that it was, {name_of(where[0])}, is still shown there"
                yield Finding(folder.path, "twice", text, where[1])


def _also_shown(room: Stopped, seen: dict[bytes, Folder], folder: Folder) -> tuple[bytes, tuple[Step, ...]] | None:
    """Return where the lower directory of a redirected one is shown at its old path, and how that is mended."""
    path = folder.merged[0].path
    here = seen[b""]
    components = path.split(b"/")
    for at, name in enumerate(components):
        inner = join(here.path, name)
        if inner in seen:
            here = seen[inner]
            continue
        if name in here.scan.entries or name in here.scan.whiteouts:
            return None
        found = here.below().get(name)
        if not isinstance(found, Found) or found.kind != DT_DIR:
            return None
        places = merge.find_directory(here.merged, components[at:], room.roots)
        wanted = folder.merged[0]
        if not places or (places[0].branch.index, places[0].path) != (wanted.branch.index, wanted.path):
            return None
        last = at == len(components) - 1
        return path, (PutWhiteout(path, "it was renamed"),) if last else ()
    return None
