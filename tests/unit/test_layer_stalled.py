"""A source that stalls: whoever gives up on it gets away."""

from __future__ import annotations

import os

import pytest

from lamina.layer.digest import Source


def test_leaving_a_stalled_pipe_does_not_wait_for_it() -> None:
    reader, writer = os.pipe()
    try:
        os.write(writer, b"some bytes, and then nothing more")
        with pytest.raises(KeyboardInterrupt), Source(reader):
            raise KeyboardInterrupt
    finally:
        os.close(writer)
        os.close(reader)
