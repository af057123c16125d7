"""Start-up: from the command line to the end of `true` in a container that is removed, and other short commands.

lamina is the command as installed from a wheel. All use the machine's network, and a root file system of one static
program, so that what is measured is the start.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.measure import OURS, Comparison, Program, Result, document, left_out, take_turns, version_of
from bench.peers import docker, podman
from tests.helpers import users

_ROUNDS = 20
_USER = "laminasub"  # one of those as whom the tests run, too
_CHECKOUT = Path(__file__).parent.parent

#: What a shell would do: the article's way, with an upper that is thrown away.
_SCRIPT = """
set -e
d=$(mktemp -d)
mkdir $d/upper $d/work $d/merged
unshare -m --propagation private -ipu --fork sh -ec "
mount -t overlay overlay -o lowerdir={rootfs}/../empty:{rootfs},upperdir=$d/upper,workdir=$d/work $d/merged
mkdir -p $d/merged/proc
mount -t proc proc $d/merged/proc
exec chroot $d/merged /bin/true"
rm -rf $d
"""

_WARM = """
import json, subprocess, sys, time, lamina
store = lamina.Store({store!r})
image = store.image("tiny:1")
image.run(["/bin/true"])
ours, bare = [], []
for _ in range({rounds}):
    start = time.perf_counter(); image.run(["/bin/true"]); middle = time.perf_counter()
    subprocess.run(["/bin/true"], capture_output=True); end = time.perf_counter()
    ours.append(middle - start); bare.append(end - middle)
print(json.dumps([ours, bare]))
"""


def measure() -> list[Comparison]:
    """Time the programs that are installed."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise SystemExit("busybox is missing (Debian: busybox-static): it is what the measured containers run")
    with _scratch() as top:
        (top / "empty").mkdir()
        rootfs = top / "rootfs"
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            (rootfs / name).mkdir(parents=True)
        shutil.copy(busybox, rootfs / "bin" / "true")
        python = _install(top)
        lamina = str(python.with_name("lamina"))
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        env["LAMINA_ROOT"] = f"{top}/store"
        subprocess.run([lamina, "import", str(rootfs), "tiny:1"], check=True, env=env, capture_output=True)
        try:
            return [
                _run(lamina, python, rootfs, env),
                *_short(lamina, python, env),
                _warm(python, env),
            ]
        finally:
            for words in (["rm", "--all", "--force"], ["rmi", "--all", "--force"], ["prune", "--force"]):
                subprocess.run([lamina, *words], check=True, env=env, capture_output=True)


@contextmanager
def _scratch() -> Iterator[Path]:
    """Give an empty directory: root's on a file system of its own, since the machine's may be slow with names."""
    if os.geteuid() == 0:
        # This needs lamina, which the ordinary user's Python does not have.
        from bench.unions import disk

        with disk(4 << 30) as top:
            yield top
    else:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as path:
            yield Path(path)


def measure_for_user() -> dict[str, Any]:
    """Let root measure the same as an ordinary user, with the system's Python; nothing where that user is missing.

    Returns what `document` makes of it. The checkout is copied to where that user can read it.
    """
    if shutil.which("setpriv") is None or not users.has_range(_USER):
        left_out("startup of an ordinary user", f"there is no user {_USER} with a range of ids")
        return {}
    with _scratch() as scratch:
        for name in ("src", "bench", "tests/helpers"):
            ignored = shutil.ignore_patterns("__pycache__", "results")
            shutil.copytree(_CHECKOUT / name, Path(scratch, "checkout", name), ignore=ignored)
        for name in ("pyproject.toml", "README.md", "LICENSE", "tests/__init__.py"):
            shutil.copy(_CHECKOUT / name, Path(scratch, "checkout", name))
        Path(scratch, "tmp").mkdir()
        subprocess.run(["chown", "-R", _USER, str(scratch)], check=True)
        python = os.environ.get("SYSTEM_PYTHON", "/usr/bin/python3")
        done = subprocess.run(
            users.as_user(_USER, [python, "-m", "bench.startup"]),
            cwd=Path(scratch, "checkout"),
            env=users.environment(_USER, TMPDIR=f"{scratch}/tmp"),
            check=True,
            stdout=subprocess.PIPE,
        )
    kept: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return kept


def _install(top: Path) -> Path:
    """Install lamina from its wheel into an environment of its own; return the interpreter."""
    venv = top / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, str(_CHECKOUT)], check=True, stderr=subprocess.DEVNULL)
    return venv / "bin" / "python"


