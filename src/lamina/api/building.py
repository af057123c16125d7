"""`Store.build`: from a Dockerfile and a context to an image."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lamina.api.image import Image
from lamina.api.surroundings import now
from lamina.build.context import open_directory
from lamina.build.progress import Progress
from lamina.build.solve import build as solve
from lamina.build.values import BuildOptions
from lamina.oci.platform import platform_of

if TYPE_CHECKING:
    from lamina.api.store import Store
    from lamina.events import OnEvent


def build(
    store: Store,
    context: str,
    *,
    tags: Sequence[str],
    dockerfile: str | None,
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
        jobs=max(2, os.cpu_count() or 1),
        created=now(),
    )
    record = solve(
        store.layout,
        store.launcher,
        open_directory(context, dockerfile),
        options,
        platform=platform_of(os.uname().machine),
        progress=Progress(on_event),
    )
    return Image(store, record, name=tags[0] if tags else "")
