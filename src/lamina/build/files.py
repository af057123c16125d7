"""Jobs of COPY, ADD and WORKDIR that need the right ids: finding, digesting and copying files between unions.

They run in a worker (`lamina.ids.worker`), so all arguments and results are plain data: paths are `str` as os.fsdecode
makes them, with `/` for the root of a tree. A tree is a list of directories, base first: a stage's layers, or one
directory of the host. Files go through our own union, in the process: nothing is mounted, and what a link in a layer
says stays within the tree.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import time
from functools import partial

from lamina.build.digests import Digests
from lamina.build.dockerfile.modes import Mode, parse_mode
from lamina.build.select import Selected, Selection
from lamina.build.steady import Steady, described, digest_file
from lamina.errors import InvalidInput
from lamina.events import ignore as ignore_event
from lamina.ids.worker import Fd
from lamina.layer import jobs
from lamina.linux.files import copy_data
from lamina.linux.xattr import listxattr
from lamina.overlay.union.union import Union
from lamina.runtime import users
from lamina.tar.compress import Decompressed

_MAX_LINKS = 40  # as the kernel


def digest_sources(
    *, layers: list[str], ignore: str, sources: list[str], exclude: list[str], parents: bool, table: str = ""
) -> dict[str, list[list[str]]]:
    """Return what a COPY would take: `files` as [path below the source, mode, digest, `steady.described`], in order.

    Beside it `looked_at`: a list of the directories whose names counted, and one of the files that the sources name.
    A digest is of type and content, without times and owners. `ignore` is the text of a .dockerignore, `table` the file
    where digests are remembered (`digests`). Raises InvalidInput for a source that does not exist.
    """
    digests = Digests(table)
    with Union(layers) as tree:
        found, tops = [], []
        selection = Selection(tree, ignore=ignore, exclude=exclude, parents=parents)
        for selected in selection.of(sources):
            path = selected.path
            if selected.follow:
                tops.append(path)
            began = time.time_ns()
            status = tree.stat(path, follow_symlinks=selected.follow)
            if stat.S_ISREG(status.st_mode):
                content = digests.of(status, partial(digest_file, tree, path, status))
            else:
                content = digest_file(tree, path, status)
            found.append([path, f"{stat.S_IMODE(status.st_mode):04o}", content, described(status, began)])
    digests.save()
    return {"files": found, "looked_at": [sorted(selection.listed), tops]}


def copy_sources(
    *,
    layers: list[str],
    ignore: str,
    sources: list[str],
    exclude: list[str],
    parents: bool,
    below: list[str],
    upper: str,
    destination: str,
    owner: list[int],
    mode: str,
    created: int,
    userxattr: bool,
    single_id: bool,
    rows: list[list[str]] | None = None,
) -> None:
    """Copy the sources into the union of `below` and `upper`, where `destination` is absolute.

    One that ends with a slash is a directory. `owner` is [uid, gid], or empty to keep what the files have; `mode` as
    --chmod has it, or empty. Directories that are made get `created` for their time, in nanoseconds, or now if it is 0.
    With `rows`, the `files` of `digest_sources`, InvalidInput names a file that is not what was digested.
    """
    with Union(layers) as source, Union(below, upper=upper, userxattr=userxattr, sync=False) as target:
        selected = list(Selection(source, ignore=ignore, exclude=exclude, parents=parents).of(sources))
        copier = Copier(source, target, owner=owner, mode=parse_mode(mode) if mode else None, created=created)
        copier.single_id = single_id
        if rows is not None:
            copier.steady = Steady(rows)
            copier.steady.check_names(each.path for each in selected)
        copier.copy(selected, destination)


def make_directory(
    *, below: list[str], upper: str, path: str, owner: list[int], created: int, userxattr: bool, single_id: bool
) -> None:
    """Make the directory `path`, with its parents, where there is none (WORKDIR)."""
    with Union(below, upper=upper, userxattr=userxattr, sync=False) as target:
        copier = Copier(target, target, owner=owner, mode=None, created=created)
        copier.single_id = single_id
        path = copier.resolve(path)
        if not target.exists(path):
            copier.make_directories(path)
            copier.finish_times()


def is_file(*, layers: list[str], path: str) -> bool:
    """Return whether `path` is a regular file of a tree, links followed."""
    with Union(layers) as tree:
        return tree.is_file(path)


def which_are_archives(*, layers: list[str], sources: list[str]) -> list[str]:
    """Return those sources that are regular files with a tar archive in them, compressed or not."""
    with Union(layers) as tree:
        return [source for source in sources if _is_archive(tree, posixpath.normpath("/" + source))]


def expand_sources(*, layers: list[str], ignore: str, sources: list[str]) -> list[str]:
    """Return the sources with what stands for those that have wildcards; `ignore` is the text of a .dockerignore."""
    with Union(layers) as tree:
        selection = Selection(tree, ignore=ignore, exclude=[], parents=False)
        return [name for source in sources for name in selection.names(source)]


def _is_archive(tree: Union, path: str) -> bool:
    if not tree.is_file(path):
        return False
    fd = tree.os_open(path, os.O_RDONLY)
    try:
        start = Decompressed(fd).read()[:512]
    except (InvalidInput, OSError):
        return False
    finally:
        os.close(fd)
    return start[257:262] == b"ustar"


def unpack_archive(
    *, layers: list[str], source: str, staging: str, space: str, single_id: bool, row: list[str] | None = None
) -> None:
    """Unpack an archive of the tree into `staging`/tree; `row` is what `digest_sources` said of it, to be held to."""
    path = posixpath.normpath("/" + source)
    with Union(layers) as tree:
        fd = tree.os_open(path, os.O_RDONLY)
        before = os.fstat(fd)
        try:
            jobs.apply_layer(
                stream=Fd(fd),
                staging=staging,
                below=[],
                owners_below=[],
                space=space,
                single_id=single_id,
                expected_diff_id="",
                on_event=ignore_event,
            )
            if row is not None:
                steady = Steady([row])
                if not steady.check(path, before, os.fstat(fd)):
                    steady.compare(path, tree, path, before)
        finally:
            os.close(fd)


def write_documents(*, directory: str, documents: list[list[str]], mode: str) -> None:
    """Write here-documents as files [name, content] into a new directory, a source for `copy_sources`."""
    os.mkdir(directory, 0o755)
    for name, content in documents:
        with open(os.path.join(directory, os.path.basename(name)), "xb") as file:
            file.write(content.encode("utf-8", "surrogateescape"))
            os.fchmod(file.fileno(), int(mode, 8))


def find_owner(*, layers: list[str], owner: str) -> list[int]:
    """Return [uid, gid] of --chown's text by the passwd and group of a tree; a name without a group gives its own.

    Raises InvalidInput for an unknown name.
    """
    name, colon, _ = owner.partition(":")
    with Union(layers) as tree:
        user = users.resolve(owner, _database(tree, "/etc/passwd"), _database(tree, "/etc/group"))
    if not colon and name.isdecimal() and user.gid == 0:
        return [user.uid, user.uid]  # as docker: a lone number is the group, too
    return [user.uid, user.gid]


def _database(tree: Union, path: str) -> bytes:
    try:
        return tree.read_bytes(path) if tree.is_file(path) else b""
    except OSError:
        return b""


class Copier:
    """Copies files from one union to another."""

    def __init__(self, source: Union, target: Union, *, owner: list[int], mode: Mode | None, created: int) -> None:
        self._source = source
        self._target = target
        self._owner = owner
        self._mode = mode
        self._created = created
        self._links: dict[tuple[int, int], str] = {}
        # The root keeps its time unless something is made in it: what is copied up into it does not count.
        self._times: dict[str, int] = {"/": target.stat("/").st_mtime_ns}
        self._copied: set[str] = set()  # directories whose times are those of what was copied
        self.single_id = False
        self.steady: Steady | None = None

    def copy(self, selected: list[Selected], destination: str) -> None:
        """Copy everything; a lone file goes to the destination itself unless that is a directory.

        Links in the destination are followed within the tree, a last one too. Nothing to copy makes nothing.
        """
        if not selected:
            return
        slash = "/" if destination.endswith("/") else ""
        destination = self.resolve(destination).rstrip("/") + slash or "/"
        tops = [each for each in selected if "/" not in each.place]
        lone = len(tops) == 1 and tops[0].follow and tops[0].place != "" and not destination.endswith("/")
        if lone and not self._target.is_dir(destination):
            self.make_directories(posixpath.dirname(destination) or "/")
            self.copy_one(tops[0], destination)
        else:
            self.make_directories(destination.rstrip("/") or "/")
            for each in selected:
                self._copy_to(each, destination)
        self.finish_times()

    def resolve(self, path: str) -> str:
        """Return an absolute path with all links of the target followed; what does not exist may be in it."""
        found, left, hops = "/", path.split("/")[::-1], 0
        while left:
            part = left.pop()
            if part in {"", "."}:
                continue
            if part == "..":
                found = posixpath.dirname(found)
                continue
            step = posixpath.join(found, part)
            if not self._target.is_symlink(step):
                found = step
                continue
            hops += 1
            if hops > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            link = os.fsdecode(self._target.readlink(step))
            found = "/" if link.startswith("/") else found
            left += link.split("/")[::-1]
        return found

    def finish_times(self) -> None:
        """Give directories their times, now that nothing more is made in them."""
        for path in sorted(self._times, key=lambda path: path.count("/"), reverse=True):
            self._target.utime(path, ns=(self._times[path], self._times[path]))

    def _copy_to(self, each: Selected, destination: str) -> None:
        path = posixpath.join(destination, each.place) if each.place else destination.rstrip("/") or "/"
        if posixpath.dirname(each.place):
            self.make_directories(posixpath.dirname(path))
        elif each.follow and each.place:
            self._write_into(posixpath.dirname(path))
        if each.place or not self._source.is_dir(each.path):
            self.copy_one(each, path)
        elif each.path != "/":  # of a directory whose content is copied, the time alone goes with it
            self._times[path] = self._source.stat(each.path).st_mtime_ns
            self._copied.add(path)

    def _write_into(self, directory: str) -> None:
        """Give a directory the time of the making: after one was copied there, another source leaves a file in it."""
        if directory in self._copied:
            self._copied.remove(directory)
            self._times[directory] = self._created or time.time_ns()

    def make_directories(self, path: str) -> None:
        """Make `path` and its parents as directories of root, or of --chown's user, with mode 0755 or --chmod's."""
        missing = []
        while path != "/" and not self._target.exists(path):
            missing.append(path)
            path = posixpath.dirname(path)
        if not self._target.is_dir(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        if self._created and path not in self._copied:  # what is made in it would leave the time of the making
            self._times[path] = self._created
        mode = self._mode.apply(0o755, is_directory=True) if self._mode else 0o755
        for each in reversed(missing):
            inherited = stat.S_IMODE(self._target.stat(posixpath.dirname(each)).st_mode) & stat.S_ISGID
            self._target.mkdir(each, 0o755)
            self._give(each, *(self._owner or (0, 0)))
            self._target.chmod(each, mode | inherited)
            if self._created:
                self._times[each] = self._created

    def copy_one(self, each: Selected, target: str) -> None:
        path = each.path
        status = self._source.stat(path, follow_symlinks=each.follow)
        if stat.S_ISDIR(status.st_mode):
            self._hold(path, target, status)
            self._copy_directory(status, path, target)
            return
        key = (status.st_dev, status.st_ino)
        linked = status.st_nlink > 1 and key in self._links
        if stat.S_ISREG(status.st_mode) and not linked:
            try:
                self._copy_file(status, path, target)
            except FileExistsError:
                self._make_way(target)
                self._copy_file(status, path, target)
            self._links[key] = target
            return
        self._make_way(target)
        if linked:
            self._target.link(self._links[key], target)
            self._hold(path, target, status)
            return
        if stat.S_ISLNK(status.st_mode):
            self._target.symlink(self._source.readlink(path), target)
        elif stat.S_ISSOCK(status.st_mode):
            return  # of a running program: it means nothing in a layer
        else:
            self._target.mknod(target, status.st_mode, status.st_rdev)
        self._links[key] = target
        self._finish(status, path, target)
        self._hold(path, target, status)

    def _hold(self, path: str, target: str, *looks: os.stat_result) -> None:
        """Refuse what is not as it was digested: by its looks, or else by its copy."""
        if self.steady is not None and not self.steady.check(path, *looks):
            self.steady.compare(path, self._target, target, looks[0])

    def _make_way(self, target: str) -> None:
        """Remove what is at `target`, if anything is; a directory is no thing to be replaced."""
        if self._target.lexists(target):
            if self._target.is_dir(target) and not self._target.is_symlink(target):
                raise IsADirectoryError(errno.EISDIR, "a directory is in the way", target)
            self._target.unlink(target)

    def _copy_file(self, status: os.stat_result, path: str, target: str) -> None:
        """Copy a file, and give what `_finish` gives through its descriptor: that is one walk instead of five."""
        reading = self._source.os_open(path, os.O_RDONLY)
        try:
            writing = self._target.os_open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                copy_data(reading, writing)
                if not self.single_id:
                    os.fchown(writing, *(self._owner or (status.st_uid, status.st_gid)))
                os.fchmod(writing, self._mode_for(status))
                for name in listxattr(reading):
                    if _is_copied(os.fsdecode(name)):
                        self._target.setxattr(target, name, self._source.getxattr(path, name))
                os.utime(writing, ns=(status.st_mtime_ns, status.st_mtime_ns))
            finally:
                os.close(writing)
            if self.steady is not None:
                self._hold(path, target, status, os.fstat(reading))
        finally:
            os.close(reading)

    def _copy_directory(self, status: os.stat_result, path: str, target: str) -> None:
        if self._target.is_dir(target):
            if self._target.is_symlink(target):
                return  # what is below goes where the link leads
        elif self._target.lexists(target):
            raise NotADirectoryError(errno.ENOTDIR, "a file is in the way of a directory", target)
        else:
            self._target.mkdir(target, 0o700)
        self._finish(status, path, target)

    def _finish(self, status: os.stat_result, path: str, target: str) -> None:
        """Give owner, mode, xattrs and times, in this order: a change of owner clears set-id bits and capabilities."""
        self._give(target, *(self._owner or (status.st_uid, status.st_gid)))
        if not stat.S_ISLNK(status.st_mode):
            self._target.chmod(target, self._mode_for(status))
        for name in self._source.listxattr(path, follow_symlinks=False):
            if _is_copied(name):
                value = self._source.getxattr(path, name, follow_symlinks=False)
                self._target.setxattr(target, name, value, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            self._times[target] = status.st_mtime_ns
            self._copied.add(target)
        else:
            self._target.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)

    def _mode_for(self, status: os.stat_result) -> int:
        mode = stat.S_IMODE(status.st_mode)
        return self._mode.apply(mode, is_directory=stat.S_ISDIR(status.st_mode)) if self._mode else mode

    def _give(self, path: str, uid: int, gid: int) -> None:
        if not self.single_id:
            self._target.chown(path, uid, gid, follow_symlinks=False)


def _is_copied(name: str) -> bool:
    """Tell whether an xattr goes with a file: labels and ACLs of the host's own do not."""
    return not name.startswith(("security.selinux", "system.nfs4"))
