"""The process that has the right ids: where file jobs and containers are carried out.

`Here` is the calling process, which enters the map at its first call: for a single-threaded program of its own, as the
command line is. `Helper` is a small process beside a Python program that may have threads and a large heap: started at
first use, gone with its parent. It enters the map once and forks a child for each request; requests run side by side.

Both `call` a module-level function of lamina with plain arguments (what JSON can carry, `Fd`, and `on_event`) and
return its plain result. An exception crosses as what it is: a LaminaError with its fields, an OSError with its errno.
"""

from __future__ import annotations

import os

from lamina.errors import LaminaError
from lamina.ids.enter import enter

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection, Sequence
    from typing import ParamSpec, Protocol, TypeVar

    from lamina.events import OnEvent
    from lamina.ids.map import IdMap

    P = ParamSpec("P")
    R = TypeVar("R")

    class Worker(Protocol):
        """Where jobs run."""

        ids: IdMap

        def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...

        def close(self) -> None: ...


class Fd(int):
    """An open descriptor as an argument: a helper's child gets a copy of it. The function must not close it."""


class Here:
    """The calling process itself. It must have one thread until its first call."""

    def __init__(self, ids: IdMap) -> None:
        self.ids = ids
        self._entered = False

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `function` in this process, inside the map."""
        if not self._entered:
            # Also where it fails or a signal cuts it short: nobody can enter twice, and what cleans up must still run.
            self._entered = True
            enter(self.ids)
        return function(*args, **kwargs)

    def close(self) -> None:
        """Nothing: a process cannot leave its user namespace."""


class Helper:
    """A process of its own, started at the first call. May be used by any number of threads."""

    def __init__(self, ids: IdMap) -> None:
        import threading

        self.ids = ids
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._pid = 0
        self._is_ready = False
        self._modules: list[str] = []
        self._running: dict[int, str] = {}  # functions by the process that carries them out

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `function` in a child of the helper and wait for its result.

        An exception here (KeyboardInterrupt, one out of `on_event`) sends SIGTERM to the child and waits for its end.
        """
        if args:
            raise TypeError("arguments are given by name")
        import socket

        arguments = dict(kwargs)
        on_event = arguments.pop("on_event", None)
        name = f"{function.__module__}:{function.__qualname__}"
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                self._hand_over(theirs.fileno())
            _send_request(ours, name, arguments, on_event is not None)
            pids: list[int] = []

            def on_pid(pid: int) -> None:
                pids.append(pid)
                self._running[pid] = name

            try:
                result: R = _await_reply(ours, on_event, on_pid)  # type: ignore[assignment, arg-type]  # plain data, as the function says
            finally:
                for pid in pids:
                    del self._running[pid]
            return result

    def load(self, *modules: str) -> None:
        """Let the helper import modules of lamina before it forks: each call then finds them there."""
        self._modules += modules
        if self._control is not None:
            self._load(self._control, modules)

    @staticmethod
    def _load(control: socket.socket, modules: Sequence[str]) -> None:
        try:
            control.send(",".join(modules).encode())
        except (BrokenPipeError, ConnectionResetError):  # it has ended: whoever calls is told why, or gets another
            pass

    def end_calls(self, *, but: Collection[str] = ()) -> None:
        """Send SIGTERM to what is being carried out for other threads, apart from the functions `but` ("module:name").

        A call that is on its way to the helper is not reached: whoever waits for the threads repeats this.
        """
        import signal

        for pid, name in tuple(self._running.items()):
            if name not in but:
                _end(pid, signal.SIGTERM)

    def _hand_over(self, fd: int) -> None:
        import socket

        try:
            socket.send_fds(self._started(), [b"r"], [fd])
        except (BrokenPipeError, ConnectionResetError):  # it was killed: another takes its place
            self.close()
            socket.send_fds(self._started(), [b"r"], [fd])

    def close(self) -> None:
        """End the helper and what it runs; may be repeated. A later call starts another."""
        with self._lock:
            if self._control is not None:
                self._control.close()
                os.waitpid(self._pid, 0)
                self._control = None

    def start(self) -> None:
        """Start the process unless it runs, beside what the caller does next; what keeps it from it, a call raises."""
        with self._lock:
            self._spawn()

    def _spawn(self) -> socket.socket:
        if self._control is None:
            self._control, self._pid = _start(self.ids)
            self._is_ready = False
            if self._modules:
                self._load(self._control, self._modules)
        return self._control

    def _started(self) -> socket.socket:
        with self._lock:
            control = self._spawn()
            if not self._is_ready:
                try:
                    _await_ready(control, self._pid)
                except BaseException:
                    self._control = None
                    raise
                self._is_ready = True
            return control


