"""A plan as the shell script that does the same: mkdir, mount, unshare, pivot_root and setpriv, one comment a step.

What no shell tool can do stands as a comment in its place. The script needs util-linux and makes everything in a
directory of its own. Once the root has changed, the tools are those of the image; where it has no umount(8) or
setpriv(1), the tree is moved over the root instead (as switch_root(8) does) and left to the tools of the host.
"""

from __future__ import annotations

import os

from lamina.ids.map import IdMap
from lamina.linux import capability
from lamina.overlay.kernel import settle_renames
from lamina.runtime import steps, users
from lamina.runtime.launch import Launch
from lamina.runtime.plan import Plan
from lamina.runtime.shell import command, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.overlay.drivers import Driver
    from lamina.overlay.stack import Overlay

_TOOLS = ("umount", "setpriv", "env")


def explain(what: Plan, ids: IdMap, *, keep: bool, remark: str = "") -> str:
    """Return the script for a plan whose directory does not exist yet: the script makes it.

    With `keep` the directory stays, for what the command wrote; else it is removed at the end. `remark` is a comment
    of one line for the script's head, or empty.
    """
    launch = what.launch
    unshare = command(_unshare(launch, ids))
    inner = "\n".join(f"  {line}" if line else "" for line in _inner(what))
    quoted = "'\n" + inner.replace("'", "'\\''") + "\n'"
    stdin = "" if launch.stdin else " </dev/null"
    lines = [
        "#!/bin/sh",
        f"# What `lamina run` does to run: {command(launch.argv)}",
        *([f"# (only lamina: {remark})"] if remark else []),
        "set -eu",
        "",
        "# 1. the container's own directory: an empty upper and work, places to mount on, files of /etc",
        *_prepare_lines(what),
        "",
        f"# 2. namespaces: {_namespace_words(launch, ids)}",
        *([f"# {ids.describe()}"] if ids.kind != "host" else []),
        "status=0",
        f"{unshare} {quoted}{stdin} || status=$?",
        "",
        "# last: " + ("what the command wrote stays in the upper" if keep else "the upper is thrown away"),
        f"echo {quote('what changed: ' + launch.directory + '/upper')} >&2" if keep else _removal(launch, ids),
        "exit $status",
    ]
    return "\n".join(lines) + "\n"


def explain_mount(overlay: Overlay, merged: str, argv: list[str], ids: IdMap, *, driver: Driver) -> str:
    """Return the script that does what `lamina mount` would do: for everybody, or for the command `argv` alone."""
    mounting = _mount_lines(overlay, os.path.abspath(merged), driver)
    if not argv:
        return "\n".join(["#!/bin/sh", "set -eu", "", *mounting]) + "\n"
    if ids.kind == "host":
        comment, words = "# a mount namespace of its own, which ends with the command", ["unshare"]
    else:
        comment = "# an ordinary user may mount in a user namespace of their own, and is root there"
        words = ["unshare", "--user", "--map-root-user", *(["--map-auto"] if ids.kind == "range" else [])]
    words += ["--mount", "--propagation", "private", "--", "sh", "-euc"]
    if driver == "fuse":
        last = [
            "# the server would keep the namespace: when the command has ended, the mount is taken away",
            'status=0; "$@" || status=$?',
            f"umount {quote(os.path.abspath(merged))}",
            "exit $status",
        ]
    else:
        last = ["# the command takes the place of this shell", 'exec "$@"']
    inner = "\n".join(f"  {line}" for line in [*mounting, *last])
    # The script is one quoted word: what it quotes itself is quoted twice.
    quoted = "'\n" + inner.replace("'", "'\\''") + "\n'"
    lines = ["#!/bin/sh", "set -eu", "", comment, f"exec {command(words)} {quoted} sh {command(argv)}"]
    return "\n".join(lines) + "\n"


