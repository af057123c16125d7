"""Files of a result go into a directory of the host: what `--output type=local` does.

The jobs run in a worker (`lamina.ids.worker`). Everything is unpacked in a hidden directory inside the target first,
and then renamed into its place, name by name: where unpacking fails, the target is as it was.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from lamina.build.pipes import stream_of
from lamina.errors import InvalidInput
from lamina.events import ignore
from lamina.ids.worker import Fd
from lamina.layer import jobs, owners
from lamina.overlay.format import USER
from lamina.store import making

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lamina.ids.worker import Worker
    from lamina.store.layout import Layout


def flat_writer(layout: Layout, worker: Worker, layers: Sequence[str], empty: str) -> Callable[[Fd], None]:
    """Return what writes the tree that `layers` show together, as a tar; `empty` is a directory with nothing in it."""

    def write(out: Fd) -> None:
        making.write_flat(layout, worker, layers, empty, out)

    return write


def place_tree(worker: Worker, write: Callable[[Fd], None], target: str) -> list[str]:
    """Put the files of the tar that `write` writes into the directory `target`, made if it is not there.

    All of them belong to the caller. What has the same name there gives way, other files stay. Returns the names that
    were left out: devices.
    """
    target = os.path.abspath(target)
    made = not os.path.lexists(target)
    try:
        os.makedirs(target, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidInput("write to", target, "it is no directory") from error
    staging = os.path.join(target, f".lamina-{os.urandom(6).hex()}")
    try:
        with stream_of(write) as stream:
            worker.call(
                jobs.apply_layer,
                stream=stream,
                staging=staging,
                below=[],
                owners_below=[],
                space=USER,
                single_id=True,  # also for root: whoever exports files is to own them
                expected_diff_id="",
                on_event=ignore,
            )
        return worker.call(move_tree, staging=staging, target=target)
    except BaseException:
        worker.call(jobs.remove_tree, path=staging)
        if made:
            with suppress(OSError):  # something is in it by now
                os.rmdir(target)
        raise
    finally:
        worker.call(jobs.remove_tree, path=staging)


def move_tree(*, staging: str, target: str) -> list[str]:
    """Move what is in `staging`/tree into `target`, and return the devices among it, which are left out."""
    table = owners.read(os.path.join(staging, "owners"))
    devices = {os.fsdecode(path) for path, owner in table.items() if owner.device is not None}
    tree = os.path.join(staging, "tree")
    left_out: list[str] = []
    _check(tree, target)
    _move(tree, target, "", devices, left_out)
    return left_out


def _check(source: str, target: str) -> None:
    """Refuse, before anything is moved, to put a file where a directory is."""
    for entry in os.scandir(source):
        there = os.path.join(target, entry.name)
        if _is_directory(there):
            if not entry.is_dir(follow_symlinks=False):
                raise IsADirectoryError(errno.EISDIR, "a directory is in the way", there)
            _check(entry.path, there)


def _move(source: str, target: str, prefix: str, devices: set[str], left_out: list[str]) -> None:
    for name in sorted(os.listdir(source)):
        path, there, inner = os.path.join(source, name), os.path.join(target, name), prefix + name
        status = os.lstat(path)
        if inner in devices or stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            left_out.append(inner)
            continue
        if stat.S_ISDIR(status.st_mode):
            if not _is_directory(there):
                with suppress(FileNotFoundError):
                    os.unlink(there)
                os.mkdir(there, 0o700)
            _move(path, there, inner + "/", devices, left_out)
            os.chmod(there, stat.S_IMODE(status.st_mode))
            os.utime(there, ns=(status.st_mtime_ns, status.st_mtime_ns))
        else:
            os.rename(path, there)


def _is_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)
