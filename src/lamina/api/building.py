"""`Store.build`: from a Dockerfile and a context to an image."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from lamina.api.image import Image
from lamina.api.surroundings import now
from lamina.build.dockerfile.arguments import proxy_environment
from lamina.build.inputs.gather import Inputs, Surroundings
from lamina.build.progress import Progress
from lamina.build.solve import build as solve
from lamina.build.solve import check_input
from lamina.build.values import BuildOptions
from lamina.events import ignore
from lamina.oci.platform import platform_of
from lamina.store.staging import Staging

if TYPE_CHECKING:
    from lamina.api.store import Store
    from lamina.build.dockerfile.check import Report
    from lamina.events import OnEvent


def build(
    store: Store,
    context: str | BinaryIO,
    *,
    tags: Sequence[str],
    dockerfile: str | BinaryIO | None,
    target: str | None,
    build_args: Mapping[str, str],
    contexts: Mapping[str, str],
    labels: Mapping[str, str],
    secrets: Mapping[str, str],
    ssh: Mapping[str, str],
    add_hosts: Sequence[tuple[str, str]],
    network: str,
    no_cache: bool,
    explain_cache: bool,
    resume: bool,
    on_event: OnEvent,
) -> Image:
    """Build an image; `Store.build` says what the arguments mean."""
    options = BuildOptions(
        tags=tuple(tags),
        target=target,
        args=dict(build_args),
        contexts=dict(contexts),
        labels=dict(labels),
        secrets=dict(secrets),
        ssh=dict(ssh),
        add_hosts=tuple(add_hosts),
        network=network,
        no_cache=no_cache,
        explain_cache=explain_cache,
        resume=resume,
        jobs=max(2, os.cpu_count() or 1),
        created=now(),
    )
    progress = Progress(on_event)
    with _inputs(store, options, progress) as inputs:
        record = solve(
            store.layout,
            store.launcher,
            inputs.open(context, dockerfile),
            options,
            inputs=inputs,
            platform=platform_of(os.uname().machine),
            progress=progress,
        )
    return Image(store, record, name=tags[0] if tags else "")


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
    with _inputs(store, options, Progress(ignore)) as inputs:
        return check_input(inputs.open(context, dockerfile), options, platform_of(os.uname().machine))


@contextmanager
def _inputs(store: Store, options: BuildOptions, progress: Progress) -> Iterator[Inputs]:
    surroundings = Surroundings(
        {**os.environ, **proxy_environment(options.args)},
        options.secrets,
        keep_git_dir=options.args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR", "") in ("1", "true"),
    )
    with Staging(store.layout) as staging, Inputs(staging, progress, surroundings) as inputs:
        yield inputs