def _mount_lines(overlay: Overlay, merged: str, driver: Driver) -> list[str]:
    what = "what is written goes to upperdir" if overlay.upper else "without an upperdir it is read-only"
    comment = f"# lowerdir names the topmost directory first; {what}"
    if driver == "fuse":
        renames = f",renames={overlay.renames}" if overlay.renames else ""
        return [comment, command(["lamina-overlayfs", "-o", overlay.option_text() + renames, merged])]
    if len(overlay.layers) == 1 and not overlay.upper:
        # overlayfs refuses a single directory that nothing lies over
        return [
            "# one directory and no upper: show it read-only",
            command(["mount", "--bind", overlay.layers[0], merged]),
            command(["mount", "-o", "remount,bind,ro", merged]),
        ]
    options = settle_renames(overlay, merged).option_text()
    return [comment, command(["mount", "-t", "overlay", "overlay", "-o", options, merged])]


def _unshare(launch: Launch, ids: IdMap) -> list[str]:
    words = ["unshare"]
    if ids.kind != "host":
        words += ["--user", "--map-root-user", *(["--map-auto"] if ids.kind == "range" else [])]
    words += ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--ipc", "--uts", "--cgroup"]
    if launch.network == "none":
        words.append("--net")
    return [*words, "--", "sh", "-euc"]


def _namespace_words(launch: Launch, ids: IdMap) -> str:
    own = ["user"] if ids.kind != "host" else []
    own += ["mount", "pid", "ipc", "uts", "cgroup", *(["network"] if launch.network == "none" else [])]
    return ", ".join(own) + "; the command is process 1 in them"


def _removal(launch: Launch, ids: IdMap) -> str:
    remove = command(["rm", "-rf", launch.directory])
    if ids.kind == "range":
        return f"unshare --user --map-root-user --map-auto {remove}  # its files may belong to ids of the range"
    # overlayfs leaves a directory without any permission in work
    return f"chmod -R u+rwX {quote(launch.directory)} && {remove}" if ids.kind == "single" else remove


def _prepare_lines(what: Plan) -> list[str]:
    lines = [command(["mkdir", "-p", what.targets_tree, *what.directories])]
    for path, content in what.files:
        text = content.decode("utf-8", "surrogateescape")
        lines.append(f"printf %s {quote(text)} >{quote(path)}")
    directories = [what.targets_tree + target.path for target in what.targets if target.directory]
    files = [what.targets_tree + target.path for target in what.targets if not target.directory and not target.link]
    parents = sorted({os.path.dirname(path) for path in files} - set(directories))
    lines.append(command(["mkdir", "-p", *directories, *parents]))
    if files:
        lines.append(command(["touch", *files]))
    lines += [
        command(["ln", "-s", target.link, what.targets_tree + target.path]) for target in what.targets if target.link
    ]
    return lines


def _inner(what: Plan) -> list[str]:
    launch = what.launch
    lines: list[str] = []
    number = 3
    about = ""
    for plain in launch.steps:
        step = steps.from_plain(plain)
        if isinstance(step, steps.Pivot):
            break
        if step.about and step.about != about:
            about = step.about
            lines += ["", f"# {number}. {about}"]
            number += 1
        lines += step.describe(launch.root)
    lines += ["", f"# {number}. the host name", command(["hostname", launch.hostname])]
    if launch.network == "none":
        lines.append("if command -v ip >/dev/null; then ip link set lo up; fi")
    lines += _limit_lines(launch)
    lines += ["", *(f"# {text}" for text in _beyond_shell(launch))]
    return lines + _ending(launch, number + 1)


def _limit_lines(launch: Launch) -> list[str]:
    words = [f"--{limit['name']}={_limit(limit['soft'])}:{_limit(limit['hard'])}" for limit in launch.ulimits]
    return [command(["prlimit", "--pid", "$$", *words]).replace("'$$'", "$$")] if words else []


def _limit(value: object) -> str:
    return "unlimited" if value == -1 else str(value)