def _run(lamina: str, python: Path, rootfs: Path, env: dict[str, str]) -> Comparison:
    programs = [
        Program(OURS, [lamina, "run", "--rm", "tiny:1", "/bin/true"], version_of(lamina)),
        Program("bare interpreter", [str(python), "-I", "-c", "pass"], ""),
    ]
    root = os.geteuid() == 0
    if root:
        programs.append(Program("shell script", ["sh", "-c", _SCRIPT.format(rootfs=rootfs)], ""))
    if bwrap := shutil.which("bwrap"):
        words = ["--bind", str(rootfs), "/", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--proc", "/proc"]
        programs.append(Program("bubblewrap", [bwrap, *words, "/bin/true"], version_of(bwrap)))
    with podman(rootfs.parent) as for_podman, docker(rootfs.parent) as for_docker:
        if for_podman:
            env = {**env, **_own(for_podman)}
            words = ["run", "--rm", "--network=host", "--cgroups=disabled", "--log-driver=none", "--rootfs"]
            argv = ["podman", *words, f"{rootfs}:O", "/bin/true"]
            programs.append(Program("podman", argv, version_of("podman")))
        if for_docker:
            env = {**env, **_own(for_docker)}
            archive = subprocess.run(["tar", "-C", str(rootfs), "-c", "."], check=True, capture_output=True).stdout
            subprocess.run(["docker", "import", "-", "tiny:1"], env=env, input=archive, check=True, capture_output=True)
            argv = ["docker", "run", "--rm", "--network=host", "tiny:1", "/bin/true"]
            programs.append(Program("docker", argv, version_of("docker")))
        if root and shutil.which("crun"):
            argv = ["crun", "run", "--bundle", str(_bundle(rootfs)), "bench"]
            programs.append(Program("crun", argv, version_of("crun")))
        results = take_turns(programs, rounds=_ROUNDS, env=env)
    aims = {"bare interpreter": 2.5, "podman": 0.25 if root else 0.3, "docker": 0.25}
    return Comparison("run --rm IMAGE true", results, aims=aims)


def _own(environment: dict[str, str]) -> dict[str, str]:
    """Return what a peer's environment has beyond that of this process."""
    return {name: value for name, value in environment.items() if os.environ.get(name) != value}


def _bundle(rootfs: Path) -> Path:
    """Return a bundle for crun: its own specification, without a terminal, over the file system itself."""
    bundle = rootfs.parent / "bundle"
    bundle.mkdir()
    subprocess.run(["crun", "spec"], cwd=bundle, check=True)
    document = json.loads((bundle / "config.json").read_text())
    document["process"] |= {"args": ["/bin/true"], "terminal": False}
    document["root"] = {"path": str(rootfs), "readonly": True}
    document["mounts"] = [mount for mount in document["mounts"] if mount["type"] != "cgroup"]
    document["linux"]["resources"] = {}
    document["linux"]["namespaces"] = [each for each in document["linux"]["namespaces"] if each["type"] != "cgroup"]
    (bundle / "config.json").write_text(json.dumps(document))
    return bundle


def _short(lamina: str, python: Path, env: dict[str, str]) -> list[Comparison]:
    """Return commands that only look and remove, beside the interpreter that they start."""
    bare = Program("bare interpreter", [str(python), "-I", "-c", "pass"], "")
    found = []
    for words in (["ps", "-a"], ["images"], ["--version"]):
        program = Program(OURS, [lamina, *words], version_of(lamina))
        found.append(Comparison(" ".join(words), take_turns([program, bare], rounds=_ROUNDS, env=env)))
    seconds: list[float] = []
    for _ in range(_ROUNDS):
        subprocess.run([lamina, "run", "--name", "box", "tiny:1", "/bin/true"], check=True, env=env)
        start = time.perf_counter()
        subprocess.run([lamina, "rm", "box"], check=True, env=env, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    ours = Result(OURS, version_of(lamina), [lamina, "rm", "box"], seconds)
    return [*found, Comparison("rm CONTAINER", [ours, found[0].results[1]])]


def _warm(python: Path, env: dict[str, str]) -> Comparison:
    """Return image.run in a Python program that has started containers before, beside subprocess.run."""
    code = _WARM.format(store=env["LAMINA_ROOT"], rounds=_ROUNDS)
    done = subprocess.run([str(python), "-c", code], check=True, env=env, capture_output=True, text=True)
    ours, bare = json.loads(done.stdout)
    results = [Result(OURS, "", [], ours), Result("subprocess.run", "", [], bare)]
    return Comparison('image.run(["true"]) in a warm program', results)


if __name__ == "__main__":
    print(json.dumps(document("startup", measure())))
