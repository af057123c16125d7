"""`Store.build`: from a Dockerfile and a context to an image, and to what else is made of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, Literal, TypedDict

from lamina.api.image import Image
from lamina.api.surroundings import now, parse_epoch, source_date_epoch
from lamina.build.bases import Bases, Finder
from lamina.build.cachespec import parse_cache_from, parse_cache_to
from lamina.build.dockerfile.arguments import proxy_environment
from lamina.build.inputs.gather import Inputs, Surroundings
from lamina.build.platforms import check_alone, parse_platforms, publish_index
from lamina.build.progress import Progress
from lamina.build.remember import Seen, remember
from lamina.build.solve import build as solve
from lamina.build.solve import check_input
from lamina.build.values import BuildOptions
from lamina.errors import UsageError
from lamina.events import ignore
from lamina.oci.platform import platform_of
from lamina.store.publish import read_manifest, things_of
from lamina.store.staging import Staging

if TYPE_CHECKING:
    from lamina.api.store import Store
    from lamina.build.again import Asked
    from lamina.build.dockerfile.check import Report
    from lamina.build.output import Output
    from lamina.build.verify import Difference
    from lamina.events import OnEvent
    from lamina.oci.platform import Platform
    from lamina.store.images import ImageRecord
    from lamina.store.layout import Layout

_EPOCH = "SOURCE_DATE_EPOCH"


class BuildKeywords(TypedDict, total=False):
    """The options of `Store.build`, as keywords of a call; what is left out is as if its option were not given."""

    #: The names that the image gets.
    tag: str | Iterable[str]
    #: A path, or a stream that gives the text; by default the one in the context.
    dockerfile: str | os.PathLike[str] | BinaryIO | None
    #: The stage to build, by default the last.
    target: str | None
    #: As in "linux/arm64"; by default this machine's. Several, with commas, make an index under the names.
    platform: str
    build_args: Mapping[str, str] | None
    #: Further sources of files by name: what `context` can be, "docker-image://NAME", "oci-layout://DIR[:TAG][@DIGEST]".
    contexts: Mapping[str, str] | None
    labels: Mapping[str, str] | None
    annotations: Mapping[str, str] | None
    #: For `RUN --mount=type=secret`: files by id, or values as bytes.
    secrets: Mapping[str, str | os.PathLike[str] | bytes] | None
    #: For `RUN --mount=type=ssh`: sockets of agents by id.
    ssh: Mapping[str, str] | None
    #: Lines of /etc/hosts during steps, as (name, address).
    add_hosts: Iterable[tuple[str, str]]
    #: The network of RUN: "host" (the default) or "none".
    network: str
    pull: Literal["missing", "always", "never"]
    #: Carry out all steps, or those of the stages that are named.
    no_cache: bool | Iterable[str]
    #: Let events say what differs where a step is not taken from the cache.
    explain_cache: bool
    #: Run the command that failed in an earlier build again, over what it left.
    resume: bool
    #: As the options of the command have them.
    cache_from: Iterable[str]
    cache_to: Iterable[str]
    outputs: Iterable[str]
    #: A file to write a JSON description of what was made to.
    metadata_file: str | os.PathLike[str]
    #: Make what the build adds to its base one layer.
    squash: bool
    #: In place of SOURCE_DATE_EPOCH, in seconds: the time of the image, and the latest that a file in it has.
    timestamp: int | None
    #: How many steps may be carried out at once; by default one for each processor, and two at least.
    jobs: int
    #: Carry the build out twice without the cache, and tell this what differs.
    on_verified: Callable[[list[Difference]], object] | None
    on_event: OnEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A build as it is asked for: what `BuildOptions` does not say. `timestamp` is --timestamp's, in seconds.

    `on_verified`, where it is given, is told what differs when the build is carried out twice. With `asked`, the build
    leaves a note for the next one (`build.remember`). Several `platforms` make an index.
    """

    dockerfile: str | BinaryIO | None = None
    outputs: Sequence[Output] = ()
    metadata_file: str = ""
    timestamp: int | None = None
    on_verified: Callable[[list[Difference]], object] | None = None
    asked: Asked | None = None
    platforms: tuple[Platform, ...] = ()


