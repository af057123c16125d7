"""The options of `lamina run`, with docker's names and meanings: their table, and reading their texts into values.

On the start-up path. The functions that read a text take the option's value and raise UsageError, which shows it.
"""

from __future__ import annotations

import os

from lamina.cli.options import CHOICE, LIST, TEXT, Option
from lamina.errors import InvalidInput, UsageError
from lamina.runtime.spec import Bind, Device, RunOptions, Tmpfs, Ulimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import NoReturn

    from lamina.cli.options import Arguments

RUN_OPTIONS = (
    Option("env", "set a variable; without =VALUE it is taken from here", short="e", kind=LIST, value="NAME[=VALUE]"),
    Option("env-file", "set the variables that FILE lists, one a line", kind=LIST, value="FILE"),
    Option("workdir", "start in this directory", short="w", kind=TEXT, value="PATH"),
    Option("user", "run as this user: a name or a number", short="u", kind=TEXT, value="USER[:GROUP]"),
    Option(
        "volume",
        "show a file or directory of this machine inside; OPTIONS: ro",
        short="v",
        kind=LIST,
        value="SOURCE:TARGET[:OPTIONS]",
    ),
    Option("mount", "type=bind,source=S,target=T[,readonly] or type=tmpfs,target=T", kind=LIST, value="KEY=VALUE,…"),
    Option(
        "tmpfs",
        "an empty directory in memory; OPTIONS as mount(8)'s, such as size=64m",
        kind=LIST,
        value="TARGET[:OPTIONS]",
    ),
    Option("read-only", "nothing can be written but what -v, --mount and --tmpfs bring"),
    Option("hostname", "the host name inside", short="h", kind=TEXT, value="NAME"),
    Option("add-host", "a line for /etc/hosts", kind=LIST, value="HOST:ADDRESS"),
    Option("network", "this machine's network, which is the default, or none", kind=CHOICE, choices=("host", "none")),
    Option("entrypoint", 'run this in place of the image\'s entrypoint; "" for none', kind=TEXT, value="PROGRAM"),
    Option("interactive", "keep standard input open", short="i"),
    Option("tty", "give the command a terminal", short="t"),
    Option("init", "put an init before the command, which forwards signals and reaps orphans"),
    Option("label", "label the container", short="l", kind=LIST, value="NAME[=VALUE]"),
    Option("ulimit", "set a resource limit, such as nofile=1024:4096", kind=LIST, value="NAME=SOFT[:HARD]"),
    Option("device", "show a device of this machine inside", kind=LIST, value="DEVICE[:TARGET]"),
    Option("cap-add", "grant a capability, or ALL", kind=LIST, value="CAPABILITY"),
    Option("cap-drop", "take a capability away, or ALL", kind=LIST, value="CAPABILITY"),
    Option("privileged", "grant all capabilities and all devices, mask nothing"),
    Option(
        "driver",
        "who shows the layers: the kernel, or our own union over FUSE; auto, the default, takes the kernel where it"
        " can, and over the host ours for an ordinary user",
        kind=CHOICE,
        choices=("auto", "kernel", "fuse"),
    ),
    Option("security-opt", "no-new-privileges, or seccomp=FILE|unconfined", kind=LIST, value="OPTION"),
)

# What -v takes after the target and what needs nothing done: the defaults, and labels for SELinux.
_BIND_WORDS = {"ro": True, "rw": False, "z": None, "Z": None, "private": None, "rprivate": None}


def read_run_options(arguments: Arguments, command: list[str], environ: Mapping[str, str]) -> RunOptions:
    """Return what the options and the words after the image ask for; files that --env-file names are read."""
    env: dict[str, str] = {}
    for path in arguments.texts("env-file"):
        env.update(read_env_file(path, environ))
    env.update(env_entries(arguments.texts("env"), environ))
    no_new_privileges, seccomp = parse_security(arguments.texts("security-opt"))
    return RunOptions(
        command=command or None,
        entrypoint=[text for text in [arguments.text("entrypoint")] if text] if arguments.given("entrypoint") else None,
        env=env,
        workdir=arguments.text("workdir"),
        user=arguments.text("user"),
        mounts=[
            *map(parse_volume, arguments.texts("volume")),
            *map(parse_mount, arguments.texts("mount")),
            *map(parse_tmpfs, arguments.texts("tmpfs")),
        ],
        devices=[*map(parse_device, arguments.texts("device"))],
        read_only=arguments.flag("read-only"),
        hostname=arguments.text("hostname"),
        network="none" if arguments.text("network") == "none" else "host",
        add_hosts=[*map(parse_add_host, arguments.texts("add-host"))],
        stdin=arguments.flag("interactive"),
        tty=arguments.flag("tty"),
        init=arguments.flag("init"),
        no_new_privileges=no_new_privileges,
        seccomp=seccomp,
        privileged=arguments.flag("privileged"),
        cap_add=arguments.texts("cap-add"),
        cap_drop=arguments.texts("cap-drop"),
        ulimits=[*map(parse_ulimit, arguments.texts("ulimit"))],
        labels=parse_labels(arguments.texts("label")),
        driver=arguments.text("driver") or "auto",  # type: ignore[arg-type]  # one of the option's choices
    )


