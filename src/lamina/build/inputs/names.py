"""What the text of a context or of an ADD source means: a git repository, an address on the web, or a local path.

The rules are BuildKit's (the git reference of its Dockerfile frontend): a URL is a repository's if its path ends with
`.git` or its scheme is `git` or `ssh`, or if it is written as `user@host:path`; `#REF:SUBDIR` or a query follows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlsplit

from lamina.errors import InvalidInput

_SCP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9\[][A-Za-z0-9_.:\[\]-]*?:(?!//)[^\s#]+")
_BOOLEANS = {"": True, "1": True, "true": True, "0": False, "false": False}
_FULL_COMMIT = re.compile("[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True, slots=True)
class GitRemote:
    """A repository, and what is wanted of it.

    `url` is what git is given; `ref` a branch, tag, full ref or commit, "" for the remote's HEAD; `subdirectory` the
    part that is taken, "" for all. `commit` is what `ref` has to be, "" for anything. `keep_git_dir` None means that
    the caller decides.
    """

    url: str
    ref: str = ""
    subdirectory: str = ""
    commit: str = ""
    keep_git_dir: bool | None = None
    submodules: bool = True

    @property
    def shown(self) -> str:
        """The repository for people: without user and password."""
        return without_secrets(self.url)


def parse_git(text: str) -> GitRemote | None:
    """Return the repository that `text` names, or None where it names none. Raises InvalidInput for a broken one."""
    url, _, fragment = text.partition("#")
    if url.startswith("github.com/"):
        url = f"https://{url}"
    scheme = url.partition("://")[0] if "://" in url else ""
    query = ""
    if scheme in ("http", "https", "git", "ssh", "file"):
        url, _, query = url.partition("?")
        if scheme.startswith("http") and not urlsplit(url).path.endswith(".git"):
            return None
    elif scheme or not _SCP.fullmatch(url):
        return None
    return with_fragment(_with_query(GitRemote(url), query), fragment)


def with_fragment(remote: GitRemote, fragment: str) -> GitRemote:
    """Return the repository with what `REF:SUBDIR` says."""
    ref, _, subdirectory = fragment.partition(":")
    return _checked(replace(remote, ref=ref or remote.ref, subdirectory=subdirectory.strip("/") or remote.subdirectory))


def is_web(text: str) -> bool:
    """Tell whether `text` is an address on the web."""
    return text.startswith(("http://", "https://"))


def is_remote(text: str) -> bool:
    """Tell whether a source of ADD comes from outside: from the web, or out of a repository."""
    return is_web(text) or parse_git(text) is not None


def without_secrets(url: str) -> str:
    """Return an address for people: without user and password, and without the values of a query."""
    parts = urlsplit(url)
    if not parts.scheme:
        return url
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="…" if parts.query else "", fragment="")
    return shown.geturl()


def is_commit(ref: str) -> bool:
    """Tell whether `ref` is a whole commit id."""
    return _FULL_COMMIT.fullmatch(ref) is not None


def _with_query(remote: GitRemote, query: str) -> GitRemote:
    for name, value in parse_qsl(query, keep_blank_values=True):
        match name:
            case "ref":
                remote = replace(remote, ref=value)
            case "branch":
                remote = replace(remote, ref=f"refs/heads/{value}")
            case "tag":
                remote = replace(remote, ref=f"refs/tags/{value}")
            case "commit" | "checksum":
                remote = replace(remote, commit=value.lower())
            case "subdir":
                remote = replace(remote, subdirectory=value.strip("/"))
            case "keep-git-dir" if value.lower() in _BOOLEANS:
                remote = replace(remote, keep_git_dir=_BOOLEANS[value.lower()])
            case "submodules" if value.lower() in _BOOLEANS:
                remote = replace(remote, submodules=_BOOLEANS[value.lower()])
            case _:
                known = "ref, branch, tag, commit, subdir, keep-git-dir, submodules"
                raise InvalidInput("read the address", remote.shown, f"{name}={value}: expected {known}")
    return remote


def _checked(remote: GitRemote) -> GitRemote:
    # A ref or an address that looks like an option would be one to git.
    for value in (remote.ref, remote.url, remote.commit):
        if value.startswith("-") or any(c.isspace() or not c.isprintable() for c in value):
            raise InvalidInput("read the address", remote.shown, f"{value!r} can be no name in a repository")
    return replace(remote, commit=remote.ref) if is_commit(remote.ref) and not remote.commit else remote
