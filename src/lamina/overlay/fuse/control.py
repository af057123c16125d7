"""Telling the server of a mount to take other layers: a socket that the mounting user alone can reach.

It is called by the mount's device number, in /run/lamina-control for root and else in $XDG_RUNTIME_DIR/lamina or
/tmp/lamina-UID (for root of a user namespace, the id outside), directories that nobody else may enter. A request is
one line of JSON, {"layers": [PATH, …]}, base first; the answer is one line, {} or {"error": [DOING, SUBJECT, REASON,
HINT]}. Mounts of containers have no such socket: what runs in one must not choose what of the machine is shown to it.
"""

from __future__ import annotations

import json
import os
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


class Control:
    """The server's end, served by a thread of its own; `close` takes the socket away."""

    def __init__(self, target: str, environ: Mapping[str, str], relayer: Callable[[list[str]], None]) -> None:
        self._relayer = relayer
        self._path = _socket_path(target, environ, make=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove(self._path)  # of a server that was killed: the number is of this mount now
            self._socket.bind(self._path)
            self._socket.listen(4)
        except BaseException:
            self._socket.close()
            raise
        threading.Thread(target=self._serve, name="control", daemon=True).start()

    def close(self) -> None:
        """Take no more orders."""
        self._socket.close()
        remove_socket(self._path)

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
        _, uid, _ = _CREDENTIALS.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
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


def remove_socket(path: str) -> None:
    """Remove a socket whose server ends or was killed, with its directory if that was the last one."""
    _remove(path)
    try:
        os.rmdir(os.path.dirname(path))
    except OSError:  # other mounts have theirs in it
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
