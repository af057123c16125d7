"""`lamina build`: a Dockerfile's instructions become layers, and the layers an image."""

from __future__ import annotations

import os

from lamina.cli.options import CHOICE, LIST, OPTIONAL, TEXT, Command, Option, Positional, usage_error
from lamina.errors import LaminaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO, Literal

    from lamina.build.values import BuildError
    from lamina.build.verify import Difference
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.cli.build_progress import make_display

    environ = context.environ
    form = "quiet" if arguments.flag("quiet") else arguments.text("progress") or "auto"
    if arguments.flag("check"):
        return _check(context, arguments)
    outputs = _outputs(context, arguments)
    differences: list[Difference] = []
    verify = arguments.flag("verify")
    try:
        with context.store() as store, context.progress(make_display(context, form)) as on_event:
            image = store.build(
                _path_or_stdin(arguments.positionals[0]),
                tag=arguments.texts("tag"),
                dockerfile=_path_or_stdin(arguments.text("file")) or None,
                target=arguments.text("target") or None,
                build_args=_pairs(arguments.texts("build-arg"), environ),
                contexts=_pairs(arguments.texts("build-context"), {}),
                labels=_pairs(arguments.texts("label"), {}),
                secrets=dict(_secret(text, os.getcwd(), environ) for text in arguments.texts("secret")),
                ssh=dict(_agent(text, environ.get("SSH_AUTH_SOCK", "")) for text in arguments.texts("ssh")),
                add_hosts=_hosts(arguments),
                network=arguments.text("network") or "host",
                no_cache=_no_cache(arguments),
                platform=arguments.text("platform"),
                annotations=_pairs(arguments.texts("annotation"), {}),
                pull=_pull(arguments),
                cache_from=arguments.texts("cache-from"),
                cache_to=arguments.texts("cache-to"),
                outputs=outputs,
                metadata_file=arguments.text("metadata-file"),
                squash=arguments.flag("squash"),
                timestamp=_number(arguments, "timestamp"),
                jobs=_number(arguments, "jobs") or 0,
                explain_cache=arguments.flag("explain-cache"),
                resume=arguments.flag("resume"),
                on_verified=differences.extend if verify else None,
                on_event=on_event,
            )
    except LaminaError as error:
        _explain(context, arguments, error, quiet=form == "quiet")
        raise
    iid_file = arguments.text("iidfile")
    if iid_file:
        with open(iid_file, "w", encoding="ascii") as file:
            file.write(image.id)
    if not _is_stdout_taken(outputs):
        context.print(image.id)
    if verify:
        _print_differences(context, differences)
    return 1 if differences else 0


def _explain(context: Context, arguments: Arguments, error: LaminaError, *, quiet: bool) -> None:
    """Show what an error has beside its line: the lines of the Dockerfile, the command's output, a shell."""
    from lamina.build.dockerfile.source import DockerfileError
    from lamina.build.values import BuildError

    if isinstance(error, DockerfileError) and error.excerpt:
        context.err.write(error.excerpt + "\n")
    if isinstance(error, BuildError):
        if quiet:
            context.err.writelines(f"{line}\n" for line in error.output)
        if arguments.flag("shell-on-fail") and error.kept:
            _open_shell(context, error)


def _hosts(arguments: Arguments) -> list[tuple[str, str]]:
    texts = arguments.texts("add-host")
    if not texts:
        return []
    from lamina.cli.run_options import parse_add_host

    return [parse_add_host(text) for text in texts]


def _print_differences(context: Context, differences: list[Difference]) -> None:
    """Say what differs between two builds; on standard error, since the other one has the id, or a tar."""
    from lamina.errors import one_line, shown

    if not differences:
        context.note("built twice: both are equal")
        return
    context.note("built twice: the two differ")
    told = None
    for difference in differences:
        if difference.instruction != told:
            told = difference.instruction
            context.err.write(f"{one_line(told) or 'the config'}\n")
        name = shown(difference.name) if difference.name else "the layer"
        context.err.write(f"  {name}: {', '.join(difference.aspects)}\n")


