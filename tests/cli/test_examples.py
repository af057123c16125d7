"""The projects in examples/, built over a Debian base with the packages that they name, started, and asked for a page.

Root builds all of them; ordinary users those that show what differs for them. One store holds the steps that they
share, and the packages that were fetched (tests in this file go in order, but need none before them).
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command import Done, Lamina
from tests.helpers.services import service
from tests.helpers.web import folder_server

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.requires("debian", "archive", "overlay", "userns")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a directory for the store and the logs of this module."""
    place = tmp_path_factory.mktemp("examples")
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def shared(place: Path) -> Iterator[Lamina]:
    """Return the command over a store with the base image, which the tests of this module share."""
    lamina = Lamina(place / "store", cwd=place)
    lamina("import", os.environ["BASE_TAR"], "debian:bookworm")
    yield lamina
    lamina.empty_store()
    lamina("prune", "--force", "--kind", "cache")  # what was fetched, and may belong to a mapped id


def build(lamina: Lamina, name: str, *options: str, tag: str = "") -> Done:
    """Build an example as examples/README.md says, with the certificates of this machine."""
    certificates = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    words = ["--progress", "plain", "--secret", f"id=ca,src={certificates}", "-t", tag or f"example/{name}:1"]
    return lamina("build", *words, *options, str(EXAMPLES / name), seconds=300)


def nothing_runs(lamina: Lamina) -> bool:
    """Return whether the store has no container."""
    return lamina("ps", "--all", "--quiet").stdout == ""


def test_no_dockerfile_has_what_the_build_checks_find(lamina: Lamina) -> None:
    for path in sorted(EXAMPLES.rglob("Dockerfile")):
        lamina("build", "--check", str(path.parent))


@pytest.mark.requires("ids", "pypi")
def test_a_web_service_in_python(shared: Lamina) -> None:
    build(shared, "python-web")
    with service(shared, "example/python-web:1") as web:
        assert web.page("/hello/you") == '{"hello":"you","from":"app"}'
    assert nothing_runs(shared)


@pytest.mark.requires("root", "npm")
def test_a_web_service_in_node(shared: Lamina) -> None:
    build(shared, "node-workspaces")
    with service(shared, "example/node-workspaces:1") as web:
        assert web.page("/?language=de") == '{"greeting":"Guten Tag"}'
    assert shared("run", "--rm", "example/node-workspaces:1", "ls", "packages/greetings").lines() == [
        "index.js",
        "package.json",
    ]
    tested = build(shared, "node-workspaces", "--target", "test", tag="example/node-tested:1")
    assert "# pass 1" in tested.stderr
    assert nothing_runs(shared)


@pytest.mark.requires("root")
def test_a_c_program_in_an_image_of_one_file(shared: Lamina) -> None:
    build(shared, "c-scratch", "--build-arg", "VERSION=3")
    with service(shared, "example/c-scratch:1") as web:
        assert web.page("/") == "from an image of one file\n"
    assert "image.version" in shared("inspect", "example/c-scratch:1").stdout
    shared("build", "--output", "files", str(EXAMPLES / "c-scratch"))
    assert [str(path.relative_to(shared.cwd / "files")) for path in (shared.cwd / "files").rglob("*")] == ["serve"]


@pytest.mark.requires("root")
def test_apache(shared: Lamina) -> None:
    build(shared, "apache")
    with service(shared, "example/apache:1") as web:
        assert "layer by layer" in web.page("/")
    assert nothing_runs(shared)


@pytest.mark.requires("ids")
def test_nginx_is_configured_when_it_starts(shared: Lamina) -> None:
    build(shared, "nginx")
    with service(shared, "example/nginx:1", "-e", "GREETING=moin") as web:
        assert web.page("/status") == "moin\n"
        assert "written by the Dockerfile" in web.page("/")
    assert nothing_runs(shared)