def _start(ids: IdMap) -> tuple[socket.socket, int]:
    """Start a helper; `_await_ready` waits until it can be used."""
    import socket
    import sys

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # -I keeps the environment and the working directory out of it; the path of this program is handed over instead.
    code = f"import sys; sys.path[:] = {sys.path!r}; from lamina.ids.worker import serve; serve(3, {str(ids)!r})"
    code += "; import os; os._exit(0)"  # taking an interpreter apart takes longer than some requests
    with theirs:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-c", code],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, 2, 1),
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), 3),
            ],
            setpgroup=0,  # a Ctrl-C on the terminal is for the program, which then tells its requests to end
        )
    return ours, pid


def _await_ready(control: socket.socket, pid: int) -> None:
    """Wait until a helper stands inside the map; raises what it met there, and the helper has ended then."""
    first = control.recv(65536)
    if first == b"ready":
        return
    control.close()
    os.waitpid(pid, 0)
    import json

    raise _exception(json.loads(first)) if first else LaminaError("start", "the helper process", "it ended at once")


def serve(control_fd: int, ids_text: str) -> None:
    """Be the helper: enter the map, then fork a child for each request until the parent closes its end."""
    import gc
    import json
    import signal
    import socket

    from lamina.ids.map import IdMap
    from lamina.linux.files import close_range

    # What the program's libraries opened without close-on-exec: a pipe held open here would never read as ended.
    close_range(control_fd + 1, (1 << 31) - 1, 0)
    with socket.socket(fileno=control_fd) as control:
        os.set_inheritable(control_fd, False)
        try:
            enter(IdMap.parse(ids_text))
        except (LaminaError, OSError) as error:
            control.send(json.dumps(_description(error)).encode())
            return
        gc.set_threshold(50_000)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies; a child sets its own back
        try:
            control.send(b"ready")
        except BrokenPipeError:
            return
        while True:
            try:
                message, fds, _, _ = socket.recv_fds(control, 4096, 1)
            except ConnectionResetError:  # the parent has closed its end without ever reading that we are ready
                return
            if not message:
                return
            if not fds:
                _import(message.decode())
                gc.freeze()  # or the first collection in each child would write to, and so copy, all of its memory
                continue
            if os.fork() == 0:
                control.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _serve_one(fds[0])
            os.close(fds[0])


def _import(modules: str) -> None:
    import importlib

    for name in modules.split(","):
        try:
            importlib.import_module(name)
        except ImportError:  # whoever needs it meets the same, and is told
            pass


def _serve_one(fd: int) -> None:
    """Carry out one request in this child and end."""
    import json
    import signal
    import socket

    from lamina.events import Event
    from lamina.linux.process import set_parent_death_signal

    set_parent_death_signal(signal.SIGKILL)
    status = 1
    try:
        with socket.socket(fileno=fd) as channel:

            def say(kind: str, value: object) -> None:
                channel.sendall(json.dumps({kind: value}).encode() + b"\n")

            def on_event(event: Event) -> None:
                say("event", [getattr(event, name) for name in Event.__slots__])

            say("pid", os.getpid())
            try:
                name, arguments, wants_events = _receive_request(channel)
                if wants_events:
                    arguments["on_event"] = on_event
                say("result", _function(name)(**arguments))
            except (LaminaError, OSError) as error:
                say("error", _description(error))
            except Exception as error:  # noqa: BLE001  # a defect of ours: told to the caller, whose traceback shows it
                import traceback

                say("error", {"type": "RuntimeError", "text": "".join(traceback.format_exception(error))})
            status = 0
    finally:
        os._exit(status)


