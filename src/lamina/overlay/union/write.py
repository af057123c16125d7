"""Changing the names of the tree: making, linking, removing and renaming entries, as overlayfs does it on disk.

A removed name that lower layers have becomes a whiteout; a directory that takes a whiteout's place is opaque; a renamed
directory that lower layers have remembers by a redirect where they have it, so its rename is never EXDEV. Each change
is one rename or one new entry in the upper, whatever it takes to prepare it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from lamina.linux.files import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT
from lamina.overlay.format import WHITEOUT_PREFIX
from lamina.overlay.union import make
from lamina.overlay.union.branch import DT_DIR, DT_LNK, join
from lamina.overlay.union.copy_up import CopyUp
from lamina.overlay.union.detach import detach
from lamina.overlay.union.lend import lend
from lamina.overlay.union.make import Spec
from lamina.overlay.union.node import UPPER, Directory, Node, Pin
from lamina.overlay.union.tree import Tree, failed
from lamina.overlay.union.upper import Upper, exchange

# What a file system, or its user namespace, answers to RENAME_WHITEOUT where it has none.
_NO_WHITEOUT = (errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP)

_MAX_REDIRECT = 4000  # an attribute of ext4 has at most one block for its value


def _not_kept(_: Node) -> bool:
    return False


class Writer:
    """Changes names of `tree` in its upper. Each method takes the tree's lock.

    `kept` tells whether somebody may still use a node whose last name goes: its inode is then kept open. With
    `copy_renamed` a lower directory that is renamed is copied up with all that is in it, instead of redirected.
    """

    __slots__ = ("_copy_renamed", "_kept", "_tree", "_upper", "copy_up")

    def __init__(
        self, tree: Tree, upper: Upper, *, kept: Callable[[Node], bool] = _not_kept, copy_renamed: bool = False
    ) -> None:
        self._copy_renamed = copy_renamed
        self._tree = tree
        self._upper = upper
        self._kept = kept
        self.copy_up = CopyUp(tree, upper)

    # New names.

    def make(self, parent: Directory, name: bytes, spec: Spec) -> tuple[Node, os.stat_result]:
        """Make a new entry; return its node and state. EEXIST, ENOENT in a removed directory, EINVAL for `.wh.NAME`."""
        tree, upper = self._tree, self._upper
        with tree.lock:
            self._check_new(parent, name)
            self.copy_up.directory(parent)
            listing = tree.listing(parent)
            mark = listing.whiteouts.get(name)
            is_directory = stat.S_ISDIR(spec.mode)
            opaque = is_directory and (mark is not None or name in listing.covered)
            make.make(upper, parent, name, spec, whiteout=mark == name, opaque=opaque)
            self._unmark(parent, name)
            path = join(parent.upper_path(), name)
            st = upper.branch.stat(path)
            ino = tree.numbers.shown(st.st_dev, st.st_ino)
            if is_directory:
                node: Node = Directory(parent, name, [UPPER], ino, [])
                if opaque:
                    node.opacity = b"y"  # type: ignore[attr-defined]  # just made as a Directory
            else:
                node = Node(parent, name, UPPER, stat.S_IFMT(st.st_mode) >> 12, ino)
                node.plain = True
            listing.put(name, node)
            return node, st

    def link(self, node: Node, parent: Directory, name: bytes) -> None:
        """Give a file the further name. EPERM for a directory, ENOENT for a removed file."""
        tree, upper = self._tree, self._upper
        with tree.lock:
            self._check_new(parent, name)
            if isinstance(node, Directory):
                raise failed(errno.EPERM, name)
            self.copy_up.directory(parent)
            self.copy_up.node(node)
            listing = tree.listing(parent)
            path = join(parent.upper_path(), name)
            st = tree.stat(node)
            links = tree.nlink(node, st)
            if listing.whiteouts.get(name) == name:
                with upper.staged() as temp:
                    self._link_to(node, temp, in_work=True)
                    upper.publish(temp, path)
            else:
                self._link_to(node, path, in_work=False)
            self._unmark(parent, name)
            if node.index:
                upper.set_indexed_nlink(node.index, links + 1)
            tree.register(node, st)
            self._copied_from(node.parent, parent)
            if node.pin is not None:  # made without a name (O_TMPFILE): this is its first
                node.parent, node.name, node.pin = parent, name, None
            else:
                node.others += ((parent, name, UPPER),)
            listing.put(name, node)

    def _link_to(self, node: Node, path: bytes, *, in_work: bool) -> None:
        upper = self._upper
        target = upper.work if in_work else upper.branch
        if node.pin is not None:
            with target.near(path) as (fd, name):
                os.link(b"/proc/self/fd/%d" % node.pin.fd, name, dst_dir_fd=fd, follow_symlinks=True)
        else:
            source, old = self._tree.where_upper(node)
            upper.link(source, old, target, path)

    def make_nameless(self, parent: Directory, spec: Spec) -> tuple[Node, os.stat_result]:
        """Make a file without a name (O_TMPFILE), which `link` may give one; it lives as long as its node."""
        tree, upper = self._tree, self._upper
        with tree.lock:
            self._alive(parent)
            self.copy_up.directory(parent)
            if spec.umask is not None and not make.default_acl(upper, parent):
                spec.mode &= ~(spec.umask & 0o777)
            fd = upper.branch.open(parent.upper_path(), os.O_TMPFILE | os.O_RDWR, stat.S_IMODE(spec.mode))
            pin = Pin(fd)
            st = upper.branch.fstat(fd)
            if spec.owner is not None:
                above = upper.branch.stat(parent.upper_path())
                group = -1 if above.st_mode & stat.S_ISGID else spec.owner[1]
                upper.owners.chown(None, b"/proc/self/fd/%d" % fd, spec.owner[0], group)
                if st.st_mode & (stat.S_ISUID | stat.S_ISGID):  # which chown(2) took
                    os.fchmod(fd, stat.S_IMODE(st.st_mode))
                st = upper.branch.fstat(fd)
            node = Node(parent, b"", UPPER, stat.S_IFREG >> 12, tree.numbers.shown(st.st_dev, st.st_ino))
            node.pin = pin
            return node, st

    def _check_new(self, parent: Directory, name: bytes) -> None:
        """Check that the name can be made."""
        if len(name) > 255:
            raise failed(errno.ENAMETOOLONG, name)
        self._alive(parent)
        if name in self._tree.listing(parent):
            raise failed(errno.EEXIST, name)
        if name.startswith(WHITEOUT_PREFIX):
            raise OSError(errno.EINVAL, "a name that starts with .wh. is a whiteout in a layer", os.fsdecode(name))

    @staticmethod
    def _alive(parent: Directory) -> None:
        if parent.dead is not None:
            raise failed(errno.ENOENT, parent.name)

    def _unmark(self, parent: Directory, name: bytes) -> None:
        """Forget the whiteout of a name that exists now; one that is an entry of its own (.wh.NAME) is removed."""
        mark = self._tree.listing(parent).whiteouts.pop(name, name)
        if mark != name:
            with self._upper.branch.near(join(parent.upper_path(), mark)) as (fd, short):
                os.unlink(short, dir_fd=fd)

    def _copied_from(self, old: Directory | None, new: Directory) -> None:
        """Let `new` be known to hold copied-up entries if one may come to it from `old`."""
        if old is not None and old.impure and not new.impure:
            self._upper.set_mark(self._upper.branch, new.upper_path(), b"impure", b"y")
            new.impure = True

    # Names that go.

    def unlink(self, parent: Directory, name: bytes) -> None:
        """Remove a name of a file. EISDIR for a directory."""
        tree = self._tree
        with tree.lock:
            node = tree.lookup(parent, name)
            if isinstance(node, Directory):
                raise failed(errno.EISDIR, name)
            self.copy_up.directory(parent)
            gone = self._before_going(node, parent, name)
            with tree.moves:
                self._hide(parent, name, node)
                if node.kind == DT_LNK:
                    tree.moves.count += 2
                self._after_going(node, parent, name, gone)

    def rmdir(self, parent: Directory, name: bytes) -> None:
        """Remove an empty directory. ENOTDIR, ENOTEMPTY."""
        tree = self._tree
        with tree.lock:
            node = tree.lookup(parent, name)
            if not isinstance(node, Directory):
                raise failed(errno.ENOTDIR, name)
            if len(tree.readable(node)):
                raise failed(errno.ENOTEMPTY, name)
            self.copy_up.directory(parent)
            st = tree.stat(node)
            with tree.moves:
                self._hide(parent, name, node)
                self._bury(node, st)

    def _bury(self, node: Directory, st: os.stat_result) -> None:
        node.dead = st
        node.listing = None
        self._tree.moves.count += 2

    def _hide(self, parent: Directory, name: bytes, node: Node) -> None:
        """Take the name out of the upper, and hide it where lower layers show it."""
        listing = self._tree.listing(parent)
        path = join(parent.upper_path(), name)
        here = self.copy_up.has_name(node, path)
        below = not here or name in listing.covered
        if not here:
            self._write_whiteout(parent, name)
        elif not below:
            self._remove(path, is_directory=node.kind == DT_DIR)
        else:
            self._replace_by_whiteout(parent, name, is_directory=node.kind == DT_DIR)
        listing.remove(name)
        if below:
            listing.covered.add(name)
            listing.whiteouts[name] = name

    def _write_whiteout(self, parent: Directory, name: bytes) -> None:
        if self._upper.whiteout(parent.upper_path(), name):
            parent.opacity = b"x"

    def _remove(self, path: bytes, *, is_directory: bool) -> None:
        with self._upper.branch.near(path) as (fd, name):
            if not is_directory:
                os.unlink(name, dir_fd=fd)
                return
            try:
                os.rmdir(name, dir_fd=fd)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                # Nothing but marks is left in it.
                temp = self._upper.temp()
                work = self._upper.work.fd
                lend(lambda: os.rename(name, temp, src_dir_fd=fd, dst_dir_fd=work), (self._upper.branch, path))
                self._upper.discard(temp)

    def _replace_by_whiteout(self, parent: Directory, name: bytes, *, is_directory: bool) -> None:
        upper = self._upper
        path = join(parent.upper_path(), name)
        try:
            temp = upper.staged_whiteout()
        except PermissionError:  # no devices here: the whiteout comes a moment after the entry went
            self._remove(path, is_directory=is_directory)
            self._write_whiteout(parent, name)
            return
        if is_directory:
            exchange(upper, temp, path)
            upper.discard(temp)
        else:
            upper.publish(temp, path)

    def _before_going(self, node: Node, parent: Directory, name: bytes) -> tuple[int, Pin | None]:
        """Prepare a file for losing a name: return its links, and what keeps it if that was its last known name."""
        tree, upper = self._tree, self._upper
        if node.rank != UPPER and upper.indexed and node.key is not None:
            self.copy_up.node(node)  # as the kernel: the count of links is kept with the copy
        if node.rank != UPPER:
            return 0, None  # a lower file is never gone
        links = tree.nlink(node, tree.stat(node))
        pin = None
        if self._kept(node) and not node.others:
            branch, path = tree.where(node)
            pin = Pin(branch.open(path, os.O_PATH))
        return links, pin

    def _after_going(self, node: Node, parent: Directory, name: bytes, gone: tuple[int, Pin | None]) -> None:
        links, pin = gone
        if node.index:
            if links > 1:
                self._upper.set_indexed_nlink(node.index, links - 1)
            else:
                os.unlink(node.index, dir_fd=self._upper.work.fd)
                node.index = b""
        if node.rank == UPPER and links <= 1:
            self._tree.unregister(node)
        if (node.parent, node.name) != (parent, name):
            node.others = tuple(other for other in node.others if other[:2] != (parent, name))
        elif node.others:
            *rest, (node.parent, node.name, rank) = node.others
            node.others = tuple(rest)
            node.rank = UPPER if node.index else rank  # a copy is what all of its names mean
        else:
            node.pin = pin
            node.gone = True

    # Names that move.

    def rename(
        self, old_parent: Directory, old_name: bytes, new_parent: Directory, new_name: bytes, flags: int = 0
    ) -> None:
        """Rename as renameat2(2) does, with RENAME_NOREPLACE or RENAME_EXCHANGE."""
        if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE) or flags == RENAME_NOREPLACE | RENAME_EXCHANGE:
            raise failed(errno.EINVAL, new_name)
        tree = self._tree
        with tree.lock:
            source = tree.lookup(old_parent, old_name)
            target = tree.find(new_parent, new_name)
            self._check_rename((source, old_parent), (target, new_parent), new_name, flags)
            if source is target:
                return
            for node, parent, name in ((source, old_parent, old_name), (target, new_parent, new_name)):
                if node is not None and (node is source or flags & RENAME_EXCHANGE):
                    self.copy_up.name(node, parent, name)
                    if self._copy_renamed and isinstance(node, Directory) and node.lowers:
                        detach(tree, upper=self._upper, copy_up=self.copy_up, top=node)
            self.copy_up.directory(new_parent)
            self._copied_from(old_parent, new_parent)
            tree.moves.count += 1
            try:
                with tree.moves:
                    if flags & RENAME_EXCHANGE:
                        assert target is not None
                        self._copied_from(new_parent, old_parent)
                        self._swap(source, (old_parent, old_name), target, (new_parent, new_name))
                    else:
                        self._move(source, (old_parent, old_name), target, (new_parent, new_name))
            finally:
                tree.moves.count += 1

    def _check_rename(
        self, old: tuple[Node, Directory], new: tuple[Node | None, Directory], new_name: bytes, flags: int
    ) -> None:
        (source, old_parent), (target, new_parent) = old, new
        self._alive(new_parent)
        if len(new_name) > 255:
            raise failed(errno.ENAMETOOLONG, new_name)
        if new_name.startswith(WHITEOUT_PREFIX):
            raise OSError(errno.EINVAL, "a name that starts with .wh. is a whiteout in a layer", os.fsdecode(new_name))
        # In the order of the kernel's do_renameat2.
        if target is None and flags & RENAME_EXCHANGE:
            raise failed(errno.ENOENT, new_name)
        if target is not None and flags & RENAME_NOREPLACE:
            raise failed(errno.EEXIST, new_name)
        if _is_above(source, new_parent):
            raise failed(errno.EINVAL, new_name)
        if target is not None and _is_above(target, old_parent):
            raise failed(errno.EINVAL if flags & RENAME_EXCHANGE else errno.ENOTEMPTY, new_name)
        if target is None or flags & RENAME_EXCHANGE or source is target:
            return
        if isinstance(source, Directory) and not isinstance(target, Directory):
            raise failed(errno.ENOTDIR, new_name)
        if isinstance(target, Directory):
            if not isinstance(source, Directory):
                raise failed(errno.EISDIR, new_name)
            if len(self._tree.readable(target)):
                raise failed(errno.ENOTEMPTY, new_name)

    def _prepare_moved(self, node: Node, *, covered: bool) -> None:
        """Let a directory that moves keep its own lower ones, and hide those of the name that it gets."""
        if not isinstance(node, Directory):
            return
        upper = self._upper
        if node.lowers:
            if node.origin is None or len(node.origin) > _MAX_REDIRECT:
                raise failed(errno.EXDEV, node.name)
            upper.redirect(node.upper_path(), node.origin)
            node.ranks = [UPPER]
        elif covered and node.opacity != b"y":
            upper.set_mark(upper.branch, node.upper_path(), b"opaque", b"y")
            node.opacity = b"y"

    def _move(
        self, source: Node, old: tuple[Directory, bytes], target: Node | None, new: tuple[Directory, bytes]
    ) -> None:
        tree, upper = self._tree, self._upper
        old_listing, new_listing = tree.listing(old[0]), tree.listing(new[0])
        old_below = old[1] in old_listing.covered
        gone: tuple[int, Pin | None] = (0, None)
        buried = None
        if isinstance(target, Directory):
            buried = tree.stat(target)
        elif target is not None:
            gone = self._before_going(target, *new)
        new_below = new[1] in new_listing.covered or (
            target is not None and not self.copy_up.has_name(target, _path(new))
        )
        self._prepare_moved(source, covered=new_below)
        over_whiteout = new_listing.whiteouts.get(new[1]) == new[1]
        if isinstance(source, Directory) and over_whiteout:
            upper.move(_path(old), _path(new), RENAME_EXCHANGE)
            if not old_below:
                self._remove(_path(old), is_directory=False)
        else:
            if isinstance(target, Directory) and target.rank == UPPER:
                self._empty(_path(new), opaque=new_below)
            self._move_leaving(old, new, whiteout=old_below)
        old_listing.remove(old[1])
        if old_below:
            old_listing.whiteouts[old[1]] = old[1]
        if new_below:
            new_listing.covered.add(new[1])
        self._unmark(*new)
        new_listing.put(new[1], source)
        if isinstance(target, Directory):
            assert buried is not None
            self._bury(target, buried)
        elif target is not None:
            self._after_going(target, *new, gone)
        _rename_node(source, old, new)

    def _move_leaving(self, old: tuple[Directory, bytes], new: tuple[Directory, bytes], *, whiteout: bool) -> None:
        """Move an entry of the upper, and leave a whiteout where it was, in one step if the file system can."""
        if not whiteout:
            self._upper.move(_path(old), _path(new))
            return
        try:
            self._upper.move(_path(old), _path(new), RENAME_WHITEOUT)
        except OSError as error:
            if error.errno not in _NO_WHITEOUT:
                raise
            self._upper.move(_path(old), _path(new))
            self._write_whiteout(*old)

    def _empty(self, path: bytes, *, opaque: bool) -> None:
        """Replace a directory of the upper that holds nothing but marks by an empty one, which a rename can replace."""
        upper = self._upper
        with upper.branch.proc_path(path) as proc, os.scandir(proc) as entries:
            if next(entries, None) is None:
                return
        temp = upper.temp()
        os.mkdir(temp, 0o700, dir_fd=upper.work.fd)
        if opaque:
            upper.set_mark(upper.work, temp, b"opaque", b"y")
        exchange(upper, temp, path)
        upper.discard(temp)

    def _swap(self, source: Node, old: tuple[Directory, bytes], target: Node, new: tuple[Directory, bytes]) -> None:
        tree = self._tree
        old_listing, new_listing = tree.listing(old[0]), tree.listing(new[0])
        self._prepare_moved(source, covered=new[1] in new_listing.covered)
        self._prepare_moved(target, covered=old[1] in old_listing.covered)
        self._upper.move(_path(old), _path(new), RENAME_EXCHANGE)
        old_listing.put(old[1], target)
        new_listing.put(new[1], source)
        _rename_node(source, old, new)
        _rename_node(target, new, old)


def _path(place: tuple[Directory, bytes]) -> bytes:
    return join(place[0].upper_path(), place[1])


def _rename_node(node: Node, old: tuple[Directory, bytes], new: tuple[Directory, bytes]) -> None:
    if (node.parent, node.name) == old:
        node.parent, node.name = new
    else:
        node.others = tuple((*new, UPPER) if other[:2] == old else other for other in node.others)


def _is_above(node: Node, directory: Directory | None) -> bool:
    while directory is not None:
        if directory is node:
            return True
        directory = directory.parent
    return False
