"""What a Python program imports: `Store`, `Image`, `Container`, `mount`, and the values that they take and give.

Nothing is loaded before it is used: the command line comes through here on its way to starting a container.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.api.container import Change, Container
    from lamina.api.diagnosing import diagnose
    from lamina.api.image import Image, Layer
    from lamina.api.mounting import mount
    from lamina.api.recipe import Recipe
    from lamina.api.store import Store
    from lamina.api.uppers import check_upper, flatten_upper, merge_upper, vacuum_upper
    from lamina.build.recipe import Mount
    from lamina.build.stepevent import StepEvent
    from lamina.build.verify import Difference
    from lamina.doctor.diagnose import Diagnosis
    from lamina.runtime.spec import Bind, Device, RunOptions, Tmpfs, Ulimit
    from lamina.store.collect import Collected
    from lamina.store.remove import Removed

_MODULES = {
    "Bind": "lamina.runtime.spec",
    "Change": "lamina.api.container",
    "Collected": "lamina.store.collect",
    "Container": "lamina.api.container",
    "Device": "lamina.runtime.spec",
    "Difference": "lamina.build.verify",
    "Image": "lamina.api.image",
    "Layer": "lamina.api.image",
    "Removed": "lamina.store.remove",
    "RunOptions": "lamina.runtime.spec",
    "Mount": "lamina.build.recipe",
    "Recipe": "lamina.api.recipe",
    "StepEvent": "lamina.build.stepevent",
    "Store": "lamina.api.store",
    "Tmpfs": "lamina.runtime.spec",
    "Ulimit": "lamina.runtime.spec",
    "Diagnosis": "lamina.doctor.diagnose",
    "diagnose": "lamina.api.diagnosing",
    "check_upper": "lamina.api.uppers",
    "flatten_upper": "lamina.api.uppers",
    "merge_upper": "lamina.api.uppers",
    "mount": "lamina.api.mounting",
    "vacuum_upper": "lamina.api.uppers",
}

__all__ = [
    "Store", "Image", "Layer", "Container", "Change", "mount",
    "check_upper", "vacuum_upper", "flatten_upper", "merge_upper",
    "Recipe", "Mount", "StepEvent", "Difference",
    "RunOptions", "Bind", "Tmpfs", "Device", "Ulimit",
    "Collected", "Removed", "Diagnosis", "diagnose",
]  # fmt: skip


def __getattr__(name: str) -> object:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted(__all__)
