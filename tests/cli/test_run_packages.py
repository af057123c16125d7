"""apt and dpkg in a Debian image over our own driver, as everybody: packages are installed, committed and removed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.helpers.command import Lamina
from tests.helpers.effort import effort

pytestmark = pytest.mark.requires("debian", "archive", "fuse", "dpkg-deb")

IS_SHORT = bool(effort(short=1, long=0))
_CONTROL = "Package: lamina-{name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody\nDescription: none\n"


def _package(scratch: Path, name: str, version: int, *, control: str = "") -> None:
    """Build a package with a program, a configuration file, links and scripts."""
    tree = scratch / f"{name}-{version}"
    for folder in ("DEBIAN", "usr/bin", "etc", "usr/share/doc"):
        (tree / folder).mkdir(parents=True)
    (tree / f"usr/bin/lamina-{name}").write_text(f"#!/bin/sh\necho {name} {version}\n")
    (tree / f"usr/bin/lamina-{name}").chmod(0o755)
    (tree / f"usr/bin/lamina-{name}-again").symlink_to(f"lamina-{name}")
    (tree / f"etc/lamina-{name}.conf").write_text(f"version = {version}\n")
    os.link(tree / f"etc/lamina-{name}.conf", tree / f"usr/share/doc/lamina-{name}")
    (tree / "DEBIAN/conffiles").write_text(f"/etc/lamina-{name}.conf\n")
    (tree / "DEBIAN/control").write_text(_CONTROL.format(name=name, version=version) + control)
    (tree / "DEBIAN/postinst").write_text(
        f"#!/bin/sh\nset -e\necho configured {version} >>/etc/lamina-done\nldconfig\n"
    )
    (tree / "DEBIAN/postinst").chmod(0o755)
    argv = ["dpkg-deb", "--root-owner-group", "--build", str(tree), f"{scratch}/debs/{name}-{version}.deb"]
    subprocess.run(argv, check=True, capture_output=True)


def _prepare(lamina: Lamina, scratch: Path) -> list[str]:
    """Import the base and build packages; return the words with which a command runs over it."""
    (scratch / "debs").mkdir()
    _package(scratch, "first", 1)
    _package(scratch, "first", 2)
    _package(scratch, "second", 1, control="Depends: lamina-first\n")
    lamina("import", os.environ["BASE_TAR"], "base:1")
    return ["--driver", "fuse", "-v", f"{scratch}/debs:/debs"]


def test_packages_come_change_and_go(lamina: Lamina, scratch: Path) -> None:
    words = _prepare(lamina, scratch)
    install = (
        "set -e; apt-get install -y -qq /debs/first-1.deb /debs/second-1.deb >/dev/null; lamina-first;"
        " dpkg -i --force-confnew /debs/first-2.deb >/dev/null; lamina-first-again; cat /etc/lamina-first.conf;"
        " dpkg --verify; dpkg -r lamina-second >/dev/null; cat /etc/lamina-done; stat -f -c %T /"
    )
    done = lamina("run", "--name", "box", *words, "base:1", "sh", "-c", install, seconds=300)
    said = ["first 1", "first 2", "version = 2", "configured 1", "configured 1", "configured 2", "fuseblk"]
    assert done.lines() == said
    changes = lamina("diff", "box").lines()
    assert {"A /usr/bin/lamina-first", "A /etc/lamina-done"} <= set(changes)
    assert not [line for line in changes if line.startswith("D ")]
    lamina("commit", "box", "installed:1")
    for driver in ("fuse", "auto"):
        look = (
            "set -e; lamina-first; dpkg --verify; dpkg --audit; dpkg -P lamina-first >/dev/null;"
            " test ! -e /usr/bin/lamina-first; test ! -e /etc/lamina-first.conf"
        )
        done = lamina("run", "--rm", "--driver", driver, "installed:1", "sh", "-c", look)
        assert done.lines() == ["first 2"]

    if not IS_SHORT:
        _install_from_the_archive(lamina, words)


def _install_from_the_archive(lamina: Lamina, words: list[str]) -> None:
    install = (
        "set -e; apt-get update -qq; apt-get install -y -qq --no-install-recommends python3-minimal hello >/dev/null;"
        " hello; python3 -c 'print(sum(range(10)))'; dpkg --verify; apt-get purge -y -qq hello >/dev/null;"
        " test ! -e /usr/bin/hello"
    )
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    done = lamina("run", "--rm", *words, "base:1", "sh", "-c", install, seconds=500, env=env)
    assert done.lines()[:2] == ["Hello, world!", "45"]
