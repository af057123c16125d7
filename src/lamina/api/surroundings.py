"""What the API, an edge of the program, reads of its surroundings: environment, user, clock, and this machine."""

from __future__ import annotations

import os
import time

from lamina.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.store.images import ImageRecord

_SECOND = 1_000_000_000


def store_root(root: str | os.PathLike[str] | None) -> str:
    """Return the absolute path of the store: `root`, or LAMINA_ROOT, or the user's own place."""
    named = os.fspath(root) if root is not None else os.environ.get("LAMINA_ROOT")
    if named:
        return os.path.abspath(named)
    if os.geteuid() == 0:
        return "/var/lib/lamina"
    data = os.environ.get("XDG_DATA_HOME", "")
    # A relative one is to be ignored (XDG Base Directory Specification).
    base = data if data.startswith("/") else os.path.expanduser("~/.local/share")
    return os.path.join(base, "lamina")


def now() -> int:
    """Return the time to write into images: SOURCE_DATE_EPOCH if it is set, else the clock; nanoseconds."""
    told = source_date_epoch()
    return time.time_ns() if told is None else told


def source_date_epoch() -> int | None:
    """Return the time that SOURCE_DATE_EPOCH of the environment says, in nanoseconds; None where it is not set."""
    told = os.environ.get("SOURCE_DATE_EPOCH", "")
    return parse_epoch(told) if told else None


def parse_epoch(text: str) -> int:
    """Return the nanoseconds that a number of seconds means (UsageError)."""
    if not (text.isascii() and text.isdigit() and len(text) <= 11):
        raise UsageError("use", "SOURCE_DATE_EPOCH", f"{text!r} is not a number of seconds")
    return int(text) * _SECOND


def this_machine() -> str:
    """Return a name for this machine that stays the same: what ties a change over its root to it.

    machine-id(5) is not to be shown to others, so it is hashed.
    """
    from hashlib import sha256

    try:
        with open("/etc/machine-id", "rb") as file:
            told = file.read().strip()
    except OSError:
        told = b""
    return sha256(b"lamina " + (told or os.fsencode(os.uname().nodename))).hexdigest()[:32]


def host_record() -> ImageRecord:
    """Return the image that this machine's own root is: no layers, no documents."""
    from lamina.oci.digest import BlobDigest, ImageId
    from lamina.oci.machines import platform_name
    from lamina.store.images import ImageRecord

    return ImageRecord(
        manifest=BlobDigest(""),
        media_type="",
        image_id=ImageId(""),
        created=0,
        platform=platform_name(os.uname().machine),
        layers=[],
        blobs=[],
        host=this_machine(),
        env=[],
        entrypoint=[],
        cmd=["sh"],
        user="",
        workdir="",
        volumes=[],
        stop_signal="",
    )
