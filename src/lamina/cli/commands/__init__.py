"""The commands of the program: their names in groups, and loading the one that was asked for.

A command's module declares `COMMAND`. What it needs to do its work it imports when it does it, so that help and
completion, which read all tables, stay quick.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.cli.options import Command

#: Headings and commands in the order in which the help shows them.
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Directories over each other", ("mount", "remount", "umount", "upper", "mount-helper")),
    ("Images", ("build", "import", "bootstrap", "images", "tag", "inspect", "history", "show", "rmi")),
    (
        "Images in and out",
        ("pull", "push", "load", "save", "export", "copy", "tags", "attach", "referrers", "login", "logout"),
    ),
    ("Containers", ("run", "ps", "diff", "commit", "rm")),
    ("The store and this program", ("prune", "store", "doctor", "completion", "help")),
)

NAMES = tuple(name for _, names in GROUPS for name in names)


def table_of(name: str) -> Command:
    """Import the module of the command `name`, one of `NAMES`, and return its table.

    Not called by a verb: each verb may be a command, whose module takes the name over when it is imported.
    """
    module = "import_" if name == "import" else name.replace("-", "_")  # a keyword cannot be a module's name
    command: Command = __import__(f"{__name__}.{module}", fromlist=("COMMAND",)).COMMAND
    return command