@pytest.mark.requires("root", "pypi")
def test_a_site_is_rendered_in_one_stage_and_served_from_another(shared: Lamina) -> None:
    build(shared, "static-site")
    with service(shared, "example/static-site:1") as web:
        served = web.page("/copy-on-write/")
    assert "What is only read is shared" in served
    build(shared, "static-site", "--target", "pages", "--output", "pages")
    assert (shared.cwd / "pages" / "copy-on-write" / "index.html").read_text() == served
    assert nothing_runs(shared)


@pytest.mark.requires("root")
def test_a_guest_book_in_php_with_a_volume(shared: Lamina) -> None:
    build(shared, "php-guestbook")
    with service(shared, "example/php-guestbook:1") as web:
        assert "<li>" not in web.page("/")
        web.page("/", data=b"text=it+%3Cworks%3E")
        assert "<li>it &lt;works&gt;</li>" in web.page("/")
    assert nothing_runs(shared)


@pytest.mark.requires("ids")
def test_a_cgi_program_in_perl(shared: Lamina) -> None:
    build(shared, "perl-cgi")
    with service(shared, "example/perl-cgi:1") as web:
        assert "QUERY_STRING     a=b" in web.page("/cgi-bin/table.pl?a=b")
    assert nothing_runs(shared)


@pytest.mark.requires("ids")
def test_redis_gives_up_its_rights(shared: Lamina) -> None:
    build(shared, "redis")
    with service(shared, "example/redis:1") as redis:
        assert redis.say(b"SET greeting hello\r\n") == b"+OK\r\n"
        assert redis.say(b"GET greeting\r\n") == b"$5\r\nhello\r\n"
        assert b"redis_version" in redis.say(b"INFO server\r\n")
    assert nothing_runs(shared)


def build_site(lamina: Lamina) -> None:
    """Build the base that a team shares, and a site whose Dockerfile has nothing but FROM it."""
    build(lamina, "onbuild/base", tag="example/site-base:1")
    build(lamina, "onbuild/app", "--build-arg", "TITLE=Layers", tag="example/site:1")


@pytest.mark.requires("ids")
def test_a_base_has_instructions_for_what_is_built_from_it(shared: Lamina) -> None:
    build_site(shared)
    with service(shared, "example/site:1") as web:
        assert "<h1>Layers</h1>" in web.page("/")
    owner = shared("run", "--rm", "--entrypoint", "", "example/site:1", "stat", "-c", "%U", "/srv/site/index.html")
    assert owner.stdout == "site\n"
    assert nothing_runs(shared)


@pytest.mark.requires("plain")
def test_with_one_id_a_site_is_served_as_root_only(shared: Lamina) -> None:
    build_site(shared)
    refused = shared("run", "--rm", "example/site:1", status=125)
    assert "user 10001" in refused.stderr
    assert "hint: " in refused.stderr
    with service(shared, "example/site:1", "-u", "root") as web:
        assert "<h1>Layers</h1>" in web.page("/")
    assert nothing_runs(shared)


@pytest.mark.requires("ids", "pypi")
def test_a_package_comes_from_an_index_with_a_password_that_stays_nowhere(shared: Lamina) -> None:
    password = secrets.token_hex(16)
    build(shared, "private-index", "--target", "wheel", "--output", "index", tag="example/wheel:1")
    credentials = base64.b64encode(f"reader:{password}".encode()).decode()
    with folder_server(shared.cwd / "index", authorization=f"Basic {credentials}") as url:
        address = url.replace("http://", f"http://reader:{password}@")
        (shared.cwd / "address").write_text(address)
        said = build(shared, "private-index", "--secret", "id=index,src=address")
    with service(shared, "example/private-index:1") as web:
        assert web.page("/") == "greetings from a private package\n"
    shared("save", "-o", "image.tar", "example/private-index:1")
    assert password not in said.stdout + said.stderr
    assert password.encode() not in (shared.cwd / "image.tar").read_bytes()
    assert nothing_runs(shared)
