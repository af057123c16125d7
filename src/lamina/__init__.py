"""lamina: OverlayFS in Python, and everything that stands on it.

    import lamina

    with lamina.mount(layers=["l1", "l2"], upper="u", work="w") as merged:  # base first
        ...
    store = lamina.Store()
    base = store.import_rootfs("rootfs.tar.gz", "debian:mine")
    done = base.run(["apt", "--version"])  # returncode, stdout, stderr, like subprocess.run
    with base.container() as box:  # an upper that is kept until the block ends
        box.run(["touch", "/new"])
        image = box.commit("debian:new")

What is raised on purpose is a `LaminaError`, or an OSError with the kernel's errno. Importing this does nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.api import (
        Bind,
        Change,
        Collected,
        Container,
        Device,
        Difference,
        Image,
        Layer,
        Mount,
        Recipe,
        Removed,
        RunOptions,
        StepEvent,
        Store,
        Tmpfs,
        Ulimit,
        check_upper,
        diagnose,
        flatten_upper,
        merge_upper,
        mount,
        vacuum_upper,
    )
    from lamina.api.recipe import build_image as build
    from lamina.errors import Conflict, InvalidInput, LaminaError, NotFound, StoreError, Unsupported, UsageError
    from lamina.events import Event
    from lamina.overlay.union.union import Union

__version__ = "0.1.0"

_ERRORS = ("Conflict", "InvalidInput", "LaminaError", "NotFound", "StoreError", "Unsupported", "UsageError")

__all__ = [
    "Store", "Image", "Layer", "Container", "Change", "mount", "Union",
    "check_upper", "vacuum_upper", "flatten_upper", "merge_upper",
    "build", "Recipe", "Mount", "StepEvent", "Difference",
    "RunOptions", "Bind", "Tmpfs", "Device", "Ulimit",
    "Collected", "Removed", "Event", "Diagnosis", "diagnose",
    "LaminaError", "InvalidInput", "NotFound", "Conflict", "Unsupported", "StoreError", "UsageError",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if name == "build":
        return import_module("lamina.build")
    elsewhere = {"Event": "lamina.events", "Union": "lamina.overlay.union.union"}
    module = "lamina.errors" if name in _ERRORS else elsewhere.get(name, "lamina.api")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted(__all__)
