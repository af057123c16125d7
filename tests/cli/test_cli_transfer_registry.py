"""pull, push, copy, tags, login and logout on the command line, against Debian's docker-registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command import Lamina
from tests.helpers.images import facts, layer_bytes, rootfs_archive
from tests.helpers.layouts import INDEX, Made
from tests.helpers.registries import Registry, docker_registry, sha256
from tests.helpers.tokens import make_certificate

pytestmark = pytest.mark.requires("docker-registry")

# "secret", as htpasswd(1) hashes it with bcrypt.
_USERS = {"me": "$2y$04$Ekpo8X40qLZrEwjrNQPZnOSiP3UROVf8MhIVkOsk3hnBiRLGR1qE2"}


@pytest.fixture
def registry(scratch: Path) -> Iterator[Registry]:
    """Return a registry that wants nothing of anybody."""
    with docker_registry(scratch / "registry") as running:
        yield running


@pytest.fixture
def image(lamina: Lamina, scratch: Path) -> str:
    """Return the name of an image in the store, of which one layer came compressed and one has no blob."""
    made = Made()
    made.list(made.image(layer_bytes(1), layer_bytes(2)), "docker.io/team/image:1")
    lamina("load", "-i", made.write(scratch / "layout"))
    return "team/image:1"


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_what_is_pushed_is_pulled(
    lamina: Lamina, other: Lamina, registry: Registry, scratch: Path, compression: str
) -> None:
    lamina("import", rootfs_archive(scratch / "rootfs.tar"), "mine:1")
    remote = f"{registry.host}/team/mine:1"
    (digest,) = lamina("push", "--compression", compression, "mine:1", remote).lines()
    assert other("pull", remote).lines() == [remote]
    assert facts(other, remote) == facts(lamina, "mine:1")
    (said,) = json.loads(other("inspect", remote).stdout)
    assert said["Manifest"] == digest
    other("store", "check")


def test_a_pulled_image_is_pushed_byte_for_byte(lamina: Lamina, registry: Registry, image: str) -> None:
    (said,) = json.loads(lamina("inspect", image).stdout)
    assert lamina("push", image, f"{registry.host}/a/b:1").lines() == [said["Manifest"]]
    first = len(registry.requests("PATCH", "PUT", "POST"))
    lamina("push", image, f"{registry.host}/a/b:2")
    sent = registry.requests("PATCH", "PUT", "POST")[first:]
    assert [line.split("/")[-2:] for line in sent] == [["manifests", "2"]]
    assert sorted(lamina("tags", f"{registry.host}/a/b").lines()) == ["1", "2"]


def test_an_unchanged_image_is_pushed_again_without_sending_or_compressing_anything(
    lamina: Lamina, registry: Registry, scratch: Path
) -> None:
    lamina("import", rootfs_archive(scratch / "rootfs.tar"), "mine:1")
    remote = f"{registry.host}/team/mine:1"
    first = lamina("push", "mine:1", remote).stdout
    before = len(registry.requests("PATCH", "PUT", "POST"))
    (framing,) = (lamina.store / "layers").glob("*/framing")
    framing.rename(scratch / "framing")  # without it the layer's tar cannot be made
    assert lamina("push", "mine:1", remote).stdout == first
    assert registry.requests("PATCH", "PUT", "POST")[before:] == []
    assert "framing" in lamina("push", "--compression", "gzip:0", "mine:1", remote, status=125).stderr
    (scratch / "framing").rename(framing)
    assert "levels 1 to 22" in lamina("push", "--compression", "zstd:23", "mine:1", remote, status=125).stderr


def test_a_damaged_note_of_a_compressed_layer_names_no_wrong_digest(
    lamina: Lamina, registry: Registry, scratch: Path
) -> None:
    lamina("import", rootfs_archive(scratch / "rootfs.tar"), "mine:1")
    first = lamina("push", "mine:1", f"{registry.host}/a/first:1").stdout
    (note,) = (lamina.store / "layers").glob("*/compressed")
    right = note.read_text()
    note.write_text(right.replace("digest: sha256:", "digest: sha256:x"))
    assert lamina("store", "check", status=125).stdout.startswith("layers/")
    assert "(mended)" in lamina("store", "check", "--repair").stdout and not note.exists()
    note.write_text("junk\n")
    assert lamina("push", "mine:1", f"{registry.host}/a/second:1").stdout == first and note.read_text() == right


def test_a_forged_note_of_a_compressed_layer_names_no_blob_that_is_there(
    lamina: Lamina, registry: Registry, scratch: Path
) -> None:
    for number in (1, 2):
        lamina("import", rootfs_archive(scratch / "rootfs.tar", number), f"mine:{number}")
    remote = f"{registry.host}/a/b"
    first, second = (lamina("push", f"mine:{number}", f"{remote}:{number}").stdout for number in (1, 2))
    notes = sorted((lamina.store / "layers").glob("*/compressed"))
    texts = [note.read_text() for note in notes]
    fields = [dict(line.split(": ", 1) for line in text.splitlines()) for text in texts]
    # The registry has both blobs, so that none of them would be sent, and looked at. One note gets the other's digest,
    # alone, with the size, and whole; and one is by another version of the library.
    for changed in (
        texts[0].replace(fields[0]["digest"], fields[1]["digest"]),
        texts[0].replace(fields[0]["digest"], fields[1]["digest"]).replace(fields[0]["size"], fields[1]["size"]),
        texts[1],
        texts[0].replace("isal ", "isal 0."),
    ):
        notes[0].write_text(changed)
        assert lamina("store", "check", status=125).stdout.startswith("layers/")
        assert [lamina("push", f"mine:{n}", f"{remote}:{n}").stdout for n in (1, 2)] == [first, second]
        assert [note.read_text() for note in notes] == texts and lamina("store", "check").stdout == ""


def test_what_a_library_makes_otherwise_than_it_did_is_told(lamina: Lamina, registry: Registry, scratch: Path) -> None:
    lamina("import", rootfs_archive(scratch / "rootfs.tar"), "mine:1")
    first = lamina("push", "mine:1", f"{registry.host}/a/first:1").stdout
    (note,) = (lamina.store / "layers").glob("*/compressed")
    right = note.read_text()
    fields = dict(line.split(": ", 1) for line in right.splitlines())
    (diff_id,) = facts(lamina, "mine:1")[1]
    seal = sha256("\n".join((diff_id, fields["maker"], zeros := f"sha256:{'0' * 64}", fields["size"])).encode())
    note.write_text(right.replace(fields["digest"], zeros).replace(fields["seal"], seal))
    remote = f"{registry.host}/a/third:1"
    assert "not sha256:0000" in lamina("push", "mine:1", remote, status=125).stderr
    assert not [line for line in registry.requests("PUT") if "/third/manifests/" in line]
    assert lamina("push", "mine:1", remote).stdout == first and note.read_text() == right


def test_blobs_come_from_other_repositories_of_the_registry(lamina: Lamina, registry: Registry, image: str) -> None:
    lamina("tag", image, f"{registry.host}/first/image:1")
    lamina("push", f"{registry.host}/first/image:1")
    lamina("push", image, f"{registry.host}/second/image:1")
    sent = [line for line in registry.requests("PATCH", "PUT") if "/second/" in line and "/blobs/" in line]
    assert len(sent) == 1  # the config: the two layers were mounted
    assert len([line for line in registry.requests("POST") if "mount=" in line and "from=first" in line]) == 2


def test_what_is_there_is_not_pulled_again(lamina: Lamina, registry: Registry, image: str) -> None:
    lamina("push", image, f"{registry.host}/a/b:1")
    before = len(registry.requests("GET"))
    lamina("pull", f"{registry.host}/a/b:1")
    got = registry.requests("GET")[before:]
    assert not [line for line in got if "/blobs/" in line and facts(lamina, image)[0] not in line]


def test_a_platform_and_a_digest_are_pulled(lamina: Lamina, registry: Registry, scratch: Path) -> None:
    made = Made()
    entries = []
    for number, architecture in enumerate(("amd64", "arm64"), 1):
        entry = made.image(layer_bytes(number), architecture=architecture)
        entries.append({**entry, "platform": {"os": "linux", "architecture": architecture}})
    index = made.document({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX)
    made.list(index, "docker.io/a/b:1")
    made.write(scratch / "layout")
    remote = f"{registry.host}/a/b"
    lamina("copy", "--all-platforms", f"oci:{scratch}/layout", f"docker://{remote}:1")
    lamina("pull", "--platform", "linux/arm64", f"{remote}:1")
    (said,) = json.loads(lamina("inspect", f"{remote}:1").stdout)
    assert said["Architecture"] == "arm64"
    (image,) = lamina("pull", "-q", "--platform", "linux/amd64", f"{remote}@{index['digest']}").lines()
    (said,) = json.loads(lamina("inspect", image).stdout)
    assert said["Architecture"] == "amd64"
    lamina("copy", "--all-platforms", f"docker://{remote}:1", f"oci:{scratch}/back:x")
    assert {path.name for path in (scratch / "back/blobs/sha256").iterdir()} == {
        name.partition(":")[2] for name in made.blobs
    }


def test_copies_between_all_places_keep_the_bytes(lamina: Lamina, registry: Registry, image: str) -> None:
    (said,) = json.loads(lamina("inspect", image).stdout)
    places = [
        "oci:dir:x",
        "oci-archive:a.tar:x",
        f"docker://{registry.host}/a/b:1",
        "docker-archive:d.tar:c/d:1",
        "store:back:1",
    ]
    for source, target in zip([image, *places], places, strict=False):
        lamina("copy", source, target)
    (back,) = json.loads(lamina("inspect", "back:1").stdout)
    assert back["Manifest"] == said["Manifest"]


def test_run_pulls_what_is_missing_when_told(lamina: Lamina, registry: Registry, image: str) -> None:
    remote = f"{registry.host}/a/b:1"
    lamina("push", image, remote)
    never = lamina("run", "--rm", "--pull", "never", remote, "sh", status=125)
    assert "has no image" in never.stderr
    # There is no program in it; that it came to looking for one says that the image is there.
    assert lamina("run", "--rm", remote, "sh", status=127)
    before = len(registry.requests("GET"))
    lamina("run", "--rm", remote, "sh", status=127)
    assert len(registry.requests("GET")) == before
    lamina("run", "--rm", "--pull", "always", remote, "sh", status=127)
    assert len(registry.requests("GET")) > before


@pytest.mark.parametrize("words", [("pull",), ("run", "--rm"), ("copy",)])
def test_what_the_registry_does_not_have_is_one_line(lamina: Lamina, registry: Registry, words: tuple[str]) -> None:
    more = ["docker://" * (words == ("copy",)) + f"{registry.host}/a/none:1", "x:1"]
    done = lamina(*words, *more[: 2 if words[0] != "pull" else 1], status=125)
    first, *rest = done.stderr.splitlines()
    assert first.startswith("lamina: cannot pull ") and "no such image" in first and len(rest) <= 1


def test_a_registry_that_is_not_there_is_one_line(lamina: Lamina) -> None:
    done = lamina("pull", "127.0.0.1:1/a/b:1", status=125)
    assert done.stderr == "lamina: cannot pull 127.0.0.1:1/a/b:1: cannot reach 127.0.0.1:1: Connection refused\n"


def test_a_login_is_kept_and_forgotten(lamina: Lamina, image: str, scratch: Path) -> None:
    env = {"HOME": str(scratch), "REGISTRY_AUTH_FILE": "", "DOCKER_CONFIG": ""}
    with docker_registry(scratch / "registry", users=_USERS) as running:
        remote = f"{running.host}/a/b:1"
        denied = lamina("push", image, remote, status=125, env=env)
        assert "denies access" in denied.stderr and f"hint: lamina login {running.host}" in denied.stderr
        wrong = lamina("login", "-u", "me", "--password-stdin", running.host, input="wrong", env=env, status=125)
        assert "denies access" in wrong.stderr
        assert not (scratch / ".docker/config.json").exists()
        lamina("login", "-u", "me", "--password-stdin", running.host, input="secret\n", env=env)
        kept = scratch / ".docker/config.json"
        assert kept.stat().st_mode & 0o777 == 0o600 and running.host in json.loads(kept.read_text())["auths"]
        lamina("push", image, remote, env=env)
        lamina("pull", remote, env=env)
        assert lamina("tags", f"{running.host}/a/b", env=env).lines() == ["1"]
        lamina("logout", running.host, env=env)
        lamina("pull", remote, env=env, status=125)


@pytest.mark.requires("openssl")
def test_certificates_are_checked(lamina: Lamina, image: str, scratch: Path) -> None:
    directory = scratch / "registry"
    make_certificate(directory)
    with docker_registry(directory, tls=True) as running:
        # On loopback any certificate will do, as with docker.
        lamina("push", image, f"{running.host}/a/b:1")
        # By another name of this machine it must be one that is trusted.
        port = running.host.partition(":")[2]
        env = {"HOME": str(scratch)}
        other = f"0.0.0.0:{port}"
        refused = lamina("pull", f"{other}/a/b:1", status=125, env=env)
        assert "certificate" in refused.stderr
        trusted = scratch / ".config/containers/certs.d" / other
        trusted.mkdir(parents=True)
        (trusted / "ca.crt").write_bytes((directory / "cert.pem").read_bytes())
        again = lamina("pull", f"{other}/a/b:1", status=125, env=env)
        assert "IP address mismatch" in again.stderr  # trusted, but it is another's
        settings = scratch / "registries.conf"
        settings.write_text(f'[[registry]]\nlocation = "{other}"\ninsecure = true\n')
        lamina("pull", f"{other}/a/b:1", env={**env, "CONTAINERS_REGISTRIES_CONF": str(settings)})


def test_mirrors_are_asked_first(lamina: Lamina, registry: Registry, image: str, scratch: Path) -> None:
    lamina("push", image, f"{registry.host}/mirror/a/b:1")
    settings = scratch / "registries.conf"
    settings.write_text(
        '[[registry]]\nprefix = "registry.invalid"\nlocation = "registry.invalid"\n'
        f'[[registry.mirror]]\nlocation = "127.0.0.1:1"\n[[registry.mirror]]\nlocation = "{registry.host}/mirror"\n'
        '[[registry]]\nlocation = "blocked.invalid"\nblocked = true\n'
    )
    env = {"CONTAINERS_REGISTRIES_CONF": str(settings)}
    done = lamina("pull", "registry.invalid/a/b:1", env=env)
    assert done.lines() == ["registry.invalid/a/b:1"] and "the mirror 127.0.0.1:1" in done.stderr
    assert "blocks it" in lamina("pull", "blocked.invalid/a:1", env=env, status=125).stderr
