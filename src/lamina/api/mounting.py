"""`mount`: directories laid over each other for the time of a `with` block."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Literal

from lamina.errors import Unsupported
from lamina.linux.namespaces import in_first_user_namespace
from lamina.overlay import drivers
from lamina.overlay.stack import Overlay

if TYPE_CHECKING:
    from lamina.overlay.drivers import Driver


@contextmanager
def mount(
    layers: Sequence[str | os.PathLike[str]],
    *,
    upper: str | os.PathLike[str] | None = None,
    work: str | os.PathLike[str] | None = None,
    target: str | os.PathLike[str] | None = None,
    driver: Driver = "auto",
    renames: Literal["", "redirect", "copy"] = "",
) -> Iterator[str]:
    """Lay `layers` over each other, base first, and yield the path at which they show as one.

    With `upper`, and `work`, an empty directory beside it, what is written goes to `upper`; without, the union is
    read-only. `target` is an existing directory to mount on; by default a temporary one. The mount is taken away when
    the block ends, and OSError EBUSY raised where something is still in use then.

    `driver` is "kernel", "fuse" (our own union, served by a process that ends with the mount) or "auto": the kernel's
    where it can, for root, and ours, through fusermount3, for an ordinary user, who can mount by the kernel in a
    namespace only, which a program that may have threads cannot enter.

    `renames` is what becomes of a directory of the layers that is renamed: "redirect" (a mark says where it was),
    "copy" (all of it is copied up), or what the driver does by itself, which for our own is to redirect.

    Raises InvalidInput for directories that cannot be, and Unsupported where no driver will do.
    """
    ordinary = os.geteuid() != 0
    if ordinary and driver == "kernel":
        raise Unsupported(
            "mount by the kernel's driver",
            target or "an overlay",
            "an ordinary user can do that in a namespace only",
            "driver='fuse', or lamina mount … -- COMMAND",
        )
    overlay = Overlay(
        [os.path.abspath(layer) for layer in layers],
        upper=os.path.abspath(upper) if upper is not None else "",
        work=os.path.abspath(work) if work is not None else "",
        userxattr=ordinary or not in_first_user_namespace(),
        renames=renames,
    )
    overlay.check()
    place = os.path.abspath(target) if target is not None else mkdtemp(prefix="lamina-")
    try:
        mounted = drivers.mount(overlay, place, driver="fuse" if ordinary else driver)
        try:
            yield place
        finally:
            mounted.unmount()
    finally:
        if target is None:
            os.rmdir(place)
