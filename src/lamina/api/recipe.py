"""`lamina.build`, and `Recipe`: an image described in Python, which builds itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.build import recipe

if TYPE_CHECKING:
    import os
    from typing import BinaryIO, Unpack

    from lamina.api.building import BuildKeywords
    from lamina.api.image import Image
    from lamina.api.store import Store


def build_image(
    context: str | os.PathLike[str] | BinaryIO,
    *,
    store: Store | None = None,
    **options: Unpack[BuildKeywords],
) -> Image:
    """Build an image in `store`, or in the usual one: `lamina.build`. The rest is what `Store.build` takes."""
    if store is not None:
        return store.build(context, **options)
    from lamina.api.store import Store

    with Store() as usual:
        return usual.build(context, **options)


class Recipe(recipe.Recipe):
    """An image described instruction by instruction; `lamina.build.recipe` says how. Every method returns another."""

    __slots__ = ()

    def build(
        self,
        context: str | os.PathLike[str] | BinaryIO | None = None,
        *,
        store: Store | None = None,
        **options: Unpack[BuildKeywords],
    ) -> Image:
        """Build the image with the files of `context`, or with none; the options are those of `Store.build`."""
        if context is None:
            return build_image(self.stream(), store=store, **options)
        options["dockerfile"] = self.stream()
        return build_image(context, store=store, **options)
