"""What a layer hides of those below: whiteouts and opaque directories, noted while it is made and marked at its end.

They act on the layers below alone, wherever they stand in the archive (OCI image specification, "Whiteouts").
"""

from __future__ import annotations

from lamina.layer.directories import Directories
from lamina.layer.lower import Lower
from lamina.layer.target import Target
from lamina.overlay import format as marks
from lamina.overlay.names import depth, join, whiteout_of


class Hiding:
    """The marks of one layer; `space` is the xattr space that they are written in."""

    def __init__(self, target: Target, lower: Lower, directories: Directories, *, space: str) -> None:
        self._target = target
        self._lower = lower
        self._directories = directories
        self._space = space
        self._whiteouts: list[tuple[bytes, bytes]] = []  # (directory as named, hidden name), in order
        self._opaque: list[bytes] = []

    def note(self, name: bytes, parts: list[bytes]) -> None:
        """Note what the entry `name`, a `.wh.` of some kind, means."""
        directory = b"/".join(parts[:-1])
        if parts[-1] == marks.OPAQUE_NAME:
            self._opaque.append(directory)
        elif not parts[-1].startswith(marks.META_PREFIX):
            self._whiteouts.append((directory, whiteout_of(name, parts[-1])))

    def note_device(self, parts: list[bytes]) -> None:
        """Note the device 0:0 of an upper that was packed as it is: on disk it hides a name, whatever was meant."""
        self._whiteouts.append((b"/".join(parts[:-1]), parts[-1]))

    def write(self) -> None:
        """Write all marks, when everything else of the layer is there."""
        # The upper ones first: in what one of them hides, the others have nothing to hide.
        pending: list[tuple[bytes, bytes | None]] = [*self._whiteouts, *((named, None) for named in self._opaque)]
        for named, name in sorted(pending, key=lambda mark: (depth(mark[0]), mark[1] is not None)):
            directory = self._directories.existing(named)
            if directory is None or self._directories.is_below_hiding(directory):
                continue
            path = directory if name is None else join(directory, name)
            if name is None or path in self._target.directories:
                self._hide(path)
            else:
                self._whiteout(directory, name)

    def _hide(self, path: bytes) -> None:
        """Make a directory of this layer hide those below, if there are any."""
        if path in self._directories.hiding:
            return
        self._directories.hiding.add(path)
        lower = self._lower.directory(path)
        if lower is None:
            self._directories.depends = True
        elif path:
            marks.set_opaque(self._target.open_directory(path), self._space)
        else:
            # The kernel merges the tops of all layers without asking for their marks: hide the names one by one.
            self._directories.depends = True
            for name in self._lower.names(lower):
                if name in self._target.directories:
                    self._hide(name)
                else:
                    self._whiteout(b"", name)

    def _whiteout(self, directory: bytes, name: bytes) -> None:
        """Hide `name`; where there is nothing to hide, the mark would show as an entry that cannot be looked up."""
        if self._lower.directory(directory) is None:
            self._directories.depends = True
        elif self._target.lstat(join(directory, name)) is None:
            marks.write_whiteout(self._target.open_directory(directory), name, self._space)
