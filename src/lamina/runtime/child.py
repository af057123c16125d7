"""The two processes of a container before the command: C1, which makes the namespaces, and C2, which becomes it."""

from __future__ import annotations

import errno
import fcntl
import os

from lamina.errors import LaminaError, Unsupported
from lamina.ids.enter import become_root, unshare_user
from lamina.linux import capability, namespaces, process, seccomp, signals
from lamina.linux.files import close_range
from lamina.linux.libc import call
from lamina.linux.sockets import send_fd
from lamina.runtime import limits, users
from lamina.runtime.execute import (
    FAILED,
    enter_directory,
    execute_file,
    find_program,
    make_directory,
    refuse_magic,
)
from lamina.runtime.filters import read_filter
from lamina.runtime.init import exit_status, run_below_init
from lamina.runtime.report import tell, tell_error
from lamina.runtime.room import Room
from lamina.runtime.spec import Ulimit
from lamina.runtime.steps import from_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import NoReturn

    from lamina.overlay.stack import Overlay
    from lamina.runtime.launch import Launch

_CLOSE_RANGE_CLOEXEC = 4
_KEYCTL_JOIN_SESSION_KEYRING = 1

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


class Child:
    """The container's side: C1, then C2. Nothing here returns to the caller's code.

    `to_caller` takes the messages of `lamina.runtime.report`, `channel` the descriptors that go with them;
    `from_caller` says when the id map is written.
    """

    def __init__(
        self, what: Launch, stdio: tuple[int, int, int], *, to_caller: int, from_caller: int, channel: socket
    ) -> None:
        self.what = what
        self.stdio = stdio
        self.to_caller = to_caller
        self.from_caller = from_caller
        self.channel = channel
        self.filter = b""

    def be_first(self, caller: int) -> NoReturn:
        """C1: make the namespaces that hold for children, fork, and end as C2 does."""
        status = FAILED
        try:
            process.set_parent_death_signal(signals.SIGKILL)
            if os.getppid() != caller:  # it ended before that
                os._exit(FAILED)
            os.setsid()  # signals of the caller's terminal are for the caller, which passes them on
            signals.set_all_default()
            self._unshare()
            process.set_parent_death_signal(signals.SIGKILL)  # new credentials may have cleared it
            second = os.fork()
            if second == 0:
                self._be_second()
            # A set-id command loses its parent-death signal (execve(2)), so the end of the caller is passed on by hand.
            signals.handle(signals.SIGTERM, lambda _signal, _frame: os.kill(second, signals.SIGKILL))
            process.set_parent_death_signal(signals.SIGTERM)
            if os.getppid() != caller:
                os.kill(second, signals.SIGKILL)
            tell(self.to_caller, "pid", second)
            os.close(self.to_caller)
            status = exit_status(os.waitpid(second, 0)[1])
        except BaseException as error:  # noqa: BLE001  # told to the caller, who raises it
            tell_error(self.to_caller, error)
        finally:
            os._exit(status)

    def _unshare(self) -> None:
        if self.what.inner_map:
            unshare_user()
            tell(self.to_caller, "namespace")
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
            room = Room(self.what.root, namespaces.unshare_mounts(), self._hand_over)
            self.filter = read_filter(self.what.filter)  # the file is out of sight once the root is another
            slave = self._build(room)
            namespaces.sethostname(self.what.hostname)
            limits.apply([Ulimit(**fields) for fields in self.what.ulimits])  # type: ignore[arg-type]  # plain data
            tell(self.to_caller, "ready", room.made, room.notes, room.driver)
            if self.what.init:
                run_below_init(lambda: self._execute(slave))
            self._execute(slave)
        except BaseException as error:  # noqa: BLE001  # told to the caller, who raises it
            tell_error(self.to_caller, error)
        finally:
            os._exit(FAILED)

    def _build(self, room: Room) -> int:
        """Carry out the steps; returns the slave of the container's terminal or -1."""
        slave = -1
        for plain in self.what.steps:
            step = from_plain(plain)
            if self.what.tty and plain[0] == "Pivot":
                slave = self._make_terminal(room)
            try:
                step.do(room)
            except OSError as error:
                raise LaminaError("do the step", " ".join(step.describe(room.path)[-1:]), error) from error
        return slave

    def _hand_over(self, overlay: Overlay, device: int) -> None:
        """Let the caller start the server of a union: outside of the container's namespaces, which end before it."""
        tell(self.to_caller, "serve", overlay.plain())
        send_fd(self.channel, device)

    def _make_terminal(self, room: Room) -> int:
        from lamina.overlay.kernel import bind
        from lamina.runtime import terminal

        master, slave = terminal.open_pty(f"{room.path}/dev/pts/ptmx")
        terminal.copy_size(self.stdio[1], master)  # before the command can ask for it
        tell(self.to_caller, "terminal")
        send_fd(self.channel, master)
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
                make_directory(self.what.workdir)
            self._join_new_keyring()
            self._become(user)
            env = {"HOME": user.home, **self.what.env}
            enter_directory(self.what.workdir)
            close_range(3, (1 << 31) - 1, _CLOSE_RANGE_CLOEXEC)
            signals.set_all_default()
            program = find_program(self.what.argv[0], env.get("PATH", ""))
            refuse_magic(program)
            execute_file(program, self.what.argv, env)
        except BaseException as error:  # noqa: BLE001  # told to the caller, who raises it
            tell_error(self.to_caller, error)
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
        if self.filter:
            self._install_filter()  # while there is CAP_SYS_ADMIN, which it needs
        left = capability.drop_bounding(keep)
        try:
            os.setgroups(user.groups)
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
        except OSError as error:
            raise _no_such_id(user, error) from error
        process.set_parent_death_signal(signals.SIGKILL)  # a change of user cleared it
        mine = left if user.uid == 0 else frozenset()
        capability.capset(mine, mine, frozenset())
        if self.what.no_new_privileges:
            process.set_no_new_privileges()

    def _install_filter(self) -> None:
        try:
            seccomp.install(self.filter)
        except OSError as error:
            hint = "--security-opt seccomp=unconfined goes without"
            raise Unsupported("filter", "system calls", error, hint) from error


def _no_such_id(user: users.User, error: OSError) -> LaminaError:
    if error.errno != errno.EINVAL:
        return LaminaError("become", f"user {user.uid}, group {user.gid}", error)
    return Unsupported(
        "become",
        f"user {user.uid}, group {user.gid}",
        "that id does not exist in this user's id map",
        "run as root inside (-u 0), or get a range of ids in /etc/subuid and /etc/subgid",
    )
