"""A small root file system, made of programs of this machine and the libraries that they need."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

PROGRAMS = ("sh", "cat", "ls", "rm", "touch", "true", "false", "id", "stat", "mkdir", "mknod", "head", "sleep")


def make_rootfs(target: Path, programs: tuple[str, ...] = PROGRAMS) -> None:
    """Fill the directory `target`, which is made, with /bin, libraries, and the few files that programs look for."""
    for directory in ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr", "var"):
        (target / directory).mkdir(parents=True)
    (target / "tmp").chmod(0o1777)
    (target / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    (target / "etc" / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
    for name in programs:
        program = shutil.which(name)
        assert program, f"{name} is not installed"
        shutil.copy(program, target / "bin" / name)
        for library in _libraries(program):
            copy = target / library.lstrip("/")
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library, copy)


def _libraries(program: str) -> list[str]:
    """Return the absolute paths of the shared libraries, the loader among them."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return re.findall(r"(?:^|=> )\s*(/\S+) \(0x", done.stdout, re.M)
