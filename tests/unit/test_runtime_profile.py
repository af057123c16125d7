"""Profiles of system calls: what the compiled program answers is what the rules of the JSON document say."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from lamina.errors import InvalidInput
from lamina.linux.capability import NAMES, number
from lamina.linux.libseccomp import Filter
from lamina.runtime.filters import ensure_filter, filter_path, read_filter
from lamina.runtime.plan import DEFAULT_CAPABILITIES
from lamina.runtime.profile import DEFAULT, Surroundings, compile_rules, read_profile

pytestmark = pytest.mark.requires("libseccomp")

ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x50001, 0x50026
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "riscv64": 0xC00000F3}
HERE = ARCHITECTURES[os.uname().machine]
DOCKERS = [number(name) for name in DEFAULT_CAPABILITIES]


def answer(program: bytes, call: int, *arguments: int, architecture: int = HERE) -> int:
    """Run the program as the kernel does (Documentation/networking/filter.rst), and return the action."""
    data = struct.pack("<iIQ6Q", call, architecture, 0, *(*arguments, *(0,) * (6 - len(arguments))))
    place = accumulator = 0
    while True:
        code, yes, no, value = struct.unpack_from("<HBBI", program, 8 * place)
        place += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x54:
                accumulator &= value
            case 0x05:
                place += value
            case 0x06:
                return int(value)
            case 0x15 | 0x25 | 0x35 | 0x45:
                met = {
                    0x15: accumulator == value,
                    0x25: accumulator > value,
                    0x35: accumulator >= value,
                    0x45: bool(accumulator & value),
                }
                place += yes if met[code] else no
            case _:
                raise AssertionError(f"instruction {code:#x}")


def numbers() -> dict[str, int]:
    """Return the calls that the default profile names and this machine has."""
    with Filter(ALLOW) as names:
        document = json.loads(Path(DEFAULT).read_text())
        every = {name for entry in document["syscalls"] for name in entry["names"]}
        return {name: found for name in sorted(every) if (found := names.number(name)) >= 0}


def allowed(document: Mapping[str, list[dict[str, object]]], here: Surroundings) -> set[str]:
    """Return the names that some rule without a condition on arguments allows: the document, read the simple way."""
    found: set[str] = set()
    for entry in document["syscalls"]:
        includes: dict[str, list[str]] = entry.get("includes", {})  # type: ignore[assignment]  # JSON
        excludes: dict[str, list[str]] = entry.get("excludes", {})  # type: ignore[assignment]  # JSON
        if (
            not entry.get("args")
            and entry["action"] == "SCMP_ACT_ALLOW"
            and here.architecture in includes.get("arches", [here.architecture])
            and set(includes.get("caps", [])) <= here.capabilities
            and not set(excludes.get("caps", [])) & here.capabilities
        ):
            found |= set(entry["names"])  # type: ignore[call-overload]  # JSON
    return found


@pytest.mark.parametrize(
    "capabilities", [DOCKERS, [], [*range(len(NAMES))], [number("SYS_ADMIN")], [number("SYS_TIME")]]
)
def test_the_default_profile_allows_what_its_document_says(capabilities: list[int]) -> None:
    here = Surroundings.here(capabilities)
    program = compile_rules(read_profile(DEFAULT, here))
    calls = numbers()
    simple = allowed(json.loads(Path(DEFAULT).read_text()), here)
    depends = {"socket", "personality", "clone", "clone3"} - simple
    said = {name: answer(program, call) for name, call in calls.items() if name not in depends}
    assert {name for name, action in said.items() if action == ALLOW} == simple & calls.keys()
    assert set(said.values()) <= {ALLOW, EPERM}
    assert answer(program, max(calls.values()) + 1) == ENOSYS
    assert answer(program, 1000) == ENOSYS


def test_arguments_decide() -> None:
    program = compile_rules(read_profile(DEFAULT, Surroundings.here(DOCKERS)))
    calls = numbers()
    assert answer(program, calls["socket"], 2) == ALLOW
    assert answer(program, calls["socket"], 40) == EPERM  # AF_VSOCK
    assert [answer(program, calls["personality"], value) for value in (0, 8, 0xFFFFFFFF)] == [ALLOW] * 3
    assert answer(program, calls["personality"], 0x40000) == EPERM  # ADDR_NO_RANDOMIZE
    assert answer(program, calls["clone"], 0x00000100) == ALLOW
    for flag in (0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x00020000):  # CLONE_NEW*
        assert answer(program, calls["clone"], flag | 17) == EPERM
    assert answer(program, calls["clone3"]) == ENOSYS
    assert answer(program, calls["read"], architecture=0x12345) == 0  # a strange architecture: killed


def test_a_profile_of_the_older_form(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(
        json.dumps(
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {"name": "mkdir", "action": "SCMP_ACT_ERRNO", "args": []},
                    {"names": ["chmod", "no_such_call"], "action": "SCMP_ACT_KILL_PROCESS"},
                    {
                        "names": ["kill"],
                        "action": "SCMP_ACT_ERRNO",
                        "errnoRet": 3,
                        "args": [
                            {"index": 1, "value": 9, "op": "SCMP_CMP_EQ"},
                            {"index": 1, "value": 15, "op": "SCMP_CMP_EQ"},
                        ],
                    },
                ],
            }
        )
    )
    program = compile_rules(read_profile(str(path), Surroundings.here([])))
    with Filter(ALLOW) as names:
        calls = {name: names.number(name) for name in ("mkdir", "chmod", "kill", "read")}
    if calls["mkdir"] >= 0:
        assert answer(program, calls["mkdir"]) == EPERM
        assert answer(program, calls["chmod"]) == 0x80000000
    assert answer(program, calls["kill"], 1, 9) == answer(program, calls["kill"], 1, 15) == 0x50003
    assert answer(program, calls["kill"], 1, 1) == ALLOW
    assert answer(program, calls["read"]) == ALLOW == answer(program, 1000)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ("[]", "$: it is no object"),
        ("{}", "$.defaultAction: None is no action"),
        ('{"defaultAction": "SCMP_ACT_NOTIFY"}', "SCMP_ACT_NOTIFY is no action"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}}', "$.syscalls: it is no list"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [1]}', "$.syscalls[0]: it is no object"),
        (
            '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [1], "action": "SCMP_ACT_ALLOW"}]}',
            "$.syscalls[0].names: it holds something that is no text",
        ),
        (
            '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_ERRNO",'
            ' "args": [{"index": 6, "op": "SCMP_CMP_EQ"}]}]}',
            "$.syscalls[0].args[0].index: a call has six arguments",
        ),
        (
            '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_ERRNO",'
            ' "args": [{"index": 0, "op": "=="}]}]}',
            "$.syscalls[0].args[0].op: == is no comparison",
        ),
        (
            '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_ERRNO",'
            ' "includes": {"minKernel": "five"}}]}',
            "$.syscalls[0].includes.minKernel: it is not MAJOR.MINOR",
        ),
    ],
)
def test_what_is_no_profile_is_refused_with_its_place(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        read_profile(str(path), Surroundings.here([]))
    assert reason in str(caught.value) and str(path) in str(caught.value)


def test_the_default_is_compiled_once(tmp_path: Path) -> None:
    path = filter_path("", DOCKERS, kept=str(tmp_path / "kept"), directory="/nowhere")
    assert read_filter(path) == b""
    assert ensure_filter(path, "", DOCKERS) == ""
    before = os.stat(path)
    assert len(read_filter(path)) % 8 == 0
    ensure_filter(path, "", DOCKERS)
    assert os.stat(path) == before and len(os.listdir(tmp_path / "kept")) == 1
    assert filter_path("", [], kept="/kept", directory="/c") != filter_path("", DOCKERS, kept="/kept", directory="/c")
    assert filter_path("unconfined", DOCKERS, kept="/kept", directory="/c") == ""
