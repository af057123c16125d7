"""The build checks: their names and what they are about, and which of them a file wants.

Names are the reference's, so that a `# check=skip=...` that was written for it works here; those marked `own` are ours.
docs/reference/build-checks.md describes each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from lamina.build.dockerfile.instructions import Dockerfile
from lamina.build.dockerfile.source import NOWHERE, DockerfileError, Position, Source, did_you_mean, excerpt

#: The page that describes the checks.
DOCUMENTATION = "docs/reference/build-checks.md"
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


@dataclass(frozen=True, slots=True)
class Rule:
    """A build check. One that is `experimental` has to be asked for; `own` are those that the reference lacks."""

    name: str
    description: str
    experimental: bool = False
    own: bool = False

    @property
    def url(self) -> str:
        """Where it is described."""
        return f"{DOCUMENTATION}#{self.name.lower()}"


STAGE_NAME_CASING = Rule("StageNameCasing", "stage names are written in lower case")
FROM_AS_CASING = Rule("FromAsCasing", "AS is written as FROM is, in capitals or not")
NO_EMPTY_CONTINUATION = Rule("NoEmptyContinuation", "a continued instruction has no empty lines")
CONSISTENT_CASING = Rule("ConsistentInstructionCasing", "all instructions are written in capitals, or none")
DUPLICATE_STAGE_NAME = Rule("DuplicateStageName", "each stage has a name of its own")
RESERVED_STAGE_NAME = Rule("ReservedStageName", "scratch and context are no names for stages")
JSON_ARGS = Rule("JSONArgsRecommended", "CMD and ENTRYPOINT in JSON form get signals themselves")
MAINTAINER = Rule("MaintainerDeprecated", "a label names the author, not MAINTAINER")
UNDEFINED_ARG_IN_FROM = Rule("UndefinedArgInFrom", "FROM uses variables that an ARG before the first FROM declares")
WORKDIR_RELATIVE = Rule("WorkdirRelativePath", "a stage's first WORKDIR is absolute")
UNDEFINED_VAR = Rule("UndefinedVar", "variables are declared before they are used")
MULTIPLE_INSTRUCTIONS = Rule(
    "MultipleInstructionsDisallowed", "a stage has one CMD, ENTRYPOINT and HEALTHCHECK at most"
)
LEGACY_KEY_VALUE = Rule("LegacyKeyValueFormat", "ENV and LABEL are written NAME=VALUE")
INVALID_BASE_PLATFORM = Rule("InvalidBaseImagePlatform", "a base image is for the platform that is built for")
REDUNDANT_PLATFORM = Rule("RedundantTargetPlatform", "--platform=$TARGETPLATFORM is what FROM does anyway")
SECRETS = Rule("SecretsUsedInArgOrEnv", "secrets are mounted, not passed by ARG or ENV")
INVALID_DEFAULT_ARG = Rule("InvalidDefaultArgInFrom", "FROM names an image also without any --build-arg")
CONSTANT_PLATFORM = Rule("FromPlatformFlagConstDisallowed", "FROM --platform has a variable for its value")
COPY_IGNORED = Rule("CopyIgnoredFile", "what COPY and ADD take is not left out by .dockerignore")
DEFINITION_DESCRIPTION = Rule(
    "InvalidDefinitionDescription",
    "a comment above ARG or FROM begins with the name that it describes",
    experimental=True,
)
EXPOSE_CASING = Rule("ExposeProtoCasing", "EXPOSE names protocols in lower case")
EXPOSE_FORMAT = Rule("ExposeInvalidFormat", "EXPOSE has no address and no port of the host")
TYPOGRAPHIC_QUOTES = Rule("TypographicQuotes", "a JSON list has straight double quotes", own=True)
BROKEN_JSON = Rule("BrokenJSONForm", "what begins like a JSON list is one", own=True)

RULES = (
    *(STAGE_NAME_CASING, FROM_AS_CASING, NO_EMPTY_CONTINUATION, CONSISTENT_CASING, DUPLICATE_STAGE_NAME),
    *(RESERVED_STAGE_NAME, JSON_ARGS, MAINTAINER, UNDEFINED_ARG_IN_FROM, WORKDIR_RELATIVE, UNDEFINED_VAR),
    *(MULTIPLE_INSTRUCTIONS, LEGACY_KEY_VALUE, INVALID_BASE_PLATFORM, REDUNDANT_PLATFORM, SECRETS),
    *(INVALID_DEFAULT_ARG, CONSTANT_PLATFORM, COPY_IGNORED, DEFINITION_DESCRIPTION, EXPOSE_CASING, EXPOSE_FORMAT),
    *(TYPOGRAPHIC_QUOTES, BROKEN_JSON),
)
_ALL = frozenset(rule.name for rule in RULES)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: the rule, what is wrong here, where, and what to write instead (or "")."""

    rule: Rule
    message: str
    position: Position
    hint: str = ""
    source: Source = field(default=NOWHERE, compare=False, repr=False)

    def __str__(self) -> str:
        place = f"{self.source.name}:{self.position}: " if self.source.name else ""
        return f"{place}{self.rule.name}: {self.message}"

    @property
    def excerpt(self) -> str:
        """The line with its number, and a caret below the place."""
        return excerpt(self.source, self.position)


