"""Build checks: what a Dockerfile may say and yet probably does not mean.

    report = check(dockerfile, Facts(bases=..., ignore=...))

`rules` lists the checks. Each stage is followed with its variables as a build would have them, also stages that nothing
needs; nothing is run or fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from lamina.build.dockerfile import rules
from lamina.build.dockerfile.arguments import global_arguments
from lamina.build.dockerfile.checks_from import check_bases, check_names
from lamina.build.dockerfile.checks_stage import BaseImage, StageChecker, StageState
from lamina.build.dockerfile.checks_text import check_casing, check_descriptions, check_forms, check_gaps
from lamina.build.dockerfile.expand import Expander
from lamina.build.dockerfile.ignore import IgnoreMatcher
from lamina.build.dockerfile.instructions import Dockerfile, Instruction, Stage
from lamina.build.dockerfile.rules import Finding, Rule, Settings
from lamina.build.dockerfile.source import Position
from lamina.build.dockerfile.stages import SCRATCH, base_stage

__all__ = ["BaseImage", "Facts", "Report", "check"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known besides the file.

    `predefined` are the platforms' arguments, `build_args` those of the command line. `bases` has what is known about
    base images by their name in FROM, expanded; of others the environment is unknown, and variables that are not
    declared are not reported. `ignore` is the context's .dockerignore. `settings` takes the place of the file's own.
    """

    predefined: Mapping[str, str] = field(default_factory=dict)
    build_args: Mapping[str, str] = field(default_factory=dict)
    bases: Mapping[str, BaseImage] = field(default_factory=dict)
    ignore: IgnoreMatcher | None = None
    settings: Settings | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The findings in the order of the file; `fails` tells that the file asked for them to be errors."""

    findings: tuple[Finding, ...]
    fails: bool


def check(dockerfile: Dockerfile, facts: Facts | None = None) -> Report:
    """Return what the build checks find. Raises DockerfileError where a variable cannot be expanded."""
    facts = facts or Facts()
    settings = facts.settings if facts.settings is not None else rules.settings_of(dockerfile)
    collector = _Collector(dockerfile, settings)
    for checks in (check_gaps, check_casing, check_names, check_forms, check_descriptions):
        checks(dockerfile, collector.add)
    values = global_arguments(dockerfile, facts.predefined, facts.build_args)
    images = check_bases(dockerfile, facts.predefined, values, collector.add)
    _check_stages(dockerfile, facts, values, images, collector.add)
    findings = tuple(sorted(set(collector.findings), key=lambda finding: (finding.position, finding.rule.name)))
    return Report(findings, settings.error and bool(findings))


class _Collector:
    def __init__(self, dockerfile: Dockerfile, settings: Settings) -> None:
        self._dockerfile = dockerfile
        self._settings = settings
        self.findings: list[Finding] = []

    def add(self, rule: Rule, at: Instruction, position: Position, message: str, hint: str = "") -> None:
        """Note a finding, unless the file or a comment above the instruction leaves the check out."""
        if self._settings.merged(at.comments).wants(rule):
            self.findings.append(Finding(rule, message, position, hint, self._dockerfile.source))


def _check_stages(
    dockerfile: Dockerfile,
    facts: Facts,
    values: Mapping[str, str],
    images: Mapping[int, str],
    add: Callable[..., None],
) -> None:
    states: dict[int, StageState] = {}
    for stage in dockerfile.stages:
        image = images[stage.index]
        below = base_stage(dockerfile, stage.index, image)
        state = states[below.index].inherited() if below else _state_of(facts.bases.get(image), image)
        if image in facts.bases and below is None:
            _check_platform(stage, facts.bases[image], values, dockerfile.escape, add)
        checker = StageChecker(
            state,
            global_values=values,
            build_args=facts.build_args,
            escape=dockerfile.escape,
            ignore=facts.ignore,
            note=add,
        )
        for instruction in stage.instructions:
            checker.take(instruction)
        states[stage.index] = state


def _state_of(base: BaseImage | None, image: str) -> StageState:
    if base is None:
        return StageState({}, known=image == SCRATCH)
    return StageState(dict(base.environment), known=True, has_shell=base.has_shell)


def _check_platform(
    stage: Stage, base: BaseImage, values: Mapping[str, str], escape: str, add: Callable[..., None]
) -> None:
    written = stage.base.platform
    expected = values.get("TARGETPLATFORM", "")
    if written is not None:
        expected = Expander(values, escape=escape).word(written, stage.base.source).text
    if base.platform and expected and _without_variant(base.platform) != _without_variant(expected):
        message = f"{stage.base.image} is for {base.platform}, and {expected} is built"
        add(rules.INVALID_BASE_PLATFORM, stage.base, stage.base.image.start, message)


def _without_variant(platform: str) -> Iterable[str]:
    return platform.split("/")[:2]
