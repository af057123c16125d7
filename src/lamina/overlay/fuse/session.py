"""A FUSE session: the handshake, and the threads that read requests, call handlers and write replies.

It knows no file system: that is a table of handlers by operation code. A handler gets a `Request` and returns the
reply's body, or None where the protocol has no reply; it fails by raising OSError, or by returning an errno. A code
that is not in the table is answered with ENOSYS, by which the kernel learns for some of them never to ask again (OPEN,
OPENDIR, FLUSH).

One thread at a time takes requests, and looks for the next one for a moment before it sleeps: what a round trip costs
is the waking of threads, and on a virtual machine that of processors. A handler that is about to wait (for a disk, for
another one's lock) calls `Request.step_aside` first, upon which another thread takes its place. One that waits without
having said so (a layer on a disk that hangs, or that has this very mount in it, so that the answer is behind it in the
queue) is put aside by a thread that stands by.
"""

from __future__ import annotations

import errno
import os
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping

from lamina.overlay.fuse import wire

#: The largest data of one READ or WRITE.
MAX_DATA = 1 << 20
_PAGES = MAX_DATA // 4096
_BUFFER = MAX_DATA + 4096  # a WRITE's headers stand before its data

#: How often the device is looked at before its reader sleeps: some fifty microseconds.
_LOOKS = 40

#: A handler that took so many seconds without stepping aside is made to do so the next times that it is called.
_LONG = 0.005
_WARY = 16

#: How long requests may lie while the thread that takes them is at one of them, before it is put aside; seconds.
_PATIENCE = 0.05

#: errno values of a read from the device that only mean "again": an aborted request, a signal.
_AGAIN = (errno.ENOENT, errno.EINTR, errno.EAGAIN)


class PatientLock:
    """A lock that its holder may take again; who has to wait for it calls `before_waiting` first."""

    __slots__ = ("_before_waiting", "_lock")

    def __init__(self, before_waiting: Callable[[], None]) -> None:
        self._lock = threading.RLock()
        self._before_waiting = before_waiting

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._before_waiting()
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Turn:
    """Whose turn it is to take requests: `taker`'s, whose thread holds `lock`. `aside` are others that answer one.

    `change` is held by who takes a turn away: the thread that has it, or the one that stands by.
    """

    __slots__ = ("aside", "change", "lock", "taker")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.change = threading.Lock()
        self.aside: set[Request] = set()
        self.taker: Request | None = None


class Request:
    """One request as its handler sees it; the object and its buffers are the thread's, and used again for the next.

    `body` is what follows the header, `node` the node id that the request is about; `uid`, `gid` and `pid` are the
    caller's. `scratch` has room for the largest reply.
    """

    __slots__ = (
        "_turn", "body", "buffer", "gid", "node", "opcode", "pid", "scratch", "takes", "uid", "unique", "view",
    )  # fmt: skip

    def __init__(self, turn: Turn | None = None) -> None:
        self._turn = turn
        self.takes = False  # whether its thread is the one that takes requests
        self.buffer = bytearray(_BUFFER)
        self.view = memoryview(self.buffer)
        self.scratch = memoryview(bytearray(_BUFFER))
        self.body = self.view
        self.opcode = self.unique = self.node = self.uid = self.gid = self.pid = 0

    def step_aside(self) -> None:
        """Let another thread take the next requests, since this one is going to wait; may be repeated."""
        if self.takes and self._turn is not None:
            with self._turn.change:
                if self.takes:
                    self.takes = False
                    self._turn.aside.add(self)
                    self._turn.lock.release()

    def name(self, offset: int = 0) -> bytes:
        """Return the name that stands from `offset` of the body to a zero byte."""
        start = wire.HEADER_IN.size + offset
        return bytes(self.buffer[start : self.buffer.index(0, start)])

    def names(self, offset: int) -> tuple[bytes, bytes]:
        """Return the two names from `offset` on."""
        first = self.name(offset)
        return first, self.name(offset + len(first) + 1)


