"""From an image, options and a container's directory to a `Launch`: everything decided, nothing done.

`Plan` holds the launch with the files and directories that must stand in the container's directory before it. `prepare`
makes those. Docker's defaults for capabilities and for what is masked in /proc and /sys are the ones of moby's
`oci/defaults.go` and `oci/caps/defaults.go`.
"""

from __future__ import annotations

import os
import stat

from lamina.errors import InvalidInput, Unsupported, UsageError
from lamina.ids.map import IdMap
from lamina.linux import capability
from lamina.linux import mount as kernel
from lamina.linux.namespaces import in_first_user_namespace
from lamina.runtime import steps
from lamina.runtime.filters import UNCONFINED, ensure_filter, filter_path
from lamina.runtime.launch import Launch
from lamina.runtime.network import etc_files
from lamina.runtime.spec import Bind, Plain, RunOptions, Tmpfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.overlay.drivers import Driver
    from lamina.runtime.steps import Step

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

DEFAULT_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
)  # fmt: skip

MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
    "/sys/firmware",
)  # fmt: skip

READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

#: Where apt is told that there is one id only: bound into containers that have no other.
APT_CONFIG = "/run/lamina/apt.conf"

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
)

_MAX_HOSTNAME = 64  # __NEW_UTS_LEN: sethostname(2) answers EINVAL beyond

_NOSUID_NOEXEC = kernel.MS_NOSUID | kernel.MS_NOEXEC
_ALL_SAFE = _NOSUID_NOEXEC | kernel.MS_NODEV


class ImageFacts(Plain):
    """What a start needs to know of an image's config: its defaults for the process."""

    __slots__ = ("command", "entrypoint", "env", "user", "workdir")

    def __init__(
        self,
        *,
        command: list[str] | None = None,
        entrypoint: list[str] | None = None,
        env: dict[str, str] | None = None,
        user: str = "",
        workdir: str = "",
    ) -> None:
        self.command = command or []
        self.entrypoint = entrypoint or []
        self.env = env or {}
        self.user = user
        self.workdir = workdir


class Target(Plain):
    """A name that must exist to be mounted on: a directory, an empty file, or with `link` a copy of a symbolic link.

    `path` is the one inside.
    """

    __slots__ = ("directory", "link", "mode", "path")

    def __init__(self, path: str, *, directory: bool = False, mode: int = 0, link: str = "") -> None:
        self.path = path
        self.directory = directory
        self.mode = mode or (0o755 if directory else 0o644)
        self.link = link

    def make(self, tree: str) -> None:
        """Make it in `tree`; what is there stays."""
        path = tree + self.path
        _make_parents(path, tree)
        if os.path.lexists(path):
            return
        if self.link:
            os.symlink(self.link, path)
            return
        if self.directory:
            os.mkdir(path)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
        os.chmod(path, self.mode)


class Plan:
    """A launch, and what must exist before it: `files` by host path, and `targets`, the places to mount on.

    The targets are made in `targets_tree`, which stands below the image's layers: where the image has the name, its own
    shows; where it has not, there is something to mount on, and nothing has to be made in the upper that a commit would
    have to leave out again. `uppers` are pairs of an upper and the topmost directory below it, which it is to look like
    until something is written: of a merged directory, the topmost one's mode, owner and times are what is seen.
    `profile` is what the filter of system calls is made of.
    """

    __slots__ = ("directories", "files", "launch", "profile", "targets", "targets_tree", "uppers")

    def __init__(
        self,
        launch: Launch,
        *,
        directories: list[str],
        files: list[tuple[str, bytes]],
        targets: list[Target],
        targets_tree: str,
        profile: str,
        uppers: list[tuple[str, str]],
    ) -> None:
        self.launch = launch
        self.directories = directories
        self.files = files
        self.targets = targets
        self.targets_tree = targets_tree
        self.profile = profile
        self.uppers = uppers


class Base:
    """What stands at the bottom of the tree: the steps that mount it, the directories that these need, and its uppers.

    `needed` are names that the lowest tree must hold.
    """

    __slots__ = ("directories", "needed", "steps")

    def __init__(self, stack: list[Step], *, directories: list[str], needed: list[Target] | None = None) -> None:
        self.steps = stack
        self.directories = directories
        self.needed = needed or []


def image_base(layers: list[str], directory: str, ids: IdMap, *, throw_away: bool, driver: Driver = "auto") -> Base:
    """Return the base for an image: its layers, base first, over the targets' tree.

    With `throw_away` the kernel need not write the upper to disk ("volatile"): nobody mounts it again.
    """
    upper, work = f"{directory}/upper", f"{directory}/work"
    stack = steps.Stack(
        "/",
        layers=[f"{directory}/targets", *layers],
        upper=upper,
        work=work,
        userxattr=not is_first_root(ids),
        options=overlay_options(ids, throw_away=throw_away),
        driver=driver,
    )
    return Base([stack], directories=[upper, work])


