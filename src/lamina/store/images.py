"""Images as a start needs them: one record each in `images/HEX`, HEX being that of the manifest's digest.

A record repeats what manifest and config say, in a form that is read without a JSON parser, and names the unpacked
layers. That it exists is what makes a manifest an image of this store, with or without a reference.
"""

from __future__ import annotations

from lamina.errors import InvalidInput, NotFound
from lamina.oci.digest import BlobDigest, ImageId, hex_of, is_hex, parse_digest, parse_image_id
from lamina.oci.reference import Reference, parse_reference
from lamina.store.files import list_directory, read_if_present
from lamina.store.record import Record, encode_record
from lamina.store.references import list_references, read_reference

#: The word that stands for the machine's own root where an image is named; no reference can be meant by it.
HOST = "host"

_MIN_PREFIX = 2  # digits of an id that are enough to name something, if they are unambiguous

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.store.layout import Layout


class ImageRecord:
    """What is needed of an image to run it and to list it.

    `layers` are names below `layers/`, base first. `blobs` are the layers that are kept as blobs too. `host` names the
    machine that a change layer over the host belongs to, or is empty. Of the settings, an absent list is an empty one:
    to a start they are the same.
    """

    __slots__ = (
        "blobs", "cmd", "created", "entrypoint", "env", "host", "id", "layers", "manifest", "media_type", "platform",
        "stop_signal", "user", "volumes", "workdir",
    )  # fmt: skip

    def __init__(
        self,
        *,
        manifest: BlobDigest,
        media_type: str,
        image_id: ImageId,
        created: int,
        platform: str,
        layers: list[str],
        blobs: list[str],
        host: str,
        env: list[str],
        entrypoint: list[str],
        cmd: list[str],
        user: str,
        workdir: str,
        volumes: list[str],
        stop_signal: str,
    ) -> None:
        self.manifest = manifest
        self.media_type = media_type
        self.id = image_id
        self.created = created
        self.platform = platform
        self.layers = layers
        self.blobs = blobs
        self.host = host
        self.env = env
        self.entrypoint = entrypoint
        self.cmd = cmd
        self.user = user
        self.workdir = workdir
        self.volumes = volumes
        self.stop_signal = stop_signal

    def trees(self, layout: Layout) -> list[str]:
        """Return the directories of the layers, base first."""
        return [layout.path("layers", name, "tree") for name in self.layers]


_TEXTS = ("media-type", "platform", "host", "user", "workdir", "stop-signal")
_LISTS = ("blob", "layer", "env", "entrypoint", "cmd", "volume")


def image_thing(manifest: str) -> str:
    """Return where the record of an image is below the store's root."""
    return f"images/{hex_of(manifest)}"


def encode_image(image: ImageRecord) -> bytes:
    """Return the content of an image's record."""
    return encode_record(
        [
            ("manifest", image.manifest),
            ("media-type", image.media_type),
            ("id", image.id),
            ("created", image.created),
            ("platform", image.platform),
            ("host", image.host or None),
            ("layer", image.layers),
            ("blob", image.blobs),
            ("env", image.env),
            ("entrypoint", image.entrypoint),
            ("cmd", image.cmd),
            ("user", image.user or None),
            ("workdir", image.workdir or None),
            ("volume", image.volumes),
            ("stop-signal", image.stop_signal or None),
        ]
    )


def read_image(layout: Layout, manifest: str) -> ImageRecord | None:
    """Return the image with this manifest, or None if the store does not have it."""
    path = layout.path(image_thing(manifest))
    data = read_if_present(path)
    if data is None:
        return None
    record = Record(data, path)
    return ImageRecord(
        manifest=parse_digest(record.text("manifest")),
        media_type=record.text("media-type"),
        image_id=parse_image_id(record.text("id")),
        created=record.number("created"),
        platform=record.text("platform"),
        host=record.text("host", ""),
        layers=record.texts("layer"),
        blobs=record.texts("blob"),
        env=record.texts("env"),
        entrypoint=record.texts("entrypoint"),
        cmd=record.texts("cmd"),
        user=record.text("user", ""),
        workdir=record.text("workdir", ""),
        volumes=record.texts("volume"),
        stop_signal=record.text("stop-signal", ""),
    )


def list_images(layout: Layout) -> list[ImageRecord]:
    """Return all images, with a reference or without, newest first."""
    found = [read_image(layout, f"sha256:{name}") for name in list_directory(layout.path("images"))]
    return sorted((image for image in found if image is not None), key=lambda image: (-image.created, image.id))


def find_image(layout: Layout, text: str, platform: str = "") -> ImageRecord:
    """Return the image that `text` names: a reference, an image id, or the first digits of one.

    A reference is looked for first, as docker does. Of an index, the image for `platform` is meant, by default that for
    this machine. Raises NotFound, and InvalidInput for what can be no name, is ambiguous, or is no image.

    NAME@failed and NAME@before-failed are what a failed build left (`store.failed`).
    """
    if text.endswith(("@failed", "@before-failed")):
        return _left_by_build(layout, text)
    refused: InvalidInput | None = None
    try:
        reference = parse_reference(text)
    except InvalidInput as error:
        refused = error
    else:
        image = _by_reference(layout, reference, text, platform)
        if image is not None:
            return image
    digits = text.removeprefix("sha256:")
    if is_hex(digits) and _MIN_PREFIX <= len(digits) <= 64:
        image = _by_id(layout, text, digits)
        if image is not None:
            return image
    elif refused is not None:
        raise refused
    raise NotFound("find the image", text, "the store has no image of this name or id", "lamina images lists them")


def _left_by_build(layout: Layout, text: str) -> ImageRecord:
    from lamina.store.failed import find_failed

    name, _, which = text.rpartition("@")
    image = find_failed(layout, name, which)
    if image is None:
        reason = "no failure of a build of this name is kept"
        # Not NotFound: no registry has it, either.
        raise InvalidInput(
            "find the image", text, reason, "`lamina prune` removes them; a build without a tag is `build`"
        )
    return image


def _by_reference(layout: Layout, reference: Reference, text: str, platform: str) -> ImageRecord | None:
    reference = reference.tagged()
    if reference.digest is None:
        digest = read_reference(layout, reference)
        return None if digest is None else _named(layout, digest, text, platform)
    for other, digest in list_references(layout):
        same = (other.registry, other.repository) == (reference.registry, reference.repository)
        if same and digest == reference.digest and reference.tag in (None, other.tag):
            return _named(layout, digest, text, platform)
    return None


def _named(layout: Layout, digest: BlobDigest, text: str, platform: str) -> ImageRecord | None:
    image = read_image(layout, digest)
    if image is not None:
        return image
    from lamina.store.bundles import choose_image, read_bundle  # a plain run meets none

    bundle = read_bundle(layout, digest)
    return choose_image(layout, bundle, text, platform) if bundle else None


def _by_id(layout: Layout, text: str, digits: str) -> ImageRecord | None:
    found = [image for image in list_images(layout) if hex_of(image.id).startswith(digits)]
    if len({image.id for image in found}) > 1:
        raise InvalidInput("find the image", text, f"{len(found)} images have ids that begin so", "give more digits")
    return found[0] if found else None
