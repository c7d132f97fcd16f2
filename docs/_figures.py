"""Pictures in the documentation that are written as text.

``.. sequence::`` draws who sends what to whom, from top to bottom. Its argument names the
participants, with bars between; each line is one of::

    1 -> 3: words      an arrow from the first to the third, with words above it
    1 -x 2: words      one that does not arrive
    2: words           what the second does by itself
    --- words          a remark about all of them

``.. chain::`` draws boxes from left to right, one for each line ``name: words``; a line that begins
with ``<`` has its arrow to the left.

``.. timeline::`` draws bars over time, one for each line ``name: 0-3 words, 5-8``.

Where there are no pictures, in plain text for example, the lines themselves are shown.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, ClassVar, Final
from xml.sax.saxutils import escape, quoteattr

import attrs
from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sphinx.application import Sphinx

SIZE: Final = 13
LETTER: Final = 7.0  # the width of a character of this size, about, rather more than less
BOLD: Final = 1.12  # how much wider bold ones are
LINE: Final = 18
MARGIN: Final = 8
LANE: Final = 190  # between two participants
STEP: Final = 34
BOX_LETTERS: Final = 15  # the words of a box are broken there
ARROW: Final = 24  # the room for one between two boxes
UNIT: Final = 46  # the width of one unit of time
BAR: Final = 26

ARROW_LINE: Final = re.compile(r"(\d) -(>|x) (\d): (.+)")
OWN_LINE: Final = re.compile(r"(\d): (.+)")
REMARK_LINE: Final = re.compile(r"--- (.+)")
BAR_PART: Final = re.compile(r"(\d+)-(\d+)(?: (.+))?")


class UnknownLineError(ValueError):
    """A line of a picture that cannot be drawn."""

    def __init__(self, line: str) -> None:
        super().__init__(f"a picture has a line that cannot be read: {line!r}")


@attrs.define
class Canvas:
    """The parts of a picture, and how far they reach."""

    parts: list[str] = attrs.Factory(list[str])
    width: float = 0.0
    height: float = 0.0

    def _reach(self, x: float, y: float) -> None:
        self.width, self.height = max(self.width, x), max(self.height, y)

    def text(
        self, x: float, y: float, words: str, *, middle: bool = False, bold: bool = False
    ) -> None:
        """Words at a place: their left end, or their middle."""
        half = len(words) * LETTER * (BOLD if bold else 1.0) * (0.5 if middle else 1.0)
        anchor = ' text-anchor="middle"' if middle else ""
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}"{anchor}{weight}>{escape(words)}</text>')
        self._reach(x + half, y + SIZE / 2)

    def box(self, x: float, y: float, width: float, height: float, *, filled: bool = False) -> None:
        """A rectangle, faintly filled or not."""
        fill = 'fill="currentColor" fill-opacity="0.12"' if filled else 'fill="none"'
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="5" '
            f'{fill} stroke="currentColor" stroke-opacity="0.6"/>'
        )
        self._reach(x + width, y + height)

    def ground(self, x: float, y: float, width: float, height: float) -> None:
        """Hide what is behind, in the colour of the page."""
        self.parts.append(
            f'<rect class="ground" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}" rx="5" fill="none"/>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, *, dashed: bool = False) -> None:
        """A line."""
        dashes = ' stroke-dasharray="3 4" stroke-opacity="0.5"' if dashed else ""
        self.parts.append(
            f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="currentColor"{dashes}/>'
        )
        self._reach(max(x1, x2), max(y1, y2))

    def arrow(self, x1: float, y: float, x2: float, *, arrives: bool = True) -> None:
        """An arrow from left to right or back; one that does not arrive ends in a cross."""
        end = x2 if arrives else x1 + (x2 - x1) * 0.6
        self.line(x1, y, end, y)
        back = -9 if x2 > x1 else 9
        head = f"l{back} -4.5v9z" if arrives else "m-5 -5l10 10m0 -10l-10 10"
        stroke = "" if arrives else ' stroke="currentColor" stroke-width="1.6"'
        self.parts.append(f'<path d="M{end:.1f} {y:.1f}{head}"{stroke}/>')

    def svg(self, title: str) -> str:
        """The whole picture, in the colours of the text around it."""
        width, height = self.width + MARGIN, self.height + MARGIN
        size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
        looks = f'font-size="{SIZE}" fill="currentColor"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" class="figure" role="img" {size} {looks}'
        return "\n".join((f"{head} aria-label={quoteattr(title)}>", *self.parts, "</svg>"))


# -- sequences -----------------------------------------------------------------------------------


def draw_sequence(title: str, lines: Sequence[str]) -> str:
    """Who sends what to whom.

    Raises:
        UnknownLineError: a line has none of the forms.
    """
    names = [name.strip() for name in title.split("|")]
    canvas = Canvas()
    centres = [MARGIN + LANE / 2 + LANE * index for index in range(len(names))]
    y = 2.0 + BAR + STEP
    for line in lines:
        y += draw_step(canvas, centres, y, line)
    for name, centre in zip(names, centres, strict=True):
        canvas.parts.insert(0, lifeline(centre, 2.0 + BAR, y - STEP / 2))
        width = max(len(name) * LETTER * BOLD + 16, 90)
        canvas.box(centre - width / 2, 2.0, width, BAR, filled=True)
        canvas.text(centre, 2.0 + BAR / 2 + 4.5, name, middle=True, bold=True)
    canvas.width = max(canvas.width, centres[-1] + LANE / 2)
    return canvas.svg(title)


def lifeline(x: float, top: float, bottom: float) -> str:
    """The dashed line below a participant."""
    return (
        f'<path d="M{x:.1f} {top:.1f}V{bottom:.1f}" stroke="currentColor" '
        'stroke-dasharray="3 4" stroke-opacity="0.5"/>'
    )


def draw_step(canvas: Canvas, centres: Sequence[float], y: float, line: str) -> float:
    """One line of a sequence; returns how much room it took."""
    if match := ARROW_LINE.fullmatch(line):
        start, end = centres[int(match[1]) - 1], centres[int(match[3]) - 1]
        inset = 3 if end > start else -3
        canvas.arrow(start + inset, y, end - inset, arrives=match[2] == ">")
        canvas.text((start + end) / 2, y - 6, match[4], middle=True)
        return STEP
    if match := OWN_LINE.fullmatch(line):
        wrapped = textwrap.wrap(match[2], int((LANE - 24) / LETTER))
        centre, width = centres[int(match[1]) - 1], LANE - 16
        height = len(wrapped) * LINE + 8
        top = y - LINE
        canvas.ground(centre - width / 2, top, width, height)
        canvas.box(centre - width / 2, top, width, height)
        for index, each in enumerate(wrapped):
            canvas.text(centre, top + 17 + index * LINE, each, middle=True)
        return height + STEP / 2
    if match := REMARK_LINE.fullmatch(line):
        right = centres[-1] + LANE / 2
        canvas.line(MARGIN, y - 6, right, y - 6, dashed=True)
        canvas.ground(MARGIN, y - 2, len(match[1]) * LETTER * BOLD, LINE)
        canvas.text(MARGIN, y + LINE - 8, match[1], bold=True)
        return STEP + 8
    raise UnknownLineError(line)


# -- chains --------------------------------------------------------------------------------------


def draw_chain(title: str, lines: Sequence[str]) -> str:
    """Boxes from left to right.

    Raises:
        UnknownLineError: a line is no ``name: words``.
    """
    canvas = Canvas()
    cells: list[tuple[str, list[str], bool]] = []
    for line in lines:
        name, colon, rest = line.removeprefix("<").strip().partition(": ")
        if not colon:
            raise UnknownLineError(line)
        cells.append((name, textwrap.wrap(rest, BOX_LETTERS), line.startswith("<")))
    height = (max(len(words) for _, words, _ in cells) + 1) * LINE + 14
    x = 2.0
    for index, (name, words, to_the_left) in enumerate(cells):
        width = max(len(name) * BOLD, *map(len, words)) * LETTER + 18
        if index:
            ends = (x + ARROW - 3, x + 3) if to_the_left else (x + 3, x + ARROW - 3)
            canvas.arrow(ends[0], 2 + height / 2, ends[1])
            x += ARROW
        canvas.box(x, 2.0, width, height, filled=True)
        canvas.text(x + width / 2, 2.0 + LINE, name, middle=True, bold=True)
        for number, each in enumerate(words, 2):
            canvas.text(x + width / 2, 2.0 + number * LINE, each, middle=True)
        x += width
    return canvas.svg(title)


# -- timelines -----------------------------------------------------------------------------------


def draw_timeline(title: str, lines: Sequence[str]) -> str:
    """Bars over time.

    Raises:
        UnknownLineError: a line is no ``name: 0-3, 5-8 words``.
    """
    canvas = Canvas()
    left = 14 + max(len(line.partition(": ")[0]) for line in lines) * LETTER * BOLD
    for row, line in enumerate(lines):
        name, colon, parts = line.partition(": ")
        top = 2 + row * (BAR + 12)
        if not colon:
            raise UnknownLineError(line)
        canvas.text(2, top + BAR / 2 + 4.5, name, bold=True)
        for part in parts.split(", "):
            match = BAR_PART.fullmatch(part)
            if match is None:
                raise UnknownLineError(line)
            start, end = int(match[1]), int(match[2])
            canvas.box(left + start * UNIT, top, (end - start) * UNIT, BAR, filled=True)
            if match[3]:
                x = left + (start + end) / 2 * UNIT
                canvas.text(x, top + BAR / 2 + 4.5, match[3], middle=True)
    return canvas.svg(title)


# -- Sphinx --------------------------------------------------------------------------------------


DRAW: Final[dict[str, Callable[[str, Sequence[str]], str]]] = {
    "sequence": draw_sequence,
    "chain": draw_chain,
    "timeline": draw_timeline,
}
PICTURE: Final = re.compile(
    r"^\.\. ({}):: (.+)\n\n((?:   .+\n)+)".format("|".join(DRAW)), re.MULTILINE
)


class Picture(SphinxDirective):
    """A picture that is drawn from the lines of its content, by the function of its name."""

    required_arguments: ClassVar[int] = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Put the picture there, and its lines where there are no pictures."""
        title = " ".join(self.arguments[0].split())
        lines = [line.strip() for line in self.content if line.strip()]
        try:
            svg = DRAW[self.name](title, lines)
        except UnknownLineError as error:
            raise self.error(str(error)) from error
        html = nodes.raw("", f'<div class="figure">{svg}</div>', format="html")
        text = "\n".join((title, *lines))
        words = addnodes.only("", nodes.literal_block(text, text), expr="not html")
        return [html, words]


def pictures_of(page: str) -> Iterator[tuple[str, str, list[str]]]:
    """The pictures in the source of a page: the directive, its argument, and its lines."""
    for match in PICTURE.finditer(page):
        yield match[1], match[2], [line.strip() for line in match[3].splitlines()]


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directives known."""
    for name in DRAW:
        app.add_directive(name, Picture)
    return {"parallel_read_safe": True}
