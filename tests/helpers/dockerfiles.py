"""What a Dockerfile was understood as, as text for people: the form of the golden files.

python -m tests.helpers.dockerfiles        writes tests/golden/dockerfile anew; read the difference before committing
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from lamina.build.dockerfile.arguments import platform_arguments
from lamina.build.dockerfile.check import BaseImage, Facts, check
from lamina.build.dockerfile.ignore import parse_ignore
from lamina.build.dockerfile.instructions import Instruction, Onbuild
from lamina.build.dockerfile.parse import parse
from lamina.build.dockerfile.source import DockerfileError, Word
from lamina.oci.platform import Platform

GOLDEN = Path(__file__).parents[1] / "golden" / "dockerfile"
_PLATFORM = Platform("linux", "amd64")


def describe(data: bytes) -> str:
    """Return stages and instructions with their places and the fields that are not the default."""
    dockerfile = parse(data)
    lines = [f"directive {found.name} = {found.value} (line {found.line})" for found in dockerfile.directives]
    for arg in dockerfile.arguments:
        lines += _instruction(arg)
    for stage in dockerfile.stages:
        lines += ["", f"stage {stage.index} {stage.name or '-'}", *_instruction(stage.base)]
        for instruction in stage.instructions:
            lines += _instruction(instruction)
    return "\n".join(lines).lstrip("\n") + "\n"


def _instruction(instruction: Instruction) -> Iterator[str]:
    yield f"{instruction.span.start}-{instruction.span.end} {instruction.name}"
    for comment in instruction.comments:
        yield f"    # {comment}"
    for field in fields(instruction):
        value = getattr(instruction, field.name)
        if field.compare and value != field.default:
            yield from _value(field.name, value)
    if isinstance(instruction, Onbuild):
        yield from (f"    {line}" for line in _instruction(instruction.instruction))


def _value(name: str, value: object) -> Iterator[str]:
    if isinstance(value, Word):
        yield f"    {name} {value.text!r} at {value.start}"
    elif isinstance(value, tuple) and name != "words":
        for item in value:
            yield from _value(name, item)
    elif hasattr(value, "__dataclass_fields__"):
        yield f"    {name} {type(value).__name__}"
        for field in fields(value):  # type: ignore[arg-type]  # the line above has asked for it
            inner = getattr(value, field.name)
            if field.compare and inner != field.default:
                yield from (f"    {line}" for line in _value(field.name, inner))
    else:
        yield f"    {name} {value!r}"


def failure(data: bytes) -> str:
    """Return what is said about a file that is not in order, or "" if it is."""
    try:
        parse(data)
    except DockerfileError as error:
        return f"{error}\n{error.hint or '(no hint)'}\n{error.excerpt}\n"
    return ""


def findings(data: bytes, ignore: bytes = b"") -> str:
    """Return what the build checks find, for linux/amd64 and with a base image `debian`."""
    facts = Facts(
        predefined=platform_arguments(_PLATFORM, _PLATFORM, None),
        bases={
            "debian": BaseImage({"PATH": "/bin", "HOME": "/root"}, platform="linux/amd64"),
            "debian:arm": BaseImage({}, has_shell=True, platform="linux/arm64/v8"),
        },
        ignore=parse_ignore(ignore),
    )
    report = check(parse(data), facts)
    lines = [f"fails: {report.fails}"]
    for finding in report.findings:
        lines += [str(finding), f"    {finding.hint or '(no hint)'}", f"    {finding.rule.url}", finding.excerpt]
    return "\n".join(lines) + "\n"


def expectations() -> Iterator[tuple[Path, str]]:
    """Yield each golden file and what should be in it."""
    for folder in sorted((GOLDEN / "good").iterdir()):
        yield folder / "understood", describe((folder / "Dockerfile").read_bytes())
    for folder in sorted((GOLDEN / "bad").iterdir()):
        yield folder / "refused", failure((folder / "Dockerfile").read_bytes())
    for folder in sorted((GOLDEN / "checks").iterdir()):
        ignore = folder / "dockerignore"
        ignored = ignore.read_bytes() if ignore.exists() else b""
        yield folder / "found", findings((folder / "Dockerfile").read_bytes(), ignored)


def main() -> None:
    """Write all golden files."""
    for path, text in expectations():
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        print(path.relative_to(GOLDEN))


if __name__ == "__main__":
    main()


def write(context: Path, *lines: str) -> Path:
    """Make these lines the Dockerfile of a context, and return the context."""
    (context / "Dockerfile").write_text("".join(f"{line}\n" for line in lines))
    return context
