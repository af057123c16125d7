"""From Python, on real input: a Debian base, a package installed into the next layer, and its program over both."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import lamina
from lamina.errors import NotFound


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        pass


@pytest.fixture
def address(scratch: Path) -> Iterator[str]:
    """Return the address of a file that a server on loopback has."""
    (scratch / "www").mkdir()
    (scratch / "www" / "file").write_text("served\n")
    handler = functools.partial(_Quiet, directory=str(scratch / "www"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/file"
        server.shutdown()
        thread.join()


@pytest.mark.requires("debian", "archive", "overlay", "userns")
def test_a_package_becomes_a_layer_and_runs_from_a_third(store_path: Path, address: str) -> None:
    install = "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends curl"
    with lamina.Store(store_path) as store:
        base = store.import_rootfs(os.environ["BASE_TAR"], "base:1")
        with base.container() as box:
            box.run(["sh", "-c", install], check=True)
            assert lamina.Change("A", "/usr/bin/curl") in box.diff()
            curl = box.commit("curl:1")
        assert len(curl.layers) == 2
        done = curl.run(["curl", "-fsS", address], text=True)
        assert (done.returncode, done.stdout) == (0, "served\n")
        with pytest.raises(NotFound):  # the base is what it was
            base.run(["curl", "--version"])
        for name in ("curl:1", "base:1"):
            store.remove_image(name)
        store.prune(containers=True, images=True)
        assert store.images() == []
