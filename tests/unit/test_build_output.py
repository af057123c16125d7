"""The values of --output, read."""

from __future__ import annotations

import pytest

from lamina.build.output import Output, check_outputs, parse_output
from lamina.errors import UsageError


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("out", Output(kind="local", dest="out")),
        ("-", Output(kind="tar", dest="-")),
        ("type=tar", Output(kind="tar", dest="-")),
        ("type=tar,dest=a.tar", Output(kind="tar", dest="a.tar")),
        ('type=local,"dest=a,b"', Output(kind="local", dest="a,b")),
        ("type=docker", Output(kind="docker")),
        ("type=oci,dest=a.tar,name=x:1", Output(kind="oci", dest="a.tar", names=("x:1",))),
        ('type=image,"name=x:1,y:2",push=true', Output(kind="image", names=("x:1", "y:2"), push=True)),
        ("type=registry,name=r.example/x", Output(kind="image", names=("r.example/x",), push=True)),
        ("type=oci,dest=a,compression=zstd", Output(kind="oci", dest="a", compression="zstd")),
        ("type=oci,tar=false,dest=a", Output(kind="oci", dest="a", archive=False)),
        ("type=oci,dest=a,rewrite-timestamp=true", Output(kind="oci", dest="a", rewrite=True)),
        ("type=image,annotation.A.b=c", Output(kind="image", annotations={"A.b": "c"})),
    ],
)
def test_an_output_is_read(text: str, meant: Output) -> None:
    assert parse_output(text) == meant


@pytest.mark.parametrize(
    ("text", "reason", "hint"),
    [
        ("", "empty", "directory"),
        ("dest=x", "no type", "type="),
        ("type=imag", "imag", "did you mean image"),
        ("type=oci,dset=x", "dset", "did you mean dest"),
        ("type=local", "directory", "dest=DIR"),
        ("type=tar,dest=a,dest=b", "twice", ""),
        ("type=image,push=maybe", "true or false", ""),
        ("type=oci,compression=lz4", "lz4", "gzip"),
        ("type=oci,tar=false", "directory", "dest=DIR"),
        ("type=image,oci-mediatypes=false", "OCI", ""),
        ("type=image,annotation=x", "key", "annotation.KEY"),
        ('type=tar,"dest=a', "malformed", ""),
    ],
)
def test_a_wrong_output_is_refused(text: str, reason: str, hint: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_output(text)
    assert reason in str(raised.value)
    assert hint in raised.value.hint


def test_two_outputs_do_not_share_a_place() -> None:
    check_outputs([parse_output("type=docker"), parse_output("type=image"), parse_output("a"), parse_output("b")])
    with pytest.raises(UsageError, match="two outputs go to -"):
        check_outputs([parse_output("-"), parse_output("type=oci")])
