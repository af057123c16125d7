"""Small texts of the runtime: words for a shell, programs on a PATH, the files of /etc."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lamina.errors import InvalidInput, NotFound, Unsupported
from lamina.runtime.execute import execute_file, find_program
from lamina.runtime.network import etc_files, hosts_text
from lamina.runtime.shell import command, quote

WORDS = st.lists(st.text(alphabet=st.characters(exclude_characters="\0", codec="utf-8")), max_size=5)


@settings(max_examples=60)
@given(WORDS)
@example(["", "'", "''", "a b", "$x", "`x`", "\\", "!", "\n", "-n", "~", "*", "#", "=", "é", "a'b\"c"])
def test_a_shell_reads_what_was_quoted(words: list[str]) -> None:
    script = f"printf '%s\\000' {command(words)}" if words else "true"
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=True)
    assert done.stdout == b"".join(word.encode() + b"\0" for word in words)


def test_plain_words_stay_plain() -> None:
    assert quote("/usr/bin/env") == "/usr/bin/env"
    assert quote("") == "''"


@pytest.fixture
def places(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "plain").touch(0o644)
    (tmp_path / "two" / "plain").touch(0o755)
    (tmp_path / "one" / "closed").touch(0o644)
    (tmp_path / "one" / "folder").mkdir()
    (tmp_path / "one" / "dangling").symlink_to("none")
    return tmp_path


def test_the_first_that_can_be_executed(places: Path) -> None:
    assert find_program("plain", f"{places}/one:{places}/two") == f"{places}/two/plain"
    assert find_program(f"{places}/two/plain", "") == f"{places}/two/plain"


@pytest.mark.parametrize(
    ("name", "kind", "status", "reason"),
    [
        ("none", NotFound, 127, "it is in no directory of PATH"),
        ("closed", NotFound, 127, "it is in no directory of PATH"),
        ("{}/one/none", NotFound, 127, "no such file"),
        ("{}/one/dangling", NotFound, 127, "no such file"),
        ("{}/one/closed/more", NotFound, 127, "no such file"),
        ("{}/one/closed", Unsupported, 126, "permission denied"),
        ("{}/one/folder", Unsupported, 126, "it is a directory"),
    ],
)
def test_why_a_program_cannot_be_executed(
    places: Path, name: str, kind: type[NotFound | Unsupported], status: int, reason: str
) -> None:
    with pytest.raises(kind, match=reason) as caught:
        find_program(name.format(places), f"{places}/one")
    assert caught.value.status == status


def test_an_interpreter_that_does_not_exist(places: Path) -> None:
    (places / "two" / "plain").write_text("#!/no/such/interpreter\n")
    with pytest.raises(NotFound, match="interpreter") as caught:
        execute_file(f"{places}/two/plain", ["plain"], {})
    assert caught.value.status == 127
    (places / "two" / "plain").write_text("neither script nor program\n")
    with pytest.raises(Unsupported, match="Exec format error") as refused:
        execute_file(f"{places}/two/plain", ["plain"], {})
    assert refused.value.status == 126


def test_hosts() -> None:
    text = hosts_text(b"1.2.3.4 there", "box", [("db", "10.0.0.1")], alone=False)
    assert text == b"1.2.3.4 there\n127.0.1.1\tbox\n10.0.0.1\tdb\n"
    alone = hosts_text(b"1.2.3.4 there\n", "box", [], alone=True)
    assert b"there" not in alone and b"127.0.0.1\tlocalhost\n" in alone and b"127.0.1.1\tbox\n" in alone


def test_files_of_etc() -> None:
    files = etc_files("box", [], network="none")
    assert files["/etc/hostname"] == b"box\n"
    assert files["/etc/resolv.conf"] == b""
    with open("/etc/resolv.conf", "rb") as file:
        assert etc_files("box", [], network="host")["/etc/resolv.conf"] == file.read()


def test_errors_are_of_one_line() -> None:
    assert "\n" not in str(InvalidInput("use", "a\nb", "c\x1b[31m"))
