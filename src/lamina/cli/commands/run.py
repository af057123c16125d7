"""`lamina run`: a command over an image, with a fresh upper. On the start-up path."""

from __future__ import annotations

import os

from lamina.cli.options import CHOICE, TEXT, Command, Option, Positional
from lamina.cli.run_options import RUN_OPTIONS, command_words, read_run_options
from lamina.errors import LaminaError, NotFound
from lamina.oci.reference import parse_name
from lamina.store.images import HOST

#: Names that are told of at most.
_UNREADABLE = 200

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lamina.api import Container, Image, Store
    from lamina.cli.context import Context
    from lamina.cli.options import Arguments
    from lamina.events import Event
    from lamina.runtime.spec import RunOptions


def _run(context: Context, arguments: Arguments) -> int:
    options = read_run_options(arguments, command_words(arguments), context.environ)
    if arguments.flag("explain"):
        context.out.write(context.store().explain(arguments.positionals[0], options, keep=not arguments.flag("rm")))
        return 0
    commit, removed = arguments.text("commit"), arguments.flag("rm")
    if commit:
        parse_name(commit)  # a name that cannot be is known before the command has run for an hour
    container = _create(context, arguments, options)

    def tell(event: Event) -> None:
        if event.text and not arguments.flag("quiet"):
            context.note(event.text)

    try:
        status = container.start(on_event=tell)
        if commit and status == 0:
            image = container.commit(commit, on_event=tell)
            context.detail(f"committed {commit}: {image.id}")
            removed = True  # all that it was is in the image
        elif commit:
            kept = "" if removed else f": {container.name} has its changes"
            context.note(f"not committed, since the command ended with status {status}{kept}")
    finally:
        if removed:
            container.remove(force=True)
    return status


def _create(context: Context, arguments: Arguments, options: RunOptions) -> Container:
    """Make the container, and write its id where --cidfile says."""
    store = context.store()
    _tell_choices(context, store, arguments.positionals[0], options)
    id_path = arguments.text("cidfile")
    id_file = _reserve(id_path) if id_path else -1
    removed = arguments.flag("rm")
    try:
        image = _image(context, store, arguments)
        container = store.create(
            image,
            options,
            name=arguments.text("name"),
            throw_away=removed and not arguments.text("commit"),
            pinned=removed,
        )
        if id_path:
            os.write(id_file, container.id.encode())
        return container
    except BaseException:
        if id_path:
            os.unlink(id_path)
        raise
    finally:
        if id_path:
            os.close(id_file)


def _tell_choices(context: Context, store: Store, name: str, options: RunOptions) -> None:
    """Say under --verbose what was chosen, and over the host what the driver cannot show."""
    if not context.verbose:
        return
    from lamina.runtime.host import host_driver

    driver = host_driver(options.driver, store.ids) if name == HOST else options.driver
    words = {"kernel": "the kernel's overlayfs", "fuse": "our own, over FUSE", "auto": "the kernel's overlayfs or ours"}
    context.detail(f"store: {store.root}; driver: {words[driver]}; ids: {store.ids.describe()}")
    if name == HOST and driver == "fuse":
        from itertools import islice

        from lamina.runtime.unreadable import unreadable_names

        for path in islice(unreadable_names(hidden=(store.root,)), _UNREADABLE):
            context.detail(f"not readable here, so empty once it is written to: {path}")


def _image(context: Context, store: Store, arguments: Arguments) -> Image | str:
    """Return the image to run, pulled as --pull says."""
    name, pull = arguments.positionals[0], arguments.text("pull", "missing")
    if pull != "always" or name == HOST:
        try:
            store.find(name)
        except NotFound:
            if pull == "never":
                raise
        else:
            return name
    from lamina.cli.transferring import pull_for_run

    return pull_for_run(context, store, name, platform="", quiet=arguments.flag("quiet"))


def _reserve(path: str) -> int:
    """Return a descriptor of the new file at `path`: one that exists is somebody's."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LaminaError("write the container's id to", path, error) from error


COMMAND = Command(
    "run",
    "run a command over an image",
    _run,
    description=(
        "The command gets a file tree of the image's layers with a fresh upper on top, and namespaces of its own; it is"
        " process 1 there. Its exit status is that of lamina: 125 if the container could not be started, 126 if the"
        " command cannot be executed, 127 if it does not exist, 128 + N if signal N ended it.\n\n"
        "IMAGE `host` stands for this machine's own files: they are read, and what the command writes stays in the"
        " container. Without --rm the container is kept: `lamina diff` shows what it changed, `lamina commit` makes an"
        " image of it, `lamina rm` removes it."
    ),
    options=(
        Option("rm", "remove the container when the command has ended"),
        Option("name", "call the container NAME", kind=TEXT, value="NAME"),
        *RUN_OPTIONS,
        Option(
            "commit", "make what the command changed an image, if it ends with status 0", kind=TEXT, value="NAME[:TAG]"
        ),
        Option("cidfile", "write the container's id to a new file", kind=TEXT, value="FILE"),
        Option("explain", "print the shell script that does the same, and do nothing"),
        Option(
            "pull",
            "when to pull the image from its registry (default: missing)",
            kind=CHOICE,
            choices=("always", "missing", "never"),
        ),
        Option("quiet", "say nothing beside what the command says", short="q"),
    ),
    positionals=(Positional("IMAGE", "a name or an id, or host"),),
    tail="[COMMAND [ARG…]]",
    interspersed=False,
    examples=(
        ("lamina run -it debian:mine bash", "a shell in a container that is kept"),
        ("lamina run --rm -v ./src:/src:ro -w /src debian:mine make", "a build over files of this machine"),
        (
            "lamina run --commit debian:curl debian:mine sh -c 'apt-get update && apt-get install -y curl'",
            "the next layer",
        ),
        (
            "lamina run --name try host -- apt-get install -y tree",
            "over this machine: lamina diff try shows the change",
        ),
        ("lamina run --explain --rm debian:mine ls", "how it is done, as a shell script"),
    ),
)
