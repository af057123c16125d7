"""Completing a command line: what may stand where the cursor is.

The scripts that `lamina completion` prints are a few lines: at each press of the tab key the shell hands the line over
and the program answers from the same tables that it parses with, and with the images and containers that exist.
"""

from __future__ import annotations

from lamina.cli.commands import NAMES, table_of
from lamina.cli.main import LAMINA
from lamina.cli.options import CHOICE, FLAG, OPTIONAL
from lamina.errors import LaminaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamina.cli.context import Context
    from lamina.cli.options import Command, Option

SHELLS = ("bash", "zsh", "fish")

#: Answers that ask the shell to complete names of files or directories by itself.
FILES, DIRECTORIES = ":files", ":directories"

_PATHS = {
    "FILE": FILES,
    "DIR": DIRECTORIES,
    "MERGED": DIRECTORIES,
    "ROOTFS": FILES,
    "SOURCE:TARGET[:OPTIONS]": FILES,
    "DEVICE[:TARGET]": FILES,
}


def complete(context: Context, line: str) -> list[tuple[str, str]]:
    """Return what may complete the last word of `line`, each with a word of explanation or "".

    `line` begins with the program's name and ends at the cursor.
    """
    words = split(line)[1:] or [""]
    command, rest = LAMINA, words
    for at, word in enumerate(words[:-1]):
        if word.startswith("-") and not _takes_next(LAMINA, word):
            continue
        if at and _takes_next(LAMINA, words[at - 1]):
            continue
        if word in NAMES:
            command, rest = table_of(word), words[at + 1 :]
            break
    return [(text, help_) for text, help_ in _candidates(context, command, rest) if _fits(text, rest[-1])]


def split(line: str) -> list[str]:
    """Return the words of a shell's line up to the cursor, without quotes; the last one may be unfinished or empty."""
    words: list[str] = []
    word: str | None = None  # None between words, "" in one that quotes began
    quote, escaped = "", False
    for c in line:
        if escaped:
            word, escaped = (word or "") + c, False
        elif c == "\\" and quote != "'":
            word, escaped = word or "", True
        elif quote:
            word, quote = (word, "") if c == quote else ((word or "") + c, quote)
        elif c in "'\"":
            word, quote = word or "", c
        elif not c.isspace():
            word = (word or "") + c
        elif word is not None:
            words.append(word)
            word = None
    return [*words, word or ""]


def _fits(text: str, prefix: str) -> bool:
    return text in (FILES, DIRECTORIES) or text.startswith(prefix)


def _candidates(context: Context, command: Command, words: Sequence[str]) -> list[tuple[str, str]]:
    """Return what may stand at the end of `words`, which follow the command's name."""
    *before, last = words
    option = _pending(command, before)
    if option is not None:
        return _values(context, option.value, option)
    name, equals, _ = last.partition("=")
    if equals and name.startswith("--"):
        known = command.by_long(name[2:])
        values = _values(context, known.value, known) if known else []
        return [(text if text in (FILES, DIRECTORIES) else f"{name}={text}", help_) for text, help_ in values]
    place, in_tail = _place(command, before)
    if last.startswith("-") and not in_tail:
        return [(f"--{known.long}", known.help) for known in command.options]
    if in_tail:
        return [] if command is LAMINA else [(FILES, "")]  # words after a command that does not exist
    return _values(context, _positional_at(command, place))


def _positional_at(command: Command, place: int) -> str:
    """Return the name of the positional in this place, or "" where none is expected; the last may take many."""
    if not command.positionals or (place >= len(command.positionals) and command.positionals[-1].most is not None):
        return ""
    return command.positionals[min(place, len(command.positionals) - 1)].name


def _pending(command: Command, before: Sequence[str]) -> Option | None:
    """Return the option whose value the last word is, if the word before it is one that takes the next."""
    return _takes_next(command, before[-1]) if before and not _place(command, before[:-1])[1] else None


def _takes_next(command: Command, word: str) -> Option | None:
    if word.startswith("--"):
        option = command.by_long(word[2:])
    else:
        option = command.by_short(word[-1]) if len(word) > 1 and word.startswith("-") else None
    return option if option is not None and option.kind not in (FLAG, OPTIONAL) else None


