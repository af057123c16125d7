"""What a person asks of a run, in docker's words and with docker's meanings.

Host paths are absolute. Paths inside are as they are seen in the container.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from lamina.overlay.drivers import Driver

    Network = Literal["host", "none"]


class Plain:
    """A value that is its slots: equal by them, shown with them, and made again from `plain()`."""

    __slots__: tuple[str, ...] = ()

    def plain(self) -> dict[str, object]:
        """Return the fields by name, as data that JSON can carry."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Plain) and self.plain() == other.plain()

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.plain().items())})"


class Bind(Plain):
    """`-v SOURCE:TARGET[:ro]`, `--mount type=bind`: a file or directory of the host, with the mounts below it.

    `create` makes a missing source as a directory, as docker's -v does (and its --mount does not).
    """

    __slots__ = ("create", "read_only", "source", "target")

    def __init__(self, source: str, target: str, *, read_only: bool = False, create: bool = False) -> None:
        self.source = source
        self.target = target
        self.read_only = read_only
        self.create = create


class Tmpfs(Plain):
    """`--tmpfs TARGET[:OPTIONS]`, `--mount type=tmpfs`: `options` are mount(8)'s, such as "size=64m,mode=1777,exec"."""

    __slots__ = ("options", "target")

    def __init__(self, target: str, *, options: str = "") -> None:
        self.target = target
        self.options = options


class Device(Plain):
    """`--device SOURCE[:TARGET]`: a device node of the host, bound into /dev."""

    __slots__ = ("source", "target")

    def __init__(self, source: str, target: str = "") -> None:
        self.source = source
        self.target = target or source


class Ulimit(Plain):
    """`--ulimit NAME=SOFT[:HARD]`: a limit of setrlimit(2) by its name in lower case; -1 is unlimited."""

    __slots__ = ("hard", "name", "soft")

    def __init__(self, name: str, soft: int, hard: int) -> None:
        self.name = name
        self.soft = soft
        self.hard = hard


class RunOptions:
    """Everything that `lamina run` can be told about the process and its surroundings.

    `env` entries override those of the image; `command` and `entrypoint` are None where the image's own apply.
    `stdin` keeps standard input open to the command; `tty` gives it a terminal of its own. `driver` presents the stack.
    `seccomp` is a file with a profile in docker's form, or "unconfined"; by default docker's own rules hold.
    """

    __slots__ = (
        "add_hosts", "cap_add", "cap_drop", "command", "devices", "driver", "entrypoint", "env", "hostname", "init",
        "labels", "mounts", "network", "no_new_privileges", "privileged", "read_only", "seccomp", "stdin", "tty",
        "ulimits", "user", "workdir",
    )  # fmt: skip

    def __init__(
        self,
        *,
        command: list[str] | None = None,
        entrypoint: list[str] | None = None,
        env: dict[str, str] | None = None,
        workdir: str = "",
        user: str = "",
        mounts: list[Bind | Tmpfs] | None = None,
        devices: list[Device] | None = None,
        read_only: bool = False,
        hostname: str = "",
        network: Network = "host",
        add_hosts: list[tuple[str, str]] | None = None,
        stdin: bool = False,
        tty: bool = False,
        init: bool = False,
        no_new_privileges: bool = False,
        seccomp: str = "",
        privileged: bool = False,
        cap_add: list[str] | None = None,
        cap_drop: list[str] | None = None,
        ulimits: list[Ulimit] | None = None,
        labels: dict[str, str] | None = None,
        driver: Driver = "auto",
    ) -> None:
        self.command = command
        self.entrypoint = entrypoint
        self.env = env or {}
        self.workdir = workdir
        self.user = user
        self.mounts = mounts or []
        self.devices = devices or []
        self.read_only = read_only
        self.hostname = hostname
        self.network = network
        self.add_hosts = add_hosts or []
        self.stdin = stdin
        self.tty = tty
        self.init = init
        self.no_new_privileges = no_new_privileges
        self.seccomp = seccomp
        self.privileged = privileged
        self.cap_add = cap_add or []
        self.cap_drop = cap_drop or []
        self.ulimits = ulimits or []
        self.labels = labels or {}
        self.driver = driver