def overlay_options(ids: IdMap, *, throw_away: bool) -> list[tuple[str, str]]:
    """Return the options for layers that leave this machine: no redirects and no metadata-only copies in them.

    In a user namespace the kernel allows neither, and neither option.
    """
    options = [("redirect_dir", "nofollow"), ("metacopy", "off")] if is_first_root(ids) else []
    return [*options, ("volatile", "")] if throw_away else options


def plan(
    base: Base,
    facts: ImageFacts,
    options: RunOptions,
    *,
    directory: str,
    filters: str,
    ids: IdMap,
    hostname: str,
    term: str = "",
) -> Plan:
    """Return the plan of a container whose own directory is `directory` (absolute); `filters` is where some are kept.

    `hostname` is what it is called unless the options say; `term` the caller's TERM. Raises UsageError for options that
    contradict each other, InvalidInput or Unsupported for what cannot be.
    """
    name = _hostname(options.hostname or hostname)
    argv = _argv(facts, options)
    etc = etc_files(name, options.add_hosts, network=options.network)
    env = _environment(facts, options, name, term)
    if ids.kind == "single":
        etc[APT_CONFIG] = b'APT::Sandbox::User "root";\n'
        env.setdefault("APT_CONFIG", APT_CONFIG)
    sources = {inside: f"{directory}/{os.path.basename(inside)}" for inside in etc}
    mounts = [*_system_steps(options, ids), *_file_steps(sources), *_asked_steps(options)]
    every = [steps.Private(), *base.steps, *mounts, *_guard_steps(options, base), steps.Pivot()]
    capabilities = _capabilities(options)
    profile = options.seccomp or (UNCONFINED if options.privileged else "")
    launch = Launch(
        directory=directory,
        root=f"{directory}/merged",
        steps=[steps.to_plain(step) for step in every],
        argv=argv,
        env=env,
        workdir=_workdir(facts, options),
        create_workdir=not options.read_only,
        user=options.user or facts.user,
        hostname=name,
        capabilities=capabilities,
        no_new_privileges=options.no_new_privileges,
        fake_owners=ids.kind == "single",
        filter=filter_path(profile, capabilities, kept=filters, directory=directory),
        inner_map=[] if ids.kind == "host" else [ids.inner_lines(groups=False), ids.inner_lines(groups=True)],
        network=options.network,
        ulimits=[limit.plain() for limit in options.ulimits],
        init=options.init,
        tty=options.tty,
        stdin=options.stdin,
    )
    return Plan(
        launch,
        directories=[f"{directory}/merged", *base.directories],
        files=[(sources[inside], content) for inside, content in etc.items()],
        targets=[*base.needed, *_targets(mounts)],
        targets_tree=f"{directory}/targets",
        profile=profile,
        uppers=[(step.upper, step.layers[-1]) for step in base.steps if isinstance(step, steps.Stack) and step.upper],
    )


def prepare(what: Plan) -> str:
    """Make the directories, files, targets and filter of a plan; may be repeated.

    Returns what a person should know, or nothing.
    """
    for directory in (what.targets_tree, *what.directories):
        os.makedirs(directory, exist_ok=True)
    for upper, topmost in what.uppers:
        if not os.listdir(upper):
            make_like(upper, topmost)
    for path, content in what.files:
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, 0o644)
    for target in what.targets:
        target.make(what.targets_tree)
    return ensure_filter(what.launch.filter, what.profile, what.launch.capabilities) if what.launch.filter else ""


def _make_parents(path: str, tree: str) -> None:
    """Make the directories above `path`, which is in `tree`, with a mode that the caller's umask has no part in."""
    parent = os.path.dirname(path)
    if parent == tree or os.path.isdir(parent):
        return
    _make_parents(parent, tree)
    os.mkdir(parent)
    os.chmod(parent, 0o755)


def make_like(directory: str, model: str) -> None:
    """Give a directory the mode and times of another, and its owner where that can be given."""
    status = os.stat(model)
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        try:
            os.chown(directory, status.st_uid, status.st_gid)
        except OSError:  # EPERM, or EINVAL for an id that this user does not have: it stays the user's
            pass
    os.chmod(directory, stat.S_IMODE(status.st_mode))
    os.utime(directory, ns=(status.st_mtime_ns, status.st_mtime_ns))