def command_words(arguments: Arguments) -> list[str]:
    """Return the words after the image, without a `--` that only parts the two: `host -- ls`."""
    return arguments.tail[1:] if arguments.tail[:1] == ["--"] else arguments.tail


def env_entries(entries: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of `-e`; a name alone takes its value from `environ` and is left out where it has none."""
    env: dict[str, str] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not name or "\0" in entry:
            _refuse("--env", entry, "a variable needs a name" if not name else "it holds a null byte")
        if equals:
            env[name] = value
        elif name in environ:
            env[name] = environ[name]
    return env


def read_env_file(path: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that the file at `path` lists; InvalidInput names the line that is none."""
    with open(path, "rb") as file:
        data = file.read()
    return parse_env_file(data, path, environ)


def parse_env_file(data: bytes, path: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables in `data`: NAME=VALUE or NAME a line, `#` begins a comment, nothing is unquoted."""
    env: dict[str, str] = {}
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        line = raw.removesuffix(b"\r").lstrip()
        if not line or line.startswith(b"#"):
            continue
        try:
            text = line.decode()
        except UnicodeDecodeError:
            raise InvalidInput("read the variable in", f"{path}:{number}", "the line is not UTF-8") from None
        name = text.partition("=")[0]
        if not name or name != "".join(name.split()) or "\0" in text:
            raise InvalidInput("read the variable in", f"{path}:{number}", "the line is not NAME=VALUE")
        env.update(env_entries([text], environ))
    return env


def parse_volume(text: str) -> Bind:
    """Read `-v SOURCE:TARGET[:OPTIONS]`. A source that does not exist will be made."""
    source, target, words = [*text.split(":", 2), "", ""][:3]
    if not target:
        _refuse(
            "--volume",
            text,
            "it is not SOURCE:TARGET[:OPTIONS]",
            "lamina has no volumes: name a directory to keep it in",
        )
    if not source.startswith(("/", ".")):
        _refuse(
            "--volume",
            text,
            "SOURCE is not a path",
            f"for a directory here write ./{source}; there are no named volumes",
        )
    read_only = False
    for word in words.split(",") if words else []:
        if word not in _BIND_WORDS:
            _refuse("--volume", text, f"{word or 'an empty word'} is no option of it", "ro and rw are")
        read_only = read_only if _BIND_WORDS[word] is None else word == "ro"
    return Bind(os.path.abspath(source), _inside("--volume", text, target), read_only=read_only, create=True)


def parse_mount(text: str) -> Bind | Tmpfs:
    """Read `--mount type=bind|tmpfs,KEY=VALUE,…`, whose fields may be quoted as in CSV."""
    known = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
    fields: dict[str, str] = {}
    for field in split_csv(text):
        name, equals, value = field.partition("=")
        name = known.get(name.strip().lower(), name.strip().lower())
        fields[name] = value if equals else "true"
    kind = fields.pop("type", "volume")
    if kind == "volume":
        _refuse(
            "--mount", text, "lamina has no volumes", "type=bind,source=DIR,target=… keeps the files in a directory"
        )
    if kind not in ("bind", "tmpfs"):
        _refuse("--mount", text, f"type is bind or tmpfs, not {kind!r}")
    target = _inside("--mount", text, fields.pop("target", ""))
    read_only = _truth("--mount", text, fields.pop("readonly", "false"))
    if kind == "bind":
        source = fields.pop("source", "")
        if not source:
            _refuse("--mount", text, "source is missing")
        if fields.pop("bind-propagation", "rprivate") not in ("rprivate", "private"):
            _refuse("--mount", text, "bind-propagation is always rprivate")
        mount: Bind | Tmpfs = Bind(os.path.abspath(source), target, read_only=read_only)
    else:
        options = [f"size={fields.pop('tmpfs-size')}"] if "tmpfs-size" in fields else []
        options += [f"mode={fields.pop('tmpfs-mode')}"] if "tmpfs-mode" in fields else []
        mount = Tmpfs(target, options=",".join([*options, *(["ro"] if read_only else [])]))
    if fields:
        _refuse("--mount", text, f"{next(iter(fields)) or 'an empty word'} is no key of type={kind}")
    return mount


def split_csv(text: str) -> list[str]:
    """Return the fields of one line of CSV: a field in double quotes may hold commas, and quotes doubled."""
    fields, rest = [], text
    while True:
        if rest.startswith('"'):
            at = rest.replace('""', "\0\0").find('"', 1)
            if at < 0 or rest[at + 1 : at + 2] not in ("", ","):
                _refuse("--mount", text, "a quote is not closed")
            fields.append(rest[1:at].replace('""', '"'))
            comma, rest = rest[at + 1 : at + 2], rest[at + 2 :]
        else:
            field, comma, rest = rest.partition(",")
            fields.append(field)
        if not comma:
            return fields


def parse_tmpfs(text: str) -> Tmpfs:
    """Read `--tmpfs TARGET[:OPTIONS]`."""
    target, _, options = text.partition(":")
    return Tmpfs(_inside("--tmpfs", text, target), options=options)


def parse_device(text: str) -> Device:
    """Read `--device SOURCE[:TARGET][:ACCESS]`. There is no devices cgroup that could limit ACCESS, so it is rwm."""
    parts = text.split(":")
    if len(parts) > 1 and parts[-1] and set(parts[-1]) <= set("rwm"):
        access = parts.pop()
        if set(access) != set("rwm"):
            _refuse("--device", text, f"the access cannot be limited to {access}", "the device's own mode decides")
    if len(parts) > 2 or not parts[0].startswith("/"):
        _refuse("--device", text, "it is not DEVICE[:TARGET]")
    target = parts[1] if len(parts) > 1 else parts[0]
    return Device(parts[0], _inside("--device", text, target))


def parse_ulimit(text: str) -> Ulimit:
    """Read `--ulimit NAME=SOFT[:HARD]`; -1 and "unlimited" are no limit, and HARD is SOFT where it is not given."""
    from lamina.runtime.limits import NAMES

    name, _, values = text.partition("=")
    soft, colon, hard = values.partition(":")
    if name not in NAMES:
        _refuse("--ulimit", text, f"there is no limit {name!r}", f"the limits are {', '.join(NAMES)}")
    numbers = [_limit(text, value) for value in (soft, hard if colon else soft)]
    if numbers[1] != -1 and (numbers[0] == -1 or numbers[0] > numbers[1]):
        _refuse("--ulimit", text, "the soft limit is above the hard one")
    return Ulimit(name, numbers[0], numbers[1])


def _limit(text: str, value: str) -> int:
    if value in ("-1", "unlimited"):
        return -1
    if not (value.isascii() and value.isdigit() and int(value[:20]) < 1 << 63):
        _refuse("--ulimit", text, f"{value!r} is no number and not unlimited")
    return int(value)


def parse_add_host(text: str) -> tuple[str, str]:
    """Read `--add-host HOST:ADDRESS` or HOST=ADDRESS; an IPv6 address may stand in brackets."""
    from ipaddress import ip_address  # for this option alone

    name, separator, address = text.partition("=" if "=" in text else ":")
    if not name or not separator or not address or any(c.isspace() for c in name):
        _refuse("--add-host", text, "it is not HOST:ADDRESS")
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        return name, str(ip_address(bare))
    except ValueError:
        _refuse("--add-host", text, f"{address!r} is no IP address")


def parse_labels(texts: Iterable[str]) -> dict[str, str]:
    """Read `--label NAME[=VALUE]`; without a value it is empty."""
    labels: dict[str, str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name:
            _refuse("--label", text, "a label needs a name")
        labels[name] = value
    return labels


def parse_security(texts: Iterable[str]) -> tuple[bool, str]:
    """Read `--security-opt no-new-privileges[=true|false]` and `seccomp=FILE|unconfined`; the file is made absolute."""
    on, seccomp = False, ""
    for text in texts:
        name, _, value = text.replace(":", "=", 1).partition("=")
        if name == "seccomp" and value:
            seccomp = value if value == "unconfined" else os.path.abspath(value)
        elif name == "no-new-privileges":
            on = _truth("--security-opt", text, value or "true")
        else:
            _refuse("--security-opt", text, "lamina knows no-new-privileges and seccomp=FILE|unconfined")
    return on, seccomp


def _inside(option: str, text: str, target: str) -> str:
    """Return a path in the container, tidied; only an absolute one says where, and "/" is the container itself."""
    if not target.startswith("/"):
        _refuse(option, text, "TARGET has to be an absolute path" if target else "TARGET is missing")
    path = "/" + os.path.normpath(target).lstrip("/")
    if path == "/" or "\0" in path:
        _refuse(option, text, "TARGET cannot be /" if path == "/" else "TARGET holds a null byte")
    return path


def _truth(option: str, text: str, value: str) -> bool:
    if value.lower() not in ("true", "1", "false", "0"):
        _refuse(option, text, f"{value!r} is not true or false")
    return value.lower() in ("true", "1")


def _refuse(option: str, text: str, reason: str, hint: str = "") -> NoReturn:
    raise UsageError("read", f"{option} {text}", reason, hint)
