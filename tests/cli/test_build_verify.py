"""`lamina build --verify`: what differs between two builds of the same."""

from __future__ import annotations

from pathlib import Path

import pytest

import lamina as package
from lamina.build.verify import compare_documents
from tests.helpers.command import Lamina
from tests.helpers.dockerfiles import write

pytestmark = pytest.mark.requires("overlay", "userns")

EPOCH = {"SOURCE_DATE_EPOCH": "1600000000"}
RANDOM = "RUN cat /proc/sys/kernel/random/uuid >/srv/id && echo same >/srv/same"


def everything(store: Path) -> set[str]:
    """Return the names of what a store has, files of layers aside."""
    return {
        str(path.relative_to(store))
        for top in ("layers", "images", "blobs/sha256", "staging", "refs", "build/steps")
        for path in (store / top).rglob("*")
        if "tree" not in path.parts
    }


def test_what_differs_is_listed_and_nothing_of_the_second_build_stays(lamina: Lamina, context: Path) -> None:
    write(context, "FROM base:1", "RUN mkdir /srv", RANDOM, "RUN echo done >/done")
    done = lamina("build", "--progress=plain", "--verify", "-t", "built:1", str(context), env=EPOCH, status=1)
    assert f"the two differ\nRUN /bin/sh -c {RANDOM[4:]} # buildkit\n  srv/id: content\n" in done.stderr
    assert done.stderr.count(": content") == 1
    assert lamina("run", "--rm", "built:1", "cat", "/srv/same").stdout == "same\n"
    with package.Store(lamina.store) as store:
        assert store.image("built:1").id == done.stdout.strip()
    # Everything again from the cache: the steps are those of the first build.
    before = everything(lamina.store)
    assert lamina("build", "--progress=quiet", "-t", "built:1", str(context), env=EPOCH).stdout == done.stdout
    assert everything(lamina.store) == before
    assert len(list((lamina.store / "layers").iterdir())) <= 1 + 2 * 3  # the base; three steps and their dated forms
    assert not list((lamina.store / "staging").iterdir())


def test_a_build_that_can_be_reproduced_is_equal(lamina: Lamina, context: Path) -> None:
    (context / "file").write_text("content")
    write(
        context,
        "FROM base:1 AS one", "RUN --mount=type=cache,target=/c echo made >/made && touch /c/x",
        "FROM base:1", "COPY file /", "COPY --from=one /made /", "RUN rm -r /tmp && mkdir -m 700 /tmp", "CMD [\"x\"]",
    )  # fmt: skip
    for more in ((), ("--squash",)):
        done = lamina("build", "--progress=plain", "--verify", *more, str(context), env=EPOCH)
        assert "both are equal" in done.stderr
    assert done.stderr.count("CACHED") == 0


def test_without_an_epoch_the_times_differ(lamina: Lamina, context: Path) -> None:
    write(context, "FROM base:1", "RUN echo same >/same")
    with package.Store(lamina.store) as store:
        found = store.verify_build(context, tag="built:1")
    assert [(each.name, each.aspects) for each in found if each.name == b"same"] == [(b"same", ("mtime",))]


def test_a_name_that_only_one_build_has(lamina: Lamina, context: Path) -> None:
    write(context, "FROM base:1", "RUN mkdir /d && touch /d/$(cat /proc/sys/kernel/random/uuid)", "LABEL a=b")
    with package.Store(lamina.store) as store:
        found = store.verify_build(context, timestamp=1600000000)
        assert {each.aspects for each in found} == {("only in the first",), ("only in the second",)}
        assert all(each.name.startswith(b"d/") for each in found)


def test_a_base_that_the_build_itself_names_is_the_same_in_both(lamina: Lamina, context: Path) -> None:
    write(context, "FROM base:1", "RUN echo more >>/more")
    for _ in range(2):
        done = lamina("build", "--verify", "-t", "base:1", str(context), env=EPOCH)
        assert "both are equal" in done.stderr
    assert lamina("run", "--rm", "base:1", "cat", "/more").stdout == "more\nmore\n"


def test_a_second_build_that_fails_says_so(lamina: Lamina, context: Path) -> None:
    write(context, "FROM base:1", "RUN --mount=type=cache,target=/c touch /c/was")
    lamina("build", "--progress=quiet", str(context))
    write(context, "FROM base:1", "RUN --mount=type=cache,target=/c [ -e /c/was ]")
    lamina("build", "--progress=quiet", str(context))
    done = lamina("build", "--verify", "-t", "built:1", str(context), env=EPOCH, status=None)
    assert done.status and "when built again" in done.stderr and "@failed" not in done.stderr
    assert not list((lamina.store / "staging").iterdir())


def test_fields_of_documents_are_named() -> None:
    first = {"a": {"b": 1, "c": [1, 2]}, "only": 1, "same": {"x": None}}
    second = {"a": {"b": 2, "c": [1, 3]}, "other": 1, "same": {"x": None}}
    assert list(compare_documents(first, second)) == [
        ("a.b", "value"), ("a.c", "value"), ("only", "only in the first"), ("other", "only in the second"),
    ]  # fmt: skip
