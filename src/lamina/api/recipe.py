"""`lamina.build`, and `Recipe`: an image described in Python, which builds itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.build import recipe

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping
    from typing import BinaryIO, Literal, TypedDict, Unpack

    from lamina.api.image import Image
    from lamina.api.store import Store
    from lamina.build.verify import Difference
    from lamina.events import OnEvent

    class BuildKeywords(TypedDict, total=False):
        """The options of `Store.build`, as keywords of a call, but for `dockerfile`."""

        tag: str | Iterable[str]
        target: str | None
        platform: str
        build_args: Mapping[str, str] | None
        contexts: Mapping[str, str] | None
        labels: Mapping[str, str] | None
        annotations: Mapping[str, str] | None
        secrets: Mapping[str, str | os.PathLike[str] | bytes] | None
        ssh: Mapping[str, str] | None
        add_hosts: Iterable[tuple[str, str]]
        network: str
        pull: Literal["missing", "always", "never"]
        no_cache: bool | Iterable[str]
        explain_cache: bool
        resume: bool
        cache_from: Iterable[str]
        cache_to: Iterable[str]
        outputs: Iterable[str]
        metadata_file: str | os.PathLike[str]
        squash: bool
        timestamp: int | None
        jobs: int
        on_verified: Callable[[list[Difference]], object] | None
        on_event: OnEvent


def build_image(
    context: str | os.PathLike[str] | BinaryIO,
    *,
    store: Store | None = None,
    dockerfile: str | os.PathLike[str] | BinaryIO | None = None,
    **options: Unpack[BuildKeywords],
) -> Image:
    """Build an image in `store`, or in the usual one: `lamina.build`. The rest is what `Store.build` takes."""
    if store is not None:
        return store.build(context, dockerfile=dockerfile, **options)
    from lamina.api.store import Store

    with Store() as usual:
        return usual.build(context, dockerfile=dockerfile, **options)


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
        return build_image(context, store=store, dockerfile=self.stream(), **options)
