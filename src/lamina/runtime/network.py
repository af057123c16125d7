"""The network of a container: the host's, or none; and the three files of /etc that belong to it."""

from __future__ import annotations

import fcntl

from lamina.linux.sockets import datagram_socket

_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x41


def raise_loopback() -> None:
    """Bring up `lo` in the network namespace of the calling process (netdevice(7))."""
    interfaces = datagram_socket()
    try:
        request = b"lo".ljust(16, b"\0") + _IFF_UP_RUNNING.to_bytes(2, "little") + bytes(22)  # struct ifreq
        fcntl.ioctl(interfaces.fileno(), _SIOCSIFFLAGS, request)
    finally:
        interfaces.close()


def hosts_text(host: bytes, hostname: str, added: list[tuple[str, str]], *, alone: bool) -> bytes:
    """Return /etc/hosts: the host's own, or with `alone` the local names only; the container's name; `--add-host`."""
    text = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" if alone else host
    if text and not text.endswith(b"\n"):
        text += b"\n"
    lines = [("127.0.1.1", hostname), *((address, name) for name, address in added)]
    return text + "".join(f"{address}\t{name}\n" for address, name in lines).encode()


def etc_files(hostname: str, added: list[tuple[str, str]], *, network: str) -> dict[str, bytes]:
    """Return what a container finds in /etc of its own: {path inside: content}.

    With the host's network its resolv.conf is copied as it is now; without a network there is no server to name.
    """
    alone = network == "none"
    return {
        "/etc/hosts": hosts_text(_read("/etc/hosts"), hostname, added, alone=alone),
        "/etc/hostname": f"{hostname}\n".encode(),
        "/etc/resolv.conf": b"" if alone else _read("/etc/resolv.conf"),
    }


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except OSError:
        return b""
