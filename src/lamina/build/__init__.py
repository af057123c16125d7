"""Building images: a Dockerfile becomes steps, and each step a layer.

The package may be called: `lamina.build(context, tag=...)` is `lamina.api.recipe.build_image`. A function of this
name would be hidden as soon as a module of the package is imported.
"""

from __future__ import annotations

import sys
from types import ModuleType


class _Package(ModuleType):
    def __call__(self, context: object, **options: object) -> object:
        """Build an image; `lamina.api.recipe.build_image` says what the arguments mean."""
        from importlib import import_module

        # The package knows nothing of the API above it; whoever calls it asks for that.
        return import_module("lamina.api.recipe").build_image(context, **options)


sys.modules[__name__].__class__ = _Package