def _argv(facts: ImageFacts, options: RunOptions) -> list[str]:
    entrypoint = facts.entrypoint if options.entrypoint is None else options.entrypoint
    # As docker does: with an entrypoint given, the image's command is not its arguments.
    default = facts.command if options.entrypoint is None else []
    argv = [*entrypoint, *(default if options.command is None else options.command)]
    if not argv or not argv[0]:
        raise UsageError("run", "", "no command is given, and the image names none", "lamina run IMAGE COMMAND")
    _check_texts("the command", argv)
    return argv


def _environment(facts: ImageFacts, options: RunOptions, hostname: str, term: str) -> dict[str, str]:
    env = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if options.tty:
        env["TERM"] = term or "xterm"
    env |= facts.env | options.env
    _check_texts("the environment", [*env.keys(), *env.values()])
    return env


def _check_texts(what: str, texts: list[str]) -> None:
    """Refuse what execve(2) cannot take: NUL, and the half characters that JSON can spell."""
    if any("\0" in text for text in texts):
        raise InvalidInput("run with", what, "it holds a NUL character")
    try:
        for text in texts:
            os.fsencode(text)
    except UnicodeEncodeError as error:
        raise InvalidInput("run with", what, "it holds half a character (a lone surrogate)") from error


def _hostname(name: str) -> str:
    if not name.isascii() or not name.isprintable() or " " in name:
        raise InvalidInput("use the host name", name, "it is not made of printable ASCII characters")
    if len(name) > _MAX_HOSTNAME:
        raise InvalidInput("use the host name", name, f"it is longer than {_MAX_HOSTNAME} characters")
    return name


def _workdir(facts: ImageFacts, options: RunOptions) -> str:
    path = options.workdir or facts.workdir or "/"
    if not path.startswith("/"):
        raise InvalidInput("start in the directory", path, "it is not an absolute path")
    _check_texts("the working directory", [path])
    return path


def _capabilities(options: RunOptions) -> list[int]:
    available = capability.bounding_set()
    if options.privileged:
        return sorted(available)
    wanted = {capability.number(name) for name in DEFAULT_CAPABILITIES} & available
    added, dropped = _numbers(options.cap_add), _numbers(options.cap_drop)
    if "ALL" in added:
        wanted = set(available)
    if "ALL" in dropped:
        wanted = set()
    wanted |= {number for number in added.values() if number >= 0}
    missing = wanted - available
    if missing:
        names = ", ".join(capability.NAMES[number] for number in sorted(missing))
        raise Unsupported("add the capability", names, "this process cannot have it itself")
    return sorted(wanted - {number for number in dropped.values() if number >= 0})


def _numbers(names: list[str]) -> dict[str, int]:
    """Return the numbers by name, "ALL" as -1."""
    found = {}
    for name in names:
        plain = name.upper().removeprefix("CAP_")
        try:
            found[plain] = -1 if plain == "ALL" else capability.number(plain)
        except ValueError:
            raise UsageError("use the capability", name, "there is no such capability (capabilities(7))") from None
    return found


def is_first_root(ids: IdMap) -> bool:
    """Tell whether a container's root is root of the machine, and not that of a user namespace, be it an outer one."""
    return ids.kind == "host" and in_first_user_namespace()


def _system_steps(options: RunOptions, ids: IdMap) -> list[Step]:
    """Return /proc, /sys and /dev."""
    found: list[Step] = [steps.FileSystem("proc", "/proc", _ALL_SAFE)]
    read_only = 0 if options.privileged else kernel.MS_RDONLY
    if is_first_root(ids) or options.network == "none":
        found.append(steps.FileSystem("sysfs", "/sys", _ALL_SAFE | read_only))
        found += _cgroup_steps(read_only)
    else:
        # Whoever does not own the network namespace may not mount sysfs, but may bind it with all below it.
        found.append(steps.BindPath("/sys", "/sys", _attributes(_ALL_SAFE | kernel.MS_RDONLY)))
    return found + _device_steps(options, ids)


def _cgroup_steps(read_only: int) -> list[Step]:
    if not os.path.isdir("/sys/fs/cgroup"):
        return []
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):  # one tree, version 2
        return [steps.FileSystem("cgroup2", "/sys/fs/cgroup", _ALL_SAFE | read_only)]
    return [steps.BindPath("/sys/fs/cgroup", "/sys/fs/cgroup", _attributes(_ALL_SAFE | kernel.MS_RDONLY))]


