"""Where a build's files come from: archives, repositories, the web, standard input, named contexts."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import shlex
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import lamina as package
from lamina.build.dockerfile.source import DockerfileError
from lamina.build.stepevent import StepEvent
from lamina.events import Event
from lamina.overlay.union.union import Union
from lamina.tar.zstd import ZstdCompressor
from tests.helpers.command import Lamina, program, run
from tests.helpers.git import COMMITTED, commit, git, make_repository
from tests.helpers.layouts import Made
from tests.helpers.web import Page, Site, folder_server, website

pytestmark = pytest.mark.requires("userns")

COPY_ALL = "FROM scratch\nCOPY . /all/\n"


@pytest.fixture
def store(lamina: Lamina) -> Iterator[package.Store]:
    """Return a store that is emptied after the test."""
    with package.Store(lamina.store) as opened:
        yield opened


@pytest.fixture
def site() -> Iterator[Site]:
    with website() as served:
        yield served


def packed(files: Mapping[str, str | tarfile.TarInfo]) -> bytes:
    """Return a tar of files with these contents, or of entries as they are."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            if isinstance(content, str):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content.encode()))
            else:
                content.name = name
                archive.addfile(content)
    return out.getvalue()


def tree(image: package.Image) -> Union:
    return Union([layer.directory for layer in image.layers])


def names(image: package.Image, top: str = "/all") -> set[str]:
    with tree(image) as union:
        return set(union.listdir(top))


def text(image: package.Image, path: str) -> str:
    with tree(image) as union:
        return union.read_text(path)


def statuses(store: package.Store, context: object, **more: object) -> tuple[package.Image, list[str]]:
    """Build; return the image, and how each step ended."""
    ends: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, StepEvent) and event.finished:
            ends.append(event.status)

    return store.build(context, on_event=note, **more), ends  # type: ignore[arg-type]  # what a test gives


# Archives and standard input


def _zstd(data: bytes) -> bytes:
    compressor = ZstdCompressor(3)
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress, bz2.compress, _zstd])
def test_an_archive_is_a_context(store: package.Store, scratch: Path, compress: Callable[[bytes], bytes]) -> None:
    data = packed({"Dockerfile": COPY_ALL, "dir/file": "content"})
    path = scratch / "context.tar"
    path.write_bytes(compress(data))
    assert text(store.build(path), "/all/dir/file") == "content"
    with path.open("rb") as stream:
        assert text(store.build(stream), "/all/dir/file") == "content"


def test_standard_input_is_an_archive_or_a_dockerfile(lamina: Lamina, scratch: Path) -> None:
    data = gzip.compress(packed({"sub/Dockerfile.web": "FROM scratch\nCOPY file /\n", "file": "x"}))
    image = lamina("build", "--progress=quiet", "-f", "sub/Dockerfile.web", "-", input=data).stdout
    assert image.startswith("sha256:")
    alone = lamina("build", "--progress=quiet", "-", input="FROM scratch\nLABEL a=b\n").stdout
    assert alone.startswith("sha256:")
    done = lamina("build", "-", input="FROM scratch\nCOPY file /\n", status=125)
    assert "-:2" in done.stderr and "no such file" in done.stderr
    (scratch / "context").mkdir()
    (scratch / "context" / "file").write_text("x")
    lamina("build", "-f", "-", "context", input="FROM scratch\nCOPY file /\n")
    assert "both" in lamina("build", "-f", "-", "-", input="FROM scratch\n", status=125).stderr


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x00\x01\x02" * 400, "neither a tar archive nor a Dockerfile"),
        (gzip.compress(b"FROM scratch\n" * 100), "no tar archive"),
        (gzip.compress(packed({"Dockerfile": COPY_ALL}))[:-30], "truncated"),
        (packed({"file": "x"}), "Dockerfile"),
        (b"", "no instructions"),
    ],
)
def test_what_is_no_context_is_refused(store: package.Store, data: bytes, reason: str) -> None:
    with pytest.raises(package.LaminaError, match=reason):
        store.build(io.BytesIO(data))
    assert not store.images()


