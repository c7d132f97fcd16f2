"""State diagrams of the QoS handshakes, drawn from the tables that the library runs on.

The state in which nothing is under way is a bar at the top; the others stand below it, in the
order in which an exchange goes through them. A row of a table that leads to another state is an
arrow; one that does not is a line inside the box of its state. Whatever does not fit this form is
an error, so that no row is ever left out.

In a page, ``.. handshake:: sender`` becomes the diagram and, below it, the table in words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final
from xml.sax.saxutils import escape, quoteattr

import attrs
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from trio_mqtt._protocol.handshakes import RECEIVER, SENDER, ReceiverState, SenderState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from enum import IntEnum

    from sphinx.application import Sphinx

    from trio_mqtt._protocol.handshakes import ReceiverRow, SenderRow

LETTER: Final = 6.7  # the width of a monospaced character of this size, about
SIZE: Final = 11
REFUSED: Final = "#d03030"  # to be read on white and on black
LINE: Final = 16
PADDING: Final = 10
SHAFT: Final = 58  # of the arrows between the bar and the boxes
ARROW_GAP: Final = 26
BOX_GAP: Final = 34


def words(member: IntEnum) -> str:
    """The name of a state, input or action as people write it."""
    return " ".join(
        word if word.startswith("PUB") and len(word) > len("PUB") else word.lower()
        for word in member.name.split("_")
    )


@attrs.frozen
class Row:
    """One row of a table.

    Attributes:
        state: where the exchange stands.
        cause: what happens.
        action: what is done about it.
        following: where the exchange stands afterwards.
        guard: the rule that the row keeps.
        statement: where the standard says so.
    """

    state: IntEnum
    cause: IntEnum
    action: IntEnum
    following: IntEnum
    guard: str
    statement: str

    @property
    def refuses(self) -> bool:
        """Whether the connection ends here, wherever the table leads."""
        return self.action.name == "REFUSE"

    @property
    def stays(self) -> bool:
        """Whether it is drawn inside the box."""
        return self.refuses or self.following is self.state

    @property
    def labels(self) -> tuple[str, str]:
        """What happens and what is done about it."""
        return words(self.cause), words(self.action)


@attrs.frozen
class Chart:
    """A table to draw.

    Attributes:
        rows: its rows.
        home: the state in which nothing is under way.
        others: the other states, in order.
        beginnings: what begins an exchange without being an input of the table, by the state that
            it leads to.
    """

    rows: tuple[Row, ...]
    home: IntEnum
    others: tuple[IntEnum, ...]
    beginnings: Mapping[IntEnum, tuple[str, str]]


def make_rows(
    items: Iterable[tuple[tuple[IntEnum, IntEnum], SenderRow | ReceiverRow]],
) -> tuple[Row, ...]:
    """The rows of a table, each with its key."""
    return tuple(
        Row(state, cause, row.action, row.state, row.guard, row.statement)
        for (state, cause), row in items
    )


CHARTS: Final = {
    "sender": Chart(
        make_rows(SENDER.items()),
        SenderState.IDLE,
        tuple(SenderState)[1:],
        {
            SenderState.AWAITING_PUBACK: ("QoS 1", "send PUBLISH"),
            SenderState.AWAITING_PUBREC: ("QoS 2", "send PUBLISH"),
        },
    ),
    "receiver": Chart(
        make_rows(RECEIVER.items()), ReceiverState.UNKNOWN, tuple(ReceiverState)[1:], {}
    ),
}


# -- SVG -----------------------------------------------------------------------------------------


@attrs.frozen
class Arrow:
    """An arrow with its label: what happens, and what is done about it."""

    labels: tuple[str, str]
    row: Row | None  # None for a beginning

    @property
    def width(self) -> float:
        """What the label takes."""
        return max(map(len, self.labels)) * LETTER


@attrs.define
class Box:
    """A state with the lines inside it and its arrows.

    Attributes:
        state: the state.
        lines: the rows that do not leave it.
        down: arrows from the bar to the box.
        up: arrows from the box to the bar.
        across: arrows to the next box.
        left: where it begins.
        width: how wide it is.
    """

    state: IntEnum
    lines: list[Row] = attrs.Factory(list[Row])
    down: list[Arrow] = attrs.Factory(list[Arrow])
    up: list[Arrow] = attrs.Factory(list[Arrow])
    across: list[Arrow] = attrs.Factory(list[Arrow])
    left: float = 0.0
    width: float = 0.0

    @property
    def height(self) -> float:
        """How high it is."""
        return (len(self.lines) + 1) * LINE + 2 * PADDING

    def fit(self) -> None:
        """Make it as wide as its lines and arrows need."""
        texts = [words(self.state), *(line_text(row) for row in self.lines)]
        arrows = sum(arrow.width + ARROW_GAP for arrow in self.down + self.up)
        self.width = max(max(map(len, texts)) * LETTER + 2 * PADDING, arrows)

    @property
    def gap(self) -> float:
        """What the arrows to the next box take."""
        return max((arrow.width for arrow in self.across), default=0.0) + BOX_GAP


def line_text(row: Row) -> str:
    """A row that stays, as a line."""
    return ": ".join(row.labels)


def arrange(chart: Chart) -> tuple[Box, list[Box]]:
    """Put each row where it belongs: the bar and the boxes.

    Raises:
        ValueError: a row does not fit the form of these diagrams.
    """
    bar = Box(chart.home)
    boxes = {state: Box(state) for state in chart.others}
    for state, labels in chart.beginnings.items():
        boxes[state].down.append(Arrow(labels, None))
    for row in chart.rows:
        arrow = Arrow(row.labels, row)
        if row.stays:
            (bar if row.state is chart.home else boxes[row.state]).lines.append(row)
        elif row.state is chart.home:
            boxes[row.following].down.append(arrow)
        elif row.following is chart.home:
            boxes[row.state].up.append(arrow)
        elif chart.others.index(row.following) == chart.others.index(row.state) + 1:
            boxes[row.state].across.append(arrow)
        else:
            message = f"there is no place for an arrow of {row}"
            raise ValueError(message)
    left = 1.0
    for box in boxes.values():
        box.fit()
        box.left = left
        left += box.width + box.gap
    placed = list(boxes.values())
    bar.left, bar.width = 1.0, placed[-1].left + placed[-1].width - 1.0
    return bar, placed


def draw(chart: Chart) -> str:
    """A table as an SVG picture, in the colours of the text around it."""
    bar, boxes = arrange(chart)
    below = bar.height + SHAFT + 1
    height = below + max(box.height for box in boxes) + 1
    width = bar.left + bar.width + 1
    parts = list(draw_box(bar, 1))
    for box in boxes:
        parts += draw_box(box, below)
        x = box.left + ARROW_GAP / 2
        for arrow in box.down:
            parts += draw_arrow(arrow, (x, bar.height + 1), (x, below))
            x += arrow.width + ARROW_GAP
        for arrow in box.up:
            parts += draw_arrow(arrow, (x, below), (x, bar.height + 1))
            x += arrow.width + ARROW_GAP
        y = below + LINE + PADDING
        for arrow in box.across:
            right = box.left + box.width
            parts += draw_arrow(arrow, (right, y), (right + box.gap, y))
            y += 3 * LINE
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}"'
    looks = f'font-family="monospace" font-size="{SIZE}" fill="currentColor"'
    namespace = 'xmlns="http://www.w3.org/2000/svg"'
    head = f'<svg {namespace} class="handshake" role="img" {size} {looks}>'
    return "\n".join((head, *parts, "</svg>"))


def draw_box(box: Box, top: float) -> Iterator[str]:
    """A state, its name, and the rows inside it."""
    yield (
        f'<rect x="{box.left:.1f}" y="{top:.1f}" width="{box.width:.1f}" '
        f'height="{box.height:.1f}" rx="6" fill="none" stroke="currentColor"/>'
    )
    x, y = box.left + PADDING, top + PADDING + SIZE
    yield f'<text x="{x:.1f}" y="{y:.1f}" font-weight="bold">{escape(words(box.state))}</text>'
    for row in box.lines:
        y += LINE
        yield from draw_row(row, [(x, y, line_text(row))])


def draw_arrow(arrow: Arrow, start: tuple[float, float], end: tuple[float, float]) -> Iterator[str]:
    """An arrow, down, up or to the right, with its label beside or above it."""
    (x1, y1), (x2, y2) = start, end
    dashed = ' stroke-dasharray="4 3"' if arrow.row is None else ""
    yield f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="currentColor"{dashed}/>'
    if x1 == x2:
        back = -8 if y2 > y1 else 8
        head = f"M{x2:.1f} {y2:.1f}l-4 {back}h8z"
        x, y = x1 + 7, (y1 + y2) / 2
    else:
        head = f"M{x2:.1f} {y2:.1f}l-8 -4v8z"
        x, y = x1 + (x2 - x1 - arrow.width) / 2, y1 + 1
        y -= LINE - 4
    yield f'<path d="{head}"/>'
    upper = y - 3 if x1 == x2 else y + SIZE - 4
    lower = upper + LINE - 2 if x1 == x2 else upper + LINE + 6
    texts = [(x, upper, arrow.labels[0]), (x, lower, arrow.labels[1])]
    if arrow.row is None:
        yield from draw_texts(texts)
    else:
        yield from draw_row(arrow.row, texts)


def draw_row(row: Row, texts: list[tuple[float, float, str]]) -> Iterator[str]:
    """The words of one row of the table, with its rule as a tooltip."""
    names = zip(
        ("state", "input", "action", "next"),
        (row.state, row.cause, row.action, row.following),
        strict=True,
    )
    data = " ".join(f"data-{name}={quoteattr(member.name)}" for name, member in names)
    colour = f' fill="{REFUSED}"' if row.refuses else ""
    yield f'<g class="row" {data}{colour}>'
    yield f"<title>{escape(row.guard)} ({escape(row.statement)})</title>"
    yield from draw_texts(texts)
    yield "</g>"


def draw_texts(texts: list[tuple[float, float, str]]) -> Iterator[str]:
    """Words at their places."""
    for x, y, text in texts:
        yield f'<text x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


# -- Sphinx --------------------------------------------------------------------------------------


def in_words(chart: Chart) -> str:
    """A table as reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 14 13 16 14 24 19", ""]
    header = ("State", "Input", "Action", "Next state", "Rule", "Statement")
    cells = [
        header,
        *(
            (
                words(row.state),
                words(row.cause),
                words(row.action),
                "none" if row.refuses else words(row.following),
                row.guard,
                row.statement,
            )
            for row in chart.rows
        ),
    ]
    for row in cells:
        lines += [f"   {'  ' if index else '* '}- {cell}" for index, cell in enumerate(row)]
    return "\n".join(lines)


class Handshake(SphinxDirective):
    """``.. handshake:: sender`` or ``receiver``."""

    required_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """Put the diagram and the table there."""
        chart = CHARTS[self.arguments[0]]
        html = f'<div style="overflow-x: auto">{draw(chart)}</div>'
        picture = nodes.raw("", html, format="html")
        return [picture, *self.parse_text_to_nodes(in_words(chart))]


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directive known."""
    app.add_directive("handshake", Handshake)
    return {"parallel_read_safe": True}
