"""Limits of resources by their names on the command line: setrlimit(2)."""

from __future__ import annotations

import resource

from lamina.errors import LaminaError
from lamina.runtime.spec import Ulimit

NAMES = {
    "as": resource.RLIMIT_AS,
    "core": resource.RLIMIT_CORE,
    "cpu": resource.RLIMIT_CPU,
    "data": resource.RLIMIT_DATA,
    "fsize": resource.RLIMIT_FSIZE,
    "locks": 10,
    "memlock": resource.RLIMIT_MEMLOCK,
    "msgqueue": resource.RLIMIT_MSGQUEUE,
    "nice": resource.RLIMIT_NICE,
    "nofile": resource.RLIMIT_NOFILE,
    "nproc": resource.RLIMIT_NPROC,
    "rss": resource.RLIMIT_RSS,
    "rtprio": resource.RLIMIT_RTPRIO,
    "rttime": resource.RLIMIT_RTTIME,
    "sigpending": resource.RLIMIT_SIGPENDING,
    "stack": resource.RLIMIT_STACK,
}


def apply(limits: list[Ulimit]) -> None:
    """Set the limits of the calling process. Raising a hard limit needs CAP_SYS_RESOURCE on the host."""
    for limit in limits:
        try:
            resource.setrlimit(NAMES[limit.name], (limit.soft, limit.hard))
        except (OSError, ValueError) as error:
            have = resource.getrlimit(NAMES[limit.name])[1]
            raise LaminaError(
                "set the limit", f"{limit.name}={limit.soft}:{limit.hard}", error, f"the hard limit here is {have}"
            ) from error
