"""Malformed input: one error with the place and what to do, quickly, in little memory, and no image of any kind."""

from __future__ import annotations

import io
import os
import resource
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.command import Lamina

pytestmark = pytest.mark.requires("userns")

_MEMORY = 700 << 20  # of address space, for a file of 100 MB


def _doubling(value: bytes) -> bytes:
    lines = b"".join(b"ARG a%d=%s\n" % (number, value.replace(b"N", b"%d" % (number - 1))) for number in range(1, 40))
    return b"FROM scratch\nARG a0=xxxxxxxxxx\n" + lines + b"LABEL a=$a39\n"


#: What is wrong: the Dockerfile, and parts of what is said.
TEXTS: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty": (b"", ("Dockerfile:1:1", "expected a FROM")),
    "program": (b"\x7fELF\x02\x01\x01\0\0\0\0\0", ("Dockerfile:1:8", "a NUL character", "^")),
    "nul": (b"FROM scratch\nLABEL a=\0b\n", ("Dockerfile:2:9", "a NUL character", "^")),
    "latin": (b"FROM scratch\nLABEL a=\xe4\n", ("Dockerfile:2:9", "a byte that is not UTF-8", "^")),
    "utf-16": ("FROM scratch\n".encode("utf-16"), ("Dockerfile:1:", "^")),
    "byte order mark and crlf": (
        b"\xef\xbb\xbfFROM scratch\r\nLABLE a=b\r\n",
        ("Dockerfile:2:1", "LABLE", "hint: did you mean LABEL?"),
    ),
    "line of 100 MB": (b"FROM scratch\nLABEL a=" + b"x" * 100_000_000, ("Dockerfile", "larger than")),
    "long line": (b"FROM scratch\nLABEL a=" + b"x" * 100_000, ("Dockerfile:2:1", "a line of 100008 bytes")),
    "1,000,000 lines": (b"FROM scratch\n" + b"LABEL a=b\n" * 1_000_000, ("Dockerfile:100001:1", "instructions")),
    "open here-document": (b"FROM scratch\nCOPY <<EOF /x\n" + b"line\n" * 10_000, ("Dockerfile:2:6", "not closed")),
    "here-document in another": (b"FROM scratch\nCOPY <<A <<B /x/\n<<A\nA\n", ("Dockerfile:2:10", "a line B after it")),
    "deep substitution": (b"FROM scratch\nLABEL a=" + b"${a:-" * 5000, ("Dockerfile:2:", "^")),
    "doubling": (_doubling(b"$aN$aN"), ("Dockerfile:", "more than 1048576 characters")),
    "doubling by replacement": (_doubling(b"${aN//x/xxxxxxxxxx}"), ("Dockerfile:", "more than 1048576 characters")),
    "unknown instruction": (b"FROM scratch\nCOPPY a /\n", ("Dockerfile:2:1", "hint: did you mean COPY?")),
    "unknown flag": (b"FROM scratch\nCOPY --form=a b /\n", ("Dockerfile:2:6", "hint: did you mean --from?")),
    "wrong mode": (b"FROM scratch\nCOPY --chmod=9 Dockerfile /\n", ("Dockerfile:2:1", "--chmod=9", "hint: ")),
    "stage of itself": (b"FROM scratch AS a\nCOPY --from=a b /\n", ("Dockerfile:2:13", "files from itself")),
    "cycle of stages": (
        b"FROM scratch AS a\nCOPY --from=b x /\nFROM a AS b\n",
        ("Dockerfile:2:13", "^"),
    ),
    "missing file": (b"FROM scratch\nCOPY nowhere /\n", ("Dockerfile:2:1", "nowhere", "no such file")),
    "upwards": (b"FROM scratch\nCOPY ../../../../../../etc/passwd /\n", ("Dockerfile:2:1", "no such file")),
    "link out of the context": (b"FROM scratch\nCOPY out /\n", ("Dockerfile:2:1", "/out")),
    "below a link out of the context": (b"FROM scratch\nCOPY etc/passwd /\n", ("Dockerfile:2:1", "no such file")),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_dockerfile_that_is_none(lamina: Lamina, scratch: Path, name: str) -> None:
    text, expected = TEXTS[name]
    context = _context(scratch)
    (context / "Dockerfile").write_bytes(text)
    _refused(lamina, context, expected)


def _directory(path: Path) -> None:
    path.mkdir()


def _closed(path: Path) -> None:
    path.write_bytes(b"FROM scratch")
    path.chmod(0)


@pytest.mark.parametrize("make", [_directory, os.mkfifo, _closed])
def test_a_dockerfile_that_is_no_file(lamina: Lamina, scratch: Path, make: Callable[[Path], None]) -> None:
    if make is _closed and os.geteuid() == 0:
        make = _directory  # nothing is closed for root
    context = _context(scratch)
    make(context / "Dockerfile")
    _refused(lamina, context, ("Dockerfile",))


#: Archives as contexts: a name, a kind, where a link leads; and what is said.
ENTRIES: dict[str, tuple[tuple[str, bytes, str], str]] = {
    "name upwards": (("../../evil", tarfile.REGTYPE, ""), "../../evil: the name leads upwards"),
    "hard link out of it": (("evil", tarfile.LNKTYPE, "/etc/passwd"), "/etc/passwd"),
    "hard link upwards": (("evil", tarfile.LNKTYPE, "../../etc/passwd"), "leads upwards"),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_an_archive_that_means_harm(lamina: Lamina, scratch: Path, name: str) -> None:
    (path, kind, target), expected = ENTRIES[name]
    _refused(lamina, scratch, ("cannot read the context", expected), "-", _archive((path, kind, target)))


def test_an_archive_that_is_cut_off(lamina: Lamina, scratch: Path) -> None:
    _refused(lamina, scratch, ("truncated",), "-", _archive(("x", tarfile.REGTYPE, ""))[:520])


def test_links_and_absolute_names_of_an_archive_stay_in_it(lamina: Lamina, scratch: Path) -> None:
    outside = scratch / "outside"
    outside.mkdir()
    link = ("out", tarfile.SYMTYPE, str(outside))
    data = _archive(link, ("out/evil", tarfile.REGTYPE, ""), (f"{outside}/evil", tarfile.REGTYPE, ""))
    lamina("build", "-", input=data, status=None)
    assert not list(outside.iterdir())


def _context(scratch: Path) -> Path:
    context = scratch / "context"
    context.mkdir()
    (context / "out").symlink_to("/etc/passwd")
    (context / "etc").symlink_to("/etc")
    return context


def _archive(*entries: tuple[str, bytes, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        dockerfile = tarfile.TarInfo("Dockerfile")
        text = b"FROM scratch\nCOPY . /\n"
        dockerfile.size = len(text)
        archive.addfile(dockerfile, io.BytesIO(text))
        for name, kind, target in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return out.getvalue()


def _refused(lamina: Lamina, cwd: Path, expected: tuple[str, ...], context: str = ".", data: bytes = b"") -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, before[1]))
    try:
        done = lamina("build", "-t", "made:1", context, input=data, cwd=cwd, status=125, seconds=60)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    for part in expected:
        assert part in done.stderr
    assert sum(line.startswith("lamina: ") for line in done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert lamina("images", "--all", "--quiet").lines() == []