def test_links_of_an_archive_stay_in_it(store: package.Store) -> None:
    link = tarfile.TarInfo()
    link.type, link.linkname = tarfile.SYMTYPE, "../../../etc/passwd"
    upward = tarfile.TarInfo()
    upward.type, upward.linkname = tarfile.SYMTYPE, "/"
    data = packed({"Dockerfile": "FROM scratch\nCOPY link/shown /\n", "shown": "its own", "link": upward})
    assert text(store.build(io.BytesIO(data)), "/shown") == "its own"
    with pytest.raises(package.LaminaError, match=r"Dockerfile:2.*/passwd: No such file"):
        store.build(io.BytesIO(packed({"Dockerfile": "FROM scratch\nCOPY passwd /\n", "passwd": link})))


def test_a_dockerfile_outside_the_context_has_its_own_ignore_file(store: package.Store, scratch: Path) -> None:
    (scratch / "context").mkdir()
    for name in ("kept", "left"):
        (scratch / "context" / name).write_text(name)
    (scratch / "context" / ".dockerignore").write_text("kept\n")
    (scratch / "other").write_text(COPY_ALL)
    (scratch / "other.dockerignore").write_text("left\n.dockerignore\n")
    assert names(store.build(scratch / "context", dockerfile=scratch / "other")) == {"kept"}


# Repositories


@pytest.mark.requires("git")
def test_a_repository_is_a_context(store: package.Store, scratch: Path) -> None:
    repository = scratch / "repository"
    first = make_repository(repository, {"Dockerfile": COPY_ALL, "sub/Dockerfile": COPY_ALL, "sub/a": "1"})
    git(repository, "tag", "-a", "-m", "first", "v1")
    git(repository, "branch", "old")
    second = commit(repository, {"b": "2"})
    url = f"file://{repository}"
    assert names(store.build(url)) == {"Dockerfile", "sub", "b"}
    assert names(store.build(f"{repository}#main:sub")) == {"Dockerfile", "a"}
    for ref in ("v1", "old", first, "refs/heads/old"):
        assert names(store.build(f"{url}#{ref}")) == {"Dockerfile", "sub"}, ref
    assert names(store.build(f"{url}?branch=old&subdir=sub&commit={first[:12]}")) == {"Dockerfile", "a"}
    with tree(store.build(f"{url}#v1")) as union:
        assert union.stat("/all/sub/a").st_mtime == COMMITTED
        assert stat.S_IMODE(union.stat("/all/sub/a").st_mode) == 0o644
    kept = store.build(url, build_args={"BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1"})
    assert ".git" in names(kept)
    for wrong, reason in (
        ("#nowhere", "no such branch or tag"),
        ("#main:nowhere", "no such directory"),
        ("#main:../..", "leads out of"),
        (f"?commit={first}&branch=main", f"is {second}"),
        ("?depth=1", "expected ref"),
        ("#--upload-pack=touch", "can be no name"),
    ):
        with pytest.raises(package.LaminaError, match=reason):
            store.build(f"{url}{wrong}")


@pytest.mark.requires("git")
def test_submodules_come_with_a_repository(store: package.Store, scratch: Path) -> None:
    make_repository(scratch / "inner", {"file": "inner"})
    make_repository(scratch / "outer", {"Dockerfile": COPY_ALL})
    git(scratch / "outer", "submodule", "add", "-q", f"file://{scratch}/inner", "in")
    git(scratch / "outer", "commit", "-q", "-m", "submodule")
    image = store.build(f"file://{scratch}/outer")
    assert names(image, "/all/in") == {"file"}
    assert ".git" not in names(image)


@pytest.mark.requires("git")
def test_a_dumb_server_of_repositories_will_do(store: package.Store, scratch: Path) -> None:
    """Such a server is only files: no shallow clones, no single commits."""
    make_repository(scratch / "work", {"Dockerfile": COPY_ALL, "file": "1"})
    git(scratch, "clone", "-q", "--bare", "work", "served.git")
    git(scratch / "served.git", "update-server-info")
    with folder_server(scratch) as url:
        assert names(store.build(f"{url}/served.git#main")) == {"Dockerfile", "file"}
        with pytest.raises(package.LaminaError, match=r"127\.0\.0\.1:\d+/missing\.git"):
            store.build(f"{url.replace('//', '//user:secret@')}/missing.git")


