"""References: the names that people give to images.

The rules are docker's (distribution/reference): `base:1` means `docker.io/library/base:1` and is shown as `base:1`; the
first component is a registry if it has a dot, a colon or capitals, or is `localhost`. The grammar:

    reference   REGISTRY "/" REPOSITORY [":" TAG] ["@" DIGEST]
    REGISTRY    host names, IPv4 or [IPv6], and optionally ":" PORT
    REPOSITORY  components joined by "/", each of [a-z0-9]+ joined by ".", "_", "__" or dashes; 255 characters
    TAG         [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}

On the start-up path: no regular expressions.
"""

from __future__ import annotations

from lamina.errors import InvalidInput
from lamina.oci.digest import BlobDigest, is_hex, parse_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

DEFAULT_REGISTRY = "docker.io"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

_MAX_REPOSITORY = 255
_MAX_REGISTRY = 255
_MAX_TAG = 128
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_DIGITS = frozenset("0123456789")
_ALNUM = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HOST = _ALNUM | {"-"}
_TAG = _ALNUM | frozenset("_.-")
_IPV6 = frozenset("0123456789abcdefABCDEF:")


class Reference:
    """A name for an image: `registry/repository:tag@digest`, of which tag and digest may be absent.

    Immutable by custom; equal where all parts are. `str()` gives the whole name, `familiar` what people type.
    """

    __slots__ = ("registry", "repository", "tag", "digest")

    def __init__(self, registry: str, repository: str, tag: str | None, digest: BlobDigest | None = None) -> None:
        self.registry = registry
        self.repository = repository
        self.tag = tag
        self.digest = digest

    def __str__(self) -> str:
        return self._suffixed(f"{self.registry}/{self.repository}")

    @property
    def familiar(self) -> str:
        """The shortest spelling that means the same."""
        if self.registry != DEFAULT_REGISTRY:
            return str(self)
        namespace, slash, rest = self.repository.partition("/")
        # `library/a/b` is not what `a/b` means, so only a single component loses its namespace.
        alone = slash and namespace == DEFAULT_NAMESPACE and "/" not in rest
        name = rest if alone else self.repository
        if not alone and (not slash or _is_registry(namespace)):
            name = f"{self.registry}/{self.repository}"
        return self._suffixed(name)

    @property
    def familiar_repository(self) -> str:
        """The shortest spelling of the name without tag and digest."""
        return Reference(self.registry, self.repository, None).familiar

    def tagged(self) -> Reference:
        """Return the reference with the tag `latest` if it has neither tag nor digest."""
        if self.tag is not None or self.digest is not None:
            return self
        return Reference(self.registry, self.repository, DEFAULT_TAG)

    def _suffixed(self, name: str) -> str:
        return name + (f":{self.tag}" if self.tag is not None else "") + (f"@{self.digest}" if self.digest else "")

    def _parts(self) -> tuple[str, str, str | None, str | None]:
        return self.registry, self.repository, self.tag, self.digest

    def __eq__(self, other: object) -> bool:
        return self._parts() == other._parts() if isinstance(other, Reference) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._parts())

    def __repr__(self) -> str:
        return f"Reference({str(self)!r})"


def parse_reference(text: str) -> Reference:
    """Return what `text` names; tag and digest stay absent where they are not given.

    Raises InvalidInput, which says what part is wrong.
    """
    name, at, digest_text = text.partition("@")
    digest = parse_digest(digest_text) if at else None
    name, tag = _split_tag(name)
    if not name:
        _refuse(text, "it has no repository")
    if tag is not None:
        _check_tag(text, tag)
    registry, repository = _split_registry(name)
    _check_registry(text, registry)
    _check_repository(text, repository)
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        if len(repository) == 64 and is_hex(repository):
            _refuse(text, "64 hexadecimal digits are an id and cannot be a name")
        repository = f"{DEFAULT_NAMESPACE}/{repository}"
        _check_length(text, repository)
    return Reference(registry, repository, tag, digest)


def parse_name(text: str) -> Reference:
    """Return the reference that `text` gives to a new image: `latest` where it has no tag.

    Raises InvalidInput, also for a digest: the image's digest follows from what is in it.
    """
    reference = parse_reference(text)
    if reference.digest is not None:
        _refuse(text, "a name that is given to an image has no digest")
    return reference.tagged()


def _split_tag(name: str) -> tuple[str, str | None]:
    # A colon before the last slash belongs to the registry's port, one inside brackets to its IPv6 address.
    colon = name.rfind(":")
    if colon < 0 or colon < max(name.rfind("/"), name.rfind("]")):
        return name, None
    return name[:colon], name[colon + 1 :]


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not _is_registry(first):
        return DEFAULT_REGISTRY, name
    if first == "index.docker.io":  # docker's own old name for it
        first = DEFAULT_REGISTRY
    return first, rest


def _is_registry(first: str) -> bool:
    return "." in first or ":" in first or first == "localhost" or first != first.lower()


def _check_registry(text: str, registry: str) -> None:
    host, port = registry, None
    if registry.startswith("["):
        host, bracket, after = registry.partition("]")
        if not bracket or not _IPV6.issuperset(host[1:]) or host == "[" or (after and not after.startswith(":")):
            _refuse(text, f"the registry {registry!r} is not [IPv6] or [IPv6]:port")
        port = after[1:] if after else None
    else:
        host, colon, after = registry.partition(":")
        port = after if colon else None
        for label in host.split("."):
            if not label or not _HOST.issuperset(label) or label[0] == "-" or label[-1] == "-":
                _refuse(text, f"the registry {registry!r} is not a host name")
    if port is not None and (not port or not _DIGITS.issuperset(port)):
        _refuse(text, f"the port of the registry {registry!r} is not a number")
    if len(registry) > _MAX_REGISTRY:
        _refuse(text, f"the registry is longer than {_MAX_REGISTRY} characters")


def _check_repository(text: str, repository: str) -> None:
    if repository != repository.lower():
        _refuse(text, f"the repository {repository!r} must be lower-case")
    for component in repository.split("/"):
        _check_component(text, repository, component)
    _check_length(text, repository)


def _check_length(text: str, repository: str) -> None:
    if len(repository) > _MAX_REPOSITORY:
        _refuse(text, f"the repository is longer than {_MAX_REPOSITORY} characters")


def _check_component(text: str, repository: str, component: str) -> None:
    if not component:
        _refuse(text, f"the repository {repository!r} has an empty component")
    if component[0] in "._-" or component[-1] in "._-":
        _refuse(text, f"the component {component!r} must begin and end with a letter or digit")
    separator = ""
    for character in component:
        if character in _LOWER:
            if separator and separator not in {".", "_", "__"} and separator.strip("-"):
                _refuse(text, f"{separator!r} cannot stand inside the repository {repository!r}")
            separator = ""
        elif character in "._-":
            separator += character
        else:
            _refuse(text, f"the repository {repository!r} has the character {character!r}")


def _check_tag(text: str, tag: str) -> None:
    if not tag:
        _refuse(text, "the tag is empty")
    if not _TAG.issuperset(tag) or tag[0] in ".-":
        _refuse(
            text, f"the tag {tag!r} may have letters, digits, '_', '.' and '-', and begins with none of the last two"
        )
    if len(tag) > _MAX_TAG:
        _refuse(text, f"the tag is longer than {_MAX_TAG} characters")


def _refuse(text: str, reason: str) -> NoReturn:
    raise InvalidInput("use the name", repr(text), reason)
