"""Images, containers and steps of history as records, which tables and --format json are made from.

The names of the fields and what they mean are documented in docs/reference/json.md and do not change.
"""

from __future__ import annotations

import time

from lamina.cli.text import age
from lamina.errors import NotFound
from lamina.oci.timestamp import format_time, parse_time
from lamina.runtime import shell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.api import Container, Image, Store
    from lamina.cli.output import Record

_SHORT = 12  # hexadecimal digits that tell ids apart for people
_SECOND = 1_000_000_000


def image_records(store: Store, *, unnamed: bool) -> list[Record]:
    """Return a record for each name of each image, newest image first; with `unnamed` also for images without one."""
    records: list[Record] = []
    for image in store.images(all=unnamed):
        facts: Record = {
            "Digest": image.record.manifest,
            "Created": format_time(image.created),
            "Size": image.size,
            "Layers": len(image.layers),
            "Platform": image.record.platform,
            "Type": "image",
        }
        for name in image.names or [""]:
            repository, _, tag = name.rpartition(":")
            records.append({"Id": image.id, "Name": name, "Repository": repository, "Tag": tag, **facts})
    return [*records, *_artifact_records(store)]


def _artifact_records(store: Store) -> list[Record]:
    return [
        {
            "Id": artifact.digest,
            "Name": name,
            "Repository": name.rpartition(":")[0],
            "Tag": name.rpartition(":")[2],
            "Digest": artifact.digest,
            "Created": "",
            "Size": artifact.size,
            "Layers": 0,
            "Platform": "",
            "Type": artifact.kind,
        }
        for artifact in store.artifacts()
        for name in artifact.names
    ]


def container_records(store: Store, *, ended: bool) -> list[Record]:
    """Return a record for each container, newest first; without `ended` only for those that run."""
    return [_container_record(container) for container in store.containers(all=ended)]


def _container_record(container: Container) -> Record:
    state, command = container.state, container.command
    return {
        "Id": container.id,
        "Name": container.name,
        "Image": container.image_name,
        "ImageId": container.record.image_id,
        "Command": command,
        "CommandLine": shell.command(command),
        "Created": _moment(container.created),
        "Started": _moment(state.started),
        "Finished": _moment(state.finished),
        "Status": container.status,
        "ExitCode": state.exit_code,
        "Labels": container.labels,
    }


def history_records(image: Image) -> list[Record]:
    """Return a record for each step that made the image, newest first."""
    layers = iter(image.layers)
    records: list[Record] = []
    for step in image.history:
        layer = None if step.empty_layer else next(layers, None)
        records.append(
            {
                "DiffId": layer.diff_id if layer else "",
                "Created": step.created,
                "CreatedBy": step.created_by,
                "Author": step.author,
                "Comment": step.comment,
                "Size": layer.content if layer else 0,
                "Empty": layer is None,
            }
        )
    return records[::-1]


def find(store: Store, name: str, kind: str = "", *, platform: str = "") -> Image | Container:
    """Return the container or, if there is none, the image called `name`; `kind` limits it to one of them.

    A `platform` is one of images.
    """
    if kind == "image" or platform:
        return store.image(name, platform=platform)
    try:
        return store.container(name)
    except NotFound:
        if kind == "container":
            raise
    try:
        return store.image(name)
    except NotFound as error:
        hint = "lamina images and lamina ps -a list what there is"
        raise NotFound("find", name, "there is no image and no container of this name or id", hint) from error


def short_id(id: object, *, whole: bool) -> str:  # noqa: A002  # what it is
    """Return an id as tables show it: twelve digits, or all of it."""
    return str(id) if whole else str(id).removeprefix("sha256:")[:_SHORT]


def age_of(moment: object) -> str:
    """Return how long ago the RFC 3339 text `moment` is."""
    return age((time.time_ns() - parse_time(str(moment))) // _SECOND) if moment else ""


def status_text(record: Record) -> str:
    """Return the status of a container as docker words it."""
    match record["Status"]:
        case "running":
            return f"Up since {age_of(record['Started'])}"
        case "exited":
            code = "?" if record["ExitCode"] is None else record["ExitCode"]
            return f"Exited ({code}) {age_of(record['Finished'])}".rstrip()
    return "Created"


def _moment(nanoseconds: int) -> str:
    return format_time(nanoseconds) if nanoseconds else ""
