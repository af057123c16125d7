"""The texts of RUN's --mount flags: `type=cache,target=/root/.cache` and its kin.

The text is one record of comma-separated values: a field with a comma in it stands in double quotes. Values expand,
`from` does not. A mount without a type is a bind.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from lamina.build.dockerfile.source import DockerfileError, Source, Word, did_you_mean
from lamina.build.dockerfile.words import Rules, expand_word

SECRETS = "/run/secrets"
_KINDS = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARING = ("shared", "private", "locked")
_SYNONYMS = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
_KEYS = (
    *("type", "from", "source", "target", "readonly", "readwrite", "id", "sharing", "required", "size"),
    *("mode", "uid", "gid", "env"),
)
# Which keys have a meaning for one kind of mount only; the others are taken and ignored where they have none.
_ONLY_FOR: Mapping[str, tuple[str, ...]] = {
    "required": ("secret", "ssh"),
    "size": ("tmpfs",),
    "sharing": ("cache",),
    "mode": ("cache", "secret", "ssh"),
    "uid": ("cache", "secret", "ssh"),
    "gid": ("cache", "secret", "ssh"),
}
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_QUOTED = re.compile(r'"(?:[^"]|"")*"(?=,|\Z)')
_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+) ?(?:([kmgtp])(?:i?b)?|b)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class BindMount:
    """Files of the build context, or of the stage, context or image `from_`, seen at `target`.

    `source` is a path within it, "" for all. Targets of all kinds may be relative to the working directory, and "" is
    the working directory. What is written to a bind that is not `read_only` is gone after the step.
    """

    target: str = ""
    source: str = ""
    from_: str | None = None
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class CacheMount:
    """A directory that outlives the build, shared by all steps that name the same `id` (by default the target).

    A new one starts as a copy of `source` in `from_`, or empty with `mode`, `uid` and `gid`. `sharing` is "shared",
    "private" (a second user gets a new one) or "locked" (it waits).
    """

    target: str = ""
    id: str = "."
    source: str = ""
    from_: str | None = None
    sharing: str = "shared"
    read_only: bool = False
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True)
class TmpfsMount:
    """An empty file system in memory; `size` in bytes, 0 for no limit."""

    target: str = ""
    size: int = 0
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class SecretMount:
    """A secret as the file `target` or the variable `env`, or both; one of them is not None.

    Without `required` a secret that the build was not given is left out.
    """

    id: str
    target: str | None
    env: str | None = None
    required: bool = False
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class SshMount:
    """The socket of an SSH agent; `target` None is a place of the engine's choice. SSH_AUTH_SOCK names it."""

    id: str = "default"
    target: str | None = None
    required: bool = False
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


Mount: TypeAlias = BindMount | CacheMount | TmpfsMount | SecretMount | SshMount


def parse_mount(word: Word, expand: Callable[[Word], str], source: Source) -> Mount:
    """Return the mount that the text of a --mount flag means, each value as `expand` makes it. Raises DockerfileError.

    `Expander.mounts` is the way to call it.
    """
    fields = _Fields(word, source)
    for key, value in fields.split():
        fields.set(key, value, "true" if value is None else expand(value))
    return fields.mount()


def check_mount(word: Word, source: Source, escape: str = "\\") -> None:
    """Refuse what is wrong with a --mount flag whatever its variables will be."""
    if "$" not in word.text:
        parse_mount(word, lambda value: expand_word(value, {}, source, Rules(escape)).text, source)
        return
    for key, value in _Fields(word, source).split():
        # A dollar at the end is only itself.
        if key.text.lower() == "from" and value is not None and "$" in value.text[:-1]:
            hint = "name a stage for it: FROM with the variable, AS a name, and from= with that name"
            raise DockerfileError(source, value.start, f"from={value}: variables are not replaced here", hint)


def mount_from(word: Word, source: Source) -> Word | None:
    """Return what a mount takes its files from by name, or None. Raises DockerfileError for a broken record."""
    for key, value in reversed(_Fields(word, source).split()):
        if key.text.lower() == "from":
            return value if value is not None and value.text else None
    return None


