"""Containers: `containers/ID/` with all that the package's docstring lists, and `names/NAME`, which holds an ID.

`record` is written once, when the container is made; `state` is replaced when it starts and when it ends. A container
runs while somebody holds `lock`, so that a process that was killed leaves no container running for ever.
"""

from __future__ import annotations

import os

from lamina.errors import Conflict, InvalidInput, NotFound
from lamina.linux.locks import is_locked, lock
from lamina.oci.digest import is_hex
from lamina.store.files import list_directory, read_if_present, rename_directory, sync_directory, write_new
from lamina.store.names import check_container_name, make_up_name
from lamina.store.record import Record, encode_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from lamina.store.images import ImageRecord
    from lamina.store.layout import Layout
    from lamina.store.staging import Staging

    Status = Literal["created", "running", "exited"]

_ID_BYTES = 32
_MIN_PREFIX = 2
_ATTEMPTS = 100  # at a name that nobody has


class ContainerRecord:
    """What a container is. `image` is the digest of a manifest, or empty for the host's own root.

    `image_name` is what the image was called, for people. `layers` are names below `layers/`, base first; with `host`
    they lie over the host's root. `command` is what it was made to run, `created` nanoseconds since the epoch.
    """

    __slots__ = ("command", "created", "host", "id", "image", "image_id", "image_name", "labels", "layers", "name")

    def __init__(
        self,
        *,
        container_id: str,
        name: str,
        image: str,
        image_id: str,
        image_name: str,
        layers: list[str],
        host: bool,
        command: list[str],
        created: int,
        labels: list[str],
    ) -> None:
        self.id = container_id
        self.name = name
        self.image = image
        self.image_id = image_id
        self.image_name = image_name
        self.layers = layers
        self.host = host
        self.command = command
        self.created = created
        self.labels = labels

    def directory(self, layout: Layout) -> str:
        """Return the container's own directory."""
        return layout.path("containers", self.id)


class ContainerState:
    """How far a container is: times in nanoseconds since the epoch, 0 for what did not happen yet.

    `exit_code` is None until it ended, and for one whose end nobody saw. `command` is what it ran last, `driver` what
    showed it the stack.
    """

    __slots__ = ("command", "driver", "exit_code", "finished", "started")

    def __init__(
        self,
        *,
        started: int = 0,
        finished: int = 0,
        exit_code: int | None = None,
        command: Sequence[str] = (),
        driver: str = "",
    ) -> None:
        self.command = list(command)
        self.driver = driver
        self.started = started
        self.finished = finished
        self.exit_code = exit_code


def container_thing(container_id: str) -> str:
    """Return where a container is below the store's root."""
    return f"containers/{container_id}"


def create_container(
    staging: Staging,
    image: ImageRecord | None,
    *,
    image_name: str,
    name: str,
    command: Sequence[str],
    labels: Mapping[str, str],
    created: int,
    durable: bool,
) -> ContainerRecord:
    """Make a container of `image`, or of the host's root, and pin it; without a name, one is made up.

    The caller holds `layout.publishing()` since before it looked for the image. Raises Conflict where the name is
    taken. Without `durable`, for a container that ends with its first run, nothing is synced.
    """
    if name:
        check_container_name(name)
    record = ContainerRecord(
        container_id=os.urandom(_ID_BYTES).hex(),
        name=name,
        image=image.manifest if image else "",
        image_id=image.id if image else "",
        image_name=image_name,
        layers=image.layers if image else [],
        host=image is None or bool(image.host),
        command=list(command),
        created=created,
        labels=[f"{key}={value}" for key, value in labels.items()],
    )
    record.name = _take_name(staging, record, durable=durable)
    directory = staging.new_path()
    os.mkdir(directory, 0o755)
    for entry in ("upper", "work", "merged"):
        os.mkdir(f"{directory}/{entry}", 0o755)
    write_new(f"{directory}/lock", b"", sync=False)
    write_new(f"{directory}/record", _encode(record), sync=durable)
    if durable:
        sync_directory(directory)
    staging.pin(container_thing(record.id))
    staging.publish_directory(directory, container_thing(record.id), sync=durable)
    return record


