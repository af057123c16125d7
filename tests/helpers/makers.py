"""Programs that make images, each as a script that makes one and a script that takes one in and shows what it has.

All of them hide a file and a directory of the layer below, and leave a hard link, a set-user-id file of another owner,
a FIFO and a directory with the set-group-id bit.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.basearchive import write_base
from tests.helpers.command import run
from tests.helpers.layers import look
from tests.helpers.pictures import portrait

_CONTAINERS = """\
[containers]
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
runtime = "crun"
"""

_SHOWN = 60  # bytes of content that are shown as they are

#: What is done in the root directory of an image, by programs that it has, or by the machine's.
_CHANGES = """\
rm etc/file
rm -r srv/old && mkdir srv/old && echo new >srv/old/new
echo made >etc/made && chown 33:44 etc/made && chmod 4755 etc/made && touch -d '2001-02-03 04:05:06' etc/made
ln etc/made srv/again && ln -s ../etc/made srv/link && mkfifo -m 640 srv/pipe && mkdir -m 2770 srv/group
"""

_PODMAN = 'podman load -q -i "$FILE" && podman save -q --format docker-archive -o shown.tar "$(podman images -q)"'
_BUILDAH = 'buildah push -q "$(buildah pull -q "$FORM:$FILE")" docker-archive:shown.tar:x:1'
_SKOPEO = 'skopeo copy --quiet "$FORM:$FILE" docker-archive:shown.tar:x:1'
_UMOCI = 'skopeo copy --quiet "$FORM:$FILE" oci:shown:x && umoci unpack --image shown:x bundle'

# An ordinary user's leaves a process that keeps its namespaces.
_PODMAN_EMPTY = 'podman rmi -af && { [ "$(id -u)" = 0 ] || podman system migrate; }'

# crun refuses a machine with both cgroup trees.
_PODMAN_COMMIT = """\
umount /sys/fs/cgroup/unified 2>/dev/null || true
podman load -q -i base.tar
podman run --name box --network host --cgroups=disabled base:1 sh -euc "$CHANGES"
podman commit -q --format oci --author me -c 'ENV A=b "C=d e"' -c 'CMD ["cat", "made"]' \\
    -c 'WORKDIR /etc' -c 'USER 33:44' -c 'EXPOSE 80/udp' -c 'VOLUME /srv/group' -c 'STOPSIGNAL 9' -c 'LABEL x=y' \\
    box made:1
podman save -q --format oci-archive -o made made:1
podman rm -a
podman rmi -af
"""
_PODMAN_BUILD = """\
podman load -q -i base.tar
printf '%s\\n' 'FROM base:1' 'SHELL ["sh", "-euc"]' 'ARG CHANGES' 'RUN eval "$CHANGES"' 'WORKDIR /etc' \\
    'HEALTHCHECK --interval=9s CMD true' 'ONBUILD RUN true' 'ENTRYPOINT ["cat"]' 'CMD ["made"]' >Dockerfile
podman build -q --format docker --isolation chroot --network host --build-arg CHANGES="$CHANGES" -t made:1 .
podman save -q --format docker-archive -o made made:1
podman rmi -af
"""
_BUILDAH_COMMIT = """\
buildah pull -q docker-archive:base.tar
box=$(buildah from --pull-never base:1)
buildah run --isolation chroot "$box" sh -euc "$CHANGES"
buildah copy -q --chown 3:4 "$box" Buildahfile /srv/
buildah config --env A=b --label x=y --workingdir /etc --cmd '["cat", "made"]' --user 33:44 --port 80 --author me \\
    --annotation note=kept --created-by us "$box"
buildah commit -q --format oci "$box" oci-archive:made:made:1
buildah rm -a
buildah rmi -af
"""
_SKOPEO_COPY = "skopeo copy --quiet --dest-compress docker-archive:base.tar oci:made:made:1"
_UMOCI_REPACK = """\
mkdir -p first/bin first/etc first/srv/old
echo first | tee first/etc/file >first/srv/old/kept
umoci init --layout made
umoci new --image made:1
umoci insert --image made:1 "$(command -v busybox)" /bin/busybox
umoci insert --image made:1 first /
umoci insert --image made:1 --opaque first/etc /etc
umoci config --image made:1 --config.env A=b --config.label x=y --config.workingdir /etc --config.user 33:44 \\
    --config.cmd /bin/busybox --config.cmd cat --config.cmd made --author me --architecture amd64 --os linux
