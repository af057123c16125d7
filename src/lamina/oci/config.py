"""Image configs: how a container of an image starts, and what the image is made of (image-spec config.md).

Every field that is not known here, docker's Healthcheck, Shell and OnBuild among them, is kept in `other` and written
back. Paths and environment are text, as JSON has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lamina.oci.digest import DiffId, parse_diff_id
from lamina.oci.document import Fields, encode_json, parse_json, without_empty
from lamina.oci.platform import Platform
from lamina.oci.timestamp import format_time

#: The label that binds a change layer to the machine whose root it lies over; its value names the machine.
HOST_LABEL = "org.lamina.host"

#: The most layers that an image may have; far above what any tool makes.
MAX_LAYERS = 2000


@dataclass(frozen=True, slots=True)
class Settings:
    """The object `config` of an image config: what a container gets unless it says otherwise.

    `entrypoint` and `cmd` are None where the image has none, which is not the same as an empty list. `env` holds
    `NAME=value` strings, in order. `exposed_ports` and `volumes` are sets, sorted.
    """

    user: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    other: Mapping[str, object] = field(default_factory=dict)

    def to_object(self) -> dict[str, object]:
        """Return the settings as JSON has them; what is empty is left out."""
        known: dict[str, object] = {
            "User": self.user,
            "Env": self.env,
            "WorkingDir": self.working_dir,
            "Labels": dict(self.labels),
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "Volumes": {volume: {} for volume in self.volumes},
            "StopSignal": self.stop_signal,
        }
        lists = {"Entrypoint": self.entrypoint, "Cmd": self.cmd}
        return {**self.other, **without_empty(known), **{k: list(v) for k, v in lists.items() if v is not None}}


@dataclass(frozen=True, slots=True)
class History:
    """One step of an image's making; `created` is RFC 3339 text or empty. An empty layer has no place in `diff_ids`."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False
    other: Mapping[str, object] = field(default_factory=dict)

    def to_object(self) -> dict[str, object]:
        """Return the entry as JSON has it."""
        known = {
            "created": self.created,
            "created_by": self.created_by,
            "author": self.author,
            "comment": self.comment,
            "empty_layer": self.empty_layer,
        }
        return {**self.other, **without_empty(known)}


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """An image's config document. `raw` are the bytes that the image id names, b"" for one that is being made."""

    platform: Platform
    settings: Settings = field(default_factory=Settings)
    diff_ids: tuple[DiffId, ...] = ()
    history: tuple[History, ...] = ()
    created: str = ""
    author: str = ""
    other: Mapping[str, object] = field(default_factory=dict)
    raw: bytes = field(default=b"", repr=False, compare=False)

    def encoded(self) -> ImageConfig:
        """Return the same config with `raw` made from its values."""
        document = {
            **self.other,
            **self.platform.to_object(),
            **without_empty({"created": self.created, "author": self.author}),
            "config": self.settings.to_object(),
            "rootfs": {"type": "layers", "diff_ids": list(self.diff_ids)},
            "history": [entry.to_object() for entry in self.history],
        }
        return replace(self, raw=encode_json(document))


def parse_config(raw: bytes, what: str = "the image config") -> ImageConfig:
    """Return the config in `raw`; InvalidInput where it is none."""
    fields = Fields(parse_json(raw, what), what)
    platform = Platform(
        os=fields.text("os", "linux"),
        architecture=fields.needed_text("architecture"),
        variant=fields.text("variant"),
        os_version=fields.text("os.version"),
        os_features=fields.texts("os.features") or (),
    )
    settings = read_settings(fields.child("config")) if fields.has("config") else Settings()
    rootfs = fields.child("rootfs")
    if rootfs.text("type", "layers") != "layers":
        rootfs.refuse("type", 'is not "layers"')
    diff_ids = rootfs.each_parsed("diff_ids", parse_diff_id)
    if len(diff_ids) > MAX_LAYERS:
        rootfs.refuse("diff_ids", f"lists more than {MAX_LAYERS} layers")
    history = tuple(_read_history(entry) for entry in fields.children("history") or ())
    return ImageConfig(
        platform=platform,
        settings=settings,
        diff_ids=diff_ids,
        history=history,
        created=fields.text("created"),
        author=fields.text("author"),
        other={key: value for key, value in fields.rest().items() if key != "config"},
        raw=raw,
    )


def read_settings(fields: Fields) -> Settings:
    """Return the settings that JSON `fields` are."""
    return Settings(
        user=fields.text("User"),
        env=fields.texts("Env") or (),
        entrypoint=fields.texts("Entrypoint"),
        cmd=fields.texts("Cmd"),
        working_dir=fields.text("WorkingDir"),
        labels=fields.text_map("Labels"),
        exposed_ports=fields.key_set("ExposedPorts"),
        volumes=fields.key_set("Volumes"),
        stop_signal=fields.text("StopSignal"),
        other=fields.rest(),
    )


def _read_history(fields: Fields) -> History:
    return History(
        created=fields.text("created"),
        created_by=fields.text("created_by"),
        author=fields.text("author"),
        comment=fields.text("comment"),
        empty_layer=fields.flag("empty_layer"),
        other=fields.rest(),
    )


def with_layer(
    config: ImageConfig,
    diff_id: DiffId,
    *,
    settings: Settings,
    created: int,
    created_by: str,
    author: str = "",
    comment: str = "",
) -> ImageConfig:
    """Return `config` with one layer more on top, its history entry, and `settings` in place of its own.

    `created` is in nanoseconds since the epoch. The result is encoded.
    """
    stamp = format_time(created)
    entry = History(created=stamp, created_by=created_by, author=author, comment=comment)
    return replace(
        config,
        settings=settings,
        diff_ids=(*config.diff_ids, diff_id),
        history=(*config.history, entry),
        created=stamp,
        author=author or config.author,
    ).encoded()