def build(
    store: Store, context: str | os.PathLike[str] | BinaryIO, keywords: BuildKeywords, asked: Asked | None
) -> Image:
    """Build an image as `Store.build` is asked to; with `asked`, the next one like it finds a note."""
    tag = keywords.get("tag", ())
    no_cache = keywords.get("no_cache", False)
    platforms = parse_platforms(keywords.get("platform", ""))
    options = BuildOptions(
        tags=(tag,) if isinstance(tag, str) else tuple(tag),
        target=keywords.get("target"),
        platform=platforms[0] if platforms else None,
        args=dict(keywords.get("build_args") or {}),
        contexts=dict(keywords.get("contexts") or {}),
        labels=dict(keywords.get("labels") or {}),
        annotations=dict(keywords.get("annotations") or {}),
        secrets=_secrets(keywords.get("secrets") or {}),
        ssh=dict(keywords.get("ssh") or {}),
        add_hosts=tuple(keywords.get("add_hosts", ())),
        network=keywords.get("network", "host"),
        pull=keywords.get("pull", "missing"),
        no_cache=no_cache is True,
        no_cache_stages=frozenset(() if isinstance(no_cache, bool) else (name.lower() for name in no_cache)),
        explain_cache=keywords.get("explain_cache", False),
        resume=keywords.get("resume", False),
        cache_from=tuple(map(parse_cache_from, keywords.get("cache_from", ()))),
        cache_to=tuple(map(parse_cache_to, keywords.get("cache_to", ()))),
        squash=keywords.get("squash", False),
        jobs=keywords.get("jobs", 0),
    )
    dockerfile = keywords.get("dockerfile")
    request = Request(
        dockerfile=None if dockerfile is None else _path_or_stream(dockerfile),
        outputs=_outputs(keywords.get("outputs", ())),
        metadata_file=os.fspath(keywords.get("metadata_file", "")),
        timestamp=keywords.get("timestamp"),
        on_verified=keywords.get("on_verified"),
        asked=asked,
        platforms=platforms,
    )
    return _build(store, _path_or_stream(context), options, request, keywords.get("on_event", ignore))


def _outputs(texts: Iterable[str]) -> tuple[Output, ...]:
    given = tuple(texts)
    if not given:
        return ()
    from lamina.build.output import parse_output

    return tuple(map(parse_output, given))


def _build(store: Store, context: str | BinaryIO, options: BuildOptions, request: Request, on_event: OnEvent) -> Image:
    """Build an image. `jobs`, `created` and `epoch` are filled in here."""
    if len(request.platforms) > 1:
        check_alone(
            output=request.outputs,
            verify=request.on_verified,
            **{"metadata-file": request.metadata_file, "cache-to": options.cache_to},
        )
    if request.outputs:
        from lamina.build.deliver import check_places
        from lamina.build.output import check_outputs

        check_outputs(request.outputs)
        check_places(request.outputs)
    options = _dated(options, request)
    stored = [output for output in request.outputs if output.kind in ("image", "docker") and not output.dest]
    named = [name for output in stored for name in output.names]
    annotations = {key: value for output in request.outputs for key, value in output.annotations.items()}
    options = replace(
        options,
        tags=tuple(dict.fromkeys([*options.tags, *named])),
        annotations={**options.annotations, **annotations},
        jobs=options.jobs or max(2, os.cpu_count() or 1),
    )
    progress, seen = Progress(on_event), Seen()
    options = replace(options, no_cache=options.no_cache or request.on_verified is not None)
    machine = platform_of(os.uname().machine)
    with Staging(store.layout) as staging, _inputs(staging, options, progress) as inputs:
        source = inputs.open(context, request.dockerfile)

        def carry_out(layout: Layout, options: BuildOptions, bases: Finder) -> ImageRecord:
            return solve(
                layout,
                store.launcher,
                source,
                options,
                inputs=inputs,
                bases=bases,
                platform=machine,
                environ=os.environ,
                progress=progress,
                seen=seen,
            )

        found = Bases(
            staging,
            store.launcher,
            pull=options.pull,
            machine=machine,
            environ=os.environ,
            on_event=progress.pass_on,
        )
        if len(request.platforms) > 1:
            return _build_index(store, staging, options, request, lambda each: carry_out(store.layout, each, found))
        record = carry_out(store.layout, options, found)
        if request.asked is not None and source.context.root == request.asked.context:
            remember(staging, request.asked, seen, record, tags=options.tags, bases=found.found, progress=progress)
        if request.on_verified is not None:
            from lamina.build.verify import build_again

            with store.layout.publishing():
                staging.pin(*things_of(record))
            progress.note("building again, to compare")
            differences = build_again(staging, store.launcher, record, options=options, bases=found, build=carry_out)
            request.on_verified(differences)
    image = Image(store, record, name=options.tags[0] if options.tags else "")
    if request.outputs or request.metadata_file:
        _deliver(image, options.tags, request, progress)
    return image


