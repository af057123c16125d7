"""Carry out a `Launch`: a container that is fully resolved becomes a running process, and its end a status.

The process tree is drawn in the package's docstring. `launch` runs where the ids are right (`lamina.ids.worker`) and in
a process with one thread: the command line itself, or a child of the helper.

What goes wrong before the command starts comes back over a pipe that is closed by execve(2), and is raised here.
"""

from __future__ import annotations

import errno
import fcntl
import marshal
import os

from lamina.errors import Conflict, InvalidInput, LaminaError, NotFound, Unsupported, UsageError
from lamina.ids.enter import become_root, unshare_user, write_map
from lamina.linux import capability, namespaces, process, seccomp, signals
from lamina.linux.files import close_range
from lamina.linux.libc import call
from lamina.runtime import limits, users
from lamina.runtime.init import exit_status, run_below_init
from lamina.runtime.room import Room
from lamina.runtime.spec import Plain, Ulimit
from lamina.runtime.steps import from_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from lamina.ids.worker import Fd

#: Exit statuses that docker gives to failures of its own.
FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127

_CLOSE_RANGE_CLOEXEC = 4
_KEYCTL_JOIN_SESSION_KEYRING = 1


class Launch(Plain):
    """Everything about one start, resolved.

    `directory` is the container's own; `root` where its tree is put together; `steps` those of
    `lamina.runtime.steps` in plain form. `user` is what `-u` says, resolved by the files of the image. `capabilities`
    are numbers: the bounding set, which root inside gets whole. `inner_map` is the id map of the container's own user
    namespace in terms of the launching process's ids (uid lines, gid lines), or empty for none. `fake_owners` answers
    chown(2), setgroups(2) and mknod(2) of devices with success where one id is all there is.
    """

    __slots__ = (
        "argv", "capabilities", "create_workdir", "directory", "env", "fake_owners", "hostname", "init", "inner_map",
        "network", "no_new_privileges", "root", "stdin", "steps", "tty", "ulimits", "user", "workdir",
    )  # fmt: skip

    def __init__(
        self,
        *,
        directory: str,
        root: str,
        steps: list[list[object]],
        argv: list[str],
        env: dict[str, str],
        workdir: str,
        create_workdir: bool,
        user: str,
        hostname: str,
        capabilities: list[int],
        no_new_privileges: bool,
        fake_owners: bool,
        inner_map: list[str],
        network: str,
        ulimits: list[dict[str, object]],
        init: bool,
        tty: bool,
        stdin: bool,
    ) -> None:
        self.directory = directory
        self.root = root
        self.steps = steps
        self.argv = argv
        self.env = env
        self.workdir = workdir
        self.create_workdir = create_workdir
        self.user = user
        self.hostname = hostname
        self.capabilities = capabilities
        self.no_new_privileges = no_new_privileges
        self.fake_owners = fake_owners
        self.inner_map = inner_map
        self.network = network
        self.ulimits = ulimits
        self.init = init
        self.tty = tty
        self.stdin = stdin


class Outcome(Plain):
    """How a run ended: the exit status as a shell's, what was made in the upper as mount targets, and what to tell."""

    __slots__ = ("made", "notes", "status")

    def __init__(self, status: int, made: list[str], notes: list[str]) -> None:
        self.status = status
        self.made = made
        self.notes = notes


def launch(
    *, plan: dict[str, object], lock: Fd, stdin: Fd, stdout: Fd, stderr: Fd, kill_on_term: bool = False
) -> dict[str, object]:
    """Run the container that `plan` (a plain `Launch`) describes and wait for its end; returns a plain `Outcome`.

    `lock` holds the container's lock, which the container's first process inherits: it is held to the end, even where
    the caller is killed. Signals that this process gets are passed on to the command; with `kill_on_term` SIGTERM kills
    it instead. Raises NotFound (status 127) or Unsupported (126) where the command cannot be executed, and LaminaError
    or OSError for what failed before.
    """
    os.set_inheritable(lock, False)  # not over execve(2): the command itself must not keep it
    what = Launch(**plan)  # type: ignore[arg-type]  # plain data, as `Launch.plain` gives it
    return _Start(what, (stdin, stdout, stderr), kill_on_term=kill_on_term).run().plain()


