"""The kernel's overlayfs as oracle: what a mount showed is what the captured layer shows over the same layers."""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lamina.errors import InvalidInput
from lamina.layer import jobs
from tests.helpers import layers, probes
from tests.helpers.layers import Layer
from tests.helpers.trees import remove_tree

pytestmark = pytest.mark.requires("mounts", "overlay")

# What the kernel answers to changes that it does not make. ESTALE comes in a user namespace, from the rename of a new
# hard link over the lower file that it was made of (Linux 6.18): the kernel takes the two for different files.
_REFUSED = (errno.EXDEV, errno.ENOTEMPTY, errno.EINVAL, errno.ELOOP, errno.EPERM, errno.ESTALE)

_NAMES = ["a", "b", "c", "d", "e\n", "\udcff"]


def _options() -> list[str]:
    """Return the mount options that leave different marks in an upper."""
    if probes.who() != "root":
        return ["userxattr"]
    # With index=on a change of one hard link shows at names that the upper does not have: that is not for capture.
    return ["redirect_dir=nofollow,metacopy=off,index=off", "redirect_dir=on,metacopy=on,index=off"]


@contextmanager
def mounted(target: Path, lowers: list[Path], options: str, upper: Path | None = None) -> Iterator[Path]:
    """Mount an overlay, lowers base first; one alone is bound."""
    target.mkdir()
    text = f"lowerdir={':'.join(str(path) for path in reversed(lowers))},{options}"
    if upper is not None:
        work = upper.with_name(f"{upper.name}-work")
        work.mkdir()
        text += f",upperdir={upper},workdir={work}"
    argv = ["mount", "-t", "overlay", "overlay", "-o", text, str(target)]
    if len(lowers) == 1 and upper is None:
        argv = ["mount", "--bind", str(lowers[0]), str(target)]
    subprocess.run(argv, check=True)
    try:
        yield target
    finally:
        subprocess.run(["umount", str(target)], check=True)


class Life:
    """Random changes in a directory, the kind that programs make."""

    def __init__(self, top: Path, chance: random.Random) -> None:
        self._top = top
        self._chance = chance

    def live(self, steps: int) -> None:
        actions = [
            self.write,
            self.append,
            self.remove,
            self.directory,
            self.rename,
            self.meta,
            self.link,
            self.symlink,
        ]
        for _ in range(steps):
            try:
                self._chance.choice(actions)()
            except (FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError):
                continue
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise

    def any_path(self) -> Path:
        """Return a path that exists, mostly, or could."""
        path = self._top
        for _ in range(self._chance.randint(1, 3)):
            path /= self._chance.choice(_NAMES)
            if not path.is_dir() or path.is_symlink():
                break
        return path

    def write(self) -> None:
        with self._open(os.O_CREAT | os.O_TRUNC) as file:
            file.write(self._chance.randbytes(self._chance.randint(0, 300)))

    def append(self) -> None:
        with self._open(os.O_APPEND) as file:
            file.write(b"more")

    def _open(self, flags: int) -> BinaryIO:
        # The links in the tree lead anywhere, to files of the host too: none is followed.
        return os.fdopen(os.open(self.any_path(), os.O_WRONLY | os.O_NOFOLLOW | flags, 0o644), "wb")

    def remove(self) -> None:
        path = self.any_path()
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def directory(self) -> None:
        path = self.any_path()
        if self._chance.random() < 0.4 and path.exists() and not path.is_symlink():
            (shutil.rmtree if path.is_dir() else Path.unlink)(path)  # replaced: opaque, or a file's whiteout
        path.mkdir()
        (path / self._chance.choice(_NAMES)).write_bytes(b"new")

    def rename(self) -> None:
        self.any_path().rename(self.any_path())

    def meta(self) -> None:
        path = self.any_path()
        if path.is_symlink():
            return
        path.chmod(self._chance.choice([0o700, 0o755, 0o4711, 0o1777]))
        if self._chance.random() < 0.5:
            os.setxattr(path, "user.x", self._chance.randbytes(5))
        if not layers.is_single_id() and self._chance.random() < 0.3:
            os.chown(path, 6, 1000)

    def link(self) -> None:
        os.link(self.any_path(), self.any_path(), follow_symlinks=False)

    def symlink(self) -> None:
        self.any_path().symlink_to(self._chance.choice(["a", "/nowhere/b", "../c"]))


def _look(path: Path) -> layers.Look:
    """Look at a merged tree; hard links are left out, since copy-up breaks them."""
    return {name: (*what[:5], *what[6:]) for name, what in layers.look(path).items()}


def _kinds(before: layers.Look, after: layers.Look) -> list[list[str]]:
    """Return the lines of `diff` by comparing two merged trees: names only, and without directories that stayed."""
    lines = []
    for name in sorted(before.keys() | after.keys()):
        head = name.rpartition(b"/")[0]
        if name not in after:
            if not head or stat.S_ISDIR(int(str(after.get(head, ("0",))[0]), 8)):
                lines.append(["D", os.fsdecode(name)])
        elif name not in before:
            lines.append(["A", os.fsdecode(name)])
    return lines


