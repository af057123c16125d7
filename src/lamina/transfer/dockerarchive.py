"""Docker's archives as a source: `docker save` up to version 24, and what other programs write in its form.

manifest.json lists images: the path of a config, of each layer's tar, base first, and names. There are no manifests, so
they are made here: of the config as it is, and of the layers by their digests, which for an uncompressed layer is its
diff id. Archives from before docker 1.10 have no manifest.json (`oldarchive`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lamina.errors import InvalidInput
from lamina.oci.config import parse_config
from lamina.oci.descriptor import CONFIG, LAYER, LAYER_GZIP, LAYER_ZSTD, MANIFEST, Descriptor
from lamina.oci.digest import BlobDigest, digest_of
from lamina.oci.document import MAX_DOCUMENT, Fields, parse_json
from lamina.oci.manifest import make_manifest
from lamina.oci.reference import Reference, parse_name
from lamina.tar.compress import sniff
from lamina.transfer.content import Blob, Bytes, Found
from lamina.transfer.oldarchive import read_old_archive
from lamina.transfer.section import Section

_LAYER_TYPES = {"none": LAYER, "gzip": LAYER_GZIP, "zstd": LAYER_ZSTD}


class DockerArchiveSource:
    """The images of an archive whose members are `files`; `what` names it in errors."""

    def __init__(self, files: Mapping[str, Section], what: str) -> None:
        self._files = files
        self._what = what
        self._documents: dict[str, bytes] = {}
        self._blobs: dict[str, Section] = {}
        self._images = self._listed() if "manifest.json" in files else self._old()

    def images(self) -> list[Found]:
        """Return the images in the archive's order."""
        return self._images

    def document(self, descriptor: Descriptor) -> bytes:
        """Return a manifest, which was made here, or a config."""
        return self._documents[descriptor.digest]

    def blob(self, descriptor: Descriptor) -> Blob:
        """Return the file of a layer, or a config."""
        if descriptor.digest in self._documents:
            return Bytes(self._documents[descriptor.digest])
        return self._blobs[descriptor.digest]

    def stop(self) -> None:
        """Nothing waits for anybody here."""

    def _listed(self) -> list[Found]:
        listed = parse_json(self._file("manifest.json").read(MAX_DOCUMENT, "manifest.json"), "manifest.json")
        if not isinstance(listed, list) or not listed:
            raise InvalidInput("read", f"manifest.json of {self._what}", "it is no list of images")
        return [self._image(Fields(entry, "manifest.json", f"[{i}]")) for i, entry in enumerate(listed)]

    def _old(self) -> list[Found]:
        images = read_old_archive(self._files, self._what)
        return [self._made(image.config, image.layers, image.names) for image in images]

    def _image(self, fields: Fields) -> Found:
        config = self._file(fields.needed_text("Config")).read(MAX_DOCUMENT, "an image config")
        layers = [self._file(name) for name in fields.texts("Layers") or ()]
        return self._made(config, layers, tuple(parse_name(tag) for tag in fields.texts("RepoTags") or ()))

    def _made(self, config: bytes, layers: Sequence[Section], names: tuple[Reference, ...]) -> Found:
        diff_ids = parse_config(config).diff_ids
        if len(diff_ids) != len(layers):
            reason = f"it has {len(layers)} layers for the {len(diff_ids)} of the config"
            raise InvalidInput("use", f"an image of {self._what}", reason)
        described = [self._layer(layer, diff_id) for layer, diff_id in zip(layers, diff_ids, strict=True)]
        manifest = make_manifest(Descriptor(CONFIG, self._keep(config), len(config)), tuple(described), {})
        return Found(Descriptor(MANIFEST, self._keep(manifest.raw), len(manifest.raw)), names)

    def _layer(self, section: Section, diff_id: str) -> Descriptor:
        with section.opened() as fd, open(fd, "rb", closefd=False) as file:
            compression = sniff(file.read(min(6, section.size)))
        if compression not in _LAYER_TYPES:
            raise InvalidInput("use", f"a layer of {self._what}", f"it is compressed with {compression}")
        digest = BlobDigest(diff_id) if compression == "none" else section.digest()
        self._blobs[digest] = section
        return Descriptor(_LAYER_TYPES[compression], digest, section.size)

    def _keep(self, document: bytes) -> BlobDigest:
        digest = digest_of(document)
        self._documents[digest] = document
        return digest

    def _file(self, name: str) -> Section:
        section = self._files.get(name.removeprefix("./"))
        if section is None:
            raise InvalidInput("read", self._what, f"it has no member {name!r}")
        return section
