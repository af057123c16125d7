"""Services in containers: started, asked over the network of this machine, and stopped as their image says."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.command import Lamina, program
from tests.helpers.registries import answers, free_port
from tests.helpers.wait import until

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Service:
    """A service that answers on a port of loopback."""

    port: int

    def page(self, path: str, *, data: bytes | None = None) -> str:
        """Return what an HTTP request gets: GET, or POST where there are `data`."""
        with _DIRECT.open(f"http://127.0.0.1:{self.port}{path}", data, timeout=10) as response:
            text: str = response.read().decode()
            return text

    def say(self, request: bytes) -> bytes:
        """Return the first bytes that the service answers over a connection of its own."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(request)
            return connection.recv(4096)


@contextmanager
def service(lamina: Lamina, image: str, *options: str) -> Iterator[Service]:
    """Run an image for a `with` block, told its port by $PORT, and check that it is healthy and ends when told to.

    The image's own health check is carried out, in a second container, where it has one. The signal is the one that
    the image names. AssertionError with what the service said where it does not start or does not end.
    """
    (inspected,) = json.loads(lamina("inspect", image).stdout)
    config = inspected["Config"]
    port = free_port()
    environment = ["-e", f"PORT={port}"]
    log = lamina.cwd / f"service-{port}.log"
    argv = [*program(), "run", "--rm", *environment, *options, image]
    with (
        log.open("wb") as out,
        subprocess.Popen(
            argv, env=lamina.environment(), cwd=lamina.cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        ) as process,
    ):
        try:
            until(lambda: process.poll() is not None or answers(port), f"{image} listens", seconds=60)
            assert process.poll() is None, f"{image} ended at once: {_said(log)}"
            yield Service(port)
            if words := _health_check(config):
                lamina("run", "--rm", *environment, *options, "--entrypoint", "", image, *words)
            # `lamina run` hands on what it gets, and ends as the service does: by itself, or by this signal.
            number = signal.Signals[str(config.get("StopSignal") or "SIGTERM")]
            process.send_signal(number)
            until(lambda: process.poll() is not None, f"{image} ends on {number.name}: {_said(log)}", seconds=30)
            assert process.returncode in (0, 128 + number), f"status {process.returncode}: {_said(log)}"
        finally:
            process.kill()
    assert not answers(port)
    log.unlink()


def _said(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


def _health_check(config: dict[str, object]) -> list[str]:
    """Return the command line of the image's health check, or nothing."""
    check = config.get("Healthcheck")
    test = check.get("Test") if isinstance(check, dict) else None
    if not test:
        return []
    kind, *words = [str(word) for word in test]
    return words if kind == "CMD" else ["/bin/sh", "-c", *words]
