"""What the name of a stage means: in FROM, in --from, in --target; and cycles.

A stage's name counts from where it stands: FROM finds the stages before it, of two with one name the later one. --from
finds all stages, and one that is not before it is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import replace

from lamina.build.dockerfile.instructions import Copy, Dockerfile, Instruction, Onbuild, Run, Stage
from lamina.build.dockerfile.mounts import mount_from
from lamina.build.dockerfile.source import DockerfileError, Word, did_you_mean
from lamina.errors import NotFound

#: What names no image: an empty base, and the build's own files.
SCRATCH = "scratch"


def base_stage(dockerfile: Dockerfile, index: int, image: str) -> Stage | None:
    """Return the stage that FROM `image` of stage `index` builds on, or None: `image` is then something else."""
    for stage in reversed(dockerfile.stages[:index]):
        if stage.name is not None and stage.name == image.lower():
            return stage
    return None


def source_stage(dockerfile: Dockerfile, index: int, word: Word) -> Stage | None:
    """Return the stage that --from=`word` in stage `index` means, or None: it is then a named context or an image.

    Raises DockerfileError for a number that no stage has, and for a stage that does not come before.
    """
    stage = dockerfile.stage(word.text)
    if stage is None:
        if word.text.isascii() and word.text.isdigit():
            count = len(dockerfile.stages)
            raise DockerfileError(dockerfile.source, word.start, f"no stage {word}: expected a number below {count}")
        return None
    if stage.index >= index:
        here = dockerfile.stages[index].label
        what = "itself" if stage.index == index else f"stage {stage.label}, which comes after it"
        reason = f"stage {here} takes files from {what}: expected a stage before it"
        raise DockerfileError(dockerfile.source, word.start, reason)
    return stage


def with_contexts(dockerfile: Dockerfile, contexts: Container[str]) -> Dockerfile:
    """Return the file with each stage that has the name of one of `contexts` standing for that, and doing no more."""

    def replaced(stage: Stage) -> Stage:
        if stage.name is None or stage.name not in contexts:
            return stage
        base = replace(stage.base, image=Word(stage.name))
        return replace(stage, base=base, instructions=())

    return replace(dockerfile, stages=tuple(map(replaced, dockerfile.stages)))


def target_stage(dockerfile: Dockerfile, target: str | None) -> Stage:
    """Return the stage to be built: the one named `target`, or the last. Raises NotFound with a did-you-mean."""
    if target is None:
        return dockerfile.stages[-1]
    stage = dockerfile.stage(target)
    if stage is None:
        names = [known.name for known in dockerfile.stages if known.name is not None]
        hint = did_you_mean(target, names) or (f"its stages are {', '.join(names)}" if names else "none has a name")
        raise NotFound("build the stage", target, f"{dockerfile.source.name or 'the file'} has no such stage", hint)
    return stage


def stage_hint(dockerfile: Dockerfile, name: str) -> str:
    """Return a hint for an image that was not found and is perhaps a stage, misspelt or further down, or ""."""
    if any(stage.name == name.lower() for stage in dockerfile.stages):
        return f"the stage {name} comes later: put it before this one"
    return did_you_mean(name, [stage.name for stage in dockerfile.stages if stage.name is not None])


def sources_of(instruction: Instruction) -> Iterator[Word]:
    """Yield what an instruction takes files from by name: --from of COPY, `from` of RUN's mounts."""
    match instruction:
        case Copy(from_=Word() as word):
            yield word
        case Run():
            found = (mount_from(mount, instruction.source) for mount in instruction.mounts)
            yield from (word for word in found if word is not None)
        case _:
            return


def needed_stages(
    dockerfile: Dockerfile, target: Stage, images: Mapping[int, str], is_context: Callable[[str], bool]
) -> tuple[Stage, ...]:
    """Return `target` and all stages that it needs, in the order of the file.

    `images` has the expanded image of each stage's FROM by the stage's index; `is_context` tells which names are those
    of contexts, which come before stages. Triggers of base images are not counted. Raises DockerfileError as
    `source_stage` does; that also rules out cycles, since every step leads upward.
    """
    needed: set[int] = set()
    pending = [target]
    while pending:
        stage = pending.pop()
        if stage.index in needed:
            continue
        needed.add(stage.index)
        base = base_stage(dockerfile, stage.index, images[stage.index])
        words = (word for word in _sources(stage) if not is_context(word.text))
        found = [base, *(source_stage(dockerfile, stage.index, word) for word in words)]
        pending += [other for other in found if other is not None]
    return tuple(dockerfile.stages[index] for index in sorted(needed))


def _sources(stage: Stage) -> Iterator[Word]:
    for instruction in stage.instructions:
        if not isinstance(instruction, Onbuild):
            yield from sources_of(instruction)