class _Start:
    """The caller's side of one start."""

    def __init__(self, what: Launch, stdio: tuple[int, int, int], *, kill_on_term: bool) -> None:
        self.what = what
        self.stdio = stdio
        self.pid = 0  # of the command's first process, as seen here
        self.early: list[int] = []  # signals that came before it was known
        self.kill_on_term = kill_on_term

    def run(self) -> Outcome:
        before = [(signal, signals.handle(signal, self._forward)) for signal in signals.FORWARDED]
        try:
            return self._run()
        finally:
            for signal, disposition in before:
                signals.restore(signal, disposition)

    def _run(self) -> Outcome:
        from_child, to_caller = os.pipe()
        to_child = from_caller = -1
        if self.what.inner_map:
            from_caller, to_child = os.pipe()
        terminal = _Terminal() if self.what.tty else None
        first = os.fork()
        if first == 0:
            for fd in (from_child, to_child):  # an end that stays open here would never read as closed
                if fd >= 0:
                    os.close(fd)
            _Child(self.what, self.stdio, to_caller, from_caller, terminal).be_first()
        os.close(to_caller)
        with open(from_child, "rb") as report:
            try:
                self._start(first, report, from_caller, to_child)
                made, notes = self._await_execution(report)
            except BaseException:
                os.waitpid(first, 0)
                raise
        master = terminal.receive() if terminal else -1
        self._record_pid()
        try:
            if terminal:
                terminal.pass_through(self.stdio, master, first, keyboard=self.what.stdin)
            _, status = os.waitpid(first, 0)
        finally:
            _remove(self._pid_file)
        return Outcome(exit_status(status), made, notes)

    def _start(self, first: int, report: object, from_caller: int, to_child: int) -> None:
        """Write the id map once the child has its user namespace, and learn the command's pid."""
        if self.what.inner_map:
            os.close(from_caller)
            try:
                _expect(report, "namespace")
                uid_lines, gid_lines = self.what.inner_map
                write_map(str(first), uid_lines, gid_lines, setgroups=True)
                os.write(to_child, b"1")
            finally:
                os.close(to_child)
        self.pid = int(str(_expect(report, "pid")[0]))
        for signal in self.early:
            self._forward(signal, None)

    def _await_execution(self, report: object) -> tuple[list[str], list[str]]:
        made, notes = _expect(report, "ready")
        last = _next_message(report)  # the end of the pipe: execve(2) closed it
        if last:
            _raise_from(last)
        return made, notes  # type: ignore[return-value]  # two lists of text, as the child sends them

    @property
    def _pid_file(self) -> str:
        return os.path.join(self.what.directory, "pid")

    def _record_pid(self) -> None:
        with open(self._pid_file, "w", encoding="ascii") as file:
            file.write(f"{self.pid}\n")

    def _forward(self, signal: int, _frame: object) -> None:
        if not self.pid:
            self.early.append(signal)
            return
        try:
            os.kill(self.pid, signals.SIGKILL if self.kill_on_term and signal == signals.SIGTERM else signal)
        except ProcessLookupError:
            pass


class _Terminal:
    """The socket over which the pty's master comes, and passing it through."""

    def __init__(self) -> None:
        import socket

        self.ours, self.theirs = socket.socketpair()

    def receive(self) -> int:
        from lamina.runtime import terminal

        self.theirs.close()
        with self.ours:
            return terminal.receive_master(self.ours)

    def pass_through(self, stdio: tuple[int, int, int], master: int, first: int, *, keyboard: bool) -> None:
        from lamina.runtime import terminal

        ended = os.pidfd_open(first)
        try:
            with terminal.Raw(stdio[0] if keyboard else -1):
                terminal.pass_through(stdio[0] if keyboard else -1, stdio[1], master, ended)
        finally:
            os.close(ended)
            os.close(master)


