"""Mounting overlays by the kernel: from one layer to nearly a thousand, with names of any kind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.requires("overlay", "userns")

# Inside namespaces of its own: mount what the JSON says, and print what is seen.
_PROGRAM = """
import json, os, sys
from lamina.errors import LaminaError
from lamina.ids.enter import enter
from lamina.ids.map import choose
from lamina.linux.mountinfo import mount_points
from lamina.linux.namespaces import in_first_user_namespace, unshare_mounts
from lamina.overlay.kernel import mount
from lamina.overlay.stack import Overlay
layers, upper, work, target, through, options = json.loads(sys.stdin.read())
enter(choose(os.geteuid(), os.getegid()))
unshare_mounts()
userxattr = not in_first_user_namespace()
place = os.open(target, os.O_PATH)
before = len(mount_points())
try:
    where = f"/proc/self/fd/{place}" if through else target
    mount(Overlay(layers, upper=upper, work=work, userxattr=userxattr, options=options), where)
except LaminaError as error:
    sys.exit(f"{type(error).__name__}: {error}")
assert len(mount_points()) == before + 1, "one mount, and no other left"
if upper:
    open(f"{target}/new", "w").close()
    os.unlink(f"{target}/same")
else:
    try:
        open(f"{target}/new", "w")
    except OSError as error:
        assert error.errno == 30, error
    else:
        sys.exit("written")
print(json.dumps(sorted(os.listdir(target))))
"""


def mounted(
    layers: list[Path],
    scratch: Path,
    *,
    upper: bool = True,
    through: bool = False,
    options: list[list[str]] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Mount the layers in a process of its own, which ends with its mounts."""
    for name in ("upper", "work", "merged"):
        (scratch / name).mkdir(exist_ok=True)
    directories = [f"{scratch}/upper", f"{scratch}/work"] if upper else ["", ""]
    plain = [[str(layer) for layer in layers], *directories, f"{scratch}/merged", through, options or []]
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM], input=json.dumps(plain), capture_output=True, text=True, check=False
    )


def make_layers(scratch: Path, names: list[str]) -> list[Path]:
    layers = []
    for number, name in enumerate(names):
        layer = scratch / name
        layer.mkdir(parents=True)
        (layer / "same").write_text(str(number))
        (layer / f"of-{number}").touch()
        layers.append(layer)
    return layers


@pytest.mark.parametrize("count", [1, 2, 500])
@pytest.mark.parametrize("through", [False, True])
def test_numbers_of_layers(scratch: Path, count: int, through: bool) -> None:
    layers = make_layers(scratch, [str(number) for number in range(count)])
    done = mounted(layers, scratch, through=through)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == sorted(["new", *(f"of-{number}" for number in range(count))])
    assert (scratch / "upper" / "new").exists()
    assert (layers[-1] / "same").read_text() == str(count - 1), "the lowers never change"


@pytest.mark.parametrize("count", [1, 2])
def test_without_an_upper_nothing_can_be_written(scratch: Path, count: int) -> None:
    layers = make_layers(scratch, [str(number) for number in range(count)])
    done = mounted(layers, scratch, upper=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == sorted(["same", *(f"of-{number}" for number in range(count))])


@pytest.mark.parametrize(("count", "through"), [(501, True), (700, False), (990, False)])
def test_more_layers_than_one_mount_takes(scratch: Path, count: int, through: bool) -> None:
    layers = make_layers(scratch, [str(number) for number in range(count)])
    done = mounted(layers, scratch, through=through)
    if "this kernel shows at most 500 layers" in done.stderr and _is_old():
        return
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == count + 1


def _is_old() -> bool:
    code = "from lamina.linux.mount import fsopen; fsopen('tmpfs')"
    return "fsopen" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr


def test_too_many_layers(scratch: Path) -> None:
    layers = make_layers(scratch, [str(number) for number in range(1001)])
    done = mounted(layers, scratch)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and ("layers" in done.stderr or "Too many open files" in done.stderr)


def test_names_of_any_kind(scratch: Path) -> None:
    names = [
        "a:b",
        "c,d",
        "e\\f",
        "g h",
        "i\nj",
        "lowerdir=k",
        "\udcff",
        "\\",
        ":",
        "long/" + "/".join(["x" * 200] * 8),
    ]
    done = mounted(make_layers(scratch, names), scratch)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == len(names) + 1


def test_what_the_kernel_says(scratch: Path) -> None:
    layers = make_layers(scratch, ["a", "b"])
    done = mounted(layers, scratch, options=[["no_such_option", "1"]])
    assert done.returncode == 1
    assert done.stderr.startswith(f"Unsupported: cannot mount the overlay on {scratch}/merged: ")
    assert "no_such_option" in done.stderr or _is_old()
