"""The C library's entry to the kernel, with every prototype in one table.

Calls that the C library does not wrap go through syscall(2) by number. Numbers from 424 on are the same on every
architecture (arch/*/syscalls in the kernel's tree); the few older ones stand in a table by machine.
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    _Type = type[ctypes._SimpleCData[Any]]

_libc = ctypes.CDLL(None, use_errno=True)

_int, _uint, _long, _ulong, _size = ctypes.c_int, ctypes.c_uint, ctypes.c_long, ctypes.c_ulong, ctypes.c_size_t
_str, _ptr = ctypes.c_char_p, ctypes.c_void_p

# Functions of the C library, with their argument types.
_FUNCTIONS: dict[str, tuple[_Type, ...]] = {
    "mount": (_str, _str, _str, _ulong, _ptr),
    "umount2": (_str, _int),
    "unshare": (_int,),
    "prctl": (_int, _ulong, _ulong, _ulong, _ulong),
    "sethostname": (_str, _size),
    "syncfs": (_int,),
}

# System calls by number, with their argument types.
_CALLS: dict[str, tuple[int, tuple[_Type, ...]]] = {
    "pidfd_send_signal": (424, (_int, _int, _ptr, _uint)),
    "open_tree": (428, (_int, _str, _uint)),
    "move_mount": (429, (_int, _str, _int, _str, _uint)),
    "fsopen": (430, (_str, _uint)),
    "fsconfig": (431, (_int, _uint, _str, _ptr, _int)),
    "fsmount": (432, (_int, _uint, _uint)),
    "close_range": (436, (_uint, _uint, _uint)),
    "openat2": (437, (_int, _str, _ptr, _size)),
    "mount_setattr": (442, (_int, _str, _uint, _ptr, _size)),
}

# Older system calls: (x86_64, aarch64 and riscv64, which share the generic table).
_OLD_CALLS: dict[str, tuple[int, int, tuple[_Type, ...]]] = {
    "pivot_root": (155, 41, (_str, _str)),
    "capget": (125, 90, (_ptr, _ptr)),
    "capset": (126, 91, (_ptr, _ptr)),
    "seccomp": (317, 277, (_uint, _uint, _ptr)),
    "keyctl": (250, 219, (_int, _ulong, _ulong, _ulong, _ulong)),
    "renameat2": (316, 276, (_int, _str, _int, _str, _uint)),
    "name_to_handle_at": (303, 264, (_int, _str, _ptr, _ptr, _int)),
    "fallocate": (285, 47, (_int, _int, _long, _long)),
}

_bound: dict[str, object] = {}  # names already looked up; filled once a name, never changed after


def call(name: str, *arguments: object) -> int:
    """Make the call `name` and return its result; raise OSError with the kernel's errno.

    EINTR is not retried: the calls in the tables are not interrupted, or their caller wants to know.
    """
    function = _bound.get(name) or _bind(name)
    result: int = function(*arguments)  # type: ignore[operator]  # a ctypes function, called through `object`
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{name}: {os.strerror(errno)}")
    return result


def _prototype(name: str, result: _Type, *arguments: _Type) -> Callable[..., Any]:
    """Return a function object of our own: `_libc.NAME` would be shared with others.

    CFUNCTYPE would do, too, but makes a class, which takes five times as long.
    """
    function = _libc[name]
    function.argtypes, function.restype = arguments, result
    return function


def _bind(name: str) -> object:
    if name in _FUNCTIONS:
        function: object = _prototype(name, _int, *_FUNCTIONS[name])
    else:
        if name in _CALLS:
            number, types = _CALLS[name]
        else:
            x86_64, generic, types = _OLD_CALLS[name]
            number = x86_64 if os.uname().machine == "x86_64" else generic
        raw = _prototype("syscall", _long, _long, *types)

        def by_number(*arguments: object) -> int:
            result: int = raw(number, *arguments)
            return result

        function = by_number
    _bound[name] = function
    return function
