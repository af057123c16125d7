"""What `--output` asks for, as values: `type=TYPE,key=value,…`, a directory, or "-" (docker's buildx has the grammar).

Fields are separated by commas as in a line of CSV: one with a comma stands in double quotes. Nothing is written here.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from lamina.build.dockerfile.source import did_you_mean
from lamina.errors import UsageError

Kind = Literal["image", "oci", "docker", "tar", "local", "cacheonly"]

#: Standard output, where it is the destination.
STDOUT = "-"

_TRUE, _FALSE = ("", "true", "1"), ("false", "0")
_COMPRESSIONS = {"uncompressed": "none", "gzip": "gzip", "zstd": "zstd"}
_ANNOTATION = "annotation."
_COMMON = ("type", "rewrite-timestamp")
_IMAGE = (*_COMMON, "name", "compression", "oci-mediatypes")
_KEYS: Mapping[str, tuple[str, ...]] = {
    "image": (*_IMAGE, "push"),
    "oci": (*_IMAGE, "dest", "tar"),
    "docker": (*_IMAGE, "dest", "tar"),
    "tar": (*_COMMON, "dest"),
    "local": (*_COMMON, "dest"),
    "cacheonly": _COMMON,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One thing that is made of the result.

    `dest` is a path, "-" for standard output, or "" where the kind needs none: an image goes to the store in any case.
    `compression` is for layers without a blob, or None for what the kind usually has. `rewrite` says whether files that
    are newer than SOURCE_DATE_EPOCH get that time; None where nothing was said. With `archive` false, an oci output is
    a layout in the directory `dest`.
    """

    kind: Kind
    dest: str = ""
    names: tuple[str, ...] = ()
    push: bool = False
    compression: str | None = None
    rewrite: bool | None = None
    archive: bool = True
    annotations: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        where = "standard output" if self.to_stdout else self.dest or ", ".join(self.names)
        return f"{'registry' if self.push else self.kind} {where}".rstrip()

    @property
    def to_stdout(self) -> bool:
        """Whether the output goes to standard output."""
        return self.dest == STDOUT


def parse_output(text: str) -> Output:
    """Return what the value of one --output means. Raises UsageError."""
    if text == STDOUT:
        return Output(kind="tar", dest=STDOUT)
    if "=" not in text and "," not in text:
        if not text:
            raise _refused(text, "it is empty", "a directory, - or type=…")
        return Output(kind="local", dest=text)
    fields, annotations = _fields(text)
    kind = _kind(text, fields)
    for key in fields:
        if key not in _KEYS[kind]:
            hint = did_you_mean(key, _KEYS[kind]) or f"it has {', '.join(_KEYS[kind])}"
            raise _refused(text, f"type={kind} has no {key}", hint)
    push = _flag(text, fields, "push", default=False) or fields["type"] == "registry"
    names = tuple(name for name in fields.get("name", "").split(",") if name)
    if push and not names and "name" in fields:
        raise _refused(text, "name is empty", "name=REGISTRY/NAME:TAG")
    if not _flag(text, fields, "oci-mediatypes", default=True):
        raise _refused(text, "oci-mediatypes=false: manifests are OCI's", "everything that reads docker's reads them")
    archive = _flag(text, fields, "tar", default=True)
    return Output(
        kind=kind,
        dest=_dest(text, kind, fields, archive=archive),
        names=names,
        push=push,
        compression=_compression(text, fields),
        rewrite=_flag(text, fields, "rewrite-timestamp", default=False) if "rewrite-timestamp" in fields else None,
        archive=archive,
        annotations=annotations,
    )


def check_outputs(outputs: Iterable[Output]) -> None:
    """Refuse two outputs at one place (UsageError)."""
    seen: set[str] = set()
    for output in outputs:
        if output.dest and output.dest in seen:
            raise UsageError("write", "--output", f"two outputs go to {output.dest}")
        seen.add(output.dest)


def split_fields(option: str, text: str) -> dict[str, str]:
    """Return the `key=value` fields of an option's value, keys in lower case. Raises UsageError."""
    try:
        (row,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError) as error:
        raise UsageError("read", option, f"{text!r} is malformed: {error}") from error
    found: dict[str, str] = {}
    for part in row:
        key, _, value = part.partition("=")
        key = key if key.startswith(_ANNOTATION) else key.strip().lower()
        if not key or key in found:
            raise UsageError("read", option, f"{text!r}: {f'{key} stands twice' if key else 'a field has no name'}")
        found[key] = value
    return found


def _fields(text: str) -> tuple[dict[str, str], dict[str, str]]:
    fields = split_fields("--output", text)
    annotations = {key.removeprefix(_ANNOTATION): fields.pop(key) for key in [*fields] if key.startswith(_ANNOTATION)}
    if "annotation" in fields:
        raise _refused(text, "an annotation needs a key", "annotation.KEY=VALUE")
    return fields, annotations


def _kind(text: str, fields: Mapping[str, str]) -> Kind:
    named = fields.get("type")
    if named is None:
        raise _refused(text, "it has no type", "type=image, oci, docker, tar or local, or a directory alone")
    named = "image" if named == "registry" else named
    for kind in get_args(Kind):
        if kind == named:
            known: Kind = kind
            return known
    raise _refused(text, f"there is no type {named!r}", did_you_mean(named, get_args(Kind)))


def _dest(text: str, kind: Kind, fields: Mapping[str, str], *, archive: bool) -> str:
    dest = fields.get("dest", "")
    if kind == "local" and dest in ("", STDOUT):
        raise _refused(text, "a directory is needed", "type=local,dest=DIR")
    if not archive and (kind != "oci" or dest in ("", STDOUT)):
        raise _refused(text, "tar=false makes a layout in a directory", "type=oci,tar=false,dest=DIR")
    # docker's own type without a destination means the engine's images: here, the store.
    return dest or ("" if kind in ("image", "docker", "cacheonly") else STDOUT)


def _compression(text: str, fields: Mapping[str, str]) -> str | None:
    named = fields.get("compression")
    if named is None:
        return None
    if named not in _COMPRESSIONS:
        raise _refused(text, f"compression={named}", did_you_mean(named, _COMPRESSIONS) or ", ".join(_COMPRESSIONS))
    return _COMPRESSIONS[named]


def _flag(text: str, fields: Mapping[str, str], key: str, *, default: bool) -> bool:
    value = fields.get(key)
    if value is None:
        return default
    if value.lower() not in (*_TRUE, *_FALSE):
        raise _refused(text, f"{key} is true or false, not {value!r}")
    return value.lower() in _TRUE


def _refused(text: str, reason: str, hint: str = "") -> UsageError:
    return UsageError("read", "--output", f"{text}: {reason}" if text else reason, hint)
