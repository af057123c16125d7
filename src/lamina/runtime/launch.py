"""Carry out a `Launch`: a container that is fully resolved becomes a running process, and its end a status.

The process tree is drawn in the package's docstring. `launch` runs where the ids are right (`lamina.ids.worker`) and in
a process with one thread: the command line itself, or a child of the helper.

What goes wrong before the command starts comes back over a pipe that is closed by execve(2), and is raised here.
"""

from __future__ import annotations

import os

from lamina.errors import LaminaError, last_line
from lamina.ids.enter import write_map
from lamina.linux import signals
from lamina.linux.sockets import receive_fd, socketpair
from lamina.runtime.child import Child
from lamina.runtime.init import exit_status
from lamina.runtime.report import expect, next_message, raise_from
from lamina.runtime.spec import Plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from io import RawIOBase
    from typing import BinaryIO

    from lamina.ids.worker import Fd
    from lamina.overlay.fuse.start import Server


class Launch(Plain):
    """Everything about one start, resolved.

    `directory` is the container's own; `root` where its tree is put together; `steps` those of
    `lamina.runtime.steps` in plain form. `user` is what `-u` says, resolved by the files of the image. `capabilities`
    are numbers: the bounding set, which root inside gets whole. `inner_map` is the id map of the container's own user
    namespace in terms of the launching process's ids (uid lines, gid lines), or empty for none. `fake_owners` answers
    chown(2), setgroups(2) and mknod(2) of devices with success where one id is all there is. `filter` is the file
    with the compiled filter of system calls, or empty.
    """

    __slots__ = (
        "argv", "capabilities", "create_workdir", "directory", "env", "fake_owners", "filter", "hostname", "init",
        "inner_map", "network", "no_new_privileges", "root", "stdin", "steps", "tty", "ulimits", "user", "workdir",
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
        filter: str,  # noqa: A002  # the field's word for it
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
        self.filter = filter
        self.inner_map = inner_map
        self.network = network
        self.ulimits = ulimits
        self.init = init
        self.tty = tty
        self.stdin = stdin


class Outcome(Plain):
    """How a run ended: the exit status as a shell's, what was made in the upper as mount targets, and what to tell.

    `driver` is the one that presented the stack.
    """

    __slots__ = ("driver", "made", "notes", "status")

    def __init__(self, status: int, made: list[str], notes: list[str], driver: str) -> None:
        self.driver = driver
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
        self.kill_on_term = kill_on_term
        self.pid = 0  # of the command's first process, as seen here
        self.executed = False
        self.early: list[int] = []  # signals that came before: until it is the command, that process ignores them
        self.master = -1  # of the container's terminal
        self.servers: list[Server] = []

    def run(self) -> Outcome:
        before = [(signal, signals.handle(signal, self._forward)) for signal in signals.FORWARDED]
        try:
            outcome = self._run()
        finally:
            for server in self.servers:  # the mounts ended with the container: all that was written is in the upper
                server.wait_end()
            if self.master >= 0:
                os.close(self.master)
            for signal, disposition in before:
                signals.restore(signal, disposition)
        said = [server.trouble for server in self.servers if server.trouble]
        outcome.notes += [f"the server of the mount had a defect: {last_line(trouble)}" for trouble in said]
        return outcome

    def _run(self) -> Outcome:
        from_child, to_caller = os.pipe()
        from_caller, to_child = os.pipe()
        ours, theirs = socketpair()
        caller = os.getpid()
        first = os.fork()
        if first == 0:
            ours.close()
            os.close(from_child)
            os.close(to_child)  # an end that stays open here would never read as closed
            child = Child(self.what, self.stdio, to_caller=to_caller, from_caller=from_caller, channel=theirs)
            child.be_first(caller)
        theirs.close()
        os.close(to_caller)
        os.close(from_caller)
        with open(from_child, "rb") as report, open(to_child, "wb", buffering=0) as go_on:
            try:
                if self.what.inner_map:
                    self._write_map(first, report, go_on)
                _load_removal()
                made, notes, driver = self._await_execution(report, ours)
            except BaseException:
                go_on.close()
                os.waitpid(first, 0)
                raise
            finally:
                ours.close()
        return Outcome(self._await_end(first), made, notes, driver)

    def _write_map(self, first: int, report: BinaryIO, go_on: RawIOBase) -> None:
        """Write the id map once the child has its user namespace."""
        expect(report, "namespace")
        uid_lines, gid_lines = self.what.inner_map
        try:
            write_map(str(first), uid_lines, gid_lines, setgroups=True)
        except OSError as error:
            raise LaminaError("write", "the container's id map", error) from error
        go_on.write(b"1")

    def _await_execution(self, report: BinaryIO, channel: socket) -> tuple[list[str], list[str], str]:
        """Take what the container's two processes tell, in whatever order they come to it, until the command runs."""
        ready: tuple[list[str], list[str], str] | None = None
        while not (ready and self.pid):
            match expect(report, "pid", "serve", "terminal", "ready"):
                case ("pid", int(pid)):
                    self.pid = pid
                    if self.kill_on_term and signals.SIGTERM in self.early:
                        self._send(signals.SIGKILL)
                case ("serve", dict(overlay)):
                    self._serve(overlay, receive_fd(channel))
                case ("terminal",):
                    self.master = receive_fd(channel)
                case ("ready", list(made), list(notes), str(driver)):
                    ready = made, notes, driver
        last = next_message(report)  # the end of the pipe: execve(2) closed it
        if last:
            raise_from(last)
        return ready

    def _serve(self, overlay: dict[str, object], device: int) -> None:
        from lamina.overlay.fuse.start import serve
        from lamina.overlay.stack import Overlay

        try:
            server = serve(Overlay(**overlay), device)  # type: ignore[arg-type]  # plain data, as `Overlay.plain` gives it
        finally:
            os.close(device)
        server.wait_ready()
        self.servers.append(server)

    def _await_end(self, first: int) -> int:
        pid_file = os.path.join(self.what.directory, "pid")
        with open(pid_file, "w", encoding="utf-8") as file:
            file.write(f"{self.pid}\n")
        self.executed = True
        for signal in self.early:
            self._send(signal)
        try:
            if self.master >= 0:
                self._pass_through(first)
            return exit_status(os.waitpid(first, 0)[1])
        except BaseException:  # nobody reads its terminal any more
            os.kill(first, signals.SIGTERM)  # which ends the container
            os.waitpid(first, 0)
            raise
        finally:
            try:
                os.unlink(pid_file)
            except FileNotFoundError:  # the container was removed while it ran
                pass

    def _pass_through(self, first: int) -> None:
        from lamina.runtime import terminal

        keyboard = self.stdio[0] if self.what.stdin else -1
        ended = os.pidfd_open(first)
        try:
            with terminal.Raw(keyboard):
                terminal.pass_through(keyboard, self.stdio[1], self.master, ended)
        finally:
            os.close(ended)

    def _forward(self, signal: int, _frame: object) -> None:
        if self.pid and self.kill_on_term and signal == signals.SIGTERM:
            self._send(signals.SIGKILL)
        elif self.executed:
            self._send(signal)
        else:
            self.early.append(signal)

    def _send(self, signal: int) -> None:
        try:
            os.kill(self.pid, signal)
        except ProcessLookupError:
            pass


def _load_removal() -> None:
    """Load what removes a container, while its processes put its tree together on another processor."""
    import lamina.layer.remove
    import lamina.store.discard  # noqa: F401  # to be in sys.modules is what they are wanted for
