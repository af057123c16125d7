"""`mount`: directories laid over each other for the time of a `with` block."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import mkdtemp

from lamina.errors import Unsupported
from lamina.linux.mount import UMOUNT_NOFOLLOW, umount2
from lamina.linux.namespaces import in_first_user_namespace
from lamina.overlay.kernel import mount as mount_by_kernel
from lamina.overlay.stack import Overlay


@contextmanager
def mount(
    layers: Sequence[str | os.PathLike[str]],
    *,
    upper: str | os.PathLike[str] | None = None,
    work: str | os.PathLike[str] | None = None,
    target: str | os.PathLike[str] | None = None,
) -> Iterator[str]:
    """Lay `layers` over each other, base first, and yield the path at which they show as one.

    With `upper`, and `work`, an empty directory beside it, what is written goes to `upper`; without, the union is
    read-only. `target` is an existing directory to mount on; by default a temporary one. The mount is taken away when
    the block ends, and OSError EBUSY raised where something is still in use then.

    Raises InvalidInput for directories that cannot be, and Unsupported for an ordinary user: what they mount can be
    seen in a namespace only, which a program that may have threads cannot enter.
    """
    if os.geteuid() != 0:
        raise Unsupported(
            "mount",
            target or "an overlay",
            "an ordinary user can mount in a namespace only",
            "lamina mount … -- COMMAND, or Store().import_rootfs and Image.container",
        )
    overlay = Overlay(
        [os.path.abspath(layer) for layer in layers],
        upper=os.path.abspath(upper) if upper is not None else "",
        work=os.path.abspath(work) if work is not None else "",
        userxattr=not in_first_user_namespace(),
    )
    overlay.check()
    place = os.path.abspath(target) if target is not None else mkdtemp(prefix="lamina-")
    try:
        mount_by_kernel(overlay, place)
        try:
            yield place
        finally:
            umount2(place, UMOUNT_NOFOLLOW)
    finally:
        if target is None:
            os.rmdir(place)