# No shrinking: each example mounts a dozen times, and a random life does not become clearer by it.
@settings(max_examples=12, database=None, phases=[Phase.explicit, Phase.generate])
@given(chance=st.randoms(use_true_random=False), which=st.integers(0, 1))
def test_captured_layers_show_what_the_mount_showed(chance: random.Random, which: int) -> None:
    options = _options()[which % len(_options())]
    scratch = Path(tempfile.mkdtemp())
    try:
        plain = scratch / "plain"
        plain.mkdir()
        Life(plain, chance).live(30)
        stack = [layers.apply_directory(plain, scratch / "base")]
        for number in range(3):
            stack.append(_change(scratch / str(number), stack, options, chance))
    finally:
        remove_tree(str(scratch))


def _change(scratch: Path, stack: list[Layer], options: str, chance: random.Random) -> Layer:
    """Change the stack through a mount; return the captured layer, after looking at it in every way."""
    scratch.mkdir()
    trees = [layer.tree for layer in stack]
    reading = _options()[0]
    with mounted(scratch / "before", trees, reading) as merged:
        before = _look(merged)
    upper = scratch / "upper"
    upper.mkdir()
    upper.chmod(stat.S_IMODE(trees[-1].stat().st_mode))
    with mounted(scratch / "merged", trees, options, upper) as merged:
        Life(merged, chance).live(25)
        seen = _look(merged)
    layer = layers.capture([("", upper)], scratch / "layer", stack)
    archive = layers.assemble(layer, scratch / "tar")
    applied = layers.apply(archive, scratch / "applied", stack)
    for number, tree in enumerate((layer.tree, applied.tree)):
        with mounted(scratch / f"again{number}", [*trees, tree], reading) as merged:
            again = _look(merged)
            # A name without a state would have failed in _look: no phantoms.
            if not any(upper.iterdir()):  # an empty layer says nothing of the top directory
                again[b""] = seen[b""]
            assert again == seen
    changes = jobs.list_changes(uppers=[["", str(upper)]], below=[str(tree) for tree in trees], ignore=[])
    assert [line for line in changes if line[0] != "C"] == _kinds(before, seen)
    assert applied.said == layer.said
    return layer


@pytest.mark.requires("root")
def test_a_renamed_directory_is_exported_whole(scratch: Path) -> None:
    plain = scratch / "plain"
    (plain / "old" / "deep").mkdir(parents=True)
    (plain / "old" / "deep" / "file").write_bytes(b"content")
    (plain / "new").mkdir()
    (plain / "new" / "hidden").write_bytes(b"")
    base = layers.apply_directory(plain, scratch / "base")
    upper = scratch / "upper"
    upper.mkdir()
    with mounted(scratch / "merged", [base.tree], "redirect_dir=on", upper) as merged:
        (merged / "new" / "hidden").unlink()
        (merged / "new").rmdir()
        (merged / "old").rename(merged / "new")
        (merged / "new" / "added").write_bytes(b"")
    layer = layers.capture([("", upper)], scratch / "layer", [base])
    assert (layer.tree / "new" / "deep" / "file").read_bytes() == b"content"
    assert jobs.list_changes(uppers=[["", str(upper)]], below=[str(base.tree)], ignore=[]) == [
        ["C", "/new"],
        ["A", "/new/added"],
        ["A", "/new/deep"],
        ["A", "/new/deep/file"],
        ["D", "/new/hidden"],
        ["D", "/old"],
    ]


def test_mount_targets_are_left_out(scratch: Path) -> None:
    plain = scratch / "plain"
    (plain / "etc").mkdir(parents=True)
    (plain / "etc" / "hosts").write_bytes(b"own")
    base = layers.apply_directory(plain, scratch / "base")
    upper = scratch / "upper"
    (upper / "etc").mkdir(parents=True)
    (upper / "etc" / "resolv.conf").touch()
    (upper / "proc").mkdir()
    (upper / "run" / "x").mkdir(parents=True)
    for name in ("", "etc"):
        shutil.copystat(plain / name, upper / name)
    ignored = ["etc/resolv.conf", "proc", "run", "run/x"]
    layer = layers.capture([("", upper)], scratch / "layer", [base], ignored)
    assert layer.said["entries"] == 0
    (upper / "run" / "kept").touch()
    assert jobs.list_changes(uppers=[["", str(upper)]], below=[str(base.tree)], ignore=ignored) == [
        ["A", "/run"],
        ["A", "/run/kept"],
    ]


def test_a_name_that_means_a_whiteout_is_refused(scratch: Path) -> None:
    upper = scratch / "upper"
    upper.mkdir()
    (upper / ".wh.x").touch()
    with pytest.raises(InvalidInput, match=r"capture \.wh\.x: "):
        layers.capture([("", upper)], scratch / "layer", [])
    assert not list((scratch / "layer").iterdir())