@pytest.mark.requires("git")
def test_a_repository_runs_nothing_here(store: package.Store, scratch: Path) -> None:
    """Neither hooks nor filters, nor a submodule's address that is a command."""
    repository = scratch / "repository"
    marker = scratch / "ran"
    make_repository(
        repository,
        {
            "Dockerfile": COPY_ALL,
            ".gitattributes": "* filter=evil\n",
            ".gitmodules": f'[submodule "x"]\n\tpath = x\n\turl = "ext::sh -c \'touch {marker}\'"\n',
        },
    )
    git(repository, "config", "filter.evil.smudge", f"touch {marker}")
    (repository / ".git" / "hooks").mkdir(exist_ok=True)
    for hook in ("post-checkout", "post-upload-pack"):
        (repository / ".git" / "hooks" / hook).write_text(f"#!/bin/sh\ntouch {marker}\n")
        (repository / ".git" / "hooks" / hook).chmod(0o755)
    assert "Dockerfile" in names(store.build(f"file://{repository}"))
    assert not marker.exists()


def test_without_git_its_package_is_named(lamina: Lamina) -> None:
    done = lamina("build", "file:///nowhere/x.git", env={"PATH": "/nonexistent"}, status=125)
    assert "install the package git" in done.stderr


# The web


def test_add_from_the_web(store: package.Store, site: Site, scratch: Path) -> None:
    modified = {"Last-Modified": "Sat, 03 Feb 2001 04:05:06 GMT"}
    site.pages["/dir/tool.tar?x=1"] = Page(packed({"inner": "unpacked"}), modified)
    site.pages["/"] = Page(b"named", {"Content-Disposition": 'attachment; filename="from/header.txt"'})
    site.pages["/moved"] = Page(status=302, headers={"Location": "/dir/plain"})
    site.pages["/dir/plain"] = Page(b"plain")
    url = site.url
    (scratch / "Dockerfile").write_text(
        f"FROM scratch\nADD {url}/dir/tool.tar?x=1 /kept/\nADD --unpack=true {url}/dir/tool.tar?x=1 /unpacked/\n"
        f"ADD {url}/ /header/\nADD --chmod=755 --chown=5:6 {url}/moved /as/named\n"
    )
    image = store.build(scratch)
    with tree(image) as union:
        status = union.stat("/kept/tool.tar")
        assert (stat.S_IMODE(status.st_mode), status.st_mtime, status.st_uid) == (
            0o600,
            COMMITTED,
            union.stat("/").st_uid,
        )
        assert union.read_text("/unpacked/inner") == "unpacked"
        assert union.read_text("/header/header.txt") == "named"
        assert union.read_text("/as/named") == "plain"
        assert stat.S_IMODE(union.stat("/as/named").st_mode) == 0o755
    assert site.count("/dir/tool.tar?x=1") == 1, "once a build"


def test_what_has_not_changed_on_the_web_keeps_the_cache(store: package.Store, site: Site, scratch: Path) -> None:
    site.pages["/file"] = Page(b"1", {"ETag": '"one"'})
    (scratch / "Dockerfile").write_text(f"FROM scratch\nADD {site.url}/file /\n")
    first, _ = statuses(store, scratch)
    again, ends = statuses(store, scratch)
    assert ends[0] == "cached" and again.id == first.id
    assert site.requests[-1][2]["If-None-Match"] == '"one"'
    site.pages["/file"] = Page(b"1", {"ETag": '"two"'})
    assert statuses(store, scratch)[1][0] == "cached", "the content is the same"
    site.pages["/file"] = Page(b"2", {"ETag": '"three"'})
    changed, ends = statuses(store, scratch)
    assert ends[0] == "done" and text(changed, "/file") == "2"
    _, ends = statuses(store, scratch, no_cache=True)
    assert ends[0] == "done", "the content is fetched where only its digest is known"


