"""Run a command of the host over an overlay that is mounted for it alone, in a mount namespace that ends with it.

The command keeps everything else of its caller: root, terminal, process group. An ordinary user is root in its own.
"""

from __future__ import annotations

import os

from lamina.ids.enter import enter
from lamina.linux import mount as kernel
from lamina.linux import process, signals
from lamina.linux.namespaces import in_first_user_namespace, unshare_mounts
from lamina.linux.sockets import receive_fd, send_fd, socketpair
from lamina.overlay.drivers import mount_served
from lamina.overlay.in_use import refuse_held, refuse_locked, refuse_mounted
from lamina.runtime.execute import FAILED, execute_file, find_program
from lamina.runtime.init import exit_status
from lamina.runtime.report import next_message, raise_from, tell, tell_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Mapping
    from typing import BinaryIO, NoReturn

    from lamina.ids.map import IdMap
    from lamina.overlay.drivers import Driver
    from lamina.overlay.fuse.start import Server
    from lamina.overlay.stack import Overlay

# What the terminal sends to its whole foreground group reaches the command by itself.
_FROM_TERMINAL = (signals.SIGINT, signals.SIGQUIT)
_PASSED_ON = (signals.SIGHUP, signals.SIGTERM, signals.SIGUSR1, signals.SIGUSR2)


def run_over(
    overlay: Overlay,
    merged: str,
    command: list[str],
    *,
    ids: IdMap,
    environ: Mapping[str, str],
    on_mounted: Callable[[str, str], None],
    on_trouble: Callable[[str], None],
    driver: Driver = "auto",
    log: str = "",
) -> int:
    """Run `command` with `overlay` mounted on `merged` for it alone, and wait for its end and that of the mount.

    Returns the exit status as a shell's. `on_mounted` gets the driver's name, and why it is not the kernel's where
    "auto" fell back, before the command runs; `on_trouble` what a server had to say of its own defects, unless that
    goes to the file `log`. Enters `ids`, so the calling process must have one thread. Raises Conflict for an upper in
    use, NotFound (status 127) or Unsupported (126) for a command that cannot be executed, and what the driver raises.
    """
    refuse_mounted(overlay.upper, overlay.work)  # before other processes and their mounts are out of sight
    enter(ids)
    refuse_locked(overlay.upper)
    overlay.check_readable()
    from_child, to_caller = os.pipe()
    ours, theirs = socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_command(overlay, merged, command, dict(environ), driver=driver, to_caller=to_caller, channel=theirs)
    theirs.close()
    os.close(to_caller)
    before = [(signal, signals.handle(signal, lambda number, _: _pass_on(pid, number))) for signal in _PASSED_ON]
    before += [(signal, signals.handle(signal, lambda _number, _frame: None)) for signal in _FROM_TERMINAL]
    servers: list[Server] = []
    try:
        with open(from_child, "rb") as report:
            try:
                _follow(report, ours, servers, on_mounted, log)
            finally:
                status = exit_status(os.waitpid(pid, 0)[1])
        return status
    finally:
        ours.close()
        for server in servers:
            server.wait_end()
            if server.trouble:
                on_trouble(server.trouble)
        for signal, disposition in before:
            signals.restore(signal, disposition)


def _follow(
    report: BinaryIO, channel: socket, servers: list[Server], on_mounted: Callable[[str, str], None], log: str
) -> None:
    """Read the child's messages until it executes the command. Raises what it told."""
    from lamina.overlay.stack import Overlay

    while message := next_message(report):
        match message:
            case ("serve", dict(plain)):
                from lamina.overlay.fuse.start import serve

                device = receive_fd(channel)
                try:
                    servers.append(serve(Overlay(**plain), device, log=log))
                finally:
                    os.close(device)
                servers[-1].wait_ready()
            case ("mounted", str(driver), str(note)):
                on_mounted(driver, note)
            case _:
                raise_from(message)


def _be_command(
    overlay: Overlay,
    merged: str,
    command: list[str],
    environ: dict[str, str],
    *,
    driver: Driver,
    to_caller: int,
    channel: socket,
) -> NoReturn:
    def hand_over(device: int) -> None:
        tell(to_caller, "serve", overlay.plain())
        send_fd(channel, device)

    try:
        process.set_parent_death_signal(signals.SIGKILL)
        unshare_mounts()
        # Else a mount below a shared mount would appear outside, too.
        kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
        if not in_first_user_namespace():  # only here may this user ask the kernel
            refuse_held(overlay.upper, overlay.work)
        mounted = mount_served(overlay, merged, hand_over, driver=driver)
        tell(to_caller, "mounted", mounted.driver, mounted.note)
        os.stat(merged)  # waits for a server, so that its failure is told before the command runs
        signals.set_all_default()
        execute_file(find_program(command[0], environ.get("PATH", os.defpath)), command, environ)
    except BaseException as error:  # noqa: BLE001  # told to the caller, who raises it
        tell_error(to_caller, error)
    finally:
        os._exit(FAILED)


def _pass_on(pid: int, signal: int) -> None:
    try:
        os.kill(pid, signal)
    except ProcessLookupError:
        pass
