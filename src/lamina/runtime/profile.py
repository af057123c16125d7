"""Profiles of system calls in docker's JSON form, compiled to BPF: what a container's processes may ask of the kernel.

The default profile lies beside this module. A profile's rules may depend on the architecture, on the container's
capabilities and on the kernel's version; what is compiled is for one of each. Rules and names have the meaning that
moby's `profiles/seccomp` and the OCI runtime specification ("Linux: seccomp") give them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from lamina.errors import InvalidInput
from lamina.linux import libseccomp, seccomp
from lamina.linux.capability import NAMES
from lamina.linux.libseccomp import COMPARISONS, Condition, Filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

#: Beside this module: what containers get unless they are told otherwise.
DEFAULT = os.path.join(os.path.dirname(__file__), "default-seccomp.json")

_EPERM, _ENOSYS = 1, 38
_MAX_SIZE = 4 << 20  # bytes of a profile

#: Machines as uname(2) names them, and as profiles do (Go's names).
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64"}

_ACTIONS: dict[str, Callable[[int], int]] = {
    "SCMP_ACT_ALLOW": lambda _number: libseccomp.ALLOW,
    "SCMP_ACT_ERRNO": libseccomp.errno_action,
    "SCMP_ACT_KILL": lambda _number: libseccomp.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": lambda _number: libseccomp.KILL_PROCESS,
    "SCMP_ACT_KILL_THREAD": lambda _number: libseccomp.KILL_THREAD,
    "SCMP_ACT_LOG": lambda _number: libseccomp.LOG,
    "SCMP_ACT_TRACE": libseccomp.trace_action,
    "SCMP_ACT_TRAP": lambda _number: libseccomp.TRAP,
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a profile's rules may depend on: the machine as uname(2) names it, capabilities, kernel (major, minor)."""

    machine: str
    capabilities: frozenset[str]
    kernel: tuple[int, int]

    @classmethod
    def here(cls, capabilities: Iterable[int]) -> Surroundings:
        """Return those of this machine, for a container with these capabilities."""
        name = os.uname()
        major, minor = name.release.split("-")[0].split(".")[:2]
        return cls(name.machine, frozenset(f"CAP_{NAMES[number]}" for number in capabilities), (int(major), int(minor)))

    @property
    def architecture(self) -> str:
        """The machine's name in profiles."""
        return _MACHINES.get(self.machine, self.machine)


@dataclass(frozen=True, slots=True)
class CallRule:
    """What is done with a call that meets all conditions."""

    name: str
    action: int
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """A profile for certain surroundings: what is done with calls that no rule names, and the rules in order."""

    default: int
    architectures: tuple[str, ...]
    calls: tuple[CallRule, ...]


def read_profile(path: str, surroundings: Surroundings) -> Rules:
    """Return the rules of the profile in a file. Raises InvalidInput for what is no profile, with the place in it."""
    import json

    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_SIZE + 1)
    except OSError as error:
        raise InvalidInput("read the seccomp profile", path, error.strerror or str(error)) from error
    if len(data) > _MAX_SIZE:
        raise InvalidInput("read the seccomp profile", path, f"it is larger than {_MAX_SIZE >> 20} MiB")
    try:
        document: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("read the seccomp profile", path, f"it is no JSON: {error}") from error
    return _Reader(path, surroundings).rules(document)


def compile_rules(rules: Rules) -> bytes:
    """Return the BPF program for this machine.

    Calls that are newer than all that the rules name are answered with ENOSYS, as runc does: programs then try older
    ones, where EPERM would end them. Raises Unsupported without libseccomp, and OSError for what the kernel cannot.
    """
    with Filter(rules.default) as compiler:
        for name in rules.architectures:
            compiler.add_architecture(name)
        newest = 0
        for call in rules.calls:
            newest = max(newest, compiler.number(call.name))
            if call.action != rules.default:  # which libseccomp refuses with EACCES
                compiler.add(call.action, call.name, call.conditions)
        program = compiler.program()
    if rules.default != libseccomp.errno_action(_EPERM):
        return program
    return seccomp.refuse_newer(newest, _ENOSYS, os.uname().machine) + program


