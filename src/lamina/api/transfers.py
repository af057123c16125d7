"""Between the API and `lamina.transfer`: names become images and references, records become `Image`s."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import BinaryIO

from lamina.api.container import Container
from lamina.api.image import Image
from lamina.api.store import Store
from lamina.errors import InvalidInput
from lamina.events import OnEvent, ignore
from lamina.ids.worker import Fd
from lamina.oci.descriptor import Descriptor
from lamina.oci.platform import Platform, parse_platform, platform_of
from lamina.oci.reference import Reference, parse_name, parse_reference
from lamina.store import making
from lamina.store.bundles import BundleRecord, find_root
from lamina.store.containers import uppers_of
from lamina.store.images import HOST, ImageRecord
from lamina.store.references import list_references, read_reference
from lamina.transfer.attach import attach_files, referrers_of
from lamina.transfer.copy import Copying
from lamina.transfer.credentials import Credentials, login_file, remove_credentials, store_credentials
from lamina.transfer.load import load_images
from lamina.transfer.places import parse_place
from lamina.transfer.pull import pull_image, push_image
from lamina.transfer.remote import check_login, open_repository, parse_registry
from lamina.transfer.save import new_file, save_images

# All of these use `store.launcher`: their jobs run side by side, in processes of their own.


def load(
    store: Store,
    source: str | os.PathLike[str] | BinaryIO,
    *,
    platform: str,
    all_platforms: bool,
    max_unpacked_size: int | None,
    on_event: OnEvent,
) -> list[Image]:
    """Take in images; `Store.load` says what the arguments mean."""
    loaded = load_images(
        store.layout,
        store.launcher,
        source,
        platform=wanted(platform),
        all_platforms=all_platforms,
        max_size=max_unpacked_size,
        on_event=on_event,
    )
    return [Image(store, record, name=names[0].familiar if names else "") for record, names in loaded]


def save(
    store: Store,
    images: Iterable[Image | str],
    target: str | os.PathLike[str] | BinaryIO,
    *,
    format: str,  # noqa: A002  # everybody's word for it
    compression: str,
    platform: str,
    on_event: OnEvent,
) -> None:
    """Write images; `Store.save` says what the arguments mean."""
    if format == "docker-archive" and not platform:
        platform = str(wanted(""))  # it has no place for an index
    chosen: dict[str, tuple[ImageRecord | BundleRecord, list[Reference]]] = {}
    for image in images:
        record = _root(store, image, platform)
        digest = record.digest if isinstance(record, BundleRecord) else record.manifest
        _, names = chosen.setdefault(digest, (record, []))
        names += [name for name in _names_of(store, record, image) if name not in names]
    save_images(
        store.layout,
        store.launcher,
        list(chosen.values()),
        target,
        format=format,
        compression=compression,
        on_event=on_event,
    )


def export(container: Container, target: str | os.PathLike[str] | BinaryIO) -> None:
    """Write a container's tree; `Container.export` says what the arguments mean."""
    layout, record = container.store.layout, container.record
    if record.host:
        reason = "it lies over this machine's own root, all of which would be in it"
        raise InvalidInput("export", record.name, reason, "lamina diff shows what it changed")
    ((_, upper),) = uppers_of(layout, record.id)
    with new_file(target) as fd:
        making.write_flat(layout, container.store.worker, record.layers, upper, Fd(fd))


def pull(
    store: Store,
    name: str,
    *,
    platform: str,
    all_platforms: bool,
    max_unpacked_size: int | None,
    on_event: OnEvent,
) -> Image:
    """Take an image from its registry; `Store.pull` says what the arguments mean."""
    reference = parse_reference(name).tagged()
    record = pull_image(
        store.layout,
        store.launcher,
        reference,
        platform=wanted(platform),
        all_platforms=all_platforms,
        max_size=max_unpacked_size,
        environ=os.environ,
        on_event=on_event,
    )
    return Image(store, record, name=reference.familiar if reference.tag else "")