def _place(command: Command, before: Sequence[str]) -> tuple[int, bool]:
    """Return how many positionals `before` holds, and whether what follows it belongs to the command's tail."""
    count, skip = 0, False
    for word in before:
        if skip:
            skip = False
        elif word == "--":
            return count, bool(command.tail) and (command.interspersed or count >= len(command.positionals))
        elif word.startswith("-") and word != "-":
            skip = _takes_next(command, word) is not None
        else:
            count += 1
            if not command.interspersed and count >= len(command.positionals):
                return count, True
    return count, False


def _values(context: Context, value: str, option: Option | None = None) -> list[tuple[str, str]]:
    if option is not None and option.kind == CHOICE:
        return [(choice, "") for choice in option.choices]
    found: list[tuple[str, str]] = []
    for kind in value.split("|"):
        if kind == "IMAGE":
            found += [("host", "this machine's own files"), *_names(context, "image")]
        elif kind == "CONTAINER":
            found += _names(context, "container")
        elif kind == "SHELL":
            found += [(shell, "") for shell in SHELLS]
        elif kind == "COMMAND":
            found += [(known, table_of(known).summary) for known in NAMES]
        elif kind in _PATHS:
            found.append((_PATHS[kind], ""))
    return found


def _names(context: Context, kind: str) -> list[tuple[str, str]]:
    """Return the names of images or containers; none where the store cannot be read: a completion has no errors."""
    from lamina.cli.names import container_names, image_names

    try:
        names = image_names(context.store()) if kind == "image" else container_names(context.store())
    except (LaminaError, OSError):
        return []
    return [(name, kind) for name in names]


def for_shell(shell: str, line: str, candidates: Sequence[tuple[str, str]]) -> list[str]:
    """Return the lines that the script of `shell` expects.

    bash takes `:` and `=` for ends of words, so what it is to insert begins after the last of these in the last word.
    zsh and fish show the explanations, which follow behind a tab.
    """
    last = split(line)[-1]
    cut = max(last.rfind(":"), last.rfind("=")) + 1 if shell == "bash" else 0
    lines = []
    for text, help_ in candidates:
        if text in (FILES, DIRECTORIES):
            lines.append(text)
        else:
            lines.append(text[cut:] if shell == "bash" else f"{text}\t{help_}")
    return lines


def script(shell: str) -> str:
    """Return the text that `shell` has to read once to complete `lamina`."""
    return {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[shell]


_BASH = r"""# Completion of lamina for bash: source <(lamina completion bash)
_lamina() {
  local IFS=$'\n' line cur=${COMP_WORDS[COMP_CWORD]}
  case $cur in (:|=) cur= ;; esac
  COMPREPLY=()
  for line in $(lamina completion bash --line "${COMP_LINE:0:COMP_POINT}" 2>/dev/null); do
    case $line in
      :files) compopt -o filenames; COMPREPLY+=($(compgen -f -- "$cur")) ;;
      :directories) compopt -o filenames; COMPREPLY+=($(compgen -d -- "$cur")) ;;
      *) COMPREPLY+=("$line") ;;
    esac
  done
}
complete -F _lamina lamina"""

_ZSH = r"""#compdef lamina
# Completion of lamina for zsh: source <(lamina completion zsh), or save it as _lamina in a directory of $fpath
_lamina() {
  local line text ret=1
  local -a found shown
  for line in "${(@f)$(lamina completion zsh --line "${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null)}"; do
    case $line in
      '') ;;
      :files) _files && ret=0 ;;
      :directories) _files -/ && ret=0 ;;
      *)
        text=${line%%$'\t'*}
        found+=("$text")
        if [[ -n ${line#*$'\t'} ]]; then shown+=("$text -- ${line#*$'\t'}"); else shown+=("$text"); fi ;;
    esac
  done
  (( ${#found} )) && compadd -l -d shown -a found && ret=0
  return ret
}
if [[ ${funcstack[1]} = _lamina ]]; then _lamina "$@"; else compdef _lamina lamina; fi"""

_FISH = r"""# Completion of lamina for fish: lamina completion fish | source
function __lamina_complete
  for line in (lamina completion fish --line (commandline -cp | string collect) 2>/dev/null)
    switch $line
      case :files
        __fish_complete_path (commandline -ct)
      case :directories
        __fish_complete_directories (commandline -ct) ''
      case '*'
        echo $line
    end
  end
end
complete -c lamina -f -a '(__lamina_complete)'"""
