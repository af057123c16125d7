"""Compilers, copying programs and pip over our mount: what they make is what they make over the kernel's overlay."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.helpers.unions import LONG_AGO, Mounted, snapshot
from tests.kernel.posix.places import place

pytestmark = pytest.mark.requires("root", "overlay", "fuse")

_PARTS = 12
_MAKEFILE = """\
CFLAGS = -O1 -MMD -ffile-prefix-map=$(CURDIR)=.
parts = $(patsubst %.c,build/%.o,$(wildcard part*.c))
program: build/main.o libparts.a
\t$(CC) -o $@ $^
libparts.a: $(parts)
\tar crD $@ $^
build/%.o: %.c | build
\t$(CC) $(CFLAGS) -c -o $@ $<
\techo $< >>compiled
build:
\tmkdir $@
-include $(wildcard build/*.d)
"""


def _project(lower: Path) -> None:
    """Write a small C project, whose parts share a header."""
    top = lower / "project"
    top.mkdir()
    (top / "Makefile").write_text(_MAKEFILE)
    (top / "all.h").write_text("#define STEP 1\n")
    for number in range(_PARTS):
        (top / f"part{number}.h").write_text(f"int part{number}(int);\n")
        (top / f"part{number}.c").write_text(
            f'#include "all.h"\n#include "part{number}.h"\nint part{number}(int x) {{ return x + STEP; }}\n'
        )
    includes = "".join(f'#include "part{number}.h"\n' for number in range(_PARTS))
    calls = "".join(f"x = part{number}(x);" for number in range(_PARTS))
    (top / "main.c").write_text(
        f'#include <stdio.h>\n{includes}int main(void) {{ int x = 0; {calls} printf("%d\\n", x); }}'
    )
    for path in top.iterdir():
        os.utime(path, ns=(LONG_AGO, LONG_AGO))


def _make(top: Path) -> list[str]:
    """Run make, and return the sources that it compiled."""
    (top / "compiled").write_text("")
    subprocess.run(["make", "-s", "-j3"], cwd=top, check=True, env={**os.environ, "MAKEFLAGS": ""})
    return sorted((top / "compiled").read_text().split())


@pytest.mark.requires("gcc", "make")
def test_a_project_is_compiled(scratch: Path) -> None:
    found = {}
    for kind in ("kernel", "fuse"):
        with place(kind, scratch, _project) as merged:
            top = merged / "project"
            sources = sorted(path.name for path in top.glob("*.c"))
            assert _make(top) == sources
            assert _make(top) == []
            assert subprocess.check_output([top / "program"]) == b"%d\n" % _PARTS
            (top / "part3.h").write_text("int part3(int);\nint unused(void);\n")
            assert _make(top) == ["main.c", "part3.c"]
            (top / "all.h").write_text("#define STEP 2\n")
            assert _make(top) == [name for name in sources if name != "main.c"]
            assert subprocess.check_output([top / "program"]) == b"%d\n" % (2 * _PARTS)
            made = [path for path in sorted(top.rglob("*")) if path.is_file() and path.name != "compiled"]
            found[kind] = {path.relative_to(top): hashlib.sha256(path.read_bytes()).hexdigest() for path in made}
    assert found["fuse"] == found["kernel"]


def _tree(lower: Path) -> None:
    """Make a tree of everything that copying programs carry."""
    top = lower / "tree"
    (top / "dir/sub").mkdir(parents=True)
    (top / "file").write_text("text")
    (top / "dir/linked").write_text("linked")
    os.link(top / "dir/linked", top / "dir/sub/again")
    with (top / "holes").open("wb") as file:
        file.truncate(3_000_000)
        file.seek(1_500_000)
        file.write(b"data")
    (top / "set").write_text("x")
    os.chown(top / "set", 12, 34)
    (top / "set").chmod(0o6755)
    (top / "sticky").mkdir()
    (top / "sticky").chmod(0o1777)
    (top / "link").symlink_to("dir/sub")
    os.mkfifo(top / "fifo")
    os.mknod(top / "null", 0o020666, os.makedev(1, 3))
    os.setxattr(top / "file", "user.note", b"value")
    os.setxattr(top / "dir", "trusted.note", b"\0\xff")
    os.setxattr(top / "file", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    subprocess.run(["setfacl", "-m", "u:12345:rwx,m::rwx", str(top / "dir/linked")], check=True)
    subprocess.run(["setfacl", "-d", "-m", "g:54321:rx", str(top / "sticky")], check=True)
    (top / os.fsdecode(b"name \xff\n")).write_text("odd")
    for folder, _, names in os.walk(top, topdown=False):
        for name in (*names, "."):
            os.utime(os.path.join(folder, name), ns=(LONG_AGO, LONG_AGO + 123_456_789), follow_symlinks=False)


_COPIES = {
    "cp": "cp -a tree copy",
    "tar": "mkdir copy && tar -C tree --format=posix --xattrs '--xattrs-include=*' --acls -S -cf - . |"
    " tar -C copy --xattrs '--xattrs-include=*' --acls -xpf -",
    "rsync": "rsync -aHAXS --devices --specials tree/ copy/",
    "mv": "mv tree moved && cp -a moved tree && mv moved copy",
}


@pytest.mark.requires("tar", "rsync", "setfacl")
@pytest.mark.parametrize("program", _COPIES)
def test_a_copy_is_the_same(scratch: Path, program: str) -> None:
    with place("fuse", scratch, _tree) as top:
        before = snapshot(Mounted(top / "tree"))
        # A socket, which is no part of the layer, so that what is new is copied, too.
        with socket.socket(socket.AF_UNIX) as made:
            here = os.open(top / "tree/sticky", os.O_PATH)
            made.bind(f"/proc/self/fd/{here}/socket")
            os.close(here)
        os.unlink(top / "tree/sticky/socket")
        os.utime(top / "tree/sticky", ns=(LONG_AGO, LONG_AGO + 123_456_789))
        subprocess.run(["sh", "-euc", _COPIES[program]], cwd=top, check=True)
        assert snapshot(Mounted(top / "tree")) == before
        assert snapshot(Mounted(top / "copy")) == before
        assert os.stat(top / "copy/holes").st_blocks * 512 < 1_000_000
        assert os.stat(top / "copy/dir/linked").st_ino == os.stat(top / "copy/dir/sub/again").st_ino


def _wheel(path: Path) -> None:
    """Write a package that pip installs without a network."""
    info = "lamina_test_package-1.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("lamina_test_package/__init__.py", "def main():\n    print('works')\n")
        for number in range(100):
            wheel.writestr(f"lamina_test_package/part{number}.py", f"NUMBER = {number}\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: lamina-test-package\nVersion: 1\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\nlamina-test = lamina_test_package:main\n")
        wheel.writestr(f"{info}/RECORD", "")


def test_pip_installs_into_an_environment(scratch: Path) -> None:
    wheel = scratch / "lamina_test_package-1-py3-none-any.whl"
    _wheel(wheel)

    def prepare(lower: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(lower / "env")], check=True)

    with place("fuse", scratch, prepare) as top:
        python = top / "env/bin/python"
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "-q"]
        before = set((top / "env").rglob("*"))
        subprocess.run([*pip, "install", "--no-index", str(wheel)], check=True)
        subprocess.run([*pip, "install", "--no-index", "--force-reinstall", str(wheel)], check=True)
        (site,) = (top / "env").glob("lib/python*/site-packages")
        assert len(list((site / "lamina_test_package").glob("__pycache__/*.pyc"))) == 101
        code = "import lamina_test_package as p; p.main()"
        assert subprocess.check_output([python, "-c", code]) == b"works\n"
        assert (top / "env/bin/lamina-test").exists()
        subprocess.run([*pip, "uninstall", "-y", "lamina-test-package"], check=True)
        after = {path for path in (top / "env").rglob("*") if "__pycache__" not in path.parts}
        assert after == {path for path in before if "__pycache__" not in path.parts}
        subprocess.run([*pip, "check"], check=True)
