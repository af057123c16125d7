"""`lamina rm`: remove containers."""

from __future__ import annotations

from lamina.cli.options import Command, Option, Positional

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments


def _run(context: Context, arguments: Arguments) -> int:
    from lamina.cli.removing import remove_each, wanted

    store, force = context.store(), arguments.flag("force")
    names = wanted(COMMAND, arguments, lambda: [container.name for container in store.containers()])

    def remove(name: str) -> None:
        store.container(name).remove(force=force)
        context.print(name)

    return remove_each(context, names, remove, missing_is_fine=force)


COMMAND = Command(
    "rm",
    "remove containers and all that they wrote",
    _run,
    options=(
        Option("all", "all of them", short="a"),
        Option("force", "kill those that run first; no error for one that does not exist", short="f"),
    ),
    positionals=(Positional("CONTAINER", "a name, an id, or the beginning of one", least=0, most=None),),
    examples=(("lamina rm build", "its upper directory is gone"), ("lamina rm --all --force", "no container is left")),
)