def _take_name(staging: Staging, record: ContainerRecord, *, durable: bool) -> str:
    layout = staging.layout
    for attempt in range(_ATTEMPTS):
        name = record.name or make_up_name(attempt=attempt)
        temporary, target = staging.new_path(), layout.path("names", name)
        write_new(temporary, f"{record.id}\n".encode("ascii"), sync=durable)
        try:
            os.link(temporary, target)
        except FileExistsError:
            if record.name:
                holder = os.fsdecode(read_if_present(target) or b"").strip()
                raise Conflict(
                    "name a container", name, f"the name is taken by {holder[:12]}", f"lamina rm {name}"
                ) from None
            continue
        finally:
            os.unlink(temporary)
        if durable:
            sync_directory(layout.path("names"))
        return name
    raise Conflict("name a container", "", "no free name was found", "give it one with --name")


def _encode(record: ContainerRecord) -> bytes:
    return encode_record(
        [
            ("id", record.id),
            ("name", record.name),
            ("image", record.image or None),
            ("image-id", record.image_id or None),
            ("image-name", record.image_name),
            ("layer", record.layers),
            ("host", int(record.host)),
            ("command", record.command),
            ("created", record.created),
            ("label", record.labels),
        ]
    )


def read_container(layout: Layout, container_id: str) -> ContainerRecord | None:
    """Return the container with this id, or None."""
    path = layout.path("containers", container_id, "record")
    data = read_if_present(path)
    if data is None:
        return None
    record = Record(data, path)
    return ContainerRecord(
        container_id=record.text("id"),
        name=record.text("name"),
        image=record.text("image", ""),
        image_id=record.text("image-id", ""),
        image_name=record.text("image-name"),
        layers=record.texts("layer"),
        host=record.number("host") == 1,
        command=record.texts("command"),
        created=record.number("created"),
        labels=record.texts("label"),
    )


def list_containers(layout: Layout) -> list[ContainerRecord]:
    """Return all containers, newest first."""
    found = [read_container(layout, name) for name in list_directory(layout.path("containers"))]
    return sorted((record for record in found if record), key=lambda record: (-record.created, record.id))


def find_container(layout: Layout, text: str) -> ContainerRecord:
    """Return the container with this name, id, or first digits of an id; a name is looked for first.

    Raises NotFound, or InvalidInput where the digits are ambiguous.
    """
    if "/" not in text and "\0" not in text and text not in ("", ".", ".."):
        named = read_if_present(layout.path("names", text))
        record = read_container(layout, os.fsdecode(named).strip()) if named is not None else None
        if record is not None:
            return record
    if is_hex(text) and len(text) >= _MIN_PREFIX:
        ids = [name for name in list_directory(layout.path("containers")) if name.startswith(text)]
        if len(ids) > 1:
            raise InvalidInput("find the container", text, f"{len(ids)} ids begin so", "give more digits")
        record = read_container(layout, ids[0]) if ids else None
        if record is not None:
            return record
    raise NotFound(
        "find the container", text, "the store has no container of this name or id", "lamina ps -a lists them"
    )


def read_state(layout: Layout, container_id: str) -> ContainerState:
    """Return how far the container is."""
    path = layout.path("containers", container_id, "state")
    data = read_if_present(path)
    if data is None:
        return ContainerState()
    record = Record(data, path)
    exit_code = record.text("exit-code", "")
    return ContainerState(
        started=record.number("started", 0),
        finished=record.number("finished", 0),
        exit_code=record.number("exit-code") if exit_code else None,
        command=record.texts("command"),
        driver=record.text("driver", ""),
    )


