"""Where this machine's apt gets its packages: sources.list and *.sources, read and chosen from (sources.list(5)).

Everything here is a function of texts; `read_sources` alone reads files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

#: Suites that belong to a release: its updates, and its security fixes by their newer and their older name.
_RELEASE_SUITES = ("", "-updates", "-security", "/updates")


@dataclass(frozen=True, slots=True)
class Source:
    """One archive: where it is, which suite of it, which components, and the key ring that its signatures must match.

    `signed_by` is a path on this machine, or empty for apt's own keys; `trusted` says that signatures are not checked.
    """

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""
    trusted: bool = False

    def line(self) -> str:
        """Return the line for sources.list."""
        options = []
        if self.signed_by:
            options.append(f"signed-by={self.signed_by}")
        if self.trusted:
            options.append("trusted=yes")
        words = ["deb", f"[{' '.join(options)}]" if options else "", self.uri, self.suite, *self.components]
        return " ".join(word for word in words if word)


def read_sources(directory: str) -> list[Source]:
    """Return what apt reads from its directory (/etc/apt), in apt's order; files that cannot be read are left out."""
    found = list(parse_list(_text(f"{directory}/sources.list")))
    try:
        names = sorted(os.listdir(f"{directory}/sources.list.d"))
    except OSError:
        names = []
    for name in names:
        text = _text(f"{directory}/sources.list.d/{name}")
        if name.endswith(".list"):
            found += parse_list(text)
        elif name.endswith(".sources"):
            found += parse_deb822(text)
    return found


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def parse_list(text: str) -> Iterator[Source]:
    """Yield the `deb` entries of a one-line-style file."""
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words or words[0] != "deb":
            continue
        options, words = _options(words[1:])
        if len(words) < 2 or words[1].endswith("/"):  # an exact path has no components: no Debian archive
            continue
        yield Source(
            words[0].rstrip("/"),
            words[1],
            tuple(words[2:]),
            _key_ring(options.get("signed-by", "")),
            options.get("trusted") == "yes",
        )


def _options(words: list[str]) -> tuple[dict[str, str], list[str]]:
    if not words or not words[0].startswith("["):
        return {}, words
    end = next((i for i, word in enumerate(words) if word.endswith("]")), None)
    if end is None:
        return {}, []
    inside = " ".join(words[: end + 1])[1:-1].split()
    pairs = (word.partition("=") for word in inside)
    return {name.lower(): value for name, _, value in pairs}, words[end + 1 :]


def parse_deb822(text: str) -> Iterator[Source]:
    """Yield the entries of a deb822-style file: one for each URI and suite of a stanza."""
    for stanza in _stanzas(text):
        enabled = stanza.get("enabled", "yes").strip().lower() not in ("no", "false", "0")
        if not enabled or "deb" not in stanza.get("types", "").split():
            continue
        components = tuple(stanza.get("components", "").split())
        signed_by = _key_ring(stanza.get("signed-by", ""))
        trusted = stanza.get("trusted", "").strip().lower() == "yes"
        for uri in stanza.get("uris", "").split():
            for suite in stanza.get("suites", "").split():
                if not suite.endswith("/"):
                    yield Source(uri.rstrip("/"), suite, components, signed_by, trusted)


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    fields: dict[str, str] = {}
    name = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield fields
            fields, name = {}, ""
        elif line[0] in " \t":
            fields[name] = f"{fields.get(name, '')}\n{line.strip()}"
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()


def _key_ring(text: str) -> str:
    # A fingerprint or a key in the file itself names keys that apt has anyway, or that cannot be handed on as a path.
    first = text.split(",", maxsplit=1)[0].strip()
    return first if first.startswith("/") else ""


def choose_sources(sources: list[Source], suite: str, own_suite: str) -> list[Source]:
    """Return the sources of the release `suite`: its own, its updates and its security fixes.

    Where there is none, those of this machine's release, `own_suite`, are taken with the suite replaced: an archive
    that has one release of a distribution mostly has the others. Additions by other parties, which may use the same
    suite names, are told by their key ring: it is not that of the first source.
    """
    chosen = _of_release(sources, suite)
    if not chosen and own_suite:
        chosen = [
            replace(source, suite=suite + source.suite.removeprefix(own_suite))
            for source in _of_release(sources, own_suite)
        ]
    return chosen


def _of_release(sources: list[Source], suite: str) -> list[Source]:
    known = [suite + more for more in _RELEASE_SUITES]
    candidates = [source for source in sources if source.suite in known and "main" in source.components]
    first = next((source for source in candidates if source.suite == suite), None)
    if first is None:
        return []
    same = [source for source in candidates if source.signed_by == first.signed_by]
    # One archive may be listed by several URIs; each suite is wanted once from each.
    return list(dict.fromkeys(same))
