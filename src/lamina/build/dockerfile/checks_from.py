"""Build checks about FROM: names of stages, images, platforms."""

from __future__ import annotations

from collections.abc import Mapping

from lamina.build.dockerfile import rules
from lamina.build.dockerfile.arguments import global_arguments
from lamina.build.dockerfile.checks_text import Note
from lamina.build.dockerfile.expand import Expander
from lamina.build.dockerfile.instructions import Dockerfile, From
from lamina.build.dockerfile.source import DockerfileError, Word, did_you_mean
from lamina.errors import InvalidInput
from lamina.oci.platform import parse_platform
from lamina.oci.reference import parse_reference

_RESERVED = ("context", "scratch")


def check_names(dockerfile: Dockerfile, note: Note) -> None:
    """Report names of stages that are in capitals, reserved or taken, and an AS that is not written like its FROM."""
    taken: dict[str, int] = {}
    for stage in dockerfile.stages:
        base, word, written = stage.base, stage.base.stage_word, stage.base.as_word
        if stage.name is None or word is None or written is None:
            continue
        if word.text != stage.name:
            message = f"the stage's name {word} is not in lower case"
            note(rules.STAGE_NAME_CASING, base, word.start, message, f"write {stage.name}")
        if stage.name in _RESERVED:
            note(rules.RESERVED_STAGE_NAME, base, word.start, f"{stage.name} has a meaning of its own in FROM")
        if stage.name in taken:
            message = f"the stage in line {taken[stage.name]} has the name {stage.name}, too"
            note(rules.DUPLICATE_STAGE_NAME, base, word.start, message)
        taken[stage.name] = base.span.start.line
        _check_as(base, written, note)


def _check_as(base: From, written: Word, note: Note) -> None:
    for same, change in ((base.keyword.islower(), str.lower), (base.keyword.isupper(), str.upper)):
        if same and written.text != change(written.text):
            message = f"{written} is not written like {base.keyword}"
            note(rules.FROM_AS_CASING, base, written.start, message, f"write {change(written.text)}")


def check_bases(
    dockerfile: Dockerfile, predefined: Mapping[str, str], values: Mapping[str, str], note: Note
) -> dict[int, str]:
    """Report variables and platforms of FROM, and return each stage's image by the stage's index, expanded."""
    declared = {declaration.name.text for arg in dockerfile.arguments for declaration in arg.declarations}
    known = declared | set(values)
    images: dict[int, str] = {}
    for stage in dockerfile.stages:
        base = stage.base
        expander = Expander(values, escape=dockerfile.escape)
        images[stage.index] = expander.word(base.image, base.source).text
        _check_missing(base, expander, known, note)
        _check_platform(base, Expander(values, escape=dockerfile.escape), values, known, note)
    _check_defaults(dockerfile, predefined, note)
    return images


def _check_missing(base: From, expander: Expander, known: set[str], note: Note) -> None:
    for name, position in expander.missing.items():
        if name in known:
            continue
        message = f"no ARG before the first FROM declares {name}"
        note(rules.UNDEFINED_ARG_IN_FROM, base, position, message, did_you_mean(name, known))


def _check_platform(base: From, expander: Expander, values: Mapping[str, str], known: set[str], note: Note) -> None:
    word = base.platform
    if word is None:
        return
    platform = expander.word(word, base.source).text
    _check_missing(base, expander, known, note)
    if expander.used == {"TARGETPLATFORM"} and not expander.missing and platform == values["TARGETPLATFORM"]:
        message = f"--platform={word} is what FROM does without it"
        note(rules.REDUNDANT_PLATFORM, base, word.start, message, "remove the flag")
    if not expander.used and not expander.missing:
        _check_constant(base, word, platform, note)


def _check_constant(base: From, word: Word, platform: str, note: Note) -> None:
    try:
        parsed = parse_platform(platform)
    except InvalidInput:
        return  # the build will say so
    # A stage that is named after its platform is meant to be for it.
    if not any(part in (base.stage or "") for part in (parsed.os, parsed.architecture)):
        message = f"--platform={word} is the same for every platform that is built for"
        hint = "use $BUILDPLATFORM, or lamina build --platform"
        note(rules.CONSTANT_PLATFORM, base, word.start, message, hint)


def _check_defaults(dockerfile: Dockerfile, predefined: Mapping[str, str], note: Note) -> None:
    """Report a FROM that names no image unless it gets a --build-arg."""
    try:
        values = global_arguments(dockerfile, predefined, {})
        for stage in dockerfile.stages:
            word = stage.base.image
            image = Expander(values, escape=dockerfile.escape).word(word, stage.base.source).text
            if not _is_reference(image):
                message = f"with the defaults of its ARGs, {word} is {image or 'empty'} and names no image"
                note(rules.INVALID_DEFAULT_ARG, stage.base, word.start, message, "give the ARG a default that does")
    except DockerfileError:
        return  # a default that cannot be expanded: the build will say so, or does not need it


def _is_reference(image: str) -> bool:
    try:
        parse_reference(image)
    except InvalidInput:
        return False
    return True
