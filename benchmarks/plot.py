"""A plot of the results: bars beside each other, as SVG, in the colours of the page around it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from benchmarks.jobs import PAYLOAD_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.results import Results
    from benchmarks.works import Work

_KINDS: Final = frozenset({"receive", "publish", "tasks"})
_NAMES: Final = 120
_BARS: Final = 400
_WIDTH: Final = 640
_BAR: Final = 14
_GAP: Final = 2
_TITLE: Final = 30
_LABEL: Final = "Messages a second of each client, in bars; the tables have the same figures."
_OURS: Final = 'fill="#2a80c0"'
_THEIRS: Final = 'fill="currentColor" fill-opacity="0.3"'


def plotted(measured: Results) -> list[Work]:
    """What is drawn: the rates with small payloads and the canned server, over TCP."""
    return [
        work
        for work in measured.works()
        if work.kind in _KINDS
        and work.server == "canned"
        and (work.size, work.transport, work.subscriptions) == (PAYLOAD_SIZE, "tcp", 1)
    ]


def draw(measured: Results) -> str:
    """For each work a bar for each client, as long as its rate is beside the highest."""
    lines: list[str] = []
    top = 0
    for work in plotted(measured):
        lines.append(
            f'<text x="4" y="{top + _TITLE - 8}" font-weight="bold">'
            f"{escape(work.name)}, messages a second</text>"
        )
        top += _TITLE
        rates = [(name, measured.median(work, name)) for name in measured.clients]
        known = [(name, rate) for name, rate in rates if rate]
        most = max((rate for _, rate in known), default=1.0)
        for name, rate in sorted(known, key=lambda each: -each[1]):
            lines += _bar(name, rate, rate / most, top, ours=name == measured.clients[0])
            top += _BAR + _GAP
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" class="figure" role="img" '
        f'viewBox="0 0 {_WIDTH} {top + 8}" font-family="sans-serif" font-size="11" '
        f'fill="currentColor" aria-label="{_LABEL}">'
    )
    return "\n".join((head, *lines, "</svg>", ""))


def _bar(name: str, rate: float, part: float, top: int, *, ours: bool) -> Iterator[str]:
    color = _OURS if ours else _THEIRS
    length = max(1, round(part * _BARS))
    middle = top + _BAR - 3
    yield f'<text x="{_NAMES - 6}" y="{middle}" text-anchor="end">{escape(name)}</text>'
    yield f'<rect x="{_NAMES}" y="{top}" width="{length}" height="{_BAR}" {color}/>'
    yield f'<text x="{_NAMES + length + 6}" y="{middle}">{rate:,.0f}</text>'
