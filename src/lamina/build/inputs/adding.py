"""The sources of an ADD that come from outside: what they add to its cache key, and the files that they give."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lamina.build.dockerfile.instructions import Add
from lamina.build.dockerfile.source import DockerfileError, Word
from lamina.build.inputs.gather import Inputs
from lamina.build.inputs.names import is_commit, parse_git
from lamina.build.keys import Part
from lamina.build.progress import Step
from lamina.build.values import Tree
from lamina.errors import InvalidInput, LaminaError

if TYPE_CHECKING:
    from lamina.build.inputs.web import Checksum
    from lamina.build.ops import CopyOp


def remote_parts(inputs: Inputs, operation: CopyOp, step: Step) -> Iterator[Part]:
    """Yield the parts of the key: contents of files, commits of repositories. Raises DockerfileError."""
    _check_checksum(operation)
    for source in operation.remotes:
        with _placed(operation, source):
            yield from inputs.parts(source.text, *_expected(operation, source), step=step)


def remote_trees(inputs: Inputs, operation: CopyOp, step: Step) -> Iterator[tuple[Tree, str]]:
    """Yield a tree and what is taken of it for each source: "." for all of a repository. Raises DockerfileError."""
    for source in operation.remotes:
        checksum, commit = _expected(operation, source)
        with _placed(operation, source):
            if parse_git(source.text) is None:
                yield inputs.file(source.text, checksum, step=step)
            else:
                assert isinstance(operation.step, Add)
                keep = operation.step.keep_git_dir
                yield inputs.check_out(source.text, commit, keep_git_dir=keep, step=step), "."


def _check_checksum(operation: CopyOp) -> None:
    add = operation.step
    if not isinstance(add, Add) or add.checksum is None:
        return
    if len(operation.remotes) != 1 or operation.take.sources or operation.documents:
        reason = "--checksum is for one source, and for one that comes from outside"
        raise DockerfileError(add.source, add.checksum.start, reason)


def _expected(operation: CopyOp, source: Word) -> tuple[Checksum | None, str]:
    """Return what --checksum says of a source: the checksum of a file, or a commit."""
    add = operation.step
    if not isinstance(add, Add) or add.checksum is None:
        return None, ""
    if parse_git(source.text) is None:
        from lamina.build.inputs.web import parse_checksum

        try:
            return parse_checksum(add.checksum.text), ""
        except InvalidInput as error:
            raise DockerfileError(add.source, add.checksum.start, str(error), error.hint) from error
    commit = add.checksum.text.lower()
    if not is_commit(commit):
        raise DockerfileError(add.source, add.checksum.start, f"{add.checksum}: expected the whole id of a commit")
    return None, commit


@contextmanager
def _placed(operation: CopyOp, source: Word) -> Iterator[None]:
    """Give an error about a source its place in the Dockerfile."""
    try:
        yield
    except DockerfileError:
        raise
    except LaminaError as error:
        raise DockerfileError(operation.step.source, source.start, str(error), error.hint) from error