def test_a_checksum_holds(store: package.Store, site: Site, scratch: Path) -> None:
    site.pages["/file"] = Page(b"right")
    dockerfile = scratch / "Dockerfile"
    right = hashlib.sha256(b"right").hexdigest()
    dockerfile.write_text(f"FROM scratch\nADD --checksum=sha256:{right} {site.url}/file /\n")
    assert text(store.build(scratch), "/file") == "right"
    asked = len(site.requests)
    assert statuses(store, scratch)[1][0] == "cached"
    assert len(site.requests) == asked, "nobody need be asked"
    for checksum, reason in (
        (f"sha256:{'0' * 64}", r"Dockerfile:2:\d+.*its checksum is sha256:"),
        (f"sha512:{'0' * 128}", r"its checksum is sha512:"),
        ("sha256:123", "expected ALGORITHM:HEX"),
    ):
        dockerfile.write_text(f"FROM scratch\nADD --checksum={checksum} {site.url}/file /\n")
        with pytest.raises(DockerfileError, match=reason):
            store.build(scratch, tag="never:1")
    assert "never:1" not in [name for image in store.images() for name in image.names]


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (Page(b"", status=404), "404"),
        (Page(status=302, headers={"Location": "/file"}), "redirects more than"),
        (Page(status=302, headers={"Location": "file:///etc/passwd"}), "not HTTP"),
        (Page(b"x" * 100, cut=10, times=99), "."),
    ],
)
def test_what_the_web_does_not_give(store: package.Store, site: Site, scratch: Path, page: Page, reason: str) -> None:
    site.pages["/file"] = page
    (scratch / "Dockerfile").write_text(
        f"FROM scratch\nADD {site.url.replace('//', '//u:secret@')}/file?token=secret /\n"
    )
    site.pages["/file?token=secret"] = page
    with pytest.raises(DockerfileError, match=reason) as raised:
        store.build(scratch)
    assert "secret" not in str(raised.value)
    assert raised.value.line == 2


def test_a_broken_download_is_tried_again(store: package.Store, site: Site, scratch: Path) -> None:
    site.pages["/file"] = Page(b"x" * 100, cut=10, times=2)
    (scratch / "Dockerfile").write_text(f"FROM scratch\nADD {site.url}/file /\n")
    assert text(store.build(scratch), "/file") == "x" * 100
    assert site.count("/file") == 3


def test_a_proxy_of_the_build_arguments_is_asked(store: package.Store, site: Site, scratch: Path) -> None:
    site.pages["http://files.invalid/file"] = Page(b"through the proxy")
    (scratch / "Dockerfile").write_text("FROM scratch\nADD http://files.invalid/file /\n")
    image = store.build(scratch, build_args={"HTTP_PROXY": site.url})
    assert text(image, "/file") == "through the proxy"


def test_a_context_from_the_web(store: package.Store, site: Site) -> None:
    site.pages["/context.tar.gz"] = Page(gzip.compress(packed({"Dockerfile": COPY_ALL, "file": "x"})))
    site.pages["/Dockerfile"] = Page(b"FROM scratch\nLABEL from=web\n")
    assert names(store.build(f"{site.url}/context.tar.gz")) == {"Dockerfile", "file"}
    assert store.build(f"{site.url}/Dockerfile").config.settings.labels == {"from": "web"}


@pytest.mark.requires("git")
def test_add_from_a_repository(store: package.Store, scratch: Path) -> None:
    repository, context = scratch / "repository", scratch / "context"
    first = make_repository(repository, {"file": "1", "sub/inner": "2"})
    context.mkdir()
    dockerfile = context / "Dockerfile"
    dockerfile.write_text(
        f"FROM scratch\nADD file://{repository}#main /all/\nADD --keep-git-dir=true file://{repository} /git/\n"
        f"ADD --checksum={first} file://{repository}#main:sub /sub/\n"
    )
    image = store.build(context)
    assert names(image) == {"file", "sub"}
    assert names(image, "/git") == {"file", "sub", ".git"}
    assert names(image, "/sub") == {"inner"}
    dockerfile.write_text(f"FROM scratch\nADD file://{repository}#main /all/\n")
    assert statuses(store, context)[1][0] == "cached"
    commit(repository, {"file": "changed"})
    changed, ends = statuses(store, context)
    assert ends[0] == "done" and text(changed, "/all/file") == "changed"
    dockerfile.write_text(f"FROM scratch\nADD --checksum={first} file://{repository} /all/\n")
    with pytest.raises(DockerfileError, match=rf"Dockerfile:2:\d+.*not {first}"):
        store.build(context)


# Named contexts


