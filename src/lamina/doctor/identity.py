"""Who this user can be: a user namespace, the ranges of /etc/subuid, and a container's own namespace in it."""

from __future__ import annotations

from lamina.doctor.values import Host, Missing, Probe, Remedy, everywhere, package
from lamina.errors import LaminaError, Unsupported
from lamina.ids import enter as ids_enter
from lamina.ids.map import IdMap, user_name
from lamina.ids.subid import find_program, range_command, range_of
from lamina.linux.namespaces import unshare_mounts

USER, RANGE, NESTED = "user namespace", "range of ids", "nested user namespace"
_UIDMAP = package("uidmap", "shadow-utils", "shadow")
_UIDMAP_AGAIN = Remedy("apt-get install --reinstall uidmap", "dnf reinstall shadow-utils", "pacman -S shadow")
#: Ids that a Debian needs: nobody is 65534.
_ENOUGH = 65534


def probes(host: Host) -> list[Probe]:
    """Return the probes, by need: root of the machine is who it is."""
    if host.ids.kind == "host" and host.is_root:
        return []
    ranged = host.ids.kind == "range"
    purpose = "all users of an image, not root alone"
    found = [Probe(USER, "every command without root", _user_namespace, needed=True)]
    if not host.is_root:  # root of a user namespace has what its maker gave it
        found.append(Probe(RANGE, purpose, _range, needed=ranged, after=(USER,)))
    before = (USER, RANGE) if ranged else (USER,)
    return [*found, Probe(NESTED, "a container's own users", _nested, needed=True, after=before)]


def as_user(host: Host) -> None:
    """Make the calling process what lamina's is when it handles files: root in this user's id map."""
    with _Refusals():
        ids_enter.enter(host.ids)


def as_container(host: Host) -> None:
    """Make the calling process what a container's first one is: root in a user namespace within the user's map."""
    as_user(host)
    if host.ids.kind != "host":
        with _Refusals():
            ids_enter.enter_within(host.ids)


class _Refusals:
    """For a `with` block: a user namespace that is refused becomes Missing, with the cause and its remedy."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        cause = error if isinstance(error, OSError) else error.__cause__ if isinstance(error, Unsupported) else None
        if isinstance(cause, OSError):
            refusal = ids_enter.why_refused(cause)
            raise Missing(refusal.reason, everywhere(refusal.command)) from error


def _user_namespace(host: Host) -> str:
    with _Refusals():
        ids_enter.enter(IdMap("single", host.uid, host.gid))
        # AppArmor lets a namespace be made and takes all power in it away: only a use of it tells.
        unshare_mounts()
    return "this user can be root in one"


def _range(host: Host) -> str:
    name = user_name(host.uid)
    uids, gids = range_of("/etc/subuid", host.uid), range_of("/etc/subgid", host.uid)
    if uids is None or gids is None:
        without = " and ".join(path for path, found in (("/etc/subuid", uids), ("/etc/subgid", gids)) if found is None)
        raise Missing(f"no range for {name} in {without}", everywhere(range_command(name)))
    absent = [program for program in ("newuidmap", "newgidmap") if find_program(program) is None]
    if absent:
        raise Missing(f"{' and '.join(absent)} not found", _UIDMAP)
    try:
        with _Refusals():
            ids_enter.enter(IdMap("range", host.uid, host.gid, uids, gids))
    except LaminaError as error:
        raise Missing(error.reason, _UIDMAP_AGAIN) from error
    count = min(uids.count, gids.count)
    few = "" if count >= _ENOUGH else f", which are few: nobody is {_ENOUGH}"
    return f"{count} users and groups beside root{few}"


def _nested(host: Host) -> str:
    as_container(host)
    return "one can be made within the first"