def _build_index(
    store: Store,
    staging: Staging,
    options: BuildOptions,
    request: Request,
    make: Callable[[BuildOptions], ImageRecord],
) -> Image:
    """Build an image for each platform, and give an index of them the names; return the one for this machine, or first.

    Where one cannot be built, no name is given.
    """
    images = []
    for platform in request.platforms:
        record = make(replace(options, tags=(), platform=platform))
        with store.layout.publishing():
            staging.pin(*things_of(record))
        images.append((platform, record))
    publish_index(staging, images, options.tags)
    machine = platform_of(os.uname().machine)
    own = [record for platform, record in images if machine.runs(platform)]
    return Image(store, own[0] if own else images[0][1], name=options.tags[0] if options.tags else "")


def _deliver(image: Image, tags: Sequence[str], request: Request, progress: Progress) -> None:
    """Give the image away as the outputs say, and describe what was made."""
    from lamina.build.deliver import Delivery
    from lamina.build.metadata import describe_image
    from lamina.oci.reference import parse_name
    from lamina.transfer.save import new_file

    store, record = image.store, image.record
    names = [parse_name(tag) for tag in tags]
    described = describe_image(read_manifest(store.layout, record.manifest), image.config, names)
    delivery = Delivery(
        store.layout,
        store.launcher,
        record,
        names=names,
        environ=os.environ,
        stdout=sys.stdout.buffer,
        say=progress.note,
    )
    for output in request.outputs:
        with progress.step(f"exporting to {output}") if output.dest or output.push else nullcontext():
            made = delivery.deliver(output)
        described |= describe_image(made, image.config, names) if made else {}
    if request.metadata_file:
        import json

        with new_file(request.metadata_file) as fd, open(fd, "w", encoding="utf-8", closefd=False) as file:
            json.dump(described, file, indent=2, sort_keys=True)
            file.write("\n")


def check(
    store: Store,
    context: str | BinaryIO,
    *,
    dockerfile: str | BinaryIO | None,
    target: str | None,
    build_args: Mapping[str, str],
) -> Report:
    """Return what the build checks find; nothing is built. Raises DockerfileError."""
    options = BuildOptions(target=target, args=dict(build_args))
    with Staging(store.layout) as staging, _inputs(staging, options, Progress(ignore)) as inputs:
        return check_input(inputs.open(context, dockerfile), options, platform_of(os.uname().machine))


@contextmanager
def _inputs(staging: Staging, options: BuildOptions, progress: Progress) -> Iterator[Inputs]:
    surroundings = Surroundings(
        {**os.environ, **proxy_environment(options.args)},
        options.secrets,
        keep_git_dir=options.args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR", "") in ("1", "true"),
    )
    with Inputs(staging, progress, surroundings) as inputs:
        yield inputs


def _dated(options: BuildOptions, request: Request) -> BuildOptions:
    """Return the options with their times: --timestamp counts most, then the build argument, then the environment."""
    if request.timestamp is not None:
        epoch: int | None = parse_epoch(str(request.timestamp))
    elif options.args.get(_EPOCH):
        epoch = parse_epoch(options.args[_EPOCH])
    else:
        epoch = source_date_epoch()
    wanted = [output.rewrite for output in request.outputs if output.rewrite is not None]
    if epoch is None:
        if True in wanted:
            raise UsageError("write", "--output", f"rewrite-timestamp needs a time ({_EPOCH} or --timestamp)")
        return replace(options, created=now())
    if len(set(wanted)) > 1:
        raise UsageError("write", "--output", "outputs of one build differ in rewrite-timestamp")
    args = {_EPOCH: str(epoch // 10**9), **options.args}
    return replace(options, args=args, created=epoch, epoch=epoch, rewrite_times=False not in wanted)


def _secrets(secrets: Mapping[str, str | os.PathLike[str] | bytes]) -> dict[str, str | bytes]:
    """Return secrets by id, each a path or the value itself."""
    return {name: value if isinstance(value, bytes) else os.fspath(value) for name, value in secrets.items()}


def _path_or_stream(value: str | os.PathLike[str] | BinaryIO) -> str | BinaryIO:
    return os.fspath(value) if isinstance(value, str | os.PathLike) else value