umoci unpack --image made:1 changed
(cd changed/rootfs && eval "$CHANGES" && setfattr -n user.note -v x etc/made)
umoci repack --image made:1 changed
umoci gc --layout made
rm -r changed
"""


@dataclass(frozen=True, slots=True)
class Maker:
    """A program and what it does with images: `make` writes "made" in a form that skopeo knows as `form`.

    `take` reads $FILE, which is in $FORM, into an empty storage, which `empty` empties again, and writes shown.tar,
    docker's archive, or a bundle.
    `needs` are words of needs.txt. A container of what is made prints `prints` when it runs `words`.
    """

    name: str
    make: str = field(repr=False)
    form: str
    take: str = field(repr=False)
    needs: tuple[str, ...]
    empty: str = ""
    words: tuple[str, ...] = ()
    prints: str = "made\n"


MAKERS = (
    Maker("podman-commit", _PODMAN_COMMIT, "oci-archive", _PODMAN, ("root", "podman", "crun", "skopeo"), _PODMAN_EMPTY),
    Maker("podman-build", _PODMAN_BUILD, "docker-archive", _PODMAN, ("ids", "podman", "skopeo"), _PODMAN_EMPTY),
    Maker("buildah", _BUILDAH_COMMIT, "oci-archive", _BUILDAH, ("ids", "buildah", "skopeo"), "buildah rmi -af"),
    Maker("skopeo", _SKOPEO_COPY, "oci", _SKOPEO, ("skopeo",), "", ("cat", "/etc/file"), "of the base\n"),
    Maker("umoci", _UMOCI_REPACK, "oci", _UMOCI, ("root", "umoci", "skopeo", "setfattr")),
)


class Workshop:
    """A directory in which a maker works, with a storage of its own."""

    def __init__(self, maker: Maker, folder: Path) -> None:
        folder.mkdir()
        self.made = folder / "made"
        self._maker = maker
        self._folder = folder
        write_base(folder / "base.tar")
        (folder / "Buildahfile").write_text("by hand\n")
        (folder / "containers.conf").write_text(_CONTAINERS)
        roots = f'graphroot = "{folder}/root"\nrunroot = "{folder}/run"\n'
        (folder / "storage.conf").write_text(f'[storage]\ndriver = "overlay"\n{roots}')

    def make(self) -> None:
        """Make the image."""
        self._do(self._maker.make)

    def show(self, form: str, file: Path) -> str:
        """Return what the maker sees of an image that it takes in."""
        self._do(self._maker.take, FORM=form, FILE=str(file))
        bundle, archive = self._folder / "bundle", self._folder / "shown.tar"
        if bundle.exists():
            said = _show_bundle(bundle)
            shutil.rmtree(bundle)
            shutil.rmtree(self._folder / "shown")
            return said
        said = portrait(archive)
        archive.unlink()
        if self._maker.empty:
            self._do(self._maker.empty)
        return said

    def show_plainly(self, form: str, file: Path) -> str:
        """Return what there is of an image when skopeo has written it anew."""
        self._do(_SKOPEO, FORM=form, FILE=str(file))
        archive = self._folder / "shown.tar"
        said = portrait(archive)
        archive.unlink()
        return said

    def _do(self, script: str, **more: str) -> None:
        private = ["unshare", "--mount", "--propagation", "private"] if os.geteuid() == 0 else []
        env = {
            **os.environ,
            "CHANGES": _CHANGES,
            "CONTAINERS_CONF": str(self._folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self._folder / "storage.conf"),
            "XDG_RUNTIME_DIR": str(self._folder),
            **more,
        }
        run([*private, "sh", "-euc", script], env=env, cwd=self._folder)


def _show_bundle(bundle: Path) -> str:
    settings = json.loads((bundle / "config.json").read_bytes())
    lines = [json.dumps(settings, indent=1, sort_keys=True)]
    tree = look(bundle / "rootfs")
    del tree[b""]  # no layer has it, so it has the time of its making
    for name in sorted(tree):
        *known, content = tree[name]
        if isinstance(content, bytes) and len(content) > _SHOWN:
            content = hashlib.sha256(content).hexdigest()
        lines.append(f"{name!r} {known} {content!r}")
    return "\n".join(lines)