def _beyond_shell(launch: Launch) -> list[str]:
    """Name what lamina does and no shell tool can."""
    found = ["a session keyring of its own; descriptors of the caller closed; statuses 125 to 127 told apart"]
    if launch.fake_owners:
        found.append("a seccomp filter answers chown, setgroups and mknod of devices with success: there is one id")
    if launch.filter:
        found.append("a seccomp filter refuses the system calls that docker's own rules refuse")
    if launch.init:
        found.append("--init: a process before the command that passes signals on and reaps orphans")
    if launch.tty:
        found.append("-t: a terminal out of the container's own /dev/pts, passed through")
    return [f"only lamina: {text}" for text in found]


def _find(stacks: list[steps.Stack], *paths: str) -> str:
    """Return the first of these files that the lower layers have, as a path of the host, or nothing."""
    for path in paths:
        over = [stack for stack in stacks if path.startswith(stack.target.rstrip("/") + "/")]
        stack = max(over, key=lambda stack: len(stack.target))
        for layer in reversed(stack.layers):
            candidate = layer.rstrip("/") + path.removeprefix(stack.target.rstrip("/"))
            if os.path.isfile(candidate) and not os.path.islink(candidate):
                return candidate
    return ""


def _ending(launch: Launch, number: int) -> list[str]:
    """Return the lines from the change of the root to the command."""
    stacks = [step for step in map(steps.from_plain, launch.steps) if isinstance(step, steps.Stack)]
    passwd, group = (users.read_database(_find(stacks, f"/etc/{name}")) for name in ("passwd", "group"))
    user = users.resolve(launch.user, passwd, group)
    env = {"HOME": user.home, **launch.env}
    variables = ["env", "-i", *(f"{name}={value}" for name, value in env.items())]
    bounding = ",".join(["-all", *(f"+{capability.NAMES[number].lower()}" for number in launch.capabilities)])
    privileges = [f"--bounding-set={bounding}", "--inh-caps=-all"]
    if launch.no_new_privileges:
        privileges.append("--no-new-privs")
    last = [f"# {number + 1}. capabilities, user, environment; the command takes the place of this shell"]
    if all(_find(stacks, f"/usr/bin/{tool}", f"/bin/{tool}") for tool in _TOOLS):
        return [*_pivot(launch, number), "", *last, _with_tools_of_image(launch, user, privileges, variables)]
    return [*_move(launch, number), "", *last, _with_tools_of_host(launch, user, privileges, variables)]


def _makes_workdir(launch: Launch) -> bool:
    return launch.create_workdir and launch.workdir != "/"


def _pivot(launch: Launch, number: int) -> list[str]:
    made = [command(["mkdir", "-p", launch.workdir])] if _makes_workdir(launch) else []
    pivot = steps.Pivot().describe(launch.root)[:-1]
    return [f"# {number}. {steps.Pivot.about}", *pivot, *made, f"cd {quote(launch.workdir)}"]


def _with_tools_of_image(launch: Launch, user: users.User, privileges: list[str], variables: list[str]) -> str:
    if user.uid or user.gid:
        listed = ",".join(map(str, user.groups or [user.gid]))
        privileges = [*privileges, f"--reuid={user.uid}", f"--regid={user.gid}", f"--groups={listed}"]
    return f"exec {command(['setpriv', *privileges, '--', *variables, *launch.argv])}"


def _move(launch: Launch, number: int) -> list[str]:
    return [
        f"# {number}. the tree becomes the root; the image lacks one of {', '.join(_TOOLS)}: the host's tools do it",
        f"cd {quote(launch.root)}",
        # By the image's own mkdir, beneath its root: a link of the image must not lead to the host.
        *([command(["chroot", ".", "mkdir", "-p", launch.workdir])] if _makes_workdir(launch) else []),
        "mount -n --move . /",
    ]


def _with_tools_of_host(launch: Launch, user: users.User, privileges: list[str], variables: list[str]) -> str:
    entering = ["--root=.", f"--wd={launch.workdir}"]
    if user.uid or user.gid:
        entering += [f"--setgid={user.gid}", f"--setuid={user.uid}"]
    tools = [
        command(variables),
        f'"$(command -v setpriv)" {command(privileges)} --',
        f'"$(command -v unshare)" {command(entering)} --',
    ]
    return f"exec {' '.join(tools)} {command(launch.argv)}"
