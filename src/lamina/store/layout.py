"""Where everything in a store is, opening it, and its locks.

A store belongs to one user and one id map. `version` is the number of the format that is drawn in the package's
docstring; a program refuses a store that is newer than itself.
"""

from __future__ import annotations

import errno
import fcntl
import os

from lamina.errors import StoreError
from lamina.ids.map import IdMap, check_same
from lamina.store.files import ensure_directory, read_bytes, read_if_present, sync_directory, write_new

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

#: The format that this program reads and writes.
FORMAT = 1

_DIRECTORIES = ("blobs/sha256", "refs", "images", "layers", "containers", "names", "staging")
_OCI_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_EMPTY_INDEX = b'{"manifests":[],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}'


class Layout:
    """The paths of one store, which is open: of a format that we know, and of this id map.

    `root` is absolute. `single_id` says that all files have one owner, and that owners lie in tables beside the layers.
    """

    __slots__ = ("root", "ids")

    def __init__(self, root: str, ids: IdMap) -> None:
        self.root = root
        self.ids = ids

    @property
    def single_id(self) -> bool:
        return self.ids.kind == "single"

    def path(self, *names: str) -> str:
        """Return the path of something in the store."""
        return "/".join((self.root, *names))

    def publishing(self) -> Lock:
        """Return the lock of those who publish or read names and then what they mean: many at once.

        While it is held, nothing is collected. It is held for a few file operations, never while data is copied or a
        user's command runs.
        """
        return Lock(self.path("lock"), fcntl.LOCK_SH)

    def collecting(self) -> Lock:
        """Return the lock of the one who takes away what is not needed: nobody publishes meanwhile."""
        return Lock(self.path("lock"), fcntl.LOCK_EX)

    def indexing(self) -> Lock:
        """Return the lock of the one who rewrites index.json."""
        return Lock(self.path("index.lock"), fcntl.LOCK_EX)


class Lock:
    """A flock(2) on a file, for a `with` block. Each use opens the file anew: threads exclude each other too."""

    __slots__ = ("_path", "_operation", "_fd")

    def __init__(self, path: str, operation: int) -> None:
        self._path = path
        self._operation = operation
        self._fd = -1

    def __enter__(self) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, self._operation)
        except BaseException:
            os.close(self._fd)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)


def open_layout(root: str, ids: IdMap) -> Layout:
    """Open the store at the absolute path `root`, made if there is none.

    Raises StoreError for a store that is newer, damaged, somebody else's or of another id map, and for a directory that
    is not empty and no store.
    """
    layout = open_existing(root, ids)
    if layout is not None:
        return layout
    layout = Layout(root, ids)
    _create(layout)
    _check(layout, _read_version(root))
    return layout


def open_existing(root: str, ids: IdMap) -> Layout | None:
    """Open the store at the absolute path `root` as `open_layout` does, or return None where there is none yet."""
    layout = Layout(root, ids)
    version = _read_version(root)
    if version is None:
        return None
    _check(layout, version)
    return layout


def _check(layout: Layout, version: bytes | None) -> None:
    root = layout.root
    _check_version(root, version)
    _check_owner(root)
    check_same(IdMap.parse(os.fsdecode(read_bytes(layout.path("idmap"))).strip()), layout.ids, root)


def _read_version(root: str) -> bytes | None:
    try:
        return read_if_present(f"{root}/version")
    except PermissionError as error:
        raise StoreError("open the store", root, "it belongs to another user", "name another with --root") from error


def _check_version(root: str, version: bytes | None) -> None:
    text = os.fsdecode(version or b"").strip()
    if not text.isascii() or not text.isdigit():
        raise StoreError("open the store", root, f"its version file says {text!r}")
    if int(text) > FORMAT:
        raise StoreError(
            "open the store",
            root,
            f"its format is {text}, newer than the {FORMAT} of this program",
            "use a newer lamina, or name another store with --root",
        )


def _check_owner(root: str) -> None:
    if not os.access(root, os.W_OK):
        raise StoreError("open the store", root, "it cannot be written", "name another with --root")


def _create(layout: Layout) -> None:
    root = layout.root
    try:
        ensure_directory(os.path.dirname(root))
        _make_private(root)
        with Lock(f"{root}/lock", fcntl.LOCK_EX):
            if read_if_present(f"{root}/version") is None:  # else another process was faster
                _fill(layout)
    except OSError as error:
        # Read-only or full disks, files in the way, missing rights: all are about this one path.
        raise StoreError("make the store", root, error, "name another place with --root or LAMINA_ROOT") from error


def _make_private(root: str) -> None:
    # Names, environments and layers of one user are nobody else's business: 0700, whatever the umask.
    try:
        os.mkdir(root, 0o700)
    except FileExistsError:
        # `version` is there, too, if another process was faster since it was looked for.
        own = {"version", "version.new", "idmap", "lock", "index.lock", "oci-layout", "index.json"}
        strangers = set(os.listdir(root)) - own - {name.partition("/")[0] for name in _DIRECTORIES}
        if strangers:
            raise StoreError(
                "make the store",
                root,
                f"the directory has other files in it ({min(strangers)})",
                "name another with --root",
            ) from None
    os.chmod(root, 0o700)


def _fill(layout: Layout) -> None:
    # What a crash left half made is written again; `version` comes last and makes it a store.
    for name in _DIRECTORIES:
        ensure_directory(layout.path(*name.split("/")))
    contents = {
        "idmap": os.fsencode(f"{layout.ids}\n"),
        "oci-layout": _OCI_LAYOUT,
        "index.json": _EMPTY_INDEX,
        "version.new": b"%d\n" % FORMAT,
    }
    for name, data in contents.items():
        path = layout.path(name)
        try:
            os.unlink(path)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
        write_new(path, data, sync=True)
    os.rename(layout.path("version.new"), layout.path("version"))
    sync_directory(layout.root)
    sync_directory(os.path.dirname(layout.root))
