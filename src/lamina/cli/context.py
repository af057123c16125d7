"""What the command line knows of its surroundings: read once, here, and passed to every command.

The environment, the terminal and the store's place are edges of the program; nothing below reads them.
"""

from __future__ import annotations

import os
import sys

from lamina.errors import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

    from lamina.api import Store
    from lamina.cli.progress import Display, Watch

_PLAIN_WIDTH = 80  # columns where no terminal tells


class Context:
    """The surroundings of one command.

    `root` is the store's directory as --root or LAMINA_ROOT give it, or None for the usual place. `out` is where
    results go, `err` where everything else goes.
    """

    def __init__(
        self, environ: Mapping[str, str], out: TextIO, err: TextIO, *, root: str | None, verbose: bool, debug: bool
    ) -> None:
        self.environ = environ
        self.out = out
        self.err = err
        self.root = root or environ.get("LAMINA_ROOT") or None
        self.verbose = verbose
        self.debug = debug

    def store(self) -> Store:
        """Open the store; file jobs run in this process, which has one thread."""
        from lamina.api.store import Store
        from lamina.ids.worker import Here

        return Store(self.root, worker=Here)

    def print(self, line: str = "") -> None:
        """Write a line of the result."""
        self.out.write(line + "\n")

    def note(self, line: str) -> None:
        """Write a line for the person, beside the result. Control characters are escaped."""
        self.err.write(f"lamina: {one_line(line)}\n")

    def detail(self, line: str) -> None:
        """Write a line for the person who asked for them with -v."""
        if self.verbose:
            self.note(line)

    def progress(self, form: str | Display = "auto") -> Watch:
        """Return what shows the events of long work, `with context.progress() as on_event`; `form` is `Watch`'s."""
        from lamina.cli.progress import Watch

        return Watch(self, form)

    @property
    def width(self) -> int:
        """Columns for what is drawn: the terminal's, or COLUMNS, or 80."""
        told = self.environ.get("COLUMNS", "")
        if told.isascii() and told.isdigit() and 0 < len(told) < 6:
            return int(told)
        try:
            return os.get_terminal_size(self.out.fileno()).columns or _PLAIN_WIDTH
        except (OSError, ValueError):  # no terminal; no descriptor
            return _PLAIN_WIDTH

    @property
    def colour(self) -> bool:
        """Whether results may be coloured: on a terminal that can, unless NO_COLOR says no (no-color.org)."""
        return self.out.isatty() and not self.environ.get("NO_COLOR") and self.environ.get("TERM", "dumb") != "dumb"

    @property
    def unicode(self) -> bool:
        """Whether lines can be drawn with box characters."""
        try:
            "┌─┐▲┆…".encode(self.out.encoding or "ascii")
        except UnicodeEncodeError:
            return False
        return True


def open_standard_streams() -> tuple[TextIO, TextIO]:
    """Return stdout and stderr, both able to take any text.

    A descriptor that the caller closed is opened on /dev/null: else the next file that lamina opens would become the
    command's standard output.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is `fd`
            os.set_inheritable(fd, True)
    out, err = sys.stdout, sys.stderr
    # A stream that Python found closed is None.
    out = out if out is not None else open(1, "w", closefd=False)  # noqa: SIM115
    err = err if err is not None else open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (out, err):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    return out, err
