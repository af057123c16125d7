"""What a bootstrap makes, as a value, and the commands of mmdebstrap(1) and debootstrap(8) that make it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from lamina.errors import InvalidInput
from lamina.transfer.sources import Source

#: The sets of packages that both programs, or mmdebstrap alone, know by these names.
VARIANTS = ("essential", "apt", "required", "minbase", "buildd", "important", "debootstrap", "standard")
_DEBOOTSTRAP_VARIANTS = {"minbase": "minbase", "buildd": "buildd", "debootstrap": "", "important": ""}

_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-._:")

# The devices that maintainer scripts open, where mmdebstrap can neither make them nor mount devpts.
_DEVICES = "null zero full random urandom tty"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A release, where its packages are, and which of them. `sources` are lines for sources.list.

    `key_rings` are paths on this machine that the lines name, to be there in the image, too.
    """

    suite: str
    variant: str
    include: tuple[str, ...]
    sources: tuple[str, ...]
    key_rings: tuple[str, ...] = ()


def make_recipe(
    suite: str, *, variant: str, include: Iterable[str], mirror: str | None, sources: Iterable[Source]
) -> Recipe:
    """Return the recipe for a release from `mirror`, an address or a line for sources.list, or else from `sources`."""
    packages = tuple(include)
    _check_name("suite", suite)
    for package in packages:
        _check_name("package", package)
    if variant not in VARIANTS:
        raise InvalidInput("bootstrap the variant", repr(variant), f"it is none of {', '.join(VARIANTS)}")
    if mirror is not None:
        if not mirror.strip() or "\n" in mirror or mirror.startswith("-"):
            raise InvalidInput("bootstrap from", repr(mirror), "it is neither an address nor a line for sources.list")
        line = mirror if mirror.startswith("deb ") else f"deb {mirror} {suite} main"
        return Recipe(suite, variant, packages, (line,))
    chosen = list(sources)
    rings = dict.fromkeys(source.signed_by for source in chosen if source.signed_by)
    return Recipe(suite, variant, packages, tuple(source.line() for source in chosen), tuple(rings))


def _check_name(kind: str, name: str) -> None:
    if not name or name[0] == "-" or not _NAME.issuperset(name):
        raise InvalidInput(f"bootstrap the {kind}", repr(name), "it cannot be the name of one")


def plan_mmdebstrap(recipe: Recipe, *, mode: str, settings: str) -> list[str]:
    """Return the command that writes the root file system as a tar archive to standard output.

    `mode` is "root", "unshare" (as an ordinary user, who needs a range), or "single": as root of a namespace with one
    id. `settings` is a file of apt's configuration that is used, and is not in the result.
    """
    argv = ["mmdebstrap", "--verbose", "--format=tar", f"--variant={recipe.variant}"]
    argv.append(f"--mode={'root' if mode == 'single' else mode}")
    if recipe.include:
        argv.append(f"--include={','.join(recipe.include)}")
    argv += [f"--{stage}-hook={script}" for stage, script in _hooks(recipe, mode, settings)]
    if mode == "single":
        argv.append("--skip=chroot/mount/dev")
    # One argument: each of several would be a paragraph of the file of its own.
    return [*argv, recipe.suite, "-", "\n".join(recipe.sources)]


def _hooks(recipe: Recipe, mode: str, settings: str) -> list[tuple[str, str]]:
    inside = '"$1"/etc/apt/apt.conf.d/99lamina-host'
    hooks = [("setup", f'mkdir -p "$1"/etc/apt/apt.conf.d && cp {shlex.quote(settings)} {inside}')]
    if mode == "single":
        # devpts wants a group 5, and making devices is not allowed: what scripts need is bound one by one.
        bind = ': >"$1/dev/$name" && mount --bind "/dev/$name" "$1/dev/$name"'
        hooks.append(("extract", f"for name in {_DEVICES}; do {bind}; done"))
        unbind = 'umount "$1/dev/$name" && rm "$1/dev/$name"'
        hooks.append(("customize", f"for name in {_DEVICES}; do {unbind}; done"))
    for ring in map(shlex.quote, recipe.key_rings):
        hooks.append(("customize", f'test -e "$1"{ring} || install -D -m 644 {ring} "$1"{ring}'))
    # The last two are this machine's, copied in for the time of the installation.
    hooks.append(("customize", f'rm -f {inside} "$1"/etc/hostname "$1"/etc/resolv.conf'))
    return hooks


def plan_debootstrap(recipe: Recipe, *, target: str) -> list[str]:
    """Return the command that makes the root file system in the directory `target`, with mounts of its own.

    debootstrap knows one source; the others are for `apt` in the image.
    """
    variant = _DEBOOTSTRAP_VARIANTS.get(recipe.variant)
    if variant is None:
        known = ", ".join(_DEBOOTSTRAP_VARIANTS)
        raise InvalidInput("bootstrap the variant", recipe.variant, f"debootstrap knows {known}; mmdebstrap knows it")
    options, words = _words(recipe.sources[0])
    uri, suite, *components = words
    argv = ["unshare", "--mount", "--propagation", "private", "--", "debootstrap"]
    argv += [f"--variant={variant}"] if variant else []
    argv += [f"--components={','.join(components)}"] if components else []
    argv += [f"--include={','.join(recipe.include)}"] if recipe.include else []
    argv += [f"--keyring={options['signed-by']}"] if "signed-by" in options else []
    argv += ["--no-check-gpg"] if options.get("trusted") == "yes" else []
    return [*argv, suite, target, uri]


def _words(line: str) -> tuple[dict[str, str], list[str]]:
    """Return the options and the words of a `deb` line; what follows `deb` is URI, suite, components."""
    rest = line.removeprefix("deb ").strip()
    options: dict[str, str] = {}
    if rest.startswith("["):
        inside, _, rest = rest[1:].partition("]")
        options = {name: value for name, _, value in (word.partition("=") for word in inside.split())}
    words = rest.split()
    if len(words) < 2:
        raise InvalidInput("bootstrap from", repr(line), "the line has no address and suite")
    return options, words