def _function(name: str) -> Callable[..., object]:
    """Find a module-level function of lamina by "module:name"."""
    import importlib

    module, _, function = name.partition(":")
    if module.partition(".")[0] != "lamina":
        raise ValueError(f"not a function of lamina: {name}")
    found: Callable[..., object] = getattr(importlib.import_module(module), function)
    return found


def _send_request(channel: socket.socket, name: str, arguments: dict[str, object], wants_events: bool) -> None:
    import json
    import socket

    names = [key for key, value in arguments.items() if isinstance(value, Fd)]
    descriptors = [int(arguments.pop(key)) for key in names]  # type: ignore[call-overload]  # `Fd` is an int
    body = json.dumps([name, arguments, names, wants_events]).encode()
    socket.send_fds(channel, [len(body).to_bytes(8, "little")], descriptors)
    channel.sendall(body)


def _receive_request(channel: socket.socket) -> tuple[str, dict[str, object], bool]:
    import json
    import socket

    head, fds, _, _ = socket.recv_fds(channel, 8, 64)
    size = int.from_bytes(head, "little")
    body = bytearray()
    while len(body) < size:
        part = channel.recv(min(1 << 20, size - len(body)))
        if not part:
            raise EOFError("the request was cut off")
        body += part
    name, arguments, names, wants_events = json.loads(body)
    for fd in fds:
        os.set_inheritable(fd, False)
    arguments.update(zip(names, map(Fd, fds), strict=True))
    return name, arguments, wants_events


def _await_reply(channel: socket.socket, on_event: OnEvent | None, on_pid: Callable[[int], None]) -> object:
    import json
    import signal

    from lamina.events import Event

    pid = 0
    answer: tuple[str, object] = ("", None)
    with channel.makefile("rb") as lines:
        try:
            for line in lines:
                ((kind, value),) = json.loads(line).items()
                if kind == "pid":
                    pid = value
                    on_pid(pid)
                elif kind != "event":
                    answer = kind, value
                elif on_event:
                    fields = dict(zip(Event.__slots__, value, strict=True))
                    on_event(Event(fields.pop("task"), fields.pop("subject"), **fields))
        except BaseException:
            if pid:
                _end(pid, signal.SIGTERM)
                for _ in lines:  # until the child has ended
                    pass
            raise
    match answer:
        case "result", result:
            return result
        case "error", dict(description):
            raise _exception(description)
    raise LaminaError("carry out", "a request", "the helper's child ended without an answer")


def _end(pid: int, signal: int) -> None:
    try:
        os.kill(pid, signal)
    except ProcessLookupError:
        pass


def _description(error: LaminaError | OSError) -> dict[str, object]:
    """Return an exception as plain data."""
    if isinstance(error, LaminaError):
        fields = [error.doing, error.subject, error.reason, error.hint]
        return {"type": type(error).__name__, "fields": fields, "status": error.status}
    name = os.fsdecode(error.filename) if isinstance(error.filename, bytes | str) else None
    return {"type": "OSError", "fields": [error.errno, error.strerror or str(error), name]}


def _exception(value: dict[str, object]) -> Exception:
    """Return the exception that `_description` described."""
    import lamina.errors

    kind = str(value["type"])
    if kind == "RuntimeError":
        return RuntimeError(value["text"])
    fields: list[object] = value["fields"]  # type: ignore[assignment]  # as `_description` writes it
    if kind == "OSError":
        return OSError(*fields)
    # A kind that a module of its own defines crosses as the general one.
    made: LaminaError = getattr(lamina.errors, kind, LaminaError)(*map(str, fields))
    made.status = int(str(value["status"]))
    return made
