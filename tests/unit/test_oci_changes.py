"""Changes to an image's settings as text."""

from __future__ import annotations

import pytest

from lamina.errors import InvalidInput
from lamina.oci.changes import apply_changes
from lamina.oci.config import Settings

BASE = Settings(
    env=("PATH=/bin", "X=1"), cmd=("old",), working_dir="/srv", labels={"a": "b"}, exposed_ports=("80/tcp",)
)


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ("ENV A=b", "env", ("PATH=/bin", "X=1", "A=b")),
        ("env X=2", "env", ("PATH=/bin", "X=2")),
        ("ENV A=\"b c\" D='$X' E=x\\ y", "env", ("PATH=/bin", "X=1", "A=b c", "D=$X", "E=x y")),
        ("ENV PATH=$PATH:/opt", "env", ("PATH=/bin:/opt", "X=1")),
        ('ENV PATH="${PATH}:${NO:-/none}${X:+/x}${NO:+/no}"', "env", ("PATH=/bin:/none/x", "X=1")),
        ("ENV OLD one two", "env", ("PATH=/bin", "X=1", "OLD=one two")),
        ("ENV E=", "env", ("PATH=/bin", "X=1", "E=")),
        ("ENV D=a$", "env", ("PATH=/bin", "X=1", "D=a$")),
        ('CMD ["sh", "-c", "x"]', "cmd", ("sh", "-c", "x")),
        ("CMD []", "cmd", ()),
        ("CMD echo $X", "cmd", ("/bin/sh", "-c", "echo $X")),
        ('ENTRYPOINT ["/init"]', "entrypoint", ("/init",)),
        ("WORKDIR app", "working_dir", "/srv/app"),
        ("WORKDIR /a/../b/", "working_dir", "/b"),
        ("WORKDIR //a", "working_dir", "/a"),
        ("USER app:app", "user", "app:app"),
        ('LABEL c="d e" f=g', "labels", {"a": "b", "c": "d e", "f": "g"}),
        (
            "EXPOSE 80 443/TCP 53/udp 8000-8001",
            "exposed_ports",
            ("443/tcp", "53/udp", "80/tcp", "8000/tcp", "8001/tcp"),
        ),
        ("VOLUME /a /b", "volumes", ("/a", "/b")),
        ('VOLUME ["/a b"]', "volumes", ("/a b",)),
        ("STOPSIGNAL term", "stop_signal", "SIGTERM"),
        ("STOPSIGNAL SIGQUIT", "stop_signal", "SIGQUIT"),
        ("STOPSIGNAL 9", "stop_signal", "9"),
        ("ONBUILD RUN x", "other", {"OnBuild": ["RUN x"]}),
    ],
)
def test_change(change: str, field: str, value: object) -> None:
    assert getattr(apply_changes(BASE, [change]), field) == value


def test_an_entrypoint_drops_an_inherited_cmd_only() -> None:
    assert apply_changes(BASE, ['ENTRYPOINT ["x"]']).cmd is None
    assert apply_changes(BASE, ['CMD ["y"]', 'ENTRYPOINT ["x"]']).cmd == ("y",)
    assert apply_changes(BASE, []) == BASE


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("", "nothing is none of CMD, ENTRYPOINT"),
        ("RUN x", "RUN is none of"),
        ("ENV", "ENV needs a value"),
        ("ENV A", "A has no value"),
        ("ENV A=b c", "'c' is not NAME=value"),
        ("ENV =b", "is not NAME=value"),
        ('ENV A="b', "double quote is not closed"),
        ("ENV A='b", "single quote is not closed"),
        ("ENV A=${X", "not closed"),
        ("ENV A=${1}", "no variable name"),
        ("ENV A=${X!}", "neither"),
        ("ENV A=b\nUSER x", "one line"),
        ("ENV A=\udcff", "UTF-8"),
        ('CMD ["x"', "JSON list"),
        ("CMD [1]", "JSON list"),
        ("USER a b", "one user"),
        ("EXPOSE http", "is not PORT"),
        ("EXPOSE 0", "is not PORT"),
        ("EXPOSE 70000", "is not PORT"),
        ("EXPOSE 9-8", "is not PORT"),
        ("EXPOSE 80/ip", "is not PORT"),
        ("STOPSIGNAL NONE", "no signal"),
        ("STOPSIGNAL 900", "no signal"),
        ('VOLUME [""]', "a volume is a path"),
    ],
)
def test_refused(change: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason) as caught:
        apply_changes(BASE, [change])
    assert caught.value.subject == repr(change)
