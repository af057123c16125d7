"""`Store`: a place on disk with images and containers, as an object."""

from __future__ import annotations

import os

from lamina.api.surroundings import host_record, now, store_root
from lamina.errors import UsageError
from lamina.events import ignore
from lamina.ids.map import choose
from lamina.store.images import HOST, ImageRecord, find_image
from lamina.store.layout import open_layout
from lamina.store.staging import Staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import BinaryIO, Literal, Unpack

    from lamina.api.building import BuildKeywords
    from lamina.api.container import Container
    from lamina.api.image import Image
    from lamina.build.verify import Difference
    from lamina.events import OnEvent
    from lamina.ids.map import IdMap
    from lamina.ids.worker import Helper, Worker
    from lamina.runtime.spec import RunOptions
    from lamina.store.bundles import Artifact
    from lamina.store.check import Problem
    from lamina.store.collect import Collected
    from lamina.store.remove import Removed
    from lamina.store.usage import Usage


class Store:
    """A store of images and containers, made where there is none.

    `root` is its directory: by default LAMINA_ROOT, else /var/lib/lamina for root and $XDG_DATA_HOME/lamina for others.
    Any number of processes and threads may use one store at once. Whatever needs other ids than the caller's is done by
    a small process, started at first use and ended by `close`, or with this program; `worker` makes another
    (`lamina.ids.worker.Here`, for a program with one thread that does nothing else).

    Raises StoreError for a directory that is no store, a newer store, or one that was made with another id map.
    """

    def __init__(
        self, root: str | os.PathLike[str] | None = None, *, worker: Callable[[IdMap], Worker] | None = None
    ) -> None:
        self.layout = open_layout(store_root(root), choose(os.geteuid(), os.getegid()))
        self._make_worker = worker
        self._worker: Worker | None = None
        self._launcher: Helper | None = None

    @property
    def root(self) -> str:
        """The store's directory."""
        return self.layout.root

    @property
    def ids(self) -> IdMap:
        """Which ids of the host stand behind those inside containers and layers."""
        return self.layout.ids

    @property
    def worker(self) -> Worker:
        """What carries out jobs on files where the right ids are."""
        if self._worker is None:
            self._worker = self._make_worker(self.ids) if self._make_worker else self.launcher
        return self._worker

    @property
    def launcher(self) -> Helper:
        """The small process that starts containers for programs that may have threads."""
        if self._launcher is None:
            from lamina.ids.worker import Helper

            self._launcher = Helper(self.ids)
            # Of every start: it loads the last itself while it waits, for those who started in their own process.
            self._launcher.load("lamina.runtime.launch", "lamina.events", "lamina.store.discard")
        return self._launcher

    def close(self) -> None:
        """End the helper process. The store may be used again, which starts another."""
        if self._launcher is not None:
            self._launcher.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({self.root!r})"

    # Images

    def image(self, name: str, *, platform: str = "") -> Image:
        """Return the image with this name, id, or first digits of an id; "host" is this machine's own root.

        Of an index, the image for `platform` ("linux/arm64") is meant, by default that for this machine.
        Raises NotFound, or InvalidInput for what can be no name, is ambiguous, or is no image.
        """
        from lamina.api.image import Image

        return Image(self, self.find(name, platform), name=name)

    def images(self, *, all: bool = True) -> list[Image]:  # noqa: A002  # docker's word for it
        """Return the images, newest first; with `all` also those that have no name (any more)."""
        from lamina.api.image import Image
        from lamina.store.bundles import names_of_images
        from lamina.store.images import list_images

        named = names_of_images(self.layout)
        return [Image(self, record) for record in list_images(self.layout) if all or record.manifest in named]

    def artifacts(self) -> list[Artifact]:
        """Return the artifacts that are kept under a name, which are no images; `copy` brings them and takes them."""
        from lamina.store.bundles import list_artifacts

        return list_artifacts(self.layout)

    def import_rootfs(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        name: str | None = None,
        *,
        changes: Iterable[str] = (),
        message: str = "",
        on_event: OnEvent = ignore,
    ) -> Image:
        """Make an image of one layer from a root file system, and give it a name.

        `source` is a directory, a tar archive (uncompressed, gzip, zstd, xz, bzip2), or a binary file with one to be
        read from. `changes` are Dockerfile-style settings ("ENV A=b", 'CMD ["sh"]').
        """
        from lamina.api.image import Image
        from lamina.transfer.rootfs import import_rootfs

        record = import_rootfs(
            self.layout, self.worker, source, name, changes=changes, message=message, created=now(), on_event=on_event
        )
        return Image(self, record, name=name or "")

    def bootstrap(
        self,
        suite: str,
        name: str | None = None,
        *,
        mirror: str | None = None,
        include: Iterable[str] = (),
        variant: str = "minbase",
        changes: Iterable[str] = (),
        on_event: OnEvent = ignore,
    ) -> Image:
        """Make a base image of a Debian (or derived) suite from packages, with mmdebstrap or debootstrap.

        Without `mirror` the packages come from where this machine's own apt has that suite from. `include` are packages
        to install beside those of the variant. Raises Unsupported, naming the package to install, where neither program
        is there.
        """
        from lamina.api.image import Image
        from lamina.transfer.bootstrap import bootstrap

        record = bootstrap(
            self.layout,
            self.worker,
            suite,
            name,
            mirror=mirror,
            include=include,
            variant=variant,
            changes=changes,
            created=now(),
            environ=os.environ,
            on_event=on_event,
        )
        return Image(self, record, name=name or "")

    def load(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        platform: str = "",
        all_platforms: bool = False,
        max_unpacked_size: int | None = None,
        on_event: OnEvent = ignore,
    ) -> list[Image]:
        """Take in the images of an archive (OCI's or docker's, compressed or not), a layout directory or a stream.

        Of an index of several platforms the image for `platform`, by default this machine's, is taken, and with
        `all_platforms` the index with all of its images, each of which is returned. Layers that have
        more than `max_unpacked_size` bytes together are refused, and without that such as look like a trap.
        """
        from lamina.api.transfers import load

        return load(
            self,
            source,
            platform=platform,
            all_platforms=all_platforms,
            max_unpacked_size=max_unpacked_size,
            on_event=on_event,
        )

    def save(
        self,
        images: Iterable[Image | str],
        target: str | os.PathLike[str] | BinaryIO,
        *,
        format: Literal["oci-archive", "docker-archive", "oci-dir"] = "oci-archive",  # noqa: A002  # everybody's word
        compression: str = "none",
        platform: str = "",
        on_event: OnEvent = ignore,
    ) -> None:
        """Write images, with the names that they are given by, to a file, a stream, or an OCI layout directory.

        A name of an index writes all of it, byte for byte, or the image for `platform`; docker's archives hold one.

        Layers that came compressed are written as they came; `compression` ("none", "gzip", "zstd",
        "zstd:19") is for the others. Raises InvalidInput for
        an image that is a change over this machine's own root.
        """
        from lamina.api.transfers import save

        save(self, images, target, format=format, compression=compression, platform=platform, on_event=on_event)

    def pull(
        self,
        name: str,
        *,
        platform: str = "",
        all_platforms: bool = False,
        max_unpacked_size: int | None = None,
        on_event: OnEvent = ignore,
    ) -> Image:
        """Take an image from its registry, and call it by `name`; a name without a registry means docker.io.

        With `all_platforms` an index is taken with all of its images; the one for `platform` is returned. Only what
        the store does not have is fetched; `max_unpacked_size` is as in `load`. Raises NotFound where the registry has
        no such image.
        """
        from lamina.api.transfers import pull

        return pull(
            self,
            name,
            platform=platform,
            all_platforms=all_platforms,
            max_unpacked_size=max_unpacked_size,
            on_event=on_event,
        )

    def push(
        self,
        image: Image | str,
        name: str = "",
        *,
        compression: str = "gzip",
        platform: str = "",
        on_event: OnEvent = ignore,
    ) -> str:
        """Send an image to the registry that `name` (by default the name that it is given by) says.

        A name of an index sends all of it, or the image for `platform`. Returns the digest of the manifest or index
        that the registry has then. Layers that came compressed are sent as they
        came; `compression` ("none", "gzip", "zstd", "zstd:19") is for the others. What the registry has is not sent.
        """
        from lamina.api.transfers import push

        return push(self, image, name, compression=compression, platform=platform, on_event=on_event)

    def copy(
        self,
        source: str,
        target: str,
        *,
        platform: str = "",
        all_platforms: bool = False,
        compression: str = "gzip",
        on_event: OnEvent = ignore,
    ) -> None:
        """Copy an image between places, named as skopeo names them, unpacking it only into the store.

        A place is a name in the store, "docker://NAME", "oci:DIR[:NAME]", "oci-archive:FILE[:NAME]" or
        "docker-archive:FILE[:NAME]".
        """
        from lamina.api.transfers import copy

        copy(
            self,
            source,
            target,
            platform=platform,
            all_platforms=all_platforms,
            compression=compression,
            on_event=on_event,
        )

    def tag(self, source: str, target: str) -> None:
        """Let the name `target` mean the image `source` from now on."""
        from lamina.oci.reference import parse_name
        from lamina.store.bundles import find_root
        from lamina.store.publish import tag_image

        reference = parse_name(target)
        with Staging(self.layout) as staging:
            tag_image(staging, find_root(self.layout, source), reference)

    def remove_image(self, name: str, *, force: bool = False) -> Removed:
        """Take a name away, and the image with its last one; or an image by its id, with all its names if `force`.

        Raises Conflict where containers are made of it; with `force` it loses its names, and its files when they go.
        """
        from lamina.store.remove import remove_image

        return remove_image(self.layout, self.worker, name, force=force)

    # Containers

    def containers(self, *, all: bool = True) -> list[Container]:  # noqa: A002  # docker's word for it
        """Return the containers, newest first; without `all` only those that run."""
        from lamina.api.container import Container
        from lamina.store.containers import list_containers

        found = [Container(self, record) for record in list_containers(self.layout)]
        return [container for container in found if all or container.status == "running"]

    def container(self, name: str) -> Container:
        """Return the container with this name, id, or first digits of an id. Raises NotFound."""
        from lamina.api.container import Container
        from lamina.store.containers import find_container

        return Container(self, find_container(self.layout, name))

    def create(
        self,
        image: Image | str,
        options: RunOptions | None = None,
        *,
        name: str = "",
        throw_away: bool = False,
        pinned: bool = False,
    ) -> Container:
        """Make a container of an image, or of this machine's root ("host"), ready to `start`; it is kept until removed.

        With `throw_away` nothing of it is brought to disk: for one that is removed after its first run. With `pinned`
        the returned object keeps `prune` off it until it is removed or this program ends.
        """
        from lamina.api.container import Container

        return Container.create(self, image, options, name=name, throw_away=throw_away, pinned=pinned)

    def build(self, context: str | os.PathLike[str] | BinaryIO, **options: Unpack[BuildKeywords]) -> Image:
        """Build the image that a Dockerfile describes, and give it the names in `tag`.

        `context` is a directory, a tar archive or its address, a git repository, or a stream that gives an archive or
        a Dockerfile. The options are listed, with what each means, in `lamina.api.building.BuildKeywords`.

        Progress comes as events of the class `StepEvent`. Raises DockerfileError with a position, and BuildError with
        the last lines of output for a RUN that fails. What that left is then the image NAME@failed, and what was before
        it NAME@before-failed, NAME being the error's `kept`.
        """
        from lamina.api.repeating import asked_of, built_before

        asked = asked_of(context, options)
        known = built_before(self, asked, options) if asked else None
        if known is not None:
            return known
        self.launcher.start()  # while the engine is loaded here
        from lamina.api.building import build

        return build(self, context, options, asked)

    def verify_build(
        self, context: str | os.PathLike[str] | BinaryIO, **options: Unpack[BuildKeywords]
    ) -> list[Difference]:
        """Build twice without the cache, and return what differs: nothing where the build can be reproduced.

        The arguments are those of `build`. The first image is kept, and has the names; the second is thrown away. Both
        take the same inputs: what is on the web is fetched once. Raises what `build` does.
        """
        found: list[Difference] = []
        options["on_verified"] = found.extend
        self.build(context, **options)
        return found

    def explain(self, image: Image | str, options: RunOptions, *, keep: bool = False) -> str:
        """Return the shell script that does what a run would do; with `keep` it leaves what the command wrote."""
        from lamina.runtime.run import explain_run

        return explain_run(self.layout, self.find(image), options, keep=keep)

    def prune(
        self,
        *,
        containers: bool = False,
        images: bool = False,
        kinds: Iterable[str] | None = None,
        before: int | None = None,
        keep: int | None = None,
    ) -> Collected:
        """Remove what nothing needs: images without a name and a container, layers without an image, what crashes left.

        With `containers` those that do not run are removed first; with `images` named ones of which there is no
        container, too. `kinds` limits it to some of containers, images, layers, blobs, cache (of builds) and leftovers,
        `before` to what came to the store before that moment, in nanoseconds since the epoch. With `keep` the oldest
        goes first, until the store takes so many bytes of the disk.
        """
        from lamina.store.collect import USUAL, collect

        chosen = USUAL if kinds is None else frozenset(kinds)
        return collect(
            self.layout,
            self.worker,
            containers=containers,
            unused_images=images,
            kinds=chosen,
            before=before,
            keep=keep,
        )

    def usage(self) -> Usage:
        """Return what the store takes of the disk, by kind and by image, and what could be freed."""
        from lamina.store.usage import measure

        return measure(self.layout, self.worker)

    def check(self, *, repair: bool = False, on_event: OnEvent = ignore) -> list[Problem]:
        """Verify every digest, link and reference; return what is wrong, mended where that can be with `repair`."""
        from lamina.store.check import check_store

        return check_store(self.layout, self.worker, repair=repair, on_event=on_event)

    def find(self, image: Image | str, platform: str = "") -> ImageRecord:
        """Return the record of an image that is named or given; `platform` as in `image`."""
        if not isinstance(image, str):
            if image.store.root != self.root:
                raise UsageError("use the image", image.id, f"it is in the store {image.store.root}")
            return image.record
        return host_record() if image == HOST else find_image(self.layout, image, platform)