def write_state(layout: Layout, container_id: str, state: ContainerState, *, durable: bool) -> None:
    """Replace the container's state."""
    directory = layout.path("containers", container_id)
    data = encode_record(
        [
            ("started", state.started),
            ("finished", state.finished),
            ("exit-code", state.exit_code),
            ("command", state.command),
            ("driver", state.driver),
        ]
    )
    temporary = f"{directory}/state.{os.urandom(4).hex()}"
    write_new(temporary, data, sync=durable)
    os.rename(temporary, f"{directory}/state")
    if durable:
        sync_directory(directory)


def add_ignored(layout: Layout, container_id: str, paths: Sequence[str]) -> None:
    """Note paths inside that a run made for its own mounts: while they are empty, they are not part of what changed.

    The caller holds the container's lock.
    """
    known = set(ignored_paths(layout, container_id))
    fresh = [path for path in dict.fromkeys(paths) if path not in known]
    if fresh:
        with open(layout.path("containers", container_id, "ignored"), "ab") as file:
            file.write(encode_record([("path", fresh)]))


def ignored_paths(layout: Layout, container_id: str) -> list[str]:
    """Return the paths inside that runs of the container made for their mounts."""
    path = layout.path("containers", container_id, "ignored")
    data = read_if_present(path)
    return [] if data is None else Record(data, path).texts("path")


def write_uppers(layout: Layout, container_id: str, uppers: Sequence[tuple[str, str]]) -> None:
    """Note which directories take the container's changes: (place in the tree, name in the container's directory).

    For a container over several mounts; one upper, in `upper/`, need not be noted. The caller holds the container's
    lock.
    """
    lines = [("upper", f"{name} {place}") for place, name in uppers]
    path = layout.path("containers", container_id, "uppers")
    with open(f"{path}.new", "wb") as file:
        file.write(encode_record(lines))
    os.rename(f"{path}.new", path)


def uppers_of(layout: Layout, container_id: str) -> list[tuple[str, str]]:
    """Return the directories that hold the container's changes: (place in the tree, "" for the root; directory)."""
    directory = layout.path("containers", container_id)
    data = read_if_present(f"{directory}/uppers")
    if data is None:
        return [("", f"{directory}/upper")]
    words = [line.partition(" ") for line in Record(data, f"{directory}/uppers").texts("upper")]
    return [(place, f"{directory}/{name}") for name, _, place in words]


def hold_container(layout: Layout, record: ContainerRecord) -> int:
    """Take the container's lock and return the descriptor that holds it; it is the caller's to close.

    A child that inherits the descriptor holds it too. Raises Conflict where the container runs.
    """
    try:
        fd = os.open(layout.path("containers", record.id, "lock"), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound("use the container", record.name, "it was removed") from None
    if not lock(fd):
        os.close(fd)
        raise Conflict("use the container", record.name, "it is running")
    return fd


def is_held(layout: Layout, container_id: str) -> bool:
    """Tell whether somebody holds the container's lock. Asking takes nothing, so it is in nobody's way."""
    try:
        fd = os.open(layout.path("containers", container_id, "lock"), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return is_locked(fd)
    finally:
        os.close(fd)


def status_of(layout: Layout, container_id: str) -> Status:
    """Return whether the container runs now, ran, or never did."""
    if is_held(layout, container_id):
        return "running"
    return "exited" if read_state(layout, container_id).started else "created"


def take_away(staging: Staging, record: ContainerRecord) -> str | None:
    """Take a container out of the store, name first, and return where its directory is now; None if it was gone.

    The caller holds the container's lock (or the store is being collected) and removes the directory.
    """
    layout = staging.layout
    name = layout.path("names", record.name)
    named = os.fsdecode(read_if_present(name) or b"").strip() == record.id
    if named:
        try:
            os.unlink(name)
        except FileNotFoundError:
            pass
    target = staging.new_path()
    try:
        rename_directory(layout.path(container_thing(record.id)), target)
    except FileNotFoundError:
        return None
    except OSError:
        if named:  # it is still there, and so is to be found
            write_new(name, os.fsencode(f"{record.id}\n"), sync=True)
        raise
    return target
