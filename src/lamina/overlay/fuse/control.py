"""Telling the server of a mount to take other layers: a socket that the mounting user alone can reach.

It is called by the mount's device number, in /run/lamina-control for root and else in $XDG_RUNTIME_DIR/lamina or
/tmp/lamina-UID (for root of a user namespace, the id outside), directories that nobody else may enter. A request is
one line of JSON, {"layers": [PATH, …]}, base first; the answer is one line, {} or {"error": [DOING, SUBJECT, REASON,
HINT]}. Beside it stands what the server has to say of its own defects, until the mount is taken away. Mounts of
containers have no such socket: what runs in one must not choose what of the machine is shown to it.
"""

from __future__ import annotations

import json
import os
import select
import socket
import stat
import struct
import threading
from collections.abc import Callable, Mapping, Sequence

from lamina.errors import LaminaError, NotFound
from lamina.linux.mountinfo import mount_points
from lamina.linux.namespaces import in_first_user_namespace

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: SO_PEERCRED, unix(7)
_LONGEST = 1 << 22
_LOG = ".log"


class Control:
    """The server's end, served by a thread of its own; `close` takes the socket away."""

    def __init__(
        self,
        target: str,
        environ: Mapping[str, str],
        relayer: Callable[[list[str]], None],
        *,
        keep_errors: bool,
    ) -> None:
        """`keep_errors` lets the process's standard error go to the file beside the socket."""
        self._relayer = relayer
        self._path = _socket_path(target, environ, make=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove(self._path)  # of a server that was killed: the number is of this mount now
            self._socket.bind(self._path)
            self._socket.listen(4)
            if keep_errors:
                _keep_errors(self._path + _LOG)
        except BaseException:
            self._socket.close()
            raise
        threading.Thread(target=self._serve, name="control", daemon=True).start()

    def close(self) -> None:
        """Take no more orders. Errors that were kept stay for whoever takes the mount away."""
        self._socket.close()
        _remove(self._path)
        _leave(self._path)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:  # closed
                return
            with client:
                try:
                    self._answer(client)
                except (OSError, ValueError):  # whoever asked went away, or asked for nothing that there is
                    continue

    def _answer(self, client: socket.socket) -> None:
        _, uid, _ = _credentials(client)
        if uid != os.geteuid():
            return
        asked = json.loads(_read_line(client))
        layers = asked.get("layers") if isinstance(asked, dict) else None
        if not isinstance(layers, list) or not layers or not all(isinstance(layer, str) for layer in layers):
            return
        try:
            self._relayer(layers)
            answer: dict[str, object] = {}
        except LaminaError as error:
            answer = {"error": [error.doing, error.subject, error.reason, error.hint]}
        except OSError as error:
            answer = {"error": ["use the layer", error.filename or "", error.strerror or str(error), ""]}
        client.sendall(json.dumps(answer).encode() + b"\n")


def socket_of(target: str, environ: Mapping[str, str]) -> str:
    """Return where the socket of the mount on `target` is, "" where it has none."""
    try:
        return _socket_path(target, environ, make=False)
    except LaminaError:
        return ""


class Ending:
    """Waits for the end of the server whose socket is `path`, if one answers there: take the mount away meanwhile.

    Until then the layers are in use, and may not be unmounted.
    """

    def __init__(self, path: str) -> None:
        self._process = -1
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.connect(path)
                pid, _, _ = _credentials(connection)
            self._process = os.pidfd_open(pid)
        except OSError:  # none, or it was killed
            pass

    def wait(self, seconds: float) -> None:
        """Wait so long at most: the mount may still be there elsewhere, in another mount namespace."""
        if self._process >= 0:
            select.select([self._process], [], [], seconds)

    def close(self) -> None:
        """Give it free."""
        if self._process >= 0:
            os.close(self._process)
            self._process = -1


def clear_away(path: str) -> str:
    """Remove what the server whose socket is `path` has left; return what it had to say of its defects, or "".

    It has ended, or was killed.
    """
    _remove(path)
    try:
        with open(path + _LOG, encoding="utf-8", errors="replace") as file:
            said = file.read()
    except OSError:
        said = ""
    _remove(path + _LOG)
    _leave(path)
    return said


def _keep_errors(log: str) -> None:
    """Let the standard error of this process go to the new file `log`."""
    _remove(log)  # of a server that was killed
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(fd, 2)
    os.close(fd)


def _leave(path: str) -> None:
    """Remove what is empty: the file of errors, and the directory if no other mount has its socket there."""
    try:
        if not os.stat(path + _LOG).st_size:
            os.unlink(path + _LOG)
    except FileNotFoundError:
        pass
    try:
        os.rmdir(os.path.dirname(path))
    except OSError:  # not empty, or gone already
        pass


def set_layers(target: str, layers: Sequence[str], environ: Mapping[str, str]) -> None:
    """Put `layers` (directories, base first) under the live mount on `target`, in place of its lower layers.

    Returns once the kernel has forgotten what it knew of the old ones. NotFound where no server takes orders for the
    mount, LaminaError with what the server says.
    """
    path = _socket_path(target, environ, make=False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(path)
        except OSError as error:
            raise NotFound(
                "change the layers of",
                target,
                "no server of this user takes orders for it",
                "lamina mount --driver fuse",
            ) from error
        connection.sendall(json.dumps({"layers": [os.path.abspath(layer) for layer in layers]}).encode() + b"\n")
        said = _read_line(connection)
    if not said:
        raise LaminaError("change the layers of", target, "the server ended")
    answer = json.loads(said)
    if "error" in answer:
        raise LaminaError(*answer["error"])


def _credentials(connection: socket.socket) -> tuple[int, int, int]:
    """Return pid, uid and gid of who is at the other end."""
    return _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))


def _read_line(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n") and len(data) < _LONGEST:
        more = connection.recv(1 << 16)
        if not more:
            break
        data += more
    return data


def _socket_path(target: str, environ: Mapping[str, str], *, make: bool) -> str:
    absolute = os.path.realpath(os.path.dirname(os.path.abspath(target))) + "/" + os.path.basename(target.rstrip("/"))
    # Not by asking the mount, whose server may be the one that asks.
    found = [point.device for point in mount_points() if point.path == absolute and point.fstype.startswith("fuse")]
    if not found:
        raise NotFound("change the layers of", target, "it is no mount of our own driver", "lamina mount --driver fuse")
    uid = os.geteuid()
    folder = _folder(environ.get("XDG_RUNTIME_DIR", ""))
    if make:
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            pass
    try:
        st = os.lstat(folder)
    except FileNotFoundError:
        return f"{folder}/none"
    if not stat.S_ISDIR(st.st_mode) or st.st_uid != uid or st.st_mode & 0o077:
        raise LaminaError("use the directory", folder, "others may enter it", f"chmod 700 {folder}, if it is yours")
    return f"{folder}/mount-{found[-1]}"


def _folder(runtime: str) -> str:
    """Return where the sockets of this user lie; root of a user namespace is the user who made it."""
    if os.geteuid() == 0 and in_first_user_namespace():
        return "/run/lamina-control"
    if runtime:
        return f"{runtime}/lamina"
    with open("/proc/self/uid_map", encoding="ascii") as file:
        first = file.readline().split()
    outer = int(first[1]) if os.geteuid() == int(first[0]) else os.geteuid()
    return f"/tmp/lamina-{outer or os.geteuid()}"


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
