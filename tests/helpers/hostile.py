"""Layers that attack: what they hold, and what has to come of them."""

from __future__ import annotations

from lamina.tar import entry as kinds
from tests.helpers.archives import directory, hardlink, item, symlink

_DEEP = b"/".join([b"d"] * 600)

#: What a layer holds, and a word of the refusal, or "" where it is taken and does no harm.
LAYERS: dict[str, tuple[bytes, str]] = {
    # Names that lead out
    "upwards": (item(b"../evil"), "upwards"),
    "upwards, twice": (item(b"../../evil"), "upwards"),
    "upwards in the middle": (item(b"a/../../evil"), "upwards"),
    "upwards at the end": (directory(b"a/.."), "upwards"),
    "upwards from a link": (item(b"out/../evil"), "upwards"),
    "absolute": (item(b"/evil", content=b"x"), ""),
    "absolute, many slashes": (item(b"///evil", content=b"x"), ""),
    "dot names": (item(b"././evil", content=b"x"), ""),
    "NUL in a long name": (item(b"n" * 120, content=b"x"), ""),
    "component too long": (item(b"n" * 256), "too long"),
    "very deep": (item(_DEEP + b"/f", content=b"x"), ""),
    "not UTF-8": (item(b"\xff\xfe", content=b"x"), ""),
    "newline": (item(b"a\nb", content=b"x"), ""),
    "escape sequence": (item(b"\x1b[2J", content=b"x"), ""),
    # Links
    "link out, and through it": (symlink(b"l", b"/") + item(b"l/evil", content=b"x"), ""),
    "link up, and through it": (symlink(b"l", b"../../..") + item(b"l/evil", content=b"x"), ""),
    "through a link of the base": (item(b"out/evil", content=b"x"), ""),
    "directory over a link of the base": (directory(b"out") + item(b"out/evil", content=b"x"), ""),
    "link, then file": (symlink(b"l", b"/etc/passwd") + item(b"l", content=b"x"), ""),
    "link, then directory": (symlink(b"l", b"/etc") + directory(b"l") + item(b"l/x", content=b"x"), ""),
    "file, then link": (item(b"l", content=b"x") + symlink(b"l", b"/etc/passwd"), ""),
    "directory, then file": (directory(b"d") + item(b"d/x") + item(b"d", content=b"x"), ""),
    "circle of links": (symlink(b"a", b"b") + symlink(b"b", b"a") + item(b"a/f"), "too many symbolic links"),
    "link to itself": (symlink(b"a", b"a") + item(b"a/f"), "too many symbolic links"),
    "link to /proc": (symlink(b"p", b"/proc/self/root") + item(b"p/evil", content=b"x"), ""),
    "link to a descriptor": (symlink(b"p", b"/proc/self/fd/3") + item(b"p/evil", content=b"x"), ""),
    "empty link": (symlink(b"a", b""), "no usable target"),
    # Hard links
    "hard link upwards": (hardlink(b"a", b"../../evil"), "upwards"),
    "hard link to the host": (hardlink(b"a", b"/etc/shadow"), "not in the layer"),
    "hard link through a link": (symlink(b"l", b"/etc") + hardlink(b"a", b"l/shadow"), "not in the layer"),
    "hard link to a link, then write": (
        symlink(b"l", b"/etc/passwd") + hardlink(b"a", b"l") + item(b"a", content=b"x"), ""),
    "hard link to a directory": (directory(b"d") + hardlink(b"a", b"d"), "directory"),
    "hard link to itself": (hardlink(b"a", b"a"), "not in the layer"),
    "hard link to the top": (hardlink(b"a", b"."), "no usable target"),
    "hard link over its target": (item(b"d/f") + hardlink(b"d", b"d/f"), "its own target"),
    "hard link into the base": (hardlink(b"a", b"etc/layer1"), ""),
    # Whiteouts
    "whiteout of nothing": (item(b".wh."), "names nothing"),
    "whiteout of .": (item(b".wh.."), "names nothing"),
    "whiteout of ..": (item(b".wh..."), "names nothing"),
    "whiteout upwards": (item(b"../.wh.evil"), "upwards"),
    "whiteout through a link": (item(b"out/.wh.passwd"), ""),
    "whiteout of what is not there": (item(b"none/.wh.x"), ""),
    "whiteout as a directory": (item(b".wh.d/f"), "cannot be a directory"),
    "whiteout with content": (item(b"etc/.wh.layer1", content=b"x" * 5000), ""),
    "opaque through a link": (item(b"out/.wh..wh..opq"), ""),
    "opaque top": (item(b".wh..wh..opq"), ""),
    "whiteout of itself": (item(b"f", content=b"x") + item(b".wh.f"), ""),
    # Devices and kinds
    "device": (item(b"sda", kinds.BLOCKDEV, major=8, minor=0), ""),
    "null": (item(b"null", kinds.CHARDEV, major=1, minor=3), ""),
    "device 0:0": (item(b"etc/layer1", kinds.CHARDEV), ""),
    "fifo": (item(b"fifo", kinds.FIFO), ""),
    "file as the top": (item(b".", content=b"x"), "only be a directory"),
    "fifo as the top": (item(b"./", kinds.FIFO), "only be a directory"),
    # Metadata
    "set-id": (item(b"su", content=b"x", mode=0o6755), ""),
    "id -1": (item(b"a", uid=2**32 - 1), "is not an id"),
    "huge id": (item(b"a", gid=2**64), "is not an id"),
    "far future": (item(b"a", mtime=2**62), ""),
    "marks of overlayfs": (directory(b"d", xattrs={b"trusted.overlay.redirect": b"/etc"}), ""),
    "marks of a user's overlayfs": (directory(b"d", xattrs={b"user.overlay.opaque": b"y"}), ""),
    "capability": (item(b"a", xattrs={b"security.capability": b"junk"}), ""),
    "xattr without a name": (item(b"a", xattrs={b"": b"x"}), "xattr"),
    # Duplicates
    "twice": (item(b"a", content=b"1") + item(b"a", content=b"22"), ""),
    "a thousand times": (b"".join(item(b"a", content=b"%d" % n) for n in range(1000)), ""),
    "file as a directory": (item(b"a") + item(b"a/f"), "is not a directory"),
}  # fmt: skip
