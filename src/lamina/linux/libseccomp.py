"""libseccomp's compiler for filters of system calls: rules by name become a BPF program (seccomp_init(3)).

The library knows the numbers of all system calls on all architectures; `lamina.linux.seccomp` installs what it makes.
"""

from __future__ import annotations

import ctypes
import os

from lamina.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_LIBRARY = "libseccomp.so.2"

ALLOW, LOG = 0x7FFF0000, 0x7FFC0000
KILL_PROCESS, KILL_THREAD, TRAP = 0x80000000, 0x00000000, 0x00030000

#: How an argument is compared, by the names of the library's enumeration scmp_compare.
COMPARISONS = {"NE": 1, "LT": 2, "LE": 3, "EQ": 4, "GE": 5, "GT": 6, "MASKED_EQ": 7}

_OPTIMIZE = 8  # SCMP_FLTATR_CTL_OPTIMIZE, whose value 2 orders the calls in a tree (version 2.5)


def errno_action(number: int) -> int:
    """Return the action that answers a call with `number` as its errno."""
    return 0x00050000 | number


def trace_action(number: int) -> int:
    """Return the action that tells a tracer `number`."""
    return 0x7FF00000 | number


class Condition:
    """A condition on argument `index` of a call; `value` is the mask of MASKED_EQ, and `second` what it is to give."""

    __slots__ = ("comparison", "index", "second", "value")

    def __init__(self, index: int, comparison: int, value: int, second: int = 0) -> None:
        self.index = index
        self.comparison = comparison
        self.value = value
        self.second = second


class _Argument(ctypes.Structure):  # struct scmp_arg_cmp
    _fields_ = (
        ("index", ctypes.c_uint),
        ("comparison", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class Filter:
    """A filter being put together, for the machine's own architecture until more are added. `close` frees it.

    Raises Unsupported where the library is not installed, and OSError with its errno for what it refuses.
    """

    def __init__(self, default: int) -> None:
        try:
            self._library = ctypes.CDLL(_LIBRARY, use_errno=True)
        except OSError as error:
            raise Unsupported(
                "make a filter of system calls", _LIBRARY, "it is not installed", "Debian: apt-get install libseccomp2"
            ) from error
        self._library.seccomp_init.restype = ctypes.c_void_p
        context = self._library.seccomp_init(ctypes.c_uint32(default))
        if not context:
            raise OSError(22, "seccomp_init: this default action is not known")
        self._context = ctypes.c_void_p(context)
        self._library.seccomp_attr_set(self._context, _OPTIMIZE, ctypes.c_uint32(2))  # older ones go without

    def close(self) -> None:
        """Free the filter."""
        self._library.seccomp_release(self._context)

    def __enter__(self) -> Filter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_architecture(self, name: str) -> None:
        """Filter the calls of another architecture too, by its name here ("x86", "x32"); twice is once."""
        token = self._library.seccomp_arch_resolve_name(name.encode())
        if token == 0:
            raise OSError(22, f"libseccomp knows no architecture {name}")
        self._check("seccomp_arch_add", self._library.seccomp_arch_add(self._context, token), ignored=(17,))

    def number(self, name: str) -> int:
        """Return the number of a call on this machine; negative where there is none."""
        return int(self._library.seccomp_syscall_resolve_name(name.encode()))

    def add(self, action: int, name: str, conditions: Sequence[Condition] = ()) -> None:
        """Take `action` for calls of `name` that meet all conditions; a name that the library does not know is none."""
        number = self.number(name)
        if number == -1:  # __NR_SCMP_ERROR; other negative numbers are calls of other architectures
            return
        array = (_Argument * len(conditions))(
            *(_Argument(each.index, each.comparison, each.value, each.second) for each in conditions)
        )
        done = self._library.seccomp_rule_add_array(
            self._context, ctypes.c_uint32(action), number, len(conditions), array
        )
        self._check(f"seccomp_rule_add of {name}", done)

    def program(self) -> bytes:
        """Return the filter as an array of struct sock_filter."""
        fd = os.memfd_create("filter")
        try:
            self._check("seccomp_export_bpf", self._library.seccomp_export_bpf(self._context, fd))
            return os.pread(fd, os.fstat(fd).st_size, 0)
        finally:
            os.close(fd)

    @staticmethod
    def _check(what: str, result: int, *, ignored: tuple[int, ...] = ()) -> None:
        if result < 0 and -result not in ignored:
            raise OSError(-result, f"{what}: {os.strerror(-result)}")