class _Fields:
    def __init__(self, word: Word, source: Source) -> None:
        self._word = word
        self._source = source
        self._values: dict[str, str] = {}
        self._keys: dict[str, Word] = {}
        self._places: dict[str, Word] = {}  # of the values, for what is wrong with them

    def split(self) -> list[tuple[Word, Word | None]]:
        """Return the fields as keys and values, None for a key without an equals sign."""
        pairs: list[tuple[Word, Word | None]] = []
        for field in self._records():
            key, equals, _ = field.text.partition("=")
            value = field.part(len(key) + 1, len(field.text)) if equals else None
            pairs.append((field.part(0, len(key)), value))
        return pairs

    def _records(self) -> list[Word]:
        text, at = self._word.text, 0
        if not text:
            self._fail(self._word, "--mount needs a value: expected type=... and what belongs to it")
        fields: list[Word] = []
        while True:
            if text[at : at + 1] == '"':
                end = self._quoted(at)
                written = self._word.part(at + 1, end - 1)
                fields.append(written.replaced(written.text.replace('""', '"')) if '""' in written.text else written)
            else:
                end = text.find(",", at) if "," in text[at:] else len(text)
                fields.append(self._word.part(at, end))
                if (quote := fields[-1].text.find('"')) >= 0:
                    self._fail(
                        self._word.part(at + quote, end), "a double quote within a field: expected it around all"
                    )
            if end == len(text):
                return fields
            at = end + 1

    def _quoted(self, start: int) -> int:
        found = _QUOTED.match(self._word.text, start)
        if found is None:
            self._fail(self._word.part(start, len(self._word.text)), "this double quote is not closed before a comma")
        return found.end()

    def set(self, key: Word, written: Word | None, value: str) -> None:
        name = _SYNONYMS.get(key.text.lower(), key.text.lower())
        hint = "" if name in _KEYS else did_you_mean(name, (*_KEYS, *_SYNONYMS))
        if written is None and name not in ("readonly", "readwrite", "required"):
            expected = f"expected {key}=..." if name in _KEYS else "expected KEY=VALUE"
            self._fail(key, f"{key} has no value: {expected}", hint)
        if name not in _KEYS:
            self._fail(key, f"--mount has no key {key}: expected one of {', '.join(_KEYS)}", hint)
        place = key if written is None else written
        if name in ("readonly", "readwrite"):
            truth = self._boolean(name, value, place)
            name, value = "readonly", "true" if truth == (name == "readonly") else "false"
        self._values[name] = value
        self._keys[name] = key
        self._places[name] = place

    def mount(self) -> Mount:
        kind = self._values.get("type", "bind").lower()
        if kind not in _KINDS:
            hint = did_you_mean(kind, _KINDS)
            self._fail(self._places["type"], f"type={self._values['type']}: expected {', '.join(_KINDS)}", hint)
        for name, kinds in _ONLY_FOR.items():
            if name in self._values and kind not in kinds:
                self._fail(self._keys[name], f"{name} has no meaning for a mount of type {kind}")
        makers: Mapping[str, Callable[[], Mount]] = {
            "bind": self._bind,
            "cache": self._cache,
            "tmpfs": self._tmpfs,
            "secret": self._secret,
            "ssh": self._ssh,
        }
        return makers[kind]()

    def _text(self, name: str) -> str:
        return self._values.get(name, "")

    def _bind(self) -> BindMount:
        return BindMount(
            self._text("target"), self._text("source"), self._text("from") or None, self._flag("readonly", True)
        )

    def _cache(self) -> CacheMount:
        target = self._text("target")
        sharing = self._text("sharing").lower() or "shared"
        if sharing not in _SHARING:
            hint = did_you_mean(sharing, _SHARING)
            self._fail(
                self._places["sharing"], f"sharing={self._text('sharing')}: expected {', '.join(_SHARING)}", hint
            )
        return CacheMount(
            target,
            id=self._text("id") or _cleaned(target),
            source=self._text("source"),
            from_=self._text("from") or None,
            sharing=sharing,
            read_only=self._flag("readonly", False),
            mode=self._number("mode", 8),
            uid=self._number("uid", 10),
            gid=self._number("gid", 10),
        )

    def _tmpfs(self) -> TmpfsMount:
        return TmpfsMount(self._text("target"), self._size(), self._flag("readonly", False))

    def _secret(self) -> SecretMount:
        if self._text("from"):
            self._fail(self._keys["from"], "from has no meaning for a mount of type secret")
        source, target = self._text("source"), self._text("target")
        if source and self._text("id"):
            self._fail(self._keys["source"], "source and id both name the secret: expected one of them")
        name = source or self._text("id") or posixpath.basename(target.rstrip("/"))
        if not name:
            self._fail(self._word, "a mount of type secret needs an id or a target")
        env = (self._values["env"] or name) if "env" in self._values else None
        if not target and env is None:
            target = f"{SECRETS}/{posixpath.basename(name.rstrip('/'))}"
        required = self._flag("required", False)
        mode, uid, gid = self._number("mode", 8), self._number("uid", 10), self._number("gid", 10)
        return SecretMount(name, target or None, env, required, 0o400 if mode is None else mode, uid or 0, gid or 0)

    def _ssh(self) -> SshMount:
        if self._text("source"):
            self._fail(self._keys["source"], "source has no meaning for a mount of type ssh")
        required = self._flag("required", False)
        mode, uid, gid = self._number("mode", 8), self._number("uid", 10), self._number("gid", 10)
        target = self._text("target") or None
        return SshMount(
            self._text("id") or "default", target, required, 0o600 if mode is None else mode, uid or 0, gid or 0
        )

    def _flag(self, name: str, default: bool) -> bool:
        return self._boolean(name, self._values[name], self._places[name]) if name in self._values else default

    def _boolean(self, name: str, value: str, place: Word) -> bool:
        if value not in _TRUE and value not in _FALSE:
            self._fail(place, f"{name}={value}: expected true or false")
        return value in _TRUE

    def _number(self, name: str, base: int) -> int | None:
        if name not in self._values:
            return None
        value = self._values[name]
        if not re.fullmatch("[0-7]{1,11}" if base == 8 else "[0-9]{1,10}", value) or int(value, base) >= 2**32:
            self._fail(self._places[name], f"{name}={value}: expected {'an octal' if base == 8 else 'a'} number")
        return int(value, base)

    def _size(self) -> int:
        if "size" not in self._values:
            return 0
        found = _SIZE.fullmatch(self._values["size"])
        if found is None or len(found.group(1)) > 18:
            self._fail(
                self._places["size"], f"size={self._values['size']}: expected bytes, or a number with k, m, g or t"
            )
        unit = " kmgtp".index((found.group(2) or " ").lower())
        return int(float(found.group(1)) * 1024**unit)

    def _fail(self, word: Word, reason: str, hint: str = "") -> NoReturn:
        raise DockerfileError(self._source, word.start, reason, hint)


def _cleaned(target: str) -> str:
    cleaned = posixpath.normpath(target) if target else "."
    return "/" + cleaned.lstrip("/") if cleaned.startswith("//") else cleaned
