"""What `rm` and `rmi` share: which things, and going on after one that cannot be removed."""

from __future__ import annotations

from lamina.cli.options import usage_error
from lamina.errors import LaminaError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lamina.cli.context import Context
    from lamina.cli.options import Arguments, Command


def wanted(command: Command, arguments: Arguments, everything: Callable[[], list[str]]) -> list[str]:
    """Return what is to be removed: the names given, or `everything` with --all."""
    names, everyone = arguments.positionals, arguments.flag("all")
    if everyone and names:
        raise usage_error(command, "--all leaves nothing to name")
    if not names and not everyone:
        raise usage_error(command, f"{command.positionals[0].name} is missing", "--all names all of them")
    return everything() if everyone else list(dict.fromkeys(names))


def remove_each(context: Context, names: list[str], remove: Callable[[str], None], *, missing_is_fine: bool) -> int:
    """Remove each; an error is told when the others were tried, the first one by raising it."""
    first: LaminaError | None = None
    for name in names:
        try:
            remove(name)
        except LaminaError as error:
            if missing_is_fine and isinstance(error, NotFound):
                continue
            if first is not None:
                context.note(str(error))
            first = first or error
    if first is not None:
        raise first
    return 0