Body = bytes | bytearray | memoryview
Handler = Callable[[Request], "Body | int | None"]


class Session:
    """A connection being served. `flags` are what INIT agreed on, once `run` has answered it.

    `wanted` are INIT's flags to ask for: what the kernel lacks is not turned on. `on_error` gets the text of a
    handler's failure that is no OSError; its request is answered with EIO.
    """

    def __init__(
        self,
        fd: int,
        handlers: Mapping[int, Handler],
        *,
        wanted: int,
        threads: int = 4,
        on_ready: Callable[[], None] | None = None,
        on_error: Callable[[str], None] | None = None,
    ) -> None:
        self.fd = fd
        self.flags = 0
        self._handlers = handlers
        self._wanted = wanted
        self._threads = threads
        self._on_ready = on_ready
        self._on_error = on_error or _print
        self._turn = Turn()
        self._own = threading.local()  # each thread's request
        self._wary: dict[int, int] = {}  # by operation code, how many more times its handler steps aside
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def run(self) -> None:
        """Serve until the file system is unmounted or the connection aborted. `fd` stays the caller's."""
        if not self._handshake(Request()):
            return
        if self._on_ready:
            self._on_ready()
        os.set_blocking(self.fd, False)
        workers = [threading.Thread(target=self._serve, name=f"fuse-{n}", daemon=True) for n in range(1, self._threads)]
        if workers:
            workers.append(threading.Thread(target=self._stand_by, name="fuse-standby", daemon=True))
        for worker in workers:
            worker.start()
        self._serve()
        for worker in workers:
            worker.join()

    def step_aside(self) -> None:
        """Let another thread take requests if the calling one does, since it is going to wait."""
        request = getattr(self._own, "request", None)
        if request is not None:
            request.step_aside()

    def notify(self, code: int, body: bytes) -> None:
        """Tell the kernel what nobody asked for (wire.NOTIFY_*); ENOENT where it knows nothing of the subject is fine.

        A thread that answers a request which holds the subject's lock in the kernel waits for itself: tell of names
        from another one.
        """
        try:
            os.writev(self.fd, (wire.HEADER_OUT.pack(wire.HEADER_OUT.size + len(body), code, 0), body))
        except OSError as error:
            if not _is_nobody_waiting(error):
                raise

    def _handshake(self, request: Request) -> bool:
        """Answer INIT; False where the mount went away before."""
        while unique := self._receive(self.fd, request):
            if request.opcode != wire.INIT:
                self._fail(self.fd, unique, errno.EIO)
                continue
            major, _, readahead, flags, flags2 = wire.INIT_IN.unpack_from(request.body)
            if major != wire.MAJOR:  # a newer kernel asks again with our number
                self._reply(unique, wire.INIT_OUT.pack(wire.MAJOR, wire.MINOR, *[0] * 11))
                continue
            offered = flags | flags2 << 32 if flags & wire.INIT_EXT else flags
            self.flags = offered & (self._wanted | wire.INIT_EXT | wire.MAX_PAGES | wire.BIG_WRITES | wire.ASYNC_READ)
            body = wire.INIT_OUT.pack(
                wire.MAJOR,
                wire.MINOR,
                readahead,
                self.flags & 0xFFFFFFFF,
                64,  # requests in the background: read-ahead and forgets of several clients at once
                48,
                MAX_DATA,
                1,
                _PAGES,
                0,
                self.flags >> 32,
                1 if self.flags & wire.PASSTHROUGH else 0,
                0,
            )
            self._reply(unique, body)
            return True
        return False

    def _reply(self, unique: int, body: bytes) -> None:
        os.write(self.fd, wire.HEADER_OUT.pack(wire.HEADER_OUT.size + len(body), 0, unique) + body)

    def _serve(self) -> None:
        """Take requests in turn with the other threads until the file system is gone."""
        request = self._own.request = Request(self._turn)
        while True:
            self._turn.aside.discard(request)
            self._turn.lock.acquire()
            request.takes = True
            self._turn.taker = request
            try:
                if not self._take(request):
                    return
            finally:
                request.step_aside()

    def _stand_by(self) -> None:
        """Put the thread aside that takes requests, where it is still at the same one and others wait."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        while True:
            taker = self._turn.taker
            before = taker.unique if taker else 0
            if any(event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, event in poll.poll()):
                return
            time.sleep(_PATIENCE)
            if taker and taker.takes and taker.unique == before and poll.poll(0):
                self._wary[taker.opcode] = _WARY
                taker.step_aside()

    def _take(self, request: Request) -> bool:  # noqa: PLR0912  # one loop: a call more would be one for each request
        """Answer requests until this thread stepped aside; False when the file system is gone."""
        fd, handlers, wary, clock = self.fd, self._handlers, self._wary, time.monotonic
        unpack, pack = wire.HEADER_IN.unpack_from, wire.HEADER_OUT.pack
        head, out, view, buffers = wire.HEADER_IN.size, wire.HEADER_OUT.size, request.view, [request.buffer]
        poll, aside = self._poll.poll, self._turn.aside
        while request.takes:
            for _ in range(0 if aside else _LOOKS):  # looking would keep the interpreter from who is at work
                os.sched_yield()  # to whom the next request comes from, if there is no other processor for it
                if poll(0):
                    break
            else:
                poll()
            try:
                length = os.readv(fd, buffers)
            except OSError as error:
                if _is_over(error):
                    return False
                continue
            if not length:
                return False
            _, code, unique, request.node, request.uid, request.gid, request.pid, extensions, _ = unpack(view)
            request.opcode, request.unique = code, unique
            request.body = view[head : length - extensions * 8]
            handler = handlers.get(code)
            if handler is None:
                if code != wire.INTERRUPT:  # requests are short: an interrupted one is answered as it is
                    self._fail(fd, unique, errno.ENOSYS)
                continue
            begin = clock()
            if wary.get(code):
                wary[code] -= 1
                request.step_aside()
            try:
                body = handler(request)
            except OSError as error:
                self._fail(fd, unique, error.errno or errno.EIO)
                continue
            except Exception:  # noqa: BLE001  # a defect in one handler must not hang every user of the mount
                self._on_error(traceback.format_exc())
                self._fail(fd, unique, errno.EIO)
                continue
            if request.takes and clock() - begin > _LONG:
                wary[code] = _WARY
            if body is None:
                continue
            if isinstance(body, int):
                self._fail(fd, unique, body)
                continue
            try:
                os.writev(fd, (pack(out + len(body), 0, unique), body))
            except OSError as error:
                if not _is_nobody_waiting(error):
                    raise
        return True

    @staticmethod
    def _receive(fd: int, request: Request) -> int:
        """Read one request and return its number; 0 when the file system is gone."""
        while True:
            try:
                length = os.readv(fd, [request.buffer])
            except OSError as error:
                if _is_over(error):
                    return 0
                continue
            if not length:
                return 0
            _, request.opcode, unique, *_ = wire.HEADER_IN.unpack_from(request.view)
            request.body = request.view[wire.HEADER_IN.size : length]
            return int(unique)

    @staticmethod
    def _fail(fd: int, unique: int, code: int) -> None:
        try:
            os.write(fd, wire.HEADER_OUT.pack(wire.HEADER_OUT.size, -code, unique))
        except OSError as error:
            if not _is_nobody_waiting(error):
                raise


def _is_over(error: OSError) -> bool:
    """Tell whether a failed read means that the file system is gone; raise what nobody expects."""
    if error.errno in _AGAIN:
        return False
    if error.errno in (errno.ENODEV, errno.ECONNABORTED):
        return True
    raise error


def _is_nobody_waiting(error: OSError) -> bool:
    """Tell whether a failed reply does not matter: its caller was killed, or the file system unmounted meanwhile."""
    return error.errno in (errno.ENOENT, errno.ENODEV, errno.EINTR)


def _print(text: str) -> None:
    sys.stderr.write(text)
