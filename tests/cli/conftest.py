"""What several tests of the command start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.command import Lamina
from tests.helpers.rootfs import make_rootfs


@pytest.fixture
def context(lamina: Lamina, scratch: Path) -> Path:
    """Return an empty directory to build; the image base:1 has a shell and some programs."""
    make_rootfs(scratch / "rootfs")
    lamina("import", str(scratch / "rootfs"), "base:1")
    (scratch / "context").mkdir()
    return scratch / "context"