class _Reader:
    """Reads a document, and knows where it is in it."""

    def __init__(self, path: str, surroundings: Surroundings) -> None:
        self._path = path
        self._here = surroundings

    def rules(self, document: object) -> Rules:
        top = self._object(document, "$")
        default = self._action(top, "defaultAction", "defaultErrnoRet", "$")
        calls: list[CallRule] = []
        for number, entry in enumerate(self._list(top.get("syscalls"), "$.syscalls")):
            place = f"$.syscalls[{number}]"
            calls += self._calls(self._object(entry, place), place)
        return Rules(default, tuple(self._architectures(top)), tuple(calls))

    def _architectures(self, top: Mapping[str, object]) -> Iterator[str]:
        """Yield libseccomp's names of the machine's further architectures."""
        own = f"SCMP_ARCH_{self._here.machine.upper()}"
        for number, entry in enumerate(self._list(top.get("archMap"), "$.archMap")):
            place = f"$.archMap[{number}]"
            fields = self._object(entry, place)
            if fields.get("architecture") == own:
                for name in self._texts(fields.get("subArchitectures"), f"{place}.subArchitectures"):
                    yield name.removeprefix("SCMP_ARCH_").lower()
        for name in self._texts(top.get("architectures"), "$.architectures"):
            if name != own:
                yield name.removeprefix("SCMP_ARCH_").lower()

    def _calls(self, entry: Mapping[str, object], place: str) -> Iterator[CallRule]:
        names = self._texts(entry.get("names"), f"{place}.names")
        if "name" in entry:  # the older form, one call an entry
            names = [*names, *self._texts([entry["name"]], f"{place}.name")]
        action = self._action(entry, "action", "errnoRet", place)
        if not self._applies(entry, place):
            return
        conditions = [
            self._condition(self._object(value, f"{place}.args[{number}]"), f"{place}.args[{number}]")
            for number, value in enumerate(self._list(entry.get("args"), f"{place}.args"))
        ]
        indices = [condition.index for condition in conditions]
        for name in names:
            if len(set(indices)) < len(indices):
                # Several conditions on one argument cannot all be meant: each is a rule of its own, as in runc.
                for condition in conditions:
                    yield CallRule(name, action, (condition,))
            else:
                yield CallRule(name, action, tuple(conditions))

    def _applies(self, entry: Mapping[str, object], place: str) -> bool:
        includes = self._object(entry.get("includes") or {}, f"{place}.includes")
        excludes = self._object(entry.get("excludes") or {}, f"{place}.excludes")
        wanted = self._texts(includes.get("arches"), f"{place}.includes.arches")
        unwanted = self._texts(excludes.get("arches"), f"{place}.excludes.arches")
        needed = self._texts(includes.get("caps"), f"{place}.includes.caps")
        barred = self._texts(excludes.get("caps"), f"{place}.excludes.caps")
        least = self._version(includes.get("minKernel"), f"{place}.includes.minKernel")
        below = self._version(excludes.get("minKernel"), f"{place}.excludes.minKernel")
        return (
            (not wanted or self._here.architecture in wanted)
            and self._here.architecture not in unwanted
            and set(needed) <= self._here.capabilities
            and not set(barred) & self._here.capabilities
            and (least is None or self._here.kernel >= least)
            and (below is None or self._here.kernel < below)
        )

    def _condition(self, fields: Mapping[str, object], place: str) -> Condition:
        index = self._number(fields.get("index"), f"{place}.index")
        value = self._number(fields.get("value", 0), f"{place}.value")
        second = self._number(fields.get("valueTwo", 0), f"{place}.valueTwo")
        operator = str(fields.get("op")).removeprefix("SCMP_CMP_")
        if operator not in COMPARISONS:
            raise self._wrong(f"{place}.op", f"{operator} is no comparison")
        if index > 5:
            raise self._wrong(f"{place}.index", "a call has six arguments")
        return Condition(index, COMPARISONS[operator], value, second)

    def _action(self, fields: Mapping[str, object], name: str, number: str, place: str) -> int:
        action = fields.get(name)
        if not isinstance(action, str) or action not in _ACTIONS:
            raise self._wrong(f"{place}.{name}", f"{action} is no action that lamina knows")
        value = fields.get(number)
        errno = _EPERM if value is None else self._number(value, f"{place}.{number}")
        if errno > 0xFFFF:
            raise self._wrong(f"{place}.{number}", f"{errno} is too large")
        return _ACTIONS[action](errno)

    def _version(self, value: object, place: str) -> tuple[int, int] | None:
        if value is None:
            return None
        parts = value.split(".") if isinstance(value, str) else []
        if len(parts) != 2 or not all(part.isdecimal() for part in parts):
            raise self._wrong(place, "it is not MAJOR.MINOR")
        return int(parts[0]), int(parts[1])

    def _object(self, value: object, place: str) -> Mapping[str, object]:
        if not isinstance(value, dict):
            raise self._wrong(place, "it is no object")
        return value

    def _list(self, value: object, place: str) -> list[object]:
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(place, "it is no list")
        return value

    def _texts(self, value: object, place: str) -> list[str]:
        found = self._list(value, place)
        texts = [each for each in found if isinstance(each, str)]
        if len(texts) < len(found):
            raise self._wrong(place, "it holds something that is no text")
        return texts

    def _number(self, value: object, place: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 64:
            raise self._wrong(place, "it is no number of up to 64 bits")
        return value

    def _wrong(self, place: str, reason: str) -> InvalidInput:
        return InvalidInput("read the seccomp profile", self._path, f"{place}: {reason}")
