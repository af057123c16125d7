"""`lamina-overlayfs`: our union with the command line of fuse-overlayfs(1), and the helper of mount(8) for fuse.lamina.

podman and buildah call the first as `mount_program` (containers-storage.conf(5)): options with `-o`, the directory to
mount on, and back once the mount answers. mount(8) calls the second with its source first (mount(8), "External
helpers"). What only tunes fuse-overlayfs is taken, and told as ignored; what nobody knows is refused.
"""

from __future__ import annotations

import os
import sys

from lamina.errors import LaminaError, UsageError, one_line
from lamina.overlay.stack import Overlay, parse_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lamina.overlay.fuse.start import Server

#: What fuse-overlayfs(1) and libfuse take to tune themselves. It is taken, told as ignored, and nothing comes of it.
_TUNING = frozenset((
    "allow_root", "auto_unmount", "blkdev", "clone_fd", "context", "debug", "defcontext", "fast_ino", "fscontext",
    "fsname", "fsync", "ino32", "ino64", "max_idle_threads", "max_read", "max_threads", "max_write", "noacl",
    "noxattrs", "rootcontext", "static_nlink", "subtype", "threaded", "timeout", "writeback",
))  # fmt: skip

USAGE = "lamina-overlayfs [-f] -o lowerdir=TOP:…:BASE[,upperdir=UPPER,workdir=WORK] MERGED"


def main(argv: Sequence[str] | None = None) -> int:
    """Be lamina-overlayfs(1): mount, and end once the mount answers, or with -f once it is gone."""
    words = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(words):
        sys.stdout.write(f"usage: {USAGE}\n{__doc__.partition('.')[0].strip() if __doc__ else ''}.\n")
        return 0
    if {"-V", "--version"} & set(words):
        # containers-storage looks for this name before it trusts options such as volatile
        sys.stdout.write("fuse-overlayfs: version 1.13 (the command line that lamina-overlayfs has)\n")
        return 0
    return _report("lamina-overlayfs", lambda: _mount_program(words))


def mount_helper(argv: Sequence[str] | None = None) -> int:
    """Be mount.fuse.lamina(8): SOURCE MERGED [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]."""
    words = list(sys.argv[1:] if argv is None else argv)
    return _report("mount.fuse.lamina", lambda: _mount_for_mount(words))


def _report(name: str, work: Callable[[], None]) -> int:
    try:
        work()
    except (LaminaError, OSError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        hint = getattr(error, "hint", "")
        if hint:
            sys.stderr.write(f"hint: {hint}\n")
        return 1
    return 0


def _mount_program(words: list[str]) -> None:
    from lamina.overlay.fuse.start import TO_STDERR

    debug = "--debug" in words
    options, rest = _split_words([word for word in words if word != "--debug"], with_value="o", without="fds")
    targets = [word for word in rest if not word.startswith("-")]
    if len(targets) != 1:
        raise UsageError("", "", f"one directory to mount on is needed: {USAGE}")
    stays = debug or "f" in options or "d" in options  # as libfuse: in the foreground, with its errors
    server = _mount("lamina-overlayfs", ",".join(options.get("o", [])), targets[0], log=TO_STDERR if stays else "")
    if stays:
        server.wait_end()


def _mount_for_mount(words: list[str]) -> None:
    options, rest = _split_words(words, with_value="oNt", without="sfnv")
    if len(rest) != 2:
        raise UsageError("", "", "a source and a directory to mount on are needed")
    text = ",".join(options.get("o", []))
    if "f" in options:  # mount --fake
        return
    if "remount" in text.split(","):
        from lamina.overlay import drivers

        drivers.remount(rest[1], text.split(","))
        return
    _mount("mount.fuse.lamina", text, rest[1], source=rest[0])


def _split_words(words: list[str], *, with_value: str, without: str) -> tuple[dict[str, list[str]], list[str]]:
    """Return the short options with their values, and the other words."""
    options: dict[str, list[str]] = {}
    rest: list[str] = []
    pending = iter(words)
    for word in pending:
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        for place, letter in enumerate(word[1:], 1):
            if letter in with_value:
                value = word[place + 1 :] or next(pending, None)
                if value is None:
                    raise UsageError("", "", f"-{letter} needs a value")
                options.setdefault(letter, []).append(value)
                break
            if letter not in without:
                raise UsageError("", "", f"unknown option {word}: {USAGE}")
            options.setdefault(letter, []).append("")
    return options, rest


def _mount(name: str, text: str, target: str, *, log: str = "", source: str = "lamina") -> Server:
    from lamina.overlay import drivers

    overlay, ignored = read_options(text)
    if ignored:
        sys.stderr.write(f"{name}: ignored, since nothing comes of it here: {one_line(', '.join(ignored))}\n")
    if not os.path.isdir(target):
        raise LaminaError("mount on", target, "it is no directory")
    mounted = drivers.mount(overlay, target, driver="fuse", log=log, source=source)
    assert mounted.server is not None, "our own driver is a process"
    return mounted.server


def read_options(text: str) -> tuple[Overlay, list[str]]:
    """Return the overlay for an option text of fuse-overlayfs, and the options that nothing comes of.

    Paths become absolute. Raises UsageError.
    """
    asked = parse_options(text)
    kept: list[tuple[str, str]] = []
    ignored: list[str] = []
    renames = ""
    for name, value in asked.options:
        if name == "xattr_permissions":  # fuse-overlayfs's word; its values choose among spellings
            kept.append(("owners", "xattr"))
        elif name == "renames" and value in ("redirect", "copy"):
            renames = value
        elif name in _TUNING:
            ignored.append(f"{name}={value}" if value else name)
        else:
            kept.append((name, value))
    overlay = Overlay(
        [os.path.abspath(layer) for layer in asked.layers],
        upper=os.path.abspath(asked.upper) if asked.upper else "",
        work=os.path.abspath(asked.work) if asked.work else "",
        userxattr=asked.userxattr,
        options=kept,
        renames=renames,
    )
    return overlay, ignored


if __name__ == "__main__":
    sys.exit(mount_helper())
