"""Sockets without the enumerations of the `socket` module, whose import costs 8 ms at each start.

`_socket` is what `socket` itself is made of.
"""

from __future__ import annotations

import _socket  # type: ignore[import-not-found, unused-ignore]  # older typesheds know `socket` alone
import sys

_INT = 4  # bytes of a C int, which a descriptor is on the wire

AF_INET, SOCK_DGRAM = _socket.AF_INET, _socket.SOCK_DGRAM


def socketpair() -> tuple[_socket.socket, _socket.socket]:
    """Return two connected stream sockets, close-on-exec: socketpair(2). The caller closes both."""
    ours, theirs = _socket.socketpair()
    return ours, theirs


def datagram_socket() -> _socket.socket:
    """Return an internet socket for ioctls of network interfaces (netdevice(7)). The caller closes it."""
    return _socket.socket(AF_INET, SOCK_DGRAM)


def send_fd(channel: _socket.socket, fd: int) -> None:
    """Send one descriptor (SCM_RIGHTS, unix(7)). It stays open for the receiver though the sender closes it."""
    channel.sendmsg([b"\0"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd.to_bytes(_INT, sys.byteorder))])


def receive_fd(channel: _socket.socket) -> int:
    """Receive one descriptor, close-on-exec, or -1 where the other side is closed. The caller closes it."""
    _, ancillary, _, _ = channel.recvmsg(1, _socket.CMSG_SPACE(_INT), _socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            return int.from_bytes(data[:_INT], sys.byteorder)
    return -1
