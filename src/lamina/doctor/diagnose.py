"""The whole diagnosis: every probe, the names that cannot be read, and whether `lamina run` can work."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice

from lamina.doctor import disk, drivers, identity, namespaces, programs, resources
from lamina.doctor.child import carry_out
from lamina.doctor.values import NO_REMEDY, Check, Host, Probe, Remedy
from lamina.errors import LaminaError, shown
from lamina.ids.map import choose
from lamina.layer.remove import remove_tree
from lamina.linux.namespaces import in_first_user_namespace
from lamina.runtime.unreadable import unreadable_names
from lamina.store.layout import open_existing
from lamina.store.staging import Staging

#: Names that cannot be read: how many are listed, how many looked for beyond that, and for how many seconds.
_LISTED, _COUNTED, _SECONDS = 20, 1000, 2.0


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Names of this machine that the user cannot read. `more` were found beyond them, and `complete` says if all."""

    names: tuple[str, ...]
    more: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found. `can_run` says whether a container can be started."""

    checks: tuple[Check, ...]
    unreadable: Unreadable
    can_run: bool


def diagnose(root: str) -> dict[str, object]:
    """Try everything for the user of this process, which must have one thread, and return a plain `Diagnosis`.

    `root` is the absolute path of the store, which need not exist and is not made.
    """
    uid, gid = os.geteuid(), os.getegid()
    ids = choose(uid, gid)
    with _scratch(Host(uid, gid, ids, root, "", "")) as host:
        checks = _carry_out_all(_probes(host), host)
    nothing = Unreadable((), 0, complete=True)
    # Root of the machine reads everything.
    unreadable = nothing if uid == 0 and in_first_user_namespace() else _unreadable(root)
    return asdict(Diagnosis(checks, unreadable, _can_run(checks)))


def from_plain(plain: dict[str, object]) -> Diagnosis:
    """Return the value that `diagnose` gave as plain data, through JSON or not."""
    checks, unreadable = plain["checks"], plain["unreadable"]
    assert isinstance(checks, list | tuple)
    assert isinstance(unreadable, dict)
    return Diagnosis(
        tuple(Check(**{**check, "remedy": Remedy(**check["remedy"])}) for check in checks),
        Unreadable(tuple(unreadable["names"]), unreadable["more"], unreadable["complete"]),
        bool(plain["can_run"]),
    )


def _probes(host: Host) -> list[Probe]:
    return [
        *identity.probes(host),
        *namespaces.probes(host),
        *disk.probes(host),
        *drivers.probes(host),
        *resources.probes(),
        *programs.probes(),
    ]


def _carry_out_all(probes: list[Probe], host: Host) -> tuple[Check, ...]:
    checks: dict[str, Check] = {}
    for probe in probes:
        lacking = [name for name in probe.after if name in checks and checks[name].state != "works"]
        if lacking:
            text = f"not tried without: {lacking[0]}"
            checks[probe.name] = Check(probe.name, probe.purpose, probe.needed, "unknown", text, NO_REMEDY)
        else:
            checks[probe.name] = carry_out(probe, host)
    return tuple(checks.values())


def _can_run(checks: tuple[Check, ...]) -> bool:
    works = {check.name for check in checks if check.state == "works"}
    return bool(works & {drivers.KERNEL, drivers.FUSE}) and all(check.name in works for check in checks if check.needed)


@contextmanager
def _scratch(host: Host) -> Iterator[Host]:
    """Give the host a directory on the store's file system: in the store, or where it would be made."""
    with ExitStack() as stack:
        try:
            path = stack.enter_context(_staging(host))
        except (LaminaError, OSError) as error:
            reason = error.reason if isinstance(error, LaminaError) else f"{host.store}: {shown(error)}"
            yield _with(host, "", reason)
        else:
            stack.callback(_empty, path)
            yield _with(host, path, "")


def _empty(directory: str) -> None:
    for entry in os.listdir(directory):
        remove_tree(f"{directory}/{entry}")


def _with(host: Host, scratch: str, reason: str) -> Host:
    return Host(host.uid, host.gid, host.ids, host.store, scratch, reason)


@contextmanager
def _staging(host: Host) -> Iterator[str]:
    layout = open_existing(host.store, host.ids)
    if layout is not None:
        with Staging(layout) as staging:
            yield staging.path
        return
    place = host.store
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    with tempfile.TemporaryDirectory(prefix=".lamina-doctor-", dir=place) as path:
        yield path


def _unreadable(store: str) -> Unreadable:
    found: list[str] = []
    try:
        for name in islice(unreadable_names(hidden=(store,), deadline=time.monotonic() + _SECONDS), _COUNTED):
            found.append(name)  # what was found before the deadline counts
    except TimeoutError:
        complete = False
    else:
        complete = len(found) < _COUNTED
    return Unreadable(tuple(found[:_LISTED]), max(len(found) - _LISTED, 0), complete)