class _Child:
    """The container's side: C1, then C2. Nothing here returns to the caller's code."""

    def __init__(
        self, what: Launch, stdio: tuple[int, int, int], to_caller: int, from_caller: int, terminal: _Terminal | None
    ) -> None:
        self.what = what
        self.stdio = stdio
        self.to_caller = to_caller
        self.from_caller = from_caller
        self.terminal = terminal

    def be_first(self) -> NoReturn:
        """C1: make the namespaces that hold for children, fork, and end as C2 does."""
        status = FAILED
        try:
            process.set_parent_death_signal(signals.SIGKILL)
            os.setsid()  # signals of the caller's terminal are for the caller, which passes them on
            signals.set_all_default()
            self._unshare()
            process.set_parent_death_signal(signals.SIGKILL)  # new credentials may have cleared it
            second = os.fork()
            if second == 0:
                self._be_second()
            self._tell("pid", second)
            os.close(self.to_caller)
            status = exit_status(os.waitpid(second, 0)[1])
        except BaseException as error:  # noqa: BLE001  # told to the caller, who raises it
            self._tell_error(error)
        finally:
            os._exit(status)

    def _unshare(self) -> None:
        if self.what.inner_map:
            unshare_user()
            self._tell("namespace")
            if not os.read(self.from_caller, 1):
                os._exit(FAILED)  # the caller could not write the map, and says why itself
            become_root()
        flags = namespaces.CLONE_NEWPID | namespaces.CLONE_NEWIPC | namespaces.CLONE_NEWUTS | namespaces.CLONE_NEWCGROUP
        if self.what.network == "none":
            flags |= namespaces.CLONE_NEWNET
        namespaces.unshare(flags)
        if self.what.network == "none":
            from lamina.runtime.network import raise_loopback

            raise_loopback()

    def _be_second(self) -> NoReturn:
        """C2: pid 1. Put the tree together, make it the root, and become the command."""
        try:
            process.set_parent_death_signal(signals.SIGKILL)
            os.setsid()
            os.umask(0o022)
            room = Room(self.what.root, namespaces.unshare_mounts())
            slave = self._build(room)
            namespaces.sethostname(self.what.hostname)
            limits.apply([Ulimit(**fields) for fields in self.what.ulimits])  # type: ignore[arg-type]  # plain data
            self._tell("ready", room.made, room.notes)
            if self.what.init:
                run_below_init(lambda: self._execute(slave))
            self._execute(slave)
        except BaseException as error:  # noqa: BLE001  # told to the caller, who raises it
            self._tell_error(error)
        finally:
            os._exit(FAILED)

    def _build(self, room: Room) -> int:
        """Carry out the steps; returns the slave of the container's terminal or -1."""
        slave = -1
        for plain in self.what.steps:
            step = from_plain(plain)
            if self.terminal and plain[0] == "Pivot":
                slave = self._make_terminal(room)
            try:
                step.do(room)
            except OSError as error:
                raise LaminaError("do the step", _shown(step.describe(room.path)), error) from error
        return slave

    def _make_terminal(self, room: Room) -> int:
        from lamina.overlay.kernel import bind
        from lamina.runtime import terminal

        assert self.terminal is not None
        master, slave = terminal.open_pty(f"{room.path}/dev/pts/ptmx")
        terminal.send_master(self.terminal.theirs, master)
        os.close(master)
        place = room.ensure("/dev/console", directory=False)
        bind(f"/proc/self/fd/{slave}", f"/proc/self/fd/{place}", 0, recursive=False)
        os.close(place)
        return slave

    def _execute(self, slave: int) -> NoReturn:
        """Take the user, the capabilities and the standard streams, and execute the command."""
        try:
            if self.what.init:
                os.setsid()
                process.set_parent_death_signal(signals.SIGKILL)
            user = users.resolve(self.what.user, users.read_database("/etc/passwd"), users.read_database("/etc/group"))
            self._take_streams(slave, user.uid)
            if self.what.create_workdir:
                os.makedirs(self.what.workdir, exist_ok=True)
            self._join_new_keyring()
            self._become(user)
            env = {"HOME": user.home, **self.what.env}
            _enter_directory(self.what.workdir)
            close_range(3, (1 << 31) - 1, _CLOSE_RANGE_CLOEXEC)
            signals.set_all_default()
            program = find_program(self.what.argv[0], env.get("PATH", ""))
            _execute_file(program, self.what.argv, env)
        except BaseException as error:  # noqa: BLE001  # told to the caller, who raises it
            self._tell_error(error)
        finally:
            os._exit(FAILED)

    def _take_streams(self, slave: int, uid: int) -> None:
        if slave >= 0:
            from lamina.runtime import terminal

            os.fchown(slave, uid, -1)
            terminal.become_controlling(slave)
            return
        stdin = self.stdio[0] if self.what.stdin else os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        # First away from 0 to 2, so that none is overwritten before it is copied.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in (stdin, *self.stdio[1:])]
        for number, fd in enumerate(high):
            os.dup2(fd, number)

    def _join_new_keyring(self) -> None:
        """Leave the caller's session keyring: its keys are not the container's (keyrings(7))."""
        try:
            call("keyctl", _KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
        except OSError:  # ENOSYS, EPERM or EDQUOT: no keyrings here, or none to be had
            pass

    def _become(self, user: users.User) -> None:
        """Change to the user with the capabilities of the container, and no way back to others."""
        keep = frozenset(self.what.capabilities)
        if self.what.fake_owners:
            machine = seccomp.machine()
            seccomp.install(seccomp.compile_rules(FAKE_OWNERS, machine))
        capability.drop_bounding(keep)
        try:
            os.setgroups(user.groups)
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
        except OSError as error:
            raise _no_such_id(user, error) from error
        process.set_parent_death_signal(signals.SIGKILL)  # a change of user cleared it
        mine = keep & capability.bounding_set() if user.uid == 0 else frozenset()
        capability.capset(mine, mine, frozenset())
        if self.what.no_new_privileges:
            process.set_no_new_privileges()

    def _tell(self, *message: object) -> None:
        os.write(self.to_caller, marshal.dumps(message))  # type: ignore[arg-type]  # numbers, texts, lists of texts

    def _tell_error(self, error: BaseException) -> None:
        if isinstance(error, LaminaError):
            fields = (error.doing, error.subject, error.reason, error.hint)
            self._tell("error", type(error).__name__, error.status, *fields)
        elif isinstance(error, OSError):
            self._tell("error", "OSError", error.errno or 0, error.strerror or str(error), _text(error.filename))
        else:
            import traceback

            self._tell("error", "RuntimeError", 0, "".join(traceback.format_exception(error)))


#: What a process with one id believes to have done; there is nothing to record it with.
FAKE_OWNERS = (
    seccomp.Rule("chown", 0),
    seccomp.Rule("lchown", 0),
    seccomp.Rule("fchown", 0),
    seccomp.Rule("fchownat", 0),
    seccomp.Rule("setgroups", 0),
    seccomp.Rule("mknod", 0, argument=1, mask=0o170000, value=0o020000),
    seccomp.Rule("mknod", 0, argument=1, mask=0o170000, value=0o060000),
    seccomp.Rule("mknodat", 0, argument=2, mask=0o170000, value=0o020000),
    seccomp.Rule("mknodat", 0, argument=2, mask=0o170000, value=0o060000),
)


def find_program(name: str, path: str) -> str:
    """Return the file that execve(2) is to get for `name`, as execvp(3) would look for it inside the container.

    Raises NotFound (exit status 127), or Unsupported (126) where there is one that cannot be executed.
    """
    candidates = [name] if "/" in name else [os.path.join(place or ".", name) for place in path.split(":")]
    refused = ""
    for candidate in candidates:
        try:
            mode = os.stat(candidate).st_mode
        except OSError:
            continue
        if mode & 0o170000 == 0o100000 and os.access(candidate, os.X_OK):
            return candidate
        refused = refused or ("it is a directory" if mode & 0o170000 == 0o040000 else "permission denied")
    if refused and "/" in name:
        raise not_executable(name, refused)
    if "/" in name:
        raise not_found(name, "no such file in the container")
    raise not_found(name, f"it is in no directory of PATH ({path})")


def _execute_file(program: str, argv: list[str], env: dict[str, str]) -> None:
    try:
        os.execve(program, argv, env)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise not_found(program, "the interpreter or loader that it names does not exist") from error
        if error.errno in (errno.EACCES, errno.ENOEXEC, errno.EPERM):
            raise not_executable(program, error.strerror or "refused") from error
        raise


def not_found(name: str, reason: str) -> NotFound:
    """Return the error for a command that does not exist: exit status 127."""
    error = NotFound("run", name, reason)
    error.status = NOT_FOUND
    return error


def not_executable(name: str, reason: str) -> Unsupported:
    """Return the error for a command that exists and cannot be executed: exit status 126."""
    error = Unsupported("run", name, reason)
    error.status = NOT_EXECUTABLE
    return error


def _enter_directory(path: str) -> None:
    try:
        os.chdir(path)
    except OSError as error:
        raise LaminaError("start in the directory", path, error) from error


def _no_such_id(user: users.User, error: OSError) -> LaminaError:
    if error.errno != errno.EINVAL:
        return LaminaError("become", f"user {user.uid}, group {user.gid}", error)
    return Unsupported(
        "become",
        f"user {user.uid}, group {user.gid}",
        "that id does not exist in this user's id map",
        "run as root inside (-u 0), or get a range of ids in /etc/subuid and /etc/subgid",
    )


def _next_message(report: object) -> tuple[object, ...]:
    """Return the child's next message, or nothing at the end of the pipe."""
    try:
        message: tuple[object, ...] = marshal.load(report)  # type: ignore[arg-type]  # a file; our own child wrote it
    except EOFError:
        return ()
    return message


def _expect(report: object, kind: str) -> tuple[object, ...]:
    message = _next_message(report)
    if not message:
        raise LaminaError("start the container", "", "its first process ended without a word")
    if message[0] != kind:
        _raise_from(message)
    return message[1:]


def _raise_from(message: tuple[object, ...]) -> NoReturn:
    """Raise the error that a child told."""
    _, kind, number, *fields = message
    if kind == "OSError":
        raise OSError(number, *fields)
    if kind == "RuntimeError":
        raise RuntimeError(fields[0])
    kinds = (LaminaError, Conflict, InvalidInput, NotFound, Unsupported, UsageError)
    found = next((each for each in kinds if each.__name__ == kind), LaminaError)
    error = found(*fields)  # type: ignore[arg-type]  # the four texts
    error.status = int(str(number))
    raise error


def _shown(lines: list[str]) -> str:
    return lines[-1] if lines else ""


def _text(name: object) -> str:
    return os.fsdecode(name) if isinstance(name, bytes | str) else ""


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
