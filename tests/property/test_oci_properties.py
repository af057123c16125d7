"""Parsers raise InvalidInput and nothing else; what is written reads back as the same."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from lamina.errors import InvalidInput
from lamina.oci.changes import apply_changes
from lamina.oci.config import History, ImageConfig, Settings, parse_config
from lamina.oci.digest import DiffId, parse_digest
from lamina.oci.index import parse_index
from lamina.oci.manifest import parse_manifest
from lamina.oci.platform import Platform, parse_platform
from lamina.oci.reference import Reference, parse_reference
from lamina.oci.timestamp import format_time, parse_time
from lamina.oci.words import expand, split_words

_word = st.from_regex(r"[a-z0-9]{1,8}(?:(?:\.|_|__|-{1,3})[a-z0-9]{1,8}){0,3}", fullmatch=True)
_registry = st.one_of(
    st.just("docker.io"),
    st.from_regex(r"(?:localhost|[a-zA-Z0-9]{1,8}\.[a-z]{2,5}|\[[0-9a-f:]{1,9}\])(?::[0-9]{1,5})?", fullmatch=True),
)
_tag = st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
_digest = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
_text = st.text(max_size=20)
_texts = st.lists(_text, max_size=4).map(tuple)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=12,
)
_documents = st.dictionaries(
    st.sampled_from(
        [
            "schemaVersion",
            "mediaType",
            "config",
            "layers",
            "manifests",
            "rootfs",
            "history",
            "architecture",
            "os",
            "diff_ids",
        ]
    ),
    _json | st.just(2),
    max_size=8,
)


@given(_registry, st.lists(_word, min_size=1, max_size=3).map("/".join), _tag, st.none() | _digest)
def test_references_print_and_parse(registry: str, repository: str, tag: str | None, digest: str | None) -> None:
    first = Reference(registry, repository, tag, parse_digest(digest) if digest else None)
    with contextlib.suppress(InvalidInput):  # 64 hexadecimal digits, and a name that is too long with its namespace
        parsed = parse_reference(str(first))
        assert parse_reference(parsed.familiar) == parsed
        assert parse_reference(str(parsed)) == parsed
        assert len(parsed.familiar) <= len(str(parsed))


@given(st.text(max_size=40) | st.text("ab:/.@[]_-0A", max_size=20))
def test_names_are_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        reference = parse_reference(text)
        assert parse_reference(reference.familiar) == reference
        # Every part becomes a file name of the store.
        for part in (reference.registry, *reference.repository.split("/"), reference.tag or "x"):
            assert part not in {"", ".", ".."} and "/" not in part and "\0" not in part and len(part) <= 255
    for parse in (parse_digest, parse_platform, parse_time):
        with contextlib.suppress(InvalidInput):
            parse(text)


@given(st.integers(min_value=-(10**18), max_value=10**19))
def test_times_print_and_parse(nanoseconds: int) -> None:
    assert parse_time(format_time(nanoseconds)) == nanoseconds


@given(st.binary(max_size=60) | (_json | _documents).map(lambda value: json.dumps(value).encode()))
def test_documents_are_read_or_refused(raw: bytes) -> None:
    for parse in (parse_manifest, parse_index, parse_config):
        with contextlib.suppress(InvalidInput):
            parse(raw)


@given(
    st.builds(
        Settings,
        user=_text,
        env=_texts,
        entrypoint=st.none() | _texts,
        cmd=st.none() | _texts,
        working_dir=_text,
        labels=st.dictionaries(_text, _text, max_size=3),
        volumes=st.sets(_text, max_size=3).map(lambda v: tuple(sorted(v))),
        stop_signal=_text,
        other=st.dictionaries(
            st.sampled_from(["Shell", "Healthcheck"]), _json.filter(lambda v: v is not None), max_size=2
        ),
    ),
    st.lists(st.builds(History, created=_text, created_by=_text, empty_layer=st.booleans()), max_size=3).map(tuple),
    st.lists(_digest.map(DiffId), max_size=3).map(tuple),
)
def test_configs_print_and_parse(
    settings: Settings, history: tuple[History, ...], diff_ids: tuple[DiffId, ...]
) -> None:
    config = ImageConfig(Platform("linux", "amd64"), settings, diff_ids, history).encoded()
    assert parse_config(config.raw) == config
    assert parse_config(config.raw).encoded().raw == config.raw


@given(
    st.text(max_size=30)
    | st.tuples(
        st.sampled_from(
            ["ENV", "CMD", "LABEL", "EXPOSE", "VOLUME", "USER", "WORKDIR", "STOPSIGNAL", "ENTRYPOINT", "ONBUILD"]
        ),
        st.text("aA=\"'\\${}[],:- 0/", max_size=20),
    ).map(" ".join)
)
def test_changes_are_made_or_refused(change: str) -> None:
    with contextlib.suppress(InvalidInput):
        apply_changes(Settings(env=("A=1",)), [change])


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=10), max_size=4))
def test_quoted_words_read_back(words: list[str]) -> None:
    quoted = " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"' for word in words)
    assert split_words(quoted, {}) == words
    assert all(expand("'" + word + "'", {}) == word for word in words if "'" not in word)