def _device_steps(options: RunOptions, ids: IdMap) -> list[Step]:
    """Return /dev: nothing but binds of harmless devices, since there is no devices cgroup to rely on."""
    # A read-only mount does not keep a device from being written, only its node from being changed: chmod(2) of
    # /dev/null inside would be one of the host's.
    safe = _attributes(_NOSUID_NOEXEC | kernel.MS_RDONLY)
    names = _host_devices() if options.privileged else _DEVICES
    found: list[Step] = [steps.FileSystem("tmpfs", "/dev", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=64k")]
    found += [steps.BindPath(f"/dev/{name}", f"/dev/{name}", safe) for name in names]
    found += [steps.Link(target, text) for target, text in _LINKS]
    terminals = "newinstance,ptmxmode=0666,mode=0620" + (",gid=5" if ids.has(5) else "")
    found += [
        steps.FileSystem("devpts", "/dev/pts", _NOSUID_NOEXEC, terminals),
        steps.FileSystem("tmpfs", "/dev/shm", _ALL_SAFE, "mode=1777,size=64m"),
        steps.FileSystem("mqueue", "/dev/mqueue", _ALL_SAFE),
    ]
    return found + [steps.BindPath(device.source, device.target, safe) for device in options.devices]


def _host_devices() -> list[str]:
    """Return what lies in the host's /dev, but for links and what a container has of its own."""
    own = {"console", "mqueue", "ptmx", "pts", "shm"}
    return sorted(entry.name for entry in os.scandir("/dev") if entry.name not in own and not entry.is_symlink())


def _file_steps(sources: dict[str, str]) -> list[Step]:
    nodev = _attributes(kernel.MS_NOSUID | kernel.MS_NODEV)
    found: list[Step] = []
    for inside, source in sources.items():
        read_only = kernel.MOUNT_ATTR_RDONLY if inside == APT_CONFIG else 0
        found.append(steps.BindPath(source, inside, nodev | read_only))
    return found


def _asked_steps(options: RunOptions) -> list[Step]:
    """Return what -v, --mount and --tmpfs ask for; a target deeper in the tree comes after the one above it."""
    found: list[Step] = []
    for mount in sorted(options.mounts, key=lambda mount: mount.target.count("/")):
        if not mount.target.startswith("/"):
            raise InvalidInput("mount on", mount.target, "the target is not an absolute path")
        if os.path.normpath(mount.target) == "/":
            raise InvalidInput("mount on", mount.target, "the root itself is the stack")
        match mount:
            case Bind():
                found.append(_bind_step(mount))
            case Tmpfs():
                flags, data = _tmpfs_flags(mount)
                found.append(steps.FileSystem("tmpfs", os.path.normpath(mount.target), flags, data))
    return found


def _bind_step(mount: Bind) -> Step:
    if not mount.create and not os.path.exists(mount.source):
        raise InvalidInput("bind into the container", mount.source, "no such file or directory")
    read_only = kernel.MOUNT_ATTR_RDONLY if mount.read_only else 0
    target = os.path.normpath(mount.target)
    # Only what is missing is made, and then as a directory; a file stays one.
    create = mount.create and not os.path.exists(mount.source)
    return steps.BindPath(mount.source, target, kernel.MOUNT_ATTR_NODEV | read_only, create=create)


def _tmpfs_flags(mount: Tmpfs) -> tuple[int, str]:
    """Return flags and data: nosuid, nodev and noexec are docker's defaults, `exec` and `suid` undo theirs."""
    flags, data = _ALL_SAFE, []
    words = {"ro": kernel.MS_RDONLY, "noexec": kernel.MS_NOEXEC, "nosuid": kernel.MS_NOSUID}
    for word in filter(None, mount.options.split(",")):
        if word in words:
            flags |= words[word]
        elif word in ("exec", "suid"):
            flags &= ~words["no" + word]
        elif word.partition("=")[0] in ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "huge", "mpol"):
            data.append(word)
        elif word not in ("rw", "nodev"):
            raise UsageError("mount a tmpfs on", mount.target, f"unknown option {word}")
    return flags, ",".join(data)


def _guard_steps(options: RunOptions, base: Base) -> list[Step]:
    found: list[Step] = []
    if not options.privileged:
        found += [steps.ReadOnly(path) for path in READ_ONLY]
        found += [steps.Mask(path) for path in MASKED]
    if options.read_only:
        found.append(steps.Seal([step.target for step in base.steps if isinstance(step, steps.Stack)]))
    return found


def _attributes(flags: int) -> int:
    return sum(attribute for attribute, flag in kernel.ATTRIBUTE_FLAGS if flags & flag)


def _targets(mounts: list[Step]) -> list[Target]:
    """Return the places that must exist before anything is mounted: those that lie in no other mount of the plan."""
    found: list[Target] = []
    for step in mounts:
        match step:
            case steps.FileSystem(target=path):
                directory = True
            case steps.BindPath(target=path, source=source, create=create):
                directory = create or os.path.isdir(source)
            case _:
                continue
        if ".." not in path.split("/") and not any(_is_below(path, above.path) for above in found):
            found.append(Target(path, directory=directory))
    return found


def _is_below(path: str, directory: str) -> bool:
    return path.startswith(directory.rstrip("/") + "/")
