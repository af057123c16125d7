"""Images that a build stands on: of the store, or pulled where the store has none of the name for the platform.

A name means the same image as long as there is one `Bases`, whatever the name is given to meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from lamina.errors import InvalidInput, LaminaError, NotFound
from lamina.events import OnEvent
from lamina.oci.platform import Platform, parse_platform
from lamina.oci.reference import parse_reference
from lamina.store.images import HOST, ImageRecord, find_image, image_thing
from lamina.store.publish import things_of

if TYPE_CHECKING:
    from lamina.ids.worker import Worker
    from lamina.store.staging import Staging

#: When an image is pulled: where the store has none, before every build, not at all.
Pull = Literal["missing", "always", "never"]


@dataclass(frozen=True, slots=True)
class InLayout:
    """An image in the OCI layout `directory`; `name` is a tag, a name or a digest, "" for the only image.

    A type of its own, since a Dockerfile is not to name files of the host: only a person can.
    """

    directory: str
    name: str


class Finder(Protocol):
    """What finds the images that a build names."""

    def find(self, name: str | InLayout, platform: Platform) -> ImageRecord: ...


class Bases:
    """Finds images for a build, each pinned by its staging directory. Threads may ask at once."""

    def __init__(
        self,
        staging: Staging,
        worker: Worker,
        *,
        pull: Pull,
        machine: Platform,
        environ: Mapping[str, str],
        on_event: OnEvent,
    ) -> None:
        self._staging = staging
        self._worker = worker
        self._pull = pull
        self._machine = machine
        self._environ = environ
        self._on_event = on_event
        self._lock = threading.Lock()
        self._found: dict[tuple[str | InLayout, str], ImageRecord] = {}

    @property
    def found(self) -> Mapping[tuple[str | InLayout, str], ImageRecord]:
        """The images that were asked for so far, by name and platform."""
        return self._found

    def find(self, name: str | InLayout, platform: Platform) -> ImageRecord:
        """Return the image `name` for `platform`. Raises NotFound, and what taking an image raises."""
        with self._lock:  # two stages that begin with one image pull it once
            known = self._found.get((name, str(platform)))
            if known is None:
                known = self._found[name, str(platform)] = self._look_for(name, platform)
            return known

    def _look_for(self, name: str | InLayout, platform: Platform) -> ImageRecord:
        if isinstance(name, InLayout):
            return self._from_layout(name, platform)
        if name == HOST:
            reason = "it is this machine's own root, which changes: it is no layer"
            raise InvalidInput("build on", name, reason, "lamina commit --standalone makes an image that holds it")
        if self._pull == "always" and _is_name(name):
            return self._pulled_image(name, platform)
        try:
            return self._stored(name, platform)
        except NotFound as error:
            if self._pull == "never" or not _is_name(name):
                raise
            return self._missing_image(name, platform, error)

    def _stored(self, name: str, platform: Platform) -> ImageRecord:
        layout = self._staging.layout
        with layout.publishing():
            record = find_image(layout, name, str(platform))
            self._staging.pin(image_thing(record.manifest), *things_of(record))
        if record.host:
            reason = "it is a change of this machine's own root, and runs over `host` only"
            raise InvalidInput("build on", name, reason)
        if record.platform and not platform.runs(parse_platform(record.platform)):
            raise NotFound("find the image", name, f"the store has it for {record.platform}, not for {platform}")
        return record

    def _from_layout(self, place: InLayout, platform: Platform) -> ImageRecord:
        """Return an image of a layout; from now on the store has it, without a name."""
        from lamina.transfer.layout import LayoutSource, directory_files
        from lamina.transfer.take import find_manifest, take_image

        source = LayoutSource(directory_files(place.directory), place.directory)
        manifest = find_manifest(source, source.find(place.name).descriptor, platform)
        record = take_image(self._staging, self._worker, source, manifest, (), task="load", on_event=self._on_event)
        if record.platform and not platform.runs(parse_platform(record.platform)):
            raise NotFound("find the image", place.directory, f"it is for {record.platform}, not for {platform}")
        return record

    def _missing_image(self, name: str, platform: Platform, missing: NotFound) -> ImageRecord:
        try:
            return self._pulled_image(name, platform)
        except LaminaError as error:
            kind = NotFound if isinstance(error, NotFound) else LaminaError
            told = error.reason if error.doing == "pull" else f"cannot {error.doing} {error.subject}: {error.reason}"
            raise kind("find the image", name, f"{missing.reason}, and {told}", error.hint or missing.hint) from error

    def _pulled_image(self, name: str, platform: Platform) -> ImageRecord:
        from lamina.transfer.pull import pull_image  # and with it all that speaks HTTP

        record = pull_image(
            self._staging.layout,
            self._worker,
            parse_reference(name).tagged(),
            platform=platform,
            # A name means the image for this machine.
            named=self._machine.runs(platform),
            environ=self._environ,
            on_event=self._on_event,
        )
        with self._staging.layout.publishing():
            self._staging.pin(image_thing(record.manifest), *things_of(record))
        return record


def _is_name(text: str) -> bool:
    """Tell whether `text` can name an image at a registry."""
    try:
        parse_reference(text)
    except InvalidInput:
        return False
    return True


def parse_layout(text: str) -> InLayout:
    """Return what "DIR[:TAG][@DIGEST]" means; a digest counts more than a tag."""
    place, at, digest = text.rpartition("@sha256:")
    if not at:
        place = text
    directory, colon, tag = place.rpartition(":")
    if not colon or "/" in tag:  # a colon in a directory's name
        directory, tag = place, ""
    return InLayout(directory, f"sha256:{digest}" if at else tag)