def _open_shell(context: Context, error: BuildError) -> None:
    """Run a shell over what the failed command left, if there is somebody to type."""
    from lamina.cli.commands.run import COMMAND as RUN
    from lamina.cli.options import parse

    if not (os.isatty(0) and os.isatty(1)):
        context.note("no shell is opened: there is no terminal")
        return
    context.err.write(f"{error}\n")
    context.note("a shell over what it left; the build ends with it")
    RUN.run(context, parse(RUN, ["--rm", "-it", f"{error.kept}@failed"]))


def _check(context: Context, arguments: Arguments) -> int:
    """Print what the build checks find; the exit status tells whether there is something."""
    from lamina.api.building import check

    report = check(
        context.store(),
        _path_or_stdin(arguments.positionals[0]),
        dockerfile=_path_or_stdin(arguments.text("file")) or None,
        target=arguments.text("target") or None,
        build_args=_pairs(arguments.texts("build-arg"), context.environ),
    )
    for finding in report.findings:
        context.print(f"{finding}{f' ({finding.hint})' if finding.hint else ''}")
        if finding.excerpt:
            context.print(finding.excerpt)
    return 1 if report.findings else 0


def _path_or_stdin(text: str) -> str | BinaryIO:
    import sys

    return sys.stdin.buffer if text == "-" else text


