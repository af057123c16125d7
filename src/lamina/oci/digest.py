"""Digests, and the four things that they name.

All are text of the form `sha256:HEX` and none can stand for another, so each has a type of its own: `BlobDigest` names
bytes as stored and sent, `DiffId` one layer's uncompressed tar, `ChainId` a layer with all that lies below it, and
`ImageId` an image's config document (image-spec descriptor.md "Digests"; config.md "Layer DiffID" and what follows it).
"""

from __future__ import annotations

from lamina.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NewType

    BlobDigest = NewType("BlobDigest", str)
    DiffId = NewType("DiffId", str)
    ChainId = NewType("ChainId", str)
    ImageId = NewType("ImageId", str)
else:  # `typing` costs 10 ms; to the interpreter all four are text
    BlobDigest = DiffId = ChainId = ImageId = str

# Registered algorithms (descriptor.md) and the length of their lower-case hexadecimal part.
_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = frozenset("0123456789abcdef")


def parse_digest(text: str) -> BlobDigest:
    """Return `text` as a digest; raise InvalidInput where it is none of a registered algorithm."""
    algorithm, colon, encoded = text.partition(":")
    if not colon:
        raise InvalidInput("read the digest", repr(text), "it has no colon between algorithm and value")
    length = _LENGTHS.get(algorithm)
    if length is None:
        raise InvalidInput("read the digest", repr(text), f"the algorithm is none of {', '.join(_LENGTHS)}")
    if len(encoded) != length or not _HEX.issuperset(encoded):
        raise InvalidInput("read the digest", repr(text), f"{algorithm} has {length} lower-case hexadecimal digits")
    return BlobDigest(text)


def parse_diff_id(text: str) -> DiffId:
    """Return `text` as a diff id; raise InvalidInput where it is no digest."""
    return DiffId(parse_digest(text))


def parse_image_id(text: str) -> ImageId:
    """Return `text` as an image id; raise InvalidInput where it is no digest."""
    return ImageId(parse_digest(text))


def algorithm_of(digest: str) -> str:
    """Return the part before the colon."""
    return digest.partition(":")[0]


def hex_of(digest: str) -> str:
    """Return the part after the colon."""
    return digest.partition(":")[2]


def short(digest: str) -> str:
    """Return the first twelve digits, as docker shows ids."""
    return hex_of(digest)[:12]


def is_hex(text: str) -> bool:
    """Tell whether `text` is lower-case hexadecimal digits and not empty."""
    return bool(text) and _HEX.issuperset(text)


def digest_of(data: bytes) -> BlobDigest:
    """Return the sha256 digest of `data`."""
    from hashlib import sha256  # 1.5 ms that a plain run does not need

    return BlobDigest("sha256:" + sha256(data).hexdigest())


def check_digest(data: bytes, expected: BlobDigest, what: str) -> None:
    """Raise InvalidInput unless `data`, which `what` names in the error, has the digest `expected`."""
    import hashlib  # as above

    found = f"{algorithm_of(expected)}:{hashlib.new(algorithm_of(expected), data).hexdigest()}"
    if found != expected:
        raise InvalidInput("use", what, f"its digest is {found}, not {expected}")


def next_chain_id(below: ChainId | None, diff_id: DiffId) -> ChainId:
    """Return the chain id of the layer `diff_id` over the chain `below`, or over nothing.

    ChainID(A) = DiffID(A); ChainID(A|...|N) = Digest(ChainID(A|...|M) + " " + DiffID(N)).
    """
    return ChainId(diff_id) if below is None else ChainId(digest_of(f"{below} {diff_id}".encode()))


def chain_ids(diff_ids: Iterable[DiffId]) -> tuple[ChainId, ...]:
    """Return the chain id of each layer; `diff_ids` base first."""
    chains: list[ChainId] = []
    below: ChainId | None = None
    for diff_id in diff_ids:
        below = next_chain_id(below, diff_id)
        chains.append(below)
    return tuple(chains)
