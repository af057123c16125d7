"""What `--cache-to` and `--cache-from` ask for, as values (docker's buildx has the grammar)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lamina.build.dockerfile.source import did_you_mean
from lamina.build.output import split_fields
from lamina.errors import InvalidInput, UsageError
from lamina.oci.reference import Reference, parse_reference

Mode = Literal["min", "max"]

_TO = ("type", "dest", "tag", "ref", "mode", "compression", "cache-mounts", "ignore-error")
_FROM = ("type", "src", "tag", "ref", "cache-mounts")
_COMPRESSIONS = {"uncompressed": "none", "gzip": "gzip", "zstd": "zstd"}
_ELSEWHERE = ("inline", "gha", "s3", "azblob")


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePlace:
    """Where a cache lies: in an image layout, `directory`, under `tag`; or at a registry, `reference`.

    With `cache_mounts`, the contents of RUN's cache mounts belong to it.
    """

    directory: str = ""
    tag: str = "latest"
    reference: Reference | None = None
    cache_mounts: bool = False

    def __str__(self) -> str:
        return self.reference.familiar if self.reference is not None else self.directory


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTarget:
    """Where a cache is to go. Mode "min" takes the steps of the result, "max" those of all stages that were built."""

    place: CachePlace
    mode: Mode = "min"
    compression: str = "gzip"
    ignore_error: bool = False


def parse_cache_from(text: str) -> CachePlace:
    """Return what the value of one --cache-from means; a name alone is one at a registry. Raises UsageError."""
    return _place("--cache-from", text, _fields("--cache-from", text, _FROM), "src")


def parse_cache_to(text: str) -> CacheTarget:
    """Return what the value of one --cache-to means; a name alone is one at a registry. Raises UsageError."""
    option = "--cache-to"
    fields = _fields(option, text, _TO)
    mode = fields.get("mode", "min")
    compression = fields.get("compression", "gzip")
    if mode not in ("min", "max"):
        raise _refused(option, text, f"mode is min or max, not {mode!r}")
    if compression not in _COMPRESSIONS:
        raise _refused(option, text, f"compression is {', '.join(_COMPRESSIONS)}, not {compression!r}")
    return CacheTarget(
        place=_place(option, text, fields, "dest"),
        mode="max" if mode == "max" else "min",
        compression=_COMPRESSIONS[compression],
        ignore_error=_flag(option, text, fields, "ignore-error"),
    )


def _fields(option: str, text: str, known: tuple[str, ...]) -> dict[str, str]:
    if "=" not in text:
        return {"type": "registry", "ref": text}
    fields = split_fields(option, text)
    kind = fields.get("type")
    if kind in _ELSEWHERE:
        raise _refused(option, text, f"type={kind} is not supported", "type=local or type=registry")
    if kind not in ("local", "registry"):
        hint = did_you_mean(kind, ("local", "registry")) if kind else "type=local or type=registry"
        raise _refused(option, text, f"there is no type {kind!r}" if kind else "it has no type", hint)
    for key in fields:
        if key not in known:
            raise _refused(option, text, f"it has no {key}", did_you_mean(key, known) or f"it has {', '.join(known)}")
    return fields


def _place(option: str, text: str, fields: Mapping[str, str], where: str) -> CachePlace:
    mounts = _flag(option, text, fields, "cache-mounts")
    if fields["type"] == "local":
        if not fields.get(where):
            raise _refused(option, text, "a directory is needed", f"type=local,{where}=DIR")
        tag = fields.get("tag", "latest")
        if not tag or set(tag) & set("/:"):
            raise _refused(option, text, f"{tag!r} is no tag")
        return CachePlace(directory=fields[where], tag=tag, cache_mounts=mounts)
    try:
        reference = parse_reference(fields.get("ref", "")).tagged()
    except InvalidInput as error:
        raise _refused(option, text, error.reason, "type=registry,ref=REGISTRY/NAME:TAG") from error
    return CachePlace(reference=reference, cache_mounts=mounts)


def _flag(option: str, text: str, fields: Mapping[str, str], key: str) -> bool:
    value = fields.get(key, "false").lower()
    if value not in ("", "true", "1", "false", "0"):
        raise _refused(option, text, f"{key} is true or false, not {value!r}")
    return value in ("", "true", "1")


def _refused(option: str, text: str, reason: str, hint: str = "") -> UsageError:
    return UsageError("read", option, f"{text}: {reason}" if text else reason, hint)
