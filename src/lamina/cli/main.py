"""The program `lamina`: global options, the table of commands, errors as lines, and the exit status.

Exit status: the command's own, 2 for a malformed command line, 125 for what could not be done, 130 after Ctrl-C.
"""

from __future__ import annotations

import gc
import os
import sys

from lamina import __version__
from lamina.cli.commands import NAMES, table_of
from lamina.cli.context import Context, open_standard_streams
from lamina.cli.options import (
    TEXT,
    Arguments,
    Command,
    Option,
    Positional,
    UnknownOption,
    did_you_mean,
    parse,
    usage_error,
)
from lamina.errors import LaminaError, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn, TextIO

FAILED, INTERRUPTED = 125, 130


def program() -> NoReturn:
    """Be the command `lamina`: `main` in a process that does nothing else, and ends with it.

    Taking the interpreter apart object by object costs 4 ms at the end of each command, and looking for cycles while
    modules are loaded another one. The kernel takes all of it back at once.
    """
    gc.set_threshold(50_000)
    status = main()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(status)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`, by default that of this process, and return the exit status."""
    out, err = open_standard_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words[:1]  # until the options are read
    try:
        try:
            arguments = parse(LAMINA, words)
            debug = arguments.flag("debug")
            status = _dispatch(arguments, out, err)
        finally:
            out.flush()
    except BrokenPipeError:
        # Who read our output has seen enough. Python flushes stdout once more at exit: give it a place to write to.
        _discard(out)
        return 141  # 128 + SIGPIPE, as a program in C
    except KeyboardInterrupt:
        return INTERRUPTED
    except (LaminaError, OSError) as error:
        _discard_unwritten(out)
        return _report(error, err, debug=debug)
    except Exception as error:  # noqa: BLE001  # a defect: one line for the person, the rest with --debug
        return _report(error, err, debug=debug)
    return status


def _dispatch(arguments: Arguments, out: TextIO, err: TextIO) -> int:
    """Carry out what the global options and the words after them say."""
    context = Context(
        os.environ,
        out,
        err,
        root=arguments.text("root") or None,
        verbose=arguments.flag("verbose"),
        debug=arguments.flag("debug"),
    )
    return _lamina(context, arguments)


def _lamina(context: Context, arguments: Arguments) -> int:
    if arguments.flag("version"):
        context.print(f"lamina {__version__}")
        return 0
    if arguments.flag("help"):
        from lamina.cli.help import overview

        context.print(overview())
        return 0
    if not arguments.positionals:
        raise usage_error(LAMINA, "no command given")
    name = arguments.positionals[0]
    if name not in NAMES:
        raise usage_error(LAMINA, f"unknown command {name!r}", did_you_mean(name, list(NAMES)))
    command = table_of(name)
    own = _parse_own(command, arguments.tail)
    if own.flag("help"):
        from lamina.cli.help import page

        context.print(page(command))
        return 0
    return command.run(context, own)


def _parse_own(command: Command, words: list[str]) -> Arguments:
    """Read the words after the command's name; for one of lamina's own options among them, say where it goes."""
    try:
        return parse(command, words)
    except UnknownOption as error:
        if LAMINA.by_long(error.spelled.removeprefix("--")):
            error.hint = f"it stands before the command: lamina {error.spelled} … {command.name} …"
        raise


def _report(error: Exception, err: TextIO, *, debug: bool) -> int:
    """Print `error` as one line, and its hint as another; return the exit status for it."""
    if debug:
        import traceback

        traceback.print_exception(error, file=err)
    hint = ""
    if isinstance(error, LaminaError):
        text, hint = str(error), error.hint
    elif isinstance(error, OSError):
        text = _os_error(error)
    else:
        text = f"a defect of lamina: {type(error).__name__}: {error}"
        hint = "lamina --debug … shows where it happened"
    try:
        err.write(f"lamina: {one_line(text)}\n")
        if hint:
            err.write(f"hint: {one_line(hint)}\n")
        err.flush()
    except OSError:  # nowhere to say it: the status does
        _discard(err)
    return error.status if isinstance(error, LaminaError) else FAILED


def _os_error(error: OSError) -> str:
    if error.strerror is None:
        return str(error)
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    if not names and isinstance(error, FileNotFoundError) and _is_nowhere():
        return "the working directory does not exist any more"
    return ": ".join((" and ".join(names), error.strerror)) if names else error.strerror


def _is_nowhere() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _discard(stream: TextIO) -> None:
    """Point the descriptor of `stream` at /dev/null, so that what is still buffered goes nowhere without an error."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _discard_unwritten(stream: TextIO) -> None:
    """After an error: if stdout is what failed (a full disk), do not let Python try, and complain, again at exit."""
    try:
        stream.flush()
    except OSError:
        _discard(stream)


#: The program itself: what may stand before the command's name.
LAMINA = Command(
    "lamina",
    "OverlayFS in Python, and everything that stands on it",
    _lamina,
    description=(
        "Lay directories over each other with copy-on-write, keep each change as a layer, and run containers over a"
        " stack of layers. No daemon, and no root needed."
    ),
    options=(
        Option("root", "keep images and containers in DIR (also: LAMINA_ROOT)", kind=TEXT, value="DIR"),
        Option("verbose", "say what was chosen: driver, id map", short="v"),
        Option("debug", "show the traceback of an error"),
        Option("version", "show the version"),
    ),
    positionals=(Positional("COMMAND", "", least=0),),
    tail="[ARG…]",
    interspersed=False,
    examples=(
        ("lamina run host -- sh", "a shell over this machine's own files: what it writes stays in a layer of its own"),
        ("lamina import rootfs.tar.gz debian:mine", "a root file system becomes an image"),
        ("lamina run debian:mine cat /etc/os-release", "and a command runs in it"),
        ("lamina show debian:mine", "a picture of its layers"),
    ),
)