@dataclass(frozen=True, slots=True)
class Settings:
    """Which checks are made: `skipped` are left out, `experimental` added. With `error` a finding fails the build."""

    skipped: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    error: bool = False

    def wants(self, rule: Rule) -> bool:
        """Tell whether the check is made."""
        return rule.name in self.experimental if rule.experimental else rule.name not in self.skipped

    def merged(self, comments: Iterable[str]) -> Settings:
        """Return the settings of an instruction with these comments above it: `check=skip=...` adds to them."""
        for comment in comments:
            name, equals, value = comment.partition("=")
            if not equals or name.strip().lower() != "check":
                continue
            try:
                more = parse_settings(value, NOWHERE, Position(1, 1))
            except DockerfileError:
                return self  # a remark that happens to begin like this
            return replace(
                self, skipped=self.skipped | more.skipped, experimental=self.experimental | more.experimental
            )
        return self


def settings_of(dockerfile: Dockerfile) -> Settings:
    """Return what the file's `# check=` directive asks for. Raises DockerfileError at a wrong one."""
    for directive in dockerfile.directives:
        if directive.name == "check":
            line = dockerfile.source.line(directive.line)
            column = line.find(directive.value, line.find("=")) + 1
            return parse_settings(directive.value, dockerfile.source, Position(directive.line, max(column, 1)))
    return Settings()


def parse_settings(text: str, source: Source, position: Position) -> Settings:
    """Return the meaning of `skip=A,B;error=true;experimental=C`; "all" stands for all names. Raises DockerfileError.

    Names of checks that do not exist are taken: another version may have them.
    """
    settings = Settings()
    for option in text.split(";") if text.strip() else []:
        name, equals, value = (part.strip() for part in option.partition("="))
        names = _ALL if value == "all" else frozenset(rule.strip() for rule in value.split(",")) - {""}
        if name == "skip" and equals:
            settings = replace(settings, skipped=names)
        elif name == "experimental" and equals:
            settings = replace(settings, experimental=names)
        elif name == "error" and value in (*_TRUE, *_FALSE):
            settings = replace(settings, error=value in _TRUE)
        else:
            hint = did_you_mean(name, ("skip", "experimental", "error"))
            reason = f"{option.strip() or 'nothing'}: expected skip=NAMES, experimental=NAMES or error=true"
            raise DockerfileError(source, position, reason, hint)
    return settings


def unknown_names(settings: Settings) -> dict[str, str]:
    """Return the names of checks in `settings` that do not exist, each with a did-you-mean or ""."""
    return {name: did_you_mean(name, _ALL) for name in sorted((settings.skipped | settings.experimental) - _ALL)}
