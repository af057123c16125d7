"""Capabilities (capabilities(7)) as sets of numbers, and setting them for the calling process."""

from __future__ import annotations

import ctypes

from lamina.linux.libc import call

#: Names in the order of their numbers (linux/capability.h).
NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip

_VERSION_3 = 0x20080522
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24


def number(name: str) -> int:
    """Return the number of `name` ("NET_RAW", "cap_net_raw", in any case); ValueError for a name that is none."""
    plain = name.upper().removeprefix("CAP_")
    return NAMES.index(plain)


def bounding_set() -> frozenset[int]:
    """Return the capabilities that this process and its children can ever have."""
    found = set()
    for capability in range(len(NAMES)):
        try:
            if call("prctl", _PR_CAPBSET_READ, capability, 0, 0, 0):
                found.add(capability)
        except OSError:  # EINVAL: a kernel that does not know this one
            break
    return frozenset(found)


def effective_set() -> frozenset[int]:
    """Return the capabilities that the calling thread has now, in its user namespace."""
    header, data = _header(), (ctypes.c_uint32 * 6)()
    call("capget", ctypes.byref(header), ctypes.byref(data))
    bits = data[0] | data[3] << 32
    return frozenset(n for n in range(64) if bits >> n & 1)


def drop_bounding(keep: frozenset[int]) -> frozenset[int]:
    """Take everything but `keep` out of the bounding set, for good; return what is left. Needs CAP_SETPCAP."""
    before = bounding_set()
    for capability in before - keep:
        call("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0)
    return before & keep


def capset(effective: frozenset[int], permitted: frozenset[int], inheritable: frozenset[int]) -> None:
    """Set the three sets of the calling thread: capset(2)."""
    sets = [sum(1 << n for n in numbers) for numbers in (effective, permitted, inheritable)]
    header = _header()
    data = (ctypes.c_uint32 * 6)(*(s & 0xFFFFFFFF for s in sets), *(s >> 32 for s in sets))
    call("capset", ctypes.byref(header), ctypes.byref(data))


def _header() -> ctypes.Array[ctypes.c_uint32]:
    return (ctypes.c_uint32 * 2)(_VERSION_3, 0)
