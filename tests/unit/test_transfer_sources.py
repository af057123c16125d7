"""Reading apt's sources and settings, and the commands that a bootstrap is."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamina.errors import InvalidInput
from lamina.transfer.aptconf import choose_settings
from lamina.transfer.recipe import make_recipe, plan_debootstrap, plan_mmdebstrap
from lamina.transfer.sources import Source, choose_sources, parse_deb822, parse_list, read_sources

RING = "/usr/share/keyrings/a.gpg"

LIST = f"""
# deb http://commented.example/debian bookworm main
deb http://a.example/debian/ bookworm main contrib  # a comment
deb-src http://a.example/debian bookworm main
deb [arch=amd64 signed-by={RING} ] http://b.example/debian bookworm-updates main
deb [ trusted=yes ] file:/srv/repo ./
deb [broken http://c.example bookworm main
deb http://short.example
"""

DEB822 = f"""\
Types: deb deb-src
# a comment
URIs: http://a.example/debian http://b.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: {RING}

Types: deb
URIs: http://off.example
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: http://key.example
Suites: trixie
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
"""


def test_one_line_style() -> None:
    assert list(parse_list(LIST)) == [
        Source("http://a.example/debian", "bookworm", ("main", "contrib")),
        Source("http://b.example/debian", "bookworm-updates", ("main",), RING),
    ]


def test_deb822_style() -> None:
    assert list(parse_deb822(DEB822)) == [
        Source("http://a.example/debian", "bookworm", ("main",), RING),
        Source("http://a.example/debian", "bookworm-updates", ("main",), RING),
        Source("http://b.example/debian", "bookworm", ("main",), RING),
        Source("http://b.example/debian", "bookworm-updates", ("main",), RING),
        Source("http://key.example", "trixie", ("main",)),
    ]


def test_files_are_read_in_apts_order(scratch: Path) -> None:
    (scratch / "sources.list.d").mkdir()
    (scratch / "sources.list").write_text("deb http://first.example s main\n")
    (scratch / "sources.list.d/b.list").write_text("deb http://third.example s main\n")
    (scratch / "sources.list.d/a.sources").write_text(
        "Types: deb\nURIs: http://second.example\nSuites: s\nComponents: main\n"
    )
    (scratch / "sources.list.d/c.list.save").write_text("deb http://no.example s main\n")
    assert [source.uri[7:12] for source in read_sources(str(scratch))] == ["first", "secon", "third"]
    assert read_sources(str(scratch / "none")) == []


def test_the_release_is_chosen_and_not_what_others_add() -> None:
    release = [Source("http://a.example", f"bookworm{more}", ("main",), RING) for more in ("", "-updates", "-security")]
    others = [
        Source("http://a.example", "bookworm-backports", ("main",), RING),
        Source("http://x.example", "bookworm", ("main",), "/etc/apt/keyrings/x.gpg"),
        Source("http://y.example", "bookworm", ("stable",), RING),
        Source("http://z.example", "nodistro", ("main",), RING),
    ]
    assert choose_sources([*release, *others], "bookworm", "bookworm") == release
    moved = choose_sources([*release, *others], "trixie", "bookworm")
    assert [source.suite for source in moved] == ["trixie", "trixie-updates", "trixie-security"]
    assert choose_sources(others[3:], "trixie", "bookworm") == [] == choose_sources(release, "sid", "")


def test_the_line_of_a_source_reads_back() -> None:
    for source in (
        Source("http://a.example", "s", ("main", "contrib"), RING, True),
        Source("http://a.example", "s", ("main",)),
    ):
        assert list(parse_list(source.line())) == [source]


def test_settings_about_fetching_are_chosen() -> None:
    dump = (
        'APT "";\nAcquire "";\nAcquire::http "";\nAcquire::http::Proxy "http://p.example";\n'
        'Dir::Etc "x";\nAcquire::Retries "3";\n'
    )
    assert choose_settings(dump) == 'Acquire::http::Proxy "http://p.example";\nAcquire::Retries "3";\n'


def test_mmdebstrap_by_kind_of_user() -> None:
    sources = [Source("http://a.example", "bookworm", ("main",), RING)]
    recipe = make_recipe("bookworm", variant="minbase", include=["curl", "hello"], mirror=None, sources=sources)
    root = plan_mmdebstrap(recipe, mode="root", settings="/tmp/it's/apt.conf")
    assert root[:5] == ["mmdebstrap", "--verbose", "--format=tar", "--variant=minbase", "--mode=root"]
    assert "--include=curl,hello" in root and root[-3:] == ["bookworm", "-", sources[0].line()]
    assert any("'/tmp/it'\"'\"'s/apt.conf'" in word for word in root if word.startswith("--setup-hook="))
    assert any(f'test -e "$1"{RING} ||' in word for word in root)
    assert "--mode=unshare" in plan_mmdebstrap(recipe, mode="unshare", settings="x")
    single = plan_mmdebstrap(recipe, mode="single", settings="x")
    assert "--mode=root" in single and "--skip=chroot/mount/dev" in single


def test_a_mirror_takes_the_place_of_the_sources() -> None:
    recipe = make_recipe("sid", variant="apt", include=(), mirror="http://m.example/debian", sources=())
    assert recipe.sources == ("deb http://m.example/debian sid main",) and recipe.key_rings == ()
    recipe = make_recipe(
        "sid", variant="buildd", include=["a"], mirror=f"deb [signed-by={RING}] http://m s c d", sources=()
    )
    assert plan_debootstrap(recipe, target="/t")[5:] == [
        "debootstrap", "--variant=buildd", "--components=c,d", "--include=a", f"--keyring={RING}", "s", "/t", "http://m",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("suite", "change"),
    [
        ("--help", {}),
        ("", {}),
        ("a b", {}),
        ("sid", {"include": ["--x"]}),
        ("sid", {"include": ["a,b"]}),
        ("sid", {"variant": "huge"}),
        ("sid", {"mirror": ""}),
        ("sid", {"mirror": "--x"}),
    ],
)
def test_what_could_be_an_option_is_refused(suite: str, change: dict[str, str]) -> None:
    wanted: dict[str, object] = {"variant": "minbase", "include": (), "mirror": None, "sources": (), **change}
    with pytest.raises(InvalidInput, match="cannot bootstrap"):
        make_recipe(suite, **wanted)  # type: ignore[arg-type]  # the table holds several types


def test_debootstrap_says_what_it_cannot() -> None:
    for mirror, variant in (("http://m", "apt"), ("deb http://m", "minbase")):
        recipe = make_recipe("sid", variant=variant, include=(), mirror=mirror, sources=())
        with pytest.raises(InvalidInput):
            plan_debootstrap(recipe, target="/t")