def push(store: Store, image: Image | str, name: str, *, compression: str, platform: str, on_event: OnEvent) -> str:
    """Send an image; `Store.push` says what the arguments mean."""
    given = name or (image if isinstance(image, str) else image.name)
    try:
        reference = parse_name(given)
    except InvalidInput as error:
        raise InvalidInput("push the image", given or "without a name", error.reason, error.hint) from error
    return push_image(
        store.layout,
        store.launcher,
        _root(store, image, platform),
        reference,
        compression=compression,
        environ=os.environ,
        on_event=on_event,
    ).digest


def copy(
    store: Store,
    source: str,
    target: str,
    *,
    platform: str,
    all_platforms: bool,
    compression: str,
    on_event: OnEvent,
) -> None:
    """Copy an image; `Store.copy` says what the arguments mean."""
    copying = Copying(
        store.layout,
        store.launcher,
        os.environ,
        wanted(platform),
        compression=compression,
        all_platforms=all_platforms,
        on_event=on_event,
    )
    copying.copy(parse_place(source), parse_place(target))


def tags(repository: str) -> list[str]:
    """Return the tags that a repository has at its registry."""
    reference = parse_reference(repository)
    if reference.tag is not None or reference.digest is not None:
        raise InvalidInput("list the tags of", repository, "it is one image, not a repository")
    with open_repository(os.environ, reference, pushing=False) as opened:
        return opened.tags()


def referrers(name: str, *, artifact_type: str = "", on_event: OnEvent = ignore) -> list[Descriptor]:
    """Return what refers to an image at its registry: signatures and the like, of one type if that is given.

    NotFound where the registry has no such image.
    """
    reference = parse_reference(name).tagged()
    return referrers_of(os.environ, reference, artifact_type=artifact_type, on_event=on_event)


def attach(
    name: str,
    paths: Iterable[str | os.PathLike[str]],
    *,
    artifact_type: str,
    media_type: str = "application/octet-stream",
    annotations: Mapping[str, str] | None = None,
    on_event: OnEvent = ignore,
) -> str:
    """Send files to the registry of an image as an artifact that refers to it, and return the artifact's digest.

    `media_type` is that of the files; each keeps its name as its title. NotFound where there is no such image, or file.
    """
    return attach_files(
        os.environ,
        parse_reference(name).tagged(),
        [os.fspath(path) for path in paths],
        artifact_type=artifact_type,
        media_type=media_type,
        annotations=annotations or {},
        on_event=on_event,
    )


def login(registry: str, username: str, password: str) -> str:
    """Keep name and password for a registry, once it has accepted them; return the file that has them."""
    name = parse_registry(registry)
    credentials = Credentials(username, password)
    check_login(os.environ, name, credentials)
    path = login_file(os.environ)
    store_credentials(path, name, credentials)
    return path


def logout(registry: str) -> bool:
    """Forget name and password for a registry; False where they were not known."""
    return remove_credentials(login_file(os.environ), parse_registry(registry))


def wanted(platform: str) -> Platform:
    """Return the platform that `platform` names, or this machine's for ""."""
    return parse_platform(platform) if platform else platform_of(os.uname().machine)


def _root(store: Store, image: Image | str, platform: str) -> ImageRecord | BundleRecord:
    """Return what is meant: a whole index or artifact, unless one platform of it is."""
    if isinstance(image, str) and not platform and image != HOST:
        return find_root(store.layout, image)
    return store.find(image, platform)


def _names_of(store: Store, record: ImageRecord | BundleRecord, image: Image | str) -> list[Reference]:
    """Return the name that an image was given by; all of its names where that was an id or an `Image`."""
    if isinstance(image, str):
        named = reference_of(store, image)
        if named is not None:
            return [named]
    its = record.digest if isinstance(record, BundleRecord) else record.manifest
    return [name for name, digest in list_references(store.layout) if digest == its]


def reference_of(store: Store, text: str) -> Reference | None:
    """Return the reference of the store that `text` is, None where it is none (but may be an id)."""
    try:
        reference = parse_reference(text).tagged()
    except InvalidInput:
        return None
    if reference.tag is None or read_reference(store.layout, reference) is None:
        return None
    return Reference(reference.registry, reference.repository, reference.tag)
