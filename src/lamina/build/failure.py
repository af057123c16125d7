"""Keeping what a failed step left: the state before it and after it as images without a name, and its upper.

`lamina run NAME@failed` and `NAME@before-failed` start from the images, NAME being any tag of the build, or `build`;
`--resume` carries the step out again over its upper.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from lamina.build.configure import with_history
from lamina.build.image import make_image
from lamina.build.values import BuildError, BuildOptions, State
from lamina.events import ignore
from lamina.oci.timestamp import format_time
from lamina.store import making
from lamina.store.failed import keep_upper, write_failed

if TYPE_CHECKING:
    from lamina.ids.worker import Worker
    from lamina.oci.platform import Platform
    from lamina.store.staging import Staging

#: The name of a failure where the build has no tag.
DEFAULT_NAME = "build"


def keep_failure(
    staging: Staging,
    worker: Worker,
    options: BuildOptions,
    platform: Platform,
    *,
    state: State,
    error: BuildError,
    key: str,
    directory: str,
) -> str:
    """Keep the states around a failed step, whose upper lies in `directory`, and return the name to ask for them.

    `state` is the settled one before the step. The upper is moved away.
    """
    upper = os.path.join(directory, "upper")
    layer = making.capture(
        staging, worker, [("", upper)], state.layers, over_host=False, ignore=error.ignored, on_event=ignore
    )
    keep_upper(staging.layout, key, upper)
    after = state
    if layer.entries:
        created = format_time(options.created)
        after = with_history(state, f"{error.instruction.text} # failed", created=created, empty=False)
        after = replace(after, layers=(*state.layers, layer.name))
    plain = replace(options, tags=(), squash=False, epoch=None)
    before_image, after_image = (
        make_image(staging, worker, _as_shell(each), plain, platform) for each in (state, after)
    )
    names = [*options.tags, DEFAULT_NAME]
    for name in names:
        write_failed(staging, name, before=before_image, failed=after_image)
    return names[0]


def _as_shell(state: State) -> State:
    """Return the state with the stage's shell as its command, and the variables that the step saw."""
    env = tuple(f"{name}={value}" for name, value in state.variables.items())
    return replace(state, settings=replace(state.settings, entrypoint=None, cmd=state.shell[:1], env=env))
