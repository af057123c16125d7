"""`lamina bootstrap` on a machine that has neither program for it."""

from __future__ import annotations

import pytest

from tests.helpers.command import Lamina, program, run

_SCRIPT = """\
set -eu
for each in mmdebstrap debootstrap; do
  path=$(command -v "$each") && mount --bind /dev/null "$path" || true
done
exec "$@"
"""


@pytest.mark.requires("root", "unshare")
def test_the_missing_package_is_named(lamina: Lamina) -> None:
    inside = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _SCRIPT, "sh"]
    done = run([*inside, *program(), "bootstrap", "bookworm", "base:1"], env=lamina.environment(), status=125)
    assert done.stderr.splitlines()[-1] == "hint: apt-get install mmdebstrap"
    assert done.stdout == ""
    assert lamina("images", "-q").stdout == ""
