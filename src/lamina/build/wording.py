"""What an image's history says about an instruction: the words that BuildKit chooses, variables filled in.

Tools show these lines to people and look for known beginnings in them, so they are the same to the letter. BuildKit
prints some values as its language's formatting does: `go_quote` is that of a text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lamina.build.dockerfile.arguments import Argument
from lamina.build.dockerfile.instructions import (
    Add,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    Shell,
    ShellForm,
    Stopsignal,
    User,
    Volume,
)
from lamina.oci.config import Settings

_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\"}


def configured_words(  # noqa: PLR0911  # one for each instruction
    instruction: Instruction, settings: Settings, ports: tuple[str, ...] = ()
) -> str:
    """Return the line for an expanded instruction that changes the config to `settings`; "" where there is none."""
    match instruction:
        case Env(pairs=pairs) | Label(pairs=pairs):
            return f"{instruction.name} {' '.join(f'{pair.name.text}={pair.value.text}' for pair in pairs)}"
        case Cmd():
            return f"CMD {_quoted(settings.cmd or ())}"
        case Entrypoint():
            return f"ENTRYPOINT {_quoted(settings.entrypoint or ())}"
        case Shell(words=words):
            return f"SHELL [{' '.join(words)}]"
        case Expose():
            return f"EXPOSE [{' '.join(ports)}]"
        case Volume(paths=paths):
            return f"VOLUME [{' '.join(path.text for path in paths)}]"
        case User(user=word) | Stopsignal(signal=word):
            return f"{instruction.name} {word.text}"
        case Healthcheck():
            return f"HEALTHCHECK {_health(instruction)}"
        case Maintainer(maintainer=name):
            return f"MAINTAINER {name}"
    return ""


def argument_words(declared: Iterable[Argument]) -> str:
    """Return the line for an ARG: names, with the values that they got."""
    return "ARG " + " ".join(one.name if one.value is None else f"{one.name}={one.value}" for one in declared)


def run_words(words: tuple[str, ...], arguments: Iterable[str], variables: Mapping[str, str]) -> str:
    """Return the line for a RUN: before the command stand the arguments declared so far, and how many they are."""
    given = [f"{name}={variables.get(name, '')}" for name in arguments]
    prefix = f"|{len(given)} {' '.join(given)} " if given else ""
    return f"RUN {prefix}{' '.join(words)} # buildkit"


def copy_words(step: Copy | Add) -> str:
    """Return the line for an expanded COPY or ADD: of the flags, those that change the files."""
    words = [step.name]
    if isinstance(step, Copy) and step.parents:
        words.append("--parents")
    if step.chown is not None:
        words.append(f"--chown={step.chown.text}")
    if step.chmod is not None:
        words.append(f"--chmod={step.chmod.text}")
    words += [source.text for source in step.sources]
    words += [f"<<{document.name}" for document in step.documents]
    return f"{' '.join(words)} {step.destination.text} # buildkit"


def go_quote(text: str) -> str:
    """Return a text as Go's %q prints it."""
    return f'"{"".join(map(_quoted_character, text))}"'


def _quoted_character(character: str) -> str:
    if character == '"':
        return '\\"'
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if character == " " or (character.isprintable() and not character.isspace()):
        return character
    if code < 0x80 or 0xDC80 <= code <= 0xDCFF:  # a byte that is no text
        return f"\\x{code & 0xFF:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _quoted(words: tuple[str, ...]) -> str:
    return f"[{' '.join(map(go_quote, words))}]"


def _health(check: Healthcheck) -> str:
    if check.command is None:
        test: tuple[str, ...] = ("NONE",)
    elif isinstance(check.command, ShellForm):
        test = ("CMD-SHELL", check.command.text)
    else:
        test = ("CMD", *check.command.words)
    times = (check.interval, check.timeout, check.start_period, check.start_interval)
    shown = " ".join(go_quote(_duration(time)) for time in times)
    # The number of retries is printed as the character of that number.
    return f"&{{{_quoted(test)} {shown} {_go_character(check.retries)}}}"


def _go_character(code: int) -> str:
    character = chr(code) if code <= 0x10FFFF else "\ufffd"
    shown = {'"': '"', "'": "\\'"}.get(character) or _quoted_character(character)
    return f"'{shown}'"


def _duration(nanoseconds: int) -> str:
    """Return a duration as Go prints it: 1m30s, 500ms, 0s."""
    if nanoseconds == 0:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if nanoseconds < size * 1000:
            return f"{_decimal(nanoseconds, size)}{unit}"
    minutes, rest = divmod(nanoseconds, 60 * 1_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, 1_000_000_000)}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)
