"""Which variables there are where: global arguments, those of a stage, the predefined ones.

A stage's environment is that of its base image with ENV and ARG in order: they share one name space, and what comes
later counts. Global arguments (before the first FROM) are known to FROM alone; a stage gets one by declaring its name
without a default. The same holds for the platforms' variables. The engine keeps the environment; the rules are here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lamina.build.dockerfile.expand import Expander
from lamina.build.dockerfile.instructions import Arg, Dockerfile
from lamina.oci.platform import Platform

#: Proxy settings: a --build-arg with such a name needs no ARG, is in the environment of RUN alone, and is not part of a
#: cache key or the history unless an ARG declares it. Their lower-case spellings count as well.
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
#: Arguments for the builder: known as arguments, but never in a stage's environment.
BUILDER_ARGUMENTS = frozenset({"BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"})
#: The PATH of a stage whose base image has none.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Argument:
    """A variable that an ARG declared; `value` None where it has neither a value nor a default.

    `in_environment` is false where there is no value to be had, and for the builder's own arguments.
    """

    name: str
    value: str | None

    @property
    def in_environment(self) -> bool:
        """Whether instructions after it see the variable."""
        return self.value is not None and self.name not in BUILDER_ARGUMENTS


def platform_arguments(build: Platform, target: Platform, stage: str | None) -> dict[str, str]:
    """Return the predefined arguments about platforms, and TARGETSTAGE; `stage` is the target's name if it has one."""
    values = {"TARGETSTAGE": stage or "default"}
    for prefix, platform in (("BUILD", build), ("TARGET", target)):
        values |= {
            f"{prefix}PLATFORM": str(platform),
            f"{prefix}OS": platform.os,
            f"{prefix}OSVERSION": platform.os_version,
            f"{prefix}ARCH": platform.architecture,
            f"{prefix}VARIANT": platform.variant,
        }
    return values


def global_arguments(
    dockerfile: Dockerfile, predefined: Mapping[str, str], build_args: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables of FROM: `predefined` (see `platform_arguments`) and the ARGs before the first FROM.

    A --build-arg takes the place of a default, and of a predefined value. An ARG with neither adds nothing. Raises
    DockerfileError for a default that cannot be expanded.
    """
    values = {name: build_args.get(name, value) for name, value in predefined.items()}
    for arg in dockerfile.arguments:
        for argument in declare(arg, values, {}, build_args, escape=dockerfile.escape):
            if argument.value is not None:
                values[argument.name] = argument.value
    return values


def declare(
    arg: Arg,
    environment: Mapping[str, str],
    global_values: Mapping[str, str],
    build_args: Mapping[str, str],
    *,
    escape: str = "\\",
    expander: Expander | None = None,
) -> tuple[Argument, ...]:
    """Return what an ARG declares in a stage with this `environment`, in order.

    The value is that of --build-arg, else the default, expanded, else that of the global argument of the same name. A
    later one of the same ARG sees those before it. A default that is not used is not expanded. `missing` of an
    `expander` that was given collects unknown variables.
    """
    known = dict(environment)
    declared: list[Argument] = []
    for declaration in arg.declarations:
        name = declaration.name.text
        if name in build_args:
            value: str | None = build_args[name]
        elif declaration.value is not None:
            filler = Expander(known, escape=escape)
            value = filler.word(declaration.value, arg.source).text
            if expander is not None:
                expander.add(filler.used, filler.missing)
        else:
            value = global_values.get(name)
        argument = Argument(name, value)
        declared.append(argument)
        if argument.in_environment and value is not None:
            known[name] = value
    return tuple(declared)


def proxy_environment(build_args: Mapping[str, str]) -> dict[str, str]:
    """Return the proxy variables of RUN that --build-arg sets: each in capitals and in lower case."""
    values: dict[str, str] = {}
    for name in sorted(build_args):
        if name.upper() in PROXIES:
            values[name.upper()] = values[name.lower()] = build_args[name]
    return values


def unused_build_args(dockerfile: Dockerfile, build_args: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of --build-args that no ARG declares and that are not predefined, sorted."""
    args = list(dockerfile.arguments)
    args += [found for stage in dockerfile.stages for found in stage.instructions if isinstance(found, Arg)]
    declared = {declaration.name.text for arg in args for declaration in arg.declarations}
    return tuple(
        name
        for name in sorted(build_args)
        if name not in declared and name.upper() not in PROXIES and not name.startswith(("BUILDKIT_", "SOURCE_DATE"))
    )
