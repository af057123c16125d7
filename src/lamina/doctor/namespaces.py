"""What a container is made of beside its files: namespaces, a root of its own, /proc, a filter, the mount API."""

from __future__ import annotations

import errno
import os

from lamina.doctor.identity import NESTED, as_container
from lamina.doctor.values import Host, Missing, Probe
from lamina.linux import mount as kernel
from lamina.linux import namespaces, process, seccomp, signals

MOUNT = "mount namespace"
_KINDS = (
    ("mount", namespaces.CLONE_NEWNS, "a container's own file tree", True),
    ("pid", namespaces.CLONE_NEWPID, "a container's own processes", True),
    ("ipc", namespaces.CLONE_NEWIPC, "a container's own shared memory", True),
    ("uts", namespaces.CLONE_NEWUTS, "a container's own host name", True),
    ("cgroup", namespaces.CLONE_NEWCGROUP, "a container's own view of cgroups", True),
    ("network", namespaces.CLONE_NEWNET, "run --network none", False),
)
_SAFE = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC


def probes(host: Host) -> list[Probe]:
    """Return the probes in the order in which a container needs them."""
    kinds = [
        Probe(f"{name} namespace", purpose, _Maker(flag), needed=needed, after=(NESTED,))
        for name, flag, purpose, needed in _KINDS
    ]
    return [
        *kinds,
        Probe("root of its own", "every container", _root, needed=True, after=(NESTED, MOUNT)),
        Probe("own /proc", "not seeing the host's processes", _proc, after=(NESTED, MOUNT, "pid namespace")),
        Probe(
            "seccomp filter",
            "programs that give files away, with one id" if host.ids.kind == "single" else "filters of a container",
            _filter,
            needed=True,
        ),
        Probe(
            "mount API",
            "long paths, hundreds of layers, the kernel's own words in errors",
            _mount_api,
            after=(NESTED, MOUNT),
        ),
    ]


class _Maker:
    """The probe of one kind of namespace."""

    def __init__(self, flag: int) -> None:
        self.flag = flag

    def __call__(self, host: Host) -> str:
        as_container(host)
        try:
            namespaces.unshare(self.flag)
        except OSError as error:
            raise Missing(_why(error)) from error
        return "can be made"


def _why(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "used up: the limit in /proc/sys/user is reached"
    if error.errno == errno.EINVAL:
        return "this kernel has none"
    return error.strerror or "refused"


def own_mounts() -> namespaces.MountNamespace:
    """Give the calling process a mount namespace of which nothing is seen outside."""
    namespace = namespaces.unshare_mounts()
    kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    return namespace


def _root(host: Host) -> str:
    as_container(host)
    namespace = own_mounts()
    kernel.mount("tmpfs", "/tmp", "tmpfs", 0, "mode=755")
    os.chdir("/tmp")
    os.mkdir("pts")
    kernel.mount("devpts", "pts", "devpts", kernel.MS_NOSUID | kernel.MS_NOEXEC, "newinstance,ptmxmode=0666")
    namespace.check()
    kernel.pivot_root(".", ".")
    kernel.umount2(".", kernel.MNT_DETACH)
    os.chdir("/")
    if os.listdir("/") != ["pts"]:
        raise Missing("pivot_root leaves the old root in its place")
    return "tmpfs, devpts and pivot_root work"


def _proc(host: Host) -> str:
    as_container(host)
    own_mounts()
    namespaces.unshare(namespaces.CLONE_NEWPID)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            process.set_parent_death_signal(signals.SIGKILL)
            kernel.mount("proc", "/proc", "proc", _SAFE)
            status = 0
        except OSError as error:
            status = error.errno or 1
        finally:
            os._exit(status)
    _, ended = os.waitpid(pid, 0)
    failed = os.waitstatus_to_exitcode(ended)
    if failed == errno.EPERM:
        raise Missing("refused: an outer container masks parts of /proc; the outer one is shown instead")
    if failed:
        raise Missing(os.strerror(abs(failed)))
    return "can be mounted in a pid namespace"


def _filter(host: Host) -> str:
    process.set_no_new_privileges()
    try:
        rule = seccomp.Rule("setgroups", errno.EXDEV)
        seccomp.install(seccomp.compile_rules((rule,), seccomp.machine()))
    except KeyError:
        raise Missing(f"no table of system calls for {seccomp.machine()}") from None
    try:
        os.setgroups([])
    except OSError as error:
        if error.errno == errno.EXDEV:
            return "can be installed, and holds"
    raise Missing("a filter is taken, and does nothing")


def _mount_api(host: Host) -> str:
    as_container(host)
    own_mounts()
    try:
        context = kernel.fsopen("tmpfs")
        try:
            kernel.fsconfig_create(context)
            tree = kernel.fsmount(context, 0)
        finally:
            os.close(context)
        try:
            kernel.mount_setattr(tree, "", kernel.AT_EMPTY_PATH, kernel.MOUNT_ATTR_RDONLY)
        finally:
            os.close(tree)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise Missing("this kernel, or a filter around it, is from before Linux 5.12; mount(2) serves") from error
        raise
    return "fsopen, fsmount and mount_setattr work"