@pytest.mark.requires("git")
def test_named_contexts_are_of_any_kind(store: package.Store, site: Site, scratch: Path) -> None:
    (scratch / "context").mkdir()
    (scratch / "folder").mkdir()
    (scratch / "folder" / "kept").write_text("folder")
    (scratch / "folder" / "left").write_text("folder")
    (scratch / "folder" / ".dockerignore").write_text("left\n")
    (scratch / "some.tar").write_bytes(packed({"file": "archive"}))
    make_repository(scratch / "repository", {"file": "repository"})
    site.pages["/some.tgz"] = Page(gzip.compress(packed({"file": "web"})))
    (scratch / "context" / "Dockerfile").write_text(
        "FROM scratch\nCOPY --from=folder . /folder/\nCOPY --from=archive file /archive\n"
        "COPY --from=repository file /repository\nCOPY --from=web file /web\n"
    )
    contexts = {
        "folder": str(scratch / "folder"),
        "archive": str(scratch / "some.tar"),
        "repository": f"file://{scratch}/repository#main",
        "web": f"{site.url}/some.tgz",
        "unused": "/nowhere",
    }
    image = store.build(scratch / "context", contexts=contexts)
    assert names(image, "/folder") == {"kept", ".dockerignore"}
    with tree(image) as union:
        assert [union.read_text(f"/{name}") for name in ("archive", "repository", "web")] == [
            "archive", "repository", "web",
        ]  # fmt: skip
        assert union.stat("/folder/kept").st_uid == union.stat("/").st_uid, "who owns it outside means nothing inside"
    (scratch / "context" / "Dockerfile").write_text("FROM scratch\nCOPY --from=unused file /\n")
    with pytest.raises(package.LaminaError, match="unused=/nowhere"):
        store.build(scratch / "context", contexts=contexts)


def _folder(scratch: Path, name: str) -> str:
    (scratch / name).mkdir()
    (scratch / name / "file").write_text(name)
    return str(scratch / name)


@pytest.mark.parametrize("source", ["COPY --from=made /file /got/", "COPY --from=0 /file /got/"])
def test_a_named_context_replaces_a_stage(store: package.Store, scratch: Path, source: str) -> None:
    (scratch / "context").mkdir()
    file = f"FROM nowhere:1 AS Made\nCOPY nothing /\nFROM scratch AS last\n{source}\nFROM Made\nLABEL a=b\n"
    (scratch / "context" / "Dockerfile").write_text(file)
    contexts = {"made": _folder(scratch, "folder")}
    image = store.build(scratch / "context", contexts=contexts, target="last")
    assert names(image, "/") == {"got"} and text(image, "/got/file") == "folder"
    # FROM begins with the files, also where the stage is the target itself.
    image = store.build(scratch / "context", contexts=contexts)
    assert text(image, "/file") == "folder" and image.config.settings.labels == {"a": "b"}
    assert text(store.build(scratch / "context", contexts=contexts, target="made"), "/file") == "folder"
    layout_of(scratch / "layout", "one")
    contexts["made"] = f"oci-layout://{scratch}/layout"
    image = store.build(scratch / "context", contexts=contexts)
    assert text(image, "/one") == "of one" and image.config.settings.env == ("A=b",)


@pytest.mark.parametrize("name", ["base", "docker.io/library/base:latest", "base:latest"])
def test_a_named_context_replaces_an_image(store: package.Store, scratch: Path, name: str) -> None:
    (scratch / "context").mkdir()
    copies = "COPY --from=docker.io/library/base file /again\nCOPY --from=one file /one\n"
    file = f"FROM base:latest AS one\nFROM base\n{copies}"
    (scratch / "context" / "Dockerfile").write_text(file)
    image = store.build(scratch / "context", contexts={name: _folder(scratch, "folder")})
    assert names(image, "/") == {"file", "again", "one"}
    with pytest.raises(package.LaminaError, match="base"):
        store.build(scratch / "context", contexts={"base:2": str(scratch / "folder")}, pull="never")


def layout_of(path: Path, *files: str) -> list[str]:
    """Make a layout with an image for each file, tagged and named as the file; return the digests."""
    made = Made()
    digests = []
    for name in files:
        image = made.image(packed({name: f"of {name}"}))
        made.listed.append({**image, "annotations": {"org.opencontainers.image.ref.name": name}})
        digests.append(image["digest"])
    made.write(path)
    return digests


