"""Ports as EXPOSE takes them: `80`, `53/udp`, `8000-8010/tcp`.

An address and a port of the host before it (`127.0.0.1:8080:80`) have no meaning there; they are checked and dropped,
as the reference implementation does, and a build check reports them.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

_PROTOCOLS = ("tcp", "udp", "sctp")


class BadPort(ValueError):
    """A text is no port; the error's text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports `first` to `last` of a protocol, "tcp" unless it was said.

    `protocol` is in lower case, `spelled` as it was written ("" without one). `published` tells that an address or a
    port of the host stood before it.
    """

    first: int
    last: int
    protocol: str = "tcp"
    spelled: str = ""
    published: bool = False

    @property
    def names(self) -> list[str]:
        """The ports as an image's config has them: `80/tcp`."""
        return [f"{port}/{self.protocol}" for port in range(self.first, self.last + 1)]


def parse_ports(text: str) -> Ports:
    """Return the ports that one word means. Raises BadPort."""
    host, _, container = text.rpartition(":")
    address, _, published = host.rpartition(":")
    numbers, _, protocol = container.partition("/")
    if not numbers:
        raise BadPort("expected a port")
    if protocol.lower() not in ("", *_PROTOCOLS):
        raise BadPort(f"the protocol is {protocol}: expected tcp, udp or sctp")
    first, last = _range(numbers)
    _check_address(address)
    if published:
        low, high = _range(published)
        if high - low != last - first and first != last:
            raise BadPort(f"{published} and {numbers} have different lengths")
    return Ports(first, last, protocol.lower() or "tcp", protocol, bool(host))


def _range(text: str) -> tuple[int, int]:
    start, dash, end = text.partition("-")
    first = _number(start)
    last = _number(end) if dash else first
    if last < first:
        raise BadPort(f"{text} ends before it begins")
    return first, last


def _number(text: str) -> int:
    digits = text.removeprefix("+")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 20 or int(digits) > 65535:
        raise BadPort(f"{text or 'nothing'} is no port: expected a number up to 65535")
    return int(digits)


def _check_address(text: str) -> None:
    if not text:
        return
    try:
        ipaddress.ip_address(text[1:-1] if text.startswith("[") and text.endswith("]") else text)
    except ValueError:
        raise BadPort(f"{text} is no address") from None
