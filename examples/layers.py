"""Directories over each other in a program of one's own: base first, changes apart.

The kernel's overlayfs does it for root; for an ordinary user it is our own union, through fusermount3.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import lamina


def main() -> None:
    """Lay two directories over each other, change the result, and show where the change is."""
    with tempfile.TemporaryDirectory() as scratch:
        base, patch, upper, work = (Path(scratch, name) for name in ("base", "patch", "upper", "work"))
        for directory in (base, patch, upper, work):
            directory.mkdir()
        (base / "greeting").write_text("hello\n")
        (patch / "greeting").write_text("good morning\n")
        with lamina.mount(layers=[base, patch], upper=upper, work=work) as merged:
            print(Path(merged, "greeting").read_text(), end="")
            Path(merged, "made").write_text("new\n")
        print(*os.listdir(upper))


if __name__ == "__main__":
    main()
