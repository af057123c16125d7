"""Git repositories as inputs of a build: one commit, checked out by the `git` program.

Fetched shallowly where the server can. Git asks nobody anything, runs no hooks, reads no configuration of the user or
the machine, and speaks only protocols that run nothing here: git, http, https and ssh, and file for a repository that
was itself given as a path. Files get the commit's time, so that the same commit is the same input.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from lamina.build.inputs.names import GitRemote, is_commit
from lamina.build.secretfiles import read_secret
from lamina.errors import InvalidInput, NotFound, Unsupported

_PASSED = ("PATH", "HOME", "SSH_AUTH_SOCK", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
_CONFIG = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.autocrlf": "false",
    "protocol.allow": "never",
    "init.defaultBranch": "main",
    "advice.detachedHead": "false",
    "gc.auto": "0",
    "fetch.recurseSubmodules": "false",
}
_PROTOCOLS = ("git", "http", "https", "ssh")


@dataclass(frozen=True, slots=True)
class Git:
    """The git program with its surroundings. `secrets` are files: GIT_AUTH_TOKEN and GIT_AUTH_HEADER, as BuildKit has
    them, also with `.HOST` after them. `on_line` takes what git says."""

    environ: Mapping[str, str]
    secrets: Mapping[str, str | bytes]
    on_line: Callable[[str], None]

    def resolve(self, remote: GitRemote) -> str:
        """Return the commit that is meant. Raises NotFound where the repository has no such ref."""
        if is_commit(remote.ref):
            return remote.ref
        output = self._git(remote, "ls-remote", "--", remote.url)
        listed = dict(line.split("\t", 1)[::-1] for line in output.splitlines() if "\t" in line)
        ref = remote.ref or "HEAD"
        for name in (ref, f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/{ref}"):
            commit = listed.get(f"{name}^{{}}", listed.get(name))
            if commit:
                return _checked(remote, commit)
        known = [name.removeprefix("refs/heads/") for name in listed if name.startswith("refs/heads/")]
        hint = f"its branches are {', '.join(known[:8])}" if known else ""
        raise NotFound("fetch", f"{ref} of {remote.shown}", "the repository has no such branch or tag", hint)

    def check_out(self, remote: GitRemote, commit: str, directory: str, *, keep_git_dir: bool) -> str:
        """Make `directory` with the files of `commit`, and return the path of the part that is wanted in it.

        Raises InvalidInput where the ref has moved since it was resolved, and for a subdirectory that is none.
        """
        self._git(remote, "init", "-q", "--", directory)
        self._in(remote, directory, "remote", "add", "origin", remote.url)
        self._fetch(remote, commit, directory)
        self._in(remote, directory, "checkout", "-q", "--detach", commit)
        if remote.submodules and os.path.lexists(os.path.join(directory, ".gitmodules")):
            self._in(remote, directory, "submodule", "update", "--init", "--recursive", "--depth=1", "-q")
        seconds = int(self._in(remote, directory, "log", "-1", "--format=%ct", commit))
        if not keep_git_dir:
            _remove_git_dirs(directory)
        set_times(directory, seconds * 1_000_000_000)
        return _subdirectory(remote, directory)

    def _fetch(self, remote: GitRemote, commit: str, directory: str) -> None:
        """Fetch the one commit; a server that can do neither shallow clones nor single commits sends everything."""
        wanted = commit if is_commit(remote.ref) else remote.ref or "HEAD"
        everything = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
        attempts = (("--depth=1", "--no-tags", "origin", wanted), ("--no-tags", "origin", *everything))
        for number, words in enumerate(attempts, 1):
            try:
                self._in(remote, directory, "fetch", "-q", *words)
                break
            except InvalidInput:
                if number == len(attempts):
                    raise
        try:
            self._in(remote, directory, "cat-file", "-e", f"{commit}^{{commit}}")
        except InvalidInput as error:
            raise InvalidInput("fetch", remote.shown, f"{remote.ref or 'HEAD'} is no longer {commit}") from error

    def _in(self, remote: GitRemote, directory: str, *words: str) -> str:
        return self._git(remote, "-C", directory, *words)

    def _git(self, remote: GitRemote, *words: str) -> str:
        program = shutil.which("git", path=self.environ.get("PATH", os.defpath))
        if program is None:
            raise Unsupported("fetch", remote.shown, "there is no git here", "install the package git")
        done = subprocess.run(
            [program, *words],
            env=self._environment(remote),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            umask=0o022,
            check=False,
        )
        said = done.stderr.decode("utf-8", "replace").splitlines()
        for line in said:
            self.on_line(line)
        if done.returncode:
            reason = next((line for line in said if line.startswith(("fatal: ", "error: "))), said[-1] if said else "")
            raise InvalidInput("fetch", remote.shown, f"git: {reason.partition(': ')[2] or reason or done.returncode}")
        return done.stdout.decode("utf-8", "surrogateescape").strip()

    def _environment(self, remote: GitRemote) -> dict[str, str]:
        passed = {name: self.environ[name] for name in _PASSED if name in self.environ}
        passed |= {name: value for name, value in self.environ.items() if name.lower() in _PROXIES}
        protocols = [*_PROTOCOLS, *(["file"] if remote.url.startswith("file://") else [])]
        config = {
            **_CONFIG,
            **{f"protocol.{name}.allow": "always" for name in protocols},
            **self._authorization(remote),
        }
        numbered = dict(enumerate(config.items()))
        return {
            **passed,
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "SSH_ASKPASS": "/bin/false",
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_COUNT": str(len(numbered)),  # not as words of the command line, which everybody can read
            **{f"GIT_CONFIG_KEY_{number}": name for number, (name, _) in numbered.items()},
            **{f"GIT_CONFIG_VALUE_{number}": value for number, (_, value) in numbered.items()},
        }

    def _authorization(self, remote: GitRemote) -> dict[str, str]:
        parts = urlsplit(remote.url)
        if parts.scheme not in ("http", "https"):
            return {}
        host = parts.netloc.rpartition("@")[2]
        header = self._secret("GIT_AUTH_HEADER", host)
        token = self._secret("GIT_AUTH_TOKEN", host)
        if not header and token:
            header = "basic " + base64.b64encode(f"x-access-token:{token}".encode()).decode()
        return {f"http.{parts.scheme}://{host}/.extraheader": f"Authorization: {header}"} if header else {}

    def _secret(self, name: str, host: str) -> str:
        secret = self.secrets.get(f"{name}.{host}") or self.secrets.get(name)
        return "" if secret is None else read_secret(secret).decode("utf-8", "surrogateescape").strip()


def set_times(top: str, nanoseconds: int) -> None:
    """Give everything in the directory `top`, and itself, one time."""
    for directory, _, names in os.walk(top, topdown=False):
        for name in names:
            os.utime(os.path.join(directory, name), ns=(nanoseconds, nanoseconds), follow_symlinks=False)
        os.utime(directory, ns=(nanoseconds, nanoseconds))


def _checked(remote: GitRemote, commit: str) -> str:
    if not is_commit(commit):
        raise InvalidInput("fetch", remote.shown, f"{commit!r} is no commit")
    if remote.commit and not commit.startswith(remote.commit):
        raise InvalidInput("fetch", remote.shown, f"{remote.ref or 'HEAD'} is {commit}, not {remote.commit}")
    return commit


def _remove_git_dirs(top: str) -> None:
    """Remove what belongs to git: the repository, and in submodules the files that point to it."""
    for directory, names, files in os.walk(top):
        if ".git" in names:
            shutil.rmtree(os.path.join(directory, ".git"))
            names.remove(".git")
        if ".git" in files:
            os.unlink(os.path.join(directory, ".git"))


def _subdirectory(remote: GitRemote, directory: str) -> str:
    if not remote.subdirectory:
        return directory
    # The repository is foreign: a link in it must not lead out of the checkout.
    path = os.path.realpath(os.path.join(directory, remote.subdirectory))
    inside = os.path.commonpath((os.path.realpath(directory), path)) == os.path.realpath(directory)
    if not inside or not os.path.isdir(path):
        reason = "there is no such directory in it" if inside else "it leads out of the repository"
        raise InvalidInput("take", f"{remote.subdirectory} of {remote.shown}", reason)
    return path
