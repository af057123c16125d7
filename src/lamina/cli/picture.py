"""Drawing a stack as textbooks do: base at the bottom, upper above it, what is seen on top.

Text in, lines out: nothing here reads a store or looks at a terminal.
"""

from __future__ import annotations

from dataclasses import dataclass

from lamina.cli.text import cells, cut, cut_middle, pad, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_GUTTER = 11  # columns for the name of a box, to the left of it
_NARROWEST, _WIDEST = 48, 100  # columns of a picture: below, nothing fits; above, the eye loses the line
_KINDS = (("D", "hidden", "red"), ("C", "changed", "yellow"), ("A", "added", "green"))


@dataclass(frozen=True, slots=True)
class Box:
    """A layer, or an upper, as it is drawn.

    `made_by` is the instruction or command, `size` bytes or None where nobody counts them, `directory` where it lies.
    `changes` are ("A", "/path") pairs: what it adds to what is below it, changes in it, and hides of it. `note` stands
    in the place of their counts where they are not known.
    """

    made_by: str
    size: int | None
    directory: str
    changes: Sequence[tuple[str, str]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A stack to draw: `layers` base first, the `upper` of a container, and in `merged` where its union appears."""

    title: str
    facts: Sequence[str]
    layers: Sequence[Box]
    upper: Box | None
    merged: str


@dataclass(frozen=True, slots=True)
class Style:
    """How to draw: characters, columns, colours. `shown` is how many names of each kind stand in a box; None: all."""

    width: int
    unicode: bool
    paint: Callable[[str, str], str]
    shown: int | None


@dataclass(frozen=True, slots=True)
class _Lines:
    """The characters of boxes."""

    corners: str  # top left, top right, bottom left, bottom right, left of a rule, right of a rule
    across: str
    down: str
    dashed_across: str
    dashed_down: str
    arrow: str
    tee: str
    dot: str
    more: str


_UNICODE = _Lines("┌┐└┘├┤", "─", "│", "╌", "┆", "▲", "┴", " · ", "…")
_ASCII = _Lines("++++++", "-", "|", "-", ":", "^", "+", ", ", "...")


def plain(text: str, colour: str) -> str:
    """Paint nothing."""
    return text


def ansi(text: str, colour: str) -> str:
    """Paint `text` as a terminal understands it."""
    codes = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
    return f"\x1b[{codes[colour]}m{text}\x1b[0m" if text else ""


def draw(picture: Picture, style: Style) -> list[str]:
    """Return the lines of the picture."""
    return _Drawing(style).picture(picture)


class _Drawing:
    def __init__(self, style: Style) -> None:
        self.style = style
        self.lines = _UNICODE if style.unicode else _ASCII
        self.inner = max(_NARROWEST, min(style.width, _WIDEST)) - _GUTTER - 4  # between "│ " and " │"

    def picture(self, picture: Picture) -> list[str]:
        paint = self.style.paint
        out = [paint(self.cut(picture.title), "bold"), *(paint(self.cut(fact), "dim") for fact in picture.facts), ""]
        out += [self.edge(0, 1), *self.rows([("merged", "cyan")], [(self.middle(picture.merged), "")])]
        out += [self.edge(2, 3, self.lines.arrow)]
        out += self.upper(picture.upper)
        count = len(picture.layers)
        for number in range(count, 0, -1):
            out.append(self.edge(0, 1) if number == count else self.edge(4, 5))
            names = [(f"lower {number}" if count > 1 else "lower", "bold")] + (
                [("(base)", "dim")] if number == 1 else []
            )
            out += self.rows(names, self.box(picture.layers[number - 1]))
        out.append(self.edge(2, 3))
        return [line.rstrip() for line in out]

    def upper(self, box: Box | None) -> list[str]:
        """Return the box of the upper: dashed where there is none yet, as in a picture of an image."""
        if box is not None:
            rows = self.rows([("upper", "bold"), ("(writable)", "dim")], self.box(box))
            return [self.edge(0, 1, self.lines.tee), *rows, self.edge(2, 3)]
        text = self.cut_to("a container's own: empty until it writes", self.inner)
        rows = self.rows([("upper", "dim")], [(text, "dim")], self.lines.dashed_down)
        across = self.lines.dashed_across
        return [self.edge(0, 1, self.lines.tee, across), *rows, self.edge(2, 3, "", across)]

    def box(self, box: Box) -> list[tuple[str, str]]:
        """Return the text of a layer, each line with its colour."""
        right = "" if box.size is None else size(box.size)
        left = self.cut_to(box.made_by or "(no record of how it was made)", self.inner - cells(right) - 2)
        rows = [(pad(left, self.inner - cells(right)) + right, "")]
        rows.append((self.cut_to(box.note or self.counts(box), self.inner), "dim"))
        for letter, _, colour in _KINDS:
            rows += [(self.middle(line), colour) for line in self.names(letter, box.changes)]
        rows.append((self.middle(box.directory), "dim"))
        return rows

    def counts(self, box: Box) -> str:
        """Return how much the layer adds, changes and hides, in words."""
        words = []
        for letter, word, _ in reversed(_KINDS):
            count = sum(kind == letter for kind, _ in box.changes)
            words += [f"{count} {word}"] if count else []
        return self.lines.dot.join(words) or "no change"

    def names(self, letter: str, changes: Iterable[tuple[str, str]]) -> list[str]:
        """Return the lines for the names of one kind: a whole new directory is one line, long lists are cut."""
        grouped = gather([path for kind, path in changes if kind == letter], whole=letter == "A")
        limit, shown, more = self.style.shown, grouped, ""
        if limit is not None and len(grouped) > limit + 1:  # a line that says "1 more" could as well be the name
            telling = set(sorted(grouped, key=_how_telling)[:limit])
            shown = [pair for pair in grouped if pair in telling]
            more = f"    {self.lines.more} {sum(count for pair, count in grouped if (pair, count) not in telling)} more"
        lines = [f"  {letter} {path}{f'/ ({count} names)' if count > 1 else ''}" for path, count in shown]
        return lines + ([more] if more else [])

    def rows(self, names: Sequence[tuple[str, str]], texts: Sequence[tuple[str, str]], down: str = "") -> list[str]:
        """Return lines between the sides of a box, the first of them behind the box's names."""
        down, paint = down or self.lines.down, self.style.paint
        lines = []
        for at in range(max(len(names), len(texts))):
            name, shade = names[at] if at < len(names) else ("", "")
            text, colour = texts[at] if at < len(texts) else ("", "")
            left = " " * (_GUTTER - 1 - cells(name)) + (paint(name, shade) if shade else name) + " "
            padding = " " * (self.inner - cells(text))
            lines.append(f"{left}{down} {paint(text, colour) if colour else text}{padding} {down}")
        return lines

    def edge(self, left: int, right: int, middle: str = "", across: str = "") -> str:
        """Return a horizontal line between two corners, with a mark in its middle."""
        line = (across or self.lines.across) * (self.inner + 2)
        at = len(line) // 2
        line = line[:at] + middle + line[at + len(middle) :]
        return " " * _GUTTER + self.lines.corners[left] + line + self.lines.corners[right]

    def cut(self, text: str) -> str:
        return self.cut_to(text, self.inner + _GUTTER + 4)

    def cut_to(self, text: str, width: int) -> str:
        return cut(text, width, self.lines.more)

    def middle(self, text: str) -> str:
        return cut_middle(text, self.inner, self.lines.more)


def _how_telling(pair: tuple[str, int]) -> tuple[bool, int, str]:
    """Return what to sort lines by where not all can be shown: programs, then large directories."""
    path, count = pair
    return path.split("/")[-2] not in ("bin", "sbin"), -count, path


def gather(paths: Sequence[str], *, whole: bool) -> list[tuple[str, int]]:
    """Return `paths` sorted by their parts, each with how many of them it stands for.

    With `whole` a path stands for all that are below it, itself included: what was added with its directory needs no
    line of its own.
    """
    found: list[tuple[str, int]] = []
    for path in sorted(paths, key=lambda path: path.split("/")):
        if whole and found and path.startswith(found[-1][0].rstrip("/") + "/"):
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((path, 1))
    return found


def without_holders(changes: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return `changes` without directories that are changed only in that something below them is."""
    holders = set()
    for _, path in changes:
        while (path := path.rpartition("/")[0]) and path not in holders:  # upwards
            holders.add(path)
    return [(kind, path) for kind, path in changes if kind != "C" or path not in holders]