def _pairs(texts: list[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return NAME=VALUE texts as a mapping; NAME alone takes the value of the environment, or is left out."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name:
            raise usage_error(COMMAND, f"{text!r} has no name", "NAME=VALUE")
        if equals:
            found[name] = value
        elif name in environ:
            found[name] = environ[name]
    return found


def _outputs(context: Context, arguments: Arguments) -> list[str]:
    """Return the texts of --output, and what --push adds to them."""
    outputs = arguments.texts("output")
    if _is_stdout_taken(outputs):
        from lamina.cli.transferring import binary_output

        binary_output(context)
    return [*outputs, "type=registry"] if arguments.flag("push") else outputs


def _is_stdout_taken(outputs: list[str]) -> bool:
    """Tell whether one of the outputs goes to standard output."""
    if not outputs:
        return False
    from lamina.build.output import parse_output

    return any(parse_output(text).to_stdout for text in outputs)


def _no_cache(arguments: Arguments) -> bool | list[str]:
    """Return whether no step is taken from the cache, or the stages for which that is so."""
    told = [text for text in arguments.texts("no-cache") if text.lower() not in ("false", "0")]
    stages = [name for text in told if text not in ("", "true", "1") for name in text.split(",") if name]
    stages += [name for text in arguments.texts("no-cache-filter") for name in text.split(",") if name]
    return any(text in ("", "true", "1") for text in told) or stages


def _pull(arguments: Arguments) -> Literal["missing", "always", "never"]:
    told = arguments.texts("pull")
    match told[-1] if told else "missing":
        case "" | "always" | "true":
            return "always"
        case "missing" | "false":
            return "missing"
        case "never":
            return "never"
        case other:
            raise usage_error(COMMAND, f"--pull is missing, always or never, not {other!r}")


def _number(arguments: Arguments, name: str) -> int | None:
    text = arguments.text(name)
    if not arguments.given(name):
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 11):
        raise usage_error(COMMAND, f"--{name} is a number, not {text!r}")
    return int(text)


def _secret(text: str, here: str, environ: Mapping[str, str]) -> tuple[str, str | bytes]:
    """Return id and path of `id=ID,src=PATH`, or the value that `id=ID,env=NAME` has; the id may stand for either."""
    fields = dict(field.partition("=")[::2] for field in text.split(","))
    name, kind = fields.get("id", ""), fields.get("type", "")
    variable = fields.get("env", "")
    unknown = fields.keys() - {"id", "src", "source", "type", "env"}
    source = fields.get("src") or fields.get("source")
    if unknown or not name or kind not in ("", "file", "env") or (variable and source):
        raise usage_error(COMMAND, f"--secret {text}", "id=ID,src=FILE or id=ID,env=NAME")
    path = os.path.join(here, source or name)
    if kind == "env" or variable or not (kind or source or os.path.isfile(path)):
        value = environ.get(variable or source or name)
        if value is not None:
            return name, os.fsencode(value)
        if kind or variable:
            raise usage_error(COMMAND, f"--secret {text}: the environment has no {variable or source or name}")
    if not os.path.isfile(path):
        raise usage_error(COMMAND, f"--secret {text}: there is no file {path}")
    return name, path


def _agent(text: str, default: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    if not (path or default):
        raise usage_error(COMMAND, f"--ssh {text}: SSH_AUTH_SOCK is not set", "--ssh default=SOCKET")
    return name, path or default


COMMAND = Command(
    "build",
    "build an image from a Dockerfile",
    _run,
    description=(
        "Each instruction that changes files becomes a layer over the ones below, from the top of the file down. What"
        " was built before and has not changed comes from the cache; --explain-cache says what differs otherwise."
        " Stages that do not depend on each other are built side by side, and those that nothing needs not at all.\n\n"
        "Progress goes to standard error, the image's id to standard output."
    ),
    options=(
        Option("tag", "give the image a name", short="t", kind=LIST, value="NAME[:TAG]"),
        Option(
            "file", "the Dockerfile, by default CONTEXT/Dockerfile, or - for stdin", short="f", kind=TEXT, value="FILE"
        ),
        Option("target", "build this stage", kind=TEXT, value="STAGE"),
        Option("build-arg", "set an ARG; without =VALUE it is taken from here", kind=LIST, value="NAME[=VALUE]"),
        Option(
            "build-context",
            "another place to take files from: as CONTEXT, docker-image://NAME or oci-layout://DIR[:TAG]",
            kind=LIST,
            value="NAME=SOURCE",
        ),
        Option("label", "label the image", kind=LIST, value="NAME=VALUE"),
        Option("secret", "a file, or a variable (env=NAME), for a secret mount", kind=LIST, value="id=ID,src=FILE"),
        Option("ssh", "an SSH agent for RUN --mount=type=ssh", kind=LIST, value="ID[=SOCKET]"),
        Option("add-host", "a line for /etc/hosts", kind=LIST, value="HOST:ADDRESS"),
        Option("network", "the network of RUN", kind=CHOICE, choices=("host", "none", "default")),
        Option("check", "find what is probably wrong, and build nothing: exit status 1 if there is something"),
        Option("platform", "what to build for, by default this machine", kind=TEXT, value="OS/ARCH[/VARIANT],..."),
        Option("output", "a directory, - for a tar, or TYPE", short="o", kind=LIST, value="type=TYPE[,dest=PATH…]"),
        Option("push", "send the image to the registry that its name says"),
        Option("pull", "pull base images anew, or as WHEN says", kind=OPTIONAL, value="WHEN"),
        Option("no-cache", "carry out every step, or those of a STAGE", kind=OPTIONAL, value="STAGE"),
        Option("no-cache-filter", "carry out every step of these stages", kind=LIST, value="STAGE[,STAGE]"),
        Option("cache-from", "take steps from a shared cache", kind=LIST, value="NAME|type=local,src=DIR"),
        Option("cache-to", "write a shared cache", kind=LIST, value="NAME|type=local,dest=DIR[,mode=max]"),
        Option("squash", "make one layer of what is added to the base"),
        Option("timestamp", "the time of the image and the latest of its files", kind=TEXT, value="SECONDS"),
        Option("annotation", "annotate the manifest", kind=LIST, value="NAME=VALUE"),
        Option("jobs", "carry out at most N steps at once", kind=TEXT, value="N"),
        Option("explain-cache", "say what differs where a step is not taken from the cache"),
        Option("verify", "build twice without the cache and list what differs: exit status 1 if something does"),
        Option("resume", "run a command that failed again over what it left, instead of from its start"),
        Option("shell-on-fail", "open a shell over what a command left that failed"),
        Option(
            "progress",
            "how to show the steps (default: auto)",
            kind=CHOICE,
            choices=("auto", "plain", "tty", "rawjson", "quiet"),
        ),
        Option("quiet", "print the image's id alone: --progress quiet", short="q"),
        Option("metadata-file", "write what was made, as JSON, to FILE", kind=TEXT, value="FILE"),
        Option("iidfile", "write the image's id to FILE", kind=TEXT, value="FILE"),
    ),
    positionals=(
        Positional("CONTEXT", "the files for COPY and ADD: a directory, a tar, a git repository, a URL, - for stdin"),
    ),
    examples=(
        ("lamina build -t web:1 .", "build ./Dockerfile with this directory as the context"),
        ("lamina build --secret id=token,src=token --build-arg VERSION=3 -t web:3 .", "with a secret and an argument"),
    ),
)