@pytest.mark.parametrize("place", ["layout:one", "layout@{}", "layout:two@{}", "alone", "./alone", "{absolute}:one"])
def test_a_named_context_is_an_image_of_a_layout(lamina: Lamina, scratch: Path, place: str) -> None:
    digest, _ = layout_of(scratch / "layout", "one", "two")
    layout_of(scratch / "alone", "one")
    (scratch / "context").mkdir()
    (scratch / "context" / "Dockerfile").write_text("FROM scratch AS empty\nFROM it\nCOPY --from=it one /copied\n")
    source = f"it=oci-layout://{place.format(digest, absolute=scratch / 'layout')}"
    done = lamina("build", "--progress=quiet", "--build-context", source, "-t", "built:1", "context", cwd=scratch)
    with package.Store(lamina.store) as store:
        image = store.image("built:1")
        assert image.id == done.stdout.strip() and names(image, "/") == {"one", "copied"}
        assert text(image, "/copied") == "of one" and image.config.settings.env == ("A=b",)
        assert store.images(all=False)[0].names == ["built:1"] and len(store.images(all=False)) == 1


def test_what_is_wrong_with_an_image_of_a_layout_is_said(store: package.Store, scratch: Path) -> None:
    (scratch / "context").mkdir()
    (scratch / "context" / "Dockerfile").write_text("FROM scratch AS empty\nFROM it\n")
    layout_of(scratch / "layout", "one", "two")
    for place, reason in {
        f"oci-layout://{scratch}/layout": r"it has 2 \(one, two\)",
        f"oci-layout://{scratch}/layout:three": "none of this name",
        f"oci-layout://{scratch}/layout@sha256:{'0' * 64}": "none of this name",
        f"oci-layout://{scratch}/context": "no file oci-layout",
        f"oci-layout://{scratch}/nowhere:1": "no file oci-layout",
    }.items():
        with pytest.raises(DockerfileError, match=reason) as raised:
            store.build(scratch / "context", contexts={"it": place})
        assert raised.value.position.line == 2
    assert not store.images()


def test_a_dockerfile_cannot_name_a_layout_of_the_host(store: package.Store, scratch: Path) -> None:
    layout_of(scratch / "layout", "one")
    (scratch / "context").mkdir()
    for line in ("FROM oci-layout://{}", "FROM scratch\nCOPY --from=oci-layout://{} one /"):
        (scratch / "context" / "Dockerfile").write_text(line.format(scratch / "layout"))
        with pytest.raises(package.LaminaError, match="oci-layout"):
            store.build(scratch / "context")
    assert not store.images()


# Recipes


def test_a_recipe_builds_as_its_dockerfile(store: package.Store, scratch: Path) -> None:
    (scratch / "context").mkdir()
    (scratch / "context" / "file").write_text("of the context")
    made = package.Recipe.from_image("scratch").write("made", to="/made")
    recipe = package.Recipe.from_image("scratch").env(A="b c").copy("file", to="/").copy("/made", to="/", from_=made)
    image = recipe.build(scratch / "context", store=store, tag="recipe:1")
    assert (text(image, "/file"), text(image, "/made")) == ("of the context", "made\n")
    assert image.names == ["recipe:1"] and image.config.settings.env[-1] == "A=b c"
    (scratch / "context" / "Dockerfile").write_text(str(recipe))
    again = package.build(scratch / "context", store=store)
    assert again.record.layers == image.record.layers
    with pytest.raises(DockerfileError, match=r"recipe:\d+.*no such file"):
        recipe.build(store=store)


@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore", "Dockerfile.dockerignore"])
@pytest.mark.parametrize("kind", ["pipe", "endless", "directory"])
def test_what_a_context_says_must_be_a_file(lamina: Lamina, scratch: Path, name: str, kind: str) -> None:
    """Nothing waits for a pipe's writer, and nothing reads /dev/zero to its end."""
    context = scratch / "context"
    context.mkdir()
    if name != "Dockerfile":
        (context / "Dockerfile").write_text(COPY_ALL)
    match kind:
        case "pipe":
            os.mkfifo(context / name)
        case "endless":
            (context / name).symlink_to("/dev/zero")
        case _:
            (context / name).mkdir()
    done = lamina("build", context, status=125, seconds=60)
    assert f"{context}/{name}: it is not a regular file\n" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_dockerfile_comes_through_a_pipe(lamina: Lamina, scratch: Path) -> None:
    (scratch / "data").mkdir()
    words = " ".join(map(shlex.quote, program()))
    script = f"printf 'FROM scratch\\nLABEL a=b\\n' | {words} build -t piped:1 -f /dev/stdin data"
    for _ in range(2):
        run(["sh", "-c", script], env=lamina.environment(), cwd=lamina.cwd)
    assert '"a": "b"' in lamina("inspect", "piped:1").stdout
