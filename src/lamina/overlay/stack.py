"""The value `Overlay`: what is laid over what, for every driver; and its text for mount(8).

Layers stand base first everywhere; the kernel's option text wants the topmost first, and is reversed here and nowhere
else. The options are those of the kernel's documentation (filesystems/overlayfs).
"""

from __future__ import annotations

import errno
import os
import stat

from lamina.errors import InvalidInput, UsageError

#: More lower layers than this in one mount are EINVAL (OVL_MAX_STACK).
MAX_LOWER = 500


class Overlay:
    """Directories to be shown as one.

    `layers` are the read-only lower directories (or archives, for our own driver), base first. Without `upper` all is
    read-only; with it, `work` is an empty directory on the same mount. `userxattr` says that marks are kept in
    user.overlay.*, as a mount in a user namespace must; `options` are further options of the kernel's driver,
    ("volatile", "") for one without a value. `renames` is what becomes of a directory of the layers that is renamed:
    "redirect" (a mark says where its contents are), "copy" (all of it is copied up), or "" for what the driver does by
    itself.
    """

    __slots__ = ("layers", "options", "renames", "upper", "userxattr", "work")

    def __init__(
        self,
        layers: list[str] | tuple[str, ...],
        *,
        upper: str = "",
        work: str = "",
        userxattr: bool = False,
        options: list[tuple[str, str]] | tuple[tuple[str, str], ...] = (),
        renames: str = "",
    ) -> None:
        # A layer that stands twice adds nothing below itself, and the kernel refuses it (ELOOP): the upper one stays.
        self.layers = tuple(reversed(tuple(dict.fromkeys(reversed(layers)))))
        self.upper = upper
        self.work = work
        self.userxattr = userxattr
        self.options = tuple((name, value) for name, value in options)
        self.renames = renames

    def with_options(self, options: list[tuple[str, str]]) -> Overlay:
        """Return the same with other options."""
        plain = {**self.plain(), "options": options}
        return Overlay(**plain)  # type: ignore[arg-type]  # the fields of one

    def check(self) -> None:
        """Raise InvalidInput where a driver could only answer EINVAL: a directory that is missing or is none.

        A lower one may be an archive, which our own driver shows as it is.
        """
        if not self.layers:
            raise InvalidInput("lay directories over each other", "", "no lower directory is named")
        if bool(self.upper) != bool(self.work):
            missing = "work directory" if self.upper else "upper directory"
            raise InvalidInput("mount the overlay", self.upper or self.work, f"there is no {missing} to it")
        for path in self.layers:
            _check_place("lower", path, files=True)
        if self.upper:
            _check_place("upper", self.upper)
            _check_place("work", self.work)
            check_apart(self.layers, self.upper, self.work)
            if os.stat(self.upper).st_dev != os.stat(self.work).st_dev:
                raise InvalidInput("use the work directory", self.work, f"it is not on the file system of {self.upper}")

    def check_readable(self) -> None:
        """Raise InvalidInput for a lower one that this process cannot read: everything in it would be EACCES."""
        for path in self.layers:
            mode = os.R_OK | os.X_OK if os.path.isdir(path) else os.R_OK
            if os.path.exists(path) and not os.access(path, mode, effective_ids=True):
                raise InvalidInput("use the lower directory", path, os.strerror(errno.EACCES))

    def archive(self) -> str:
        """Return a lower one that is a file, which the kernel's driver cannot show; "" where none is."""
        return next((path for path in self.layers if os.path.isfile(path)), "")

    def option_text(self) -> str:
        """Return the text for `mount -t overlay -o`."""
        lower = ":".join(_escape(path) for path in reversed(self.layers))
        words = [f"lowerdir={lower}"]
        if self.upper:
            words += [f"upperdir={_escape(self.upper)}", f"workdir={_escape(self.work)}"]
        words += [f"{name}={value}" if value else name for name, value in self.options]
        if self.userxattr:
            words.append("userxattr")
        return ",".join(words)

    def plain(self) -> dict[str, object]:
        """Return the fields as plain data; `Overlay(**plain)` makes the same value again."""
        return {name: getattr(self, name) for name in self.__slots__}


def _check_place(role: str, path: str, *, files: bool = False) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        missing = isinstance(error, FileNotFoundError) and not os.path.lexists(path)
        raise InvalidInput(f"use the {role} directory", path, "no such directory" if missing else error) from error
    if not stat.S_ISDIR(mode) and not (files and stat.S_ISREG(mode)):
        raise InvalidInput(f"use the {role} directory", path, "it is not a directory")


def check_apart(layers: list[str] | tuple[str, ...], upper: str, work: str = "") -> None:
    """Raise InvalidInput where what is written for one directory would change another one.

    The kernel's driver refuses that too, with EINVAL and ELOOP. An upper may lie inside a layer, as it does over the
    root of the machine.
    """
    real_upper, real_work = os.path.realpath(upper), os.path.realpath(work) if work else ""
    if work and _lies_in(real_work, real_upper):
        how = "it is the upper directory" if real_work == real_upper else f"it lies in the upper directory {upper}"
        raise InvalidInput("use the work directory", work, how)
    if work and _lies_in(real_upper, real_work):
        raise InvalidInput("use the upper directory", upper, f"it lies in the work directory {work}")
    places = [("upper", upper, real_upper)] + ([("work", work, real_work)] if work else [])
    states = [os.stat(place) for _, place, _ in places]
    for path in layers:
        state = os.stat(path)
        for (role, place, real), own in zip(places, states, strict=True):
            if os.path.samestat(state, own):
                raise InvalidInput(f"use the {role} directory", place, "it is a lower directory as well")
            if _lies_in(os.path.abspath(path), real):
                raise InvalidInput("use the lower directory", path, f"it lies in the {role} directory {place}")


def _lies_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def parse_options(text: str) -> Overlay:
    r"""Read mount(8)'s option text: lowerdir=TOP:…:BASE,upperdir=…,workdir=…; a \ stands before : , and \ in names.

    Options that are none of overlayfs's are kept, for the driver to judge. Raises UsageError.
    """
    found: dict[str, str] = {}
    options = []
    for word in _split(text, ","):
        name, _, value = word.partition("=")
        if name in ("lowerdir", "upperdir", "workdir"):
            if not value or name in found:
                raise UsageError("read", f"-o {text}", f"{name} {'stands twice' if value else 'has no directory'}")
            found[name] = value
        elif name not in ("", "rw", "userxattr"):
            options.append((name, value))
    if "lowerdir" not in found:
        raise UsageError(
            "read", f"-o {text}", "lowerdir= is missing", "-o lowerdir=TOP:BASE,upperdir=UPPER,workdir=WORK"
        )
    lower = [_unescape(path) for path in _split(found["lowerdir"], ":")]
    if "" in lower:
        raise UsageError("read", f"-o {text}", "lowerdir has an empty name")
    return Overlay(
        lower[::-1],
        upper=_unescape(found.get("upperdir", "")),
        work=_unescape(found.get("workdir", "")),
        userxattr="userxattr" in _split(text, ","),
        options=options,
    )


def _split(text: str, separator: str) -> list[str]:
    """Split at separators that no backslash stands before; the backslashes stay."""
    parts = [""]
    escaped = False
    for character in text:
        if character == separator and not escaped:
            parts.append("")
        else:
            parts[-1] += character
        escaped = character == "\\" and not escaped
    return parts


def _escape(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _unescape(text: str) -> str:
    out = ""
    escaped = False
    for character in text:
        escaped = character == "\\" and not escaped
        out += "" if escaped else character
    return out
