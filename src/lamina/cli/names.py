"""The names that completion offers."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.api import Store


def image_names(store: Store) -> list[str]:
    """Return all names of images, sorted."""
    return sorted(name for image in store.images() for name in image.names)


def container_names(store: Store) -> list[str]:
    """Return the names of all containers, sorted."""
    return sorted(container.name for container in store.containers())
