"""The options of an overlay by their names: which driver knows which, and what stands in mount(8)'s text beside them.

Each driver refuses what it does not know, in one line, before anything is mounted. Our own takes the kernel's options
too, where what they ask for is so already or could not be seen.
"""

from __future__ import annotations

from lamina.errors import Unsupported, UsageError
from lamina.linux import mount as system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from lamina.overlay.stack import Overlay

#: Options about owners, which `lamina.overlay.union.owners` reads.
OWNERS = frozenset(
    {"uidmapping", "gidmapping", "squash_to_root", "squash_to_uid", "squash_to_gid", "owners", "foreign", "hide"}
)

#: The kernel reads large files of layers without asking the server, for whom it allows that.
PASSTHROUGH = "passthrough"

#: What our own driver alone has. The last is made by --trace, those before it by `run host`: nobody is told of them.
_OURS = OWNERS | {PASSTHROUGH, "trace"}
_TOLD = sorted(OWNERS - {"foreign", "hide"} | {PASSTHROUGH})

#: Options of the kernel's driver (filesystems/overlayfs), and which of their values are so in ours: None for all.
_KERNELS: dict[str, tuple[str, ...] | None] = {
    "volatile": ("",),
    "userxattr": ("",),
    "redirect_dir": None,  # followed always, made unless directories are copied (`Overlay.renames`)
    "metacopy": None,  # understood always, never made
    "index": None,  # kept where there is a work directory
    "xino": None,
    "uuid": None,
    "nfs_export": ("off",),
    "verity": ("off",),
    "override_creds": ("",),
    "nooverride_creds": None,
}

#: mount(8)'s words for what is an attribute of the mount, and those that say what is so anyway.
_ATTRIBUTES = {
    "ro": system.MOUNT_ATTR_RDONLY,
    "nosuid": system.MOUNT_ATTR_NOSUID,
    "nodev": system.MOUNT_ATTR_NODEV,
    "noexec": system.MOUNT_ATTR_NOEXEC,
    "noatime": system.MOUNT_ATTR_NOATIME,
    "nodiratime": system.MOUNT_ATTR_NODIRATIME,
}
_AS_IT_IS = frozenset(
    {"rw", "suid", "dev", "exec", "atime", "diratime", "relatime", "defaults", "default_permissions", "auto", "noauto",
     "user", "nouser", "users", "group", "owner", "nofail", "_netdev", "comment", "allow_other", "async", "strictatime",
     "nostrictatime", "norelatime", "lazytime", "nolazytime", "noiversion", "nomand", "silent", "loud"}
)  # fmt: skip


def is_generic(name: str) -> bool:
    """Tell whether a word is mount(8)'s own: an attribute of the mount, or one that changes nothing."""
    return name in _ATTRIBUTES or name in _AS_IT_IS or name.startswith("x-")


def split_generic(overlay: Overlay) -> tuple[Overlay, int]:
    """Return the overlay without mount(8)'s own words, and the MOUNT_ATTR_ flags that they mean."""
    rest = [option for option in overlay.options if not is_generic(option[0])]
    return overlay.with_options(rest), attributes_of(name for name, _ in overlay.options)


def attributes_of(names: Iterable[str]) -> int:
    """Return the MOUNT_ATTR_ flags that mount(8)'s words mean; all others mean none."""
    attributes = 0
    for name in names:
        attributes |= _ATTRIBUTES.get(name, 0)
    return attributes


def check_known(options: Iterable[tuple[str, str]]) -> None:
    """Raise UsageError for an option that no driver knows."""
    for name, value in options:
        if name not in _OURS and name not in _KERNELS and not is_generic(name):
            hint = f"known are {', '.join([*_TOLD, *_KERNELS])}, and mount(8)'s {', '.join(_ATTRIBUTES)}"
            raise UsageError("", f"-o {name}={value}" if value else f"-o {name}", "unknown option", hint)


def check_ours(options: Iterable[tuple[str, str]]) -> None:
    """Raise UsageError for an option that our own driver does not know, Unsupported for one that it cannot keep."""
    kept = list(options)
    check_known(kept)
    for name, value in kept:
        if name == PASSTHROUGH and value:
            raise UsageError("read the option", f"{name}={value}", "it takes no value")
        values = _KERNELS.get(name)
        if values is not None and value not in values:
            asked = f"{name}={value}" if value else name
            raise Unsupported("mount by our own driver with", f"-o {asked}", "only the kernel's driver has that")
