"""What this machine, and whoever runs the tests, can do: asked by trying, with the system's own programs.

A probe returns why something cannot be had, or an empty text. Nothing here uses lamina: a defect there must not hide
a test.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from lamina.transfer.sources import read_sources
from tests.helpers.users import has_range

_NEEDS = Path(__file__).parent.parent / "needs.txt"


def who() -> str:
    """Return who runs the tests: "root", "mapped" (root of a user namespace), "subuid" or "plain"."""
    if os.geteuid() == 0:
        return "root" if _is_first_user_namespace() else "mapped"
    return "subuid" if has_range(pwd.getpwuid(os.geteuid()).pw_name) else "plain"


def why_not(word: str) -> str:
    """Return why the need `word` is not met, or nothing."""
    if probe := _PROBES.get(word):
        return probe()
    return "" if shutil.which(word) else f"{word} is not installed"


@functools.cache
def needs() -> dict[str, frozenset[str]]:
    """Return the words of needs.txt, and for each whose tests may not be skipped for lack of it in CI."""
    table = {}
    for line in _NEEDS.read_text().splitlines():
        if fields := line.partition("#")[0].split():
            table[fields[0]] = frozenset(fields[1:])
    return table


def probed_words() -> frozenset[str]:
    """Return the words that a probe answers; all others are programs."""
    return frozenset(_PROBES)


def _is_first_user_namespace() -> bool:
    return Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


def is_private_mount_namespace() -> bool:
    """Return whether mounts made here are this process's own affair: none is shared, and an ancestor is elsewhere."""
    if any(" shared:" in line for line in Path("/proc/self/mountinfo").read_text().splitlines()):
        return False
    mine = os.readlink("/proc/self/ns/mnt")
    ancestor = os.getppid()
    while ancestor:
        try:
            if os.readlink(f"/proc/{ancestor}/ns/mnt") != mine:
                return True
        except PermissionError:  # it says nothing; pid 1 may be out of reach even for root
            pass
        stat = Path(f"/proc/{ancestor}/stat").read_text()
        ancestor = int(stat.rpartition(")")[2].split()[1])
    return False


def _expect(*people: str) -> str:
    me = who()
    return "" if me in people else f"the tests run as {me}, not as {' or '.join(people)}"


def _root() -> str:
    if reason := _expect("root"):
        return reason
    return "" if is_private_mount_namespace() else "not in a private mount namespace"


def _mounts() -> str:
    if reason := _expect("root", "mapped"):
        return reason
    return "" if who() == "mapped" or is_private_mount_namespace() else "not in a private mount namespace"


@functools.cache
def _subuid() -> str:
    return _expect("subuid") or _said(["unshare", "--user", "--map-auto", "--map-root-user", "true"])


def _ids() -> str:
    return _expect("root", "subuid") or ("" if who() == "root" else _subuid())


@functools.cache
def _userns() -> str:
    return _said(["unshare", "--user", "--map-root-user", "true"])


_OVERLAY = """
set -e
cd "$1"
mkdir lower lower/dir upper work merged
: >lower/dir/file
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work$2 merged
rm -r merged/dir
mkdir merged/dir
[ -z "$(ls -A merged/dir)" ]
"""


@functools.cache
def overlay_on(directory: str) -> str:
    """Return why overlayfs does not take a directory below `directory` as its upper, or nothing."""
    unshare, options = ["unshare", "--mount", "--propagation", "private"], ""
    if who() != "root":
        options = ",userxattr"
        if who() != "mapped":
            unshare += ["--user", "--map-root-user"]
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        return _said([*unshare, "sh", "-c", _OVERLAY, "sh", scratch, options])


def scratch_base() -> str:
    """Return a directory whose file system overlayfs takes as an upper, or the usual temporary one if there is none."""
    usual = tempfile.gettempdir()
    writable = (path for path in (usual, "/var/tmp", "/dev/shm") if os.access(path, os.W_OK | os.X_OK))
    return next((path for path in writable if not overlay_on(path)), usual)


@functools.cache
def _fuse() -> str:
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"/dev/fuse: {error.strerror}"
    return ""


_BACKING_OPEN = 0x4010E501  # of linux/fuse.h; a device that is not mounted refuses it, an older kernel knows it not


@functools.cache
def _passthrough() -> str:
    if reason := _root() or _fuse():
        return reason
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _BACKING_OPEN, bytearray(16))
    except OSError as error:
        return "" if error.errno == errno.EPERM else f"FUSE_DEV_IOC_BACKING_OPEN: {error.strerror}"
    finally:
        os.close(fd)
    return ""


@functools.cache
def _loop() -> str:
    if reason := _expect("root"):
        return reason
    return _said(["losetup", "--find"]) if shutil.which("mkfs.ext4") else "mkfs.ext4 is not installed"


def _strace() -> str:
    if who() == "subuid":
        return "a traced newuidmap has no privilege"
    return "" if shutil.which("strace") else "strace is not installed"


@functools.cache
def _acl() -> str:
    with tempfile.NamedTemporaryFile(dir=scratch_base()) as file:
        return _said(["setfacl", "--modify", "user:12345:r", file.name])


def _sys_admin() -> str:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd:"))
    return "" if int(line.split()[1], 16) >> 21 & 1 else "an outer container has taken it away"


def _debian() -> str:
    path = os.environ.get("BASE_TAR", "")
    return "" if path and os.access(path, os.R_OK) else "BASE_TAR does not name a readable file"


@functools.cache
def _archive() -> str:
    reason = "apt names no archive with a component main"
    for source in read_sources("/etc/apt"):
        if "main" not in source.components:
            continue
        try:
            with urllib.request.urlopen(f"{source.uri.rstrip('/')}/dists/{source.suite}/InRelease", timeout=10):
                return ""
        except (urllib.error.URLError, ValueError, TimeoutError) as error:
            reason = f"the archive of {source.suite}: {error}"
    return reason


@functools.cache
def _answers(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=10):
            return ""
    except (urllib.error.URLError, TimeoutError) as error:
        return f"{url}: {error}"


def _said(argv: list[str]) -> str:
    """Run a program; return nothing if it succeeded, or else what it said."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    except FileNotFoundError:
        return f"{argv[0]} is not installed"
    return "" if done.returncode == 0 else done.stderr.strip() or f"{argv[0]}: status {done.returncode}"


def _libseccomp() -> str:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return "libseccomp.so.2 is not installed"
    return ""


def _atheris() -> str:
    # Its wheels are for some versions of Python on some processors.
    return "" if importlib.util.find_spec("atheris") else "atheris is not installed in this Python's environment"


_PROBES: dict[str, Callable[[], str]] = {
    "root": _root,
    "user": lambda: _expect("subuid", "plain"),
    "subuid": _subuid,
    "ids": _ids,
    "plain": lambda: _expect("plain"),
    "mapped": lambda: _expect("mapped"),
    "mounts": _mounts,
    "userns": _userns,
    "overlay": lambda: overlay_on(scratch_base()),
    "fuse": _fuse,
    "libseccomp": _libseccomp,
    "passthrough": _passthrough,
    "loop": _loop,
    "strace": _strace,
    "acl": _acl,
    "sys_admin": _sys_admin,
    "debian": _debian,
    "archive": _archive,
    "atheris": _atheris,
    "pypi": lambda: _answers("https://pypi.org/simple/pip/"),
    "npm": lambda: _answers("https://registry.npmjs.org/npm/latest"),
}
