"""A measurement as a picture: rates over time, and how the latencies are spread. SVG by hand."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Final

from trio_mqtt._cli.measuring.show import PERCENTILES, describe, milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from trio_mqtt._cli.measuring.run import Measurement

_WIDTH: Final = 720
_LEFT: Final = 70
_RIGHT: Final = 20
_HEIGHT: Final = 170
"""Of each diagram, without what is written around it."""
_TOPS: Final = (60, 310)
_COLOURS: Final = {"sent": "#b0b7bf", "received": "#1f77b4"}
_MOST_BARS: Final = 120
_ROOM: Final = 70
"""What the numbers at both ends of an axis take."""
_PLOT_WIDTH: Final = _WIDTH - _LEFT - _RIGHT


def draw(measured: Measurement) -> str:
    """The picture, as SVG."""
    height = _TOPS[1] + _HEIGHT + 50
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}">',
        '<g font-family="sans-serif" font-size="11">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        _text(_LEFT, 20, describe(measured), weight="bold"),
        *_draw_rates(measured, _TOPS[0]),
        *(_draw_latencies(measured, _TOPS[1]) if measured.latencies.count else ()),
        "</g>",
        "</svg>",
        "",
    ]
    return "\n".join(lines)


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" '
        f'stroke="white" stroke-width="3" paint-order="stroke">'
        f"{escape(text)}</text>"
    )


def _line(points: Iterable[tuple[float, float]], colour: str) -> str:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _rule(x1: float, y1: float, x2: float, y2: float, colour: str = "#dddddd") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _steps(most: float) -> list[float]:
    """Round numbers from 0 to the first that is not below the most."""
    raw = most / 4 if most > 0 else 1.0
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw)
    return [step * number for number in range(math.ceil(most / step) + 1 if most > 0 else 2)]


# -- rates ----------------------------------------------------------------------------------------


def _draw_rates(measured: Measurement, top: float) -> Iterator[str]:
    rates = measured.rates
    # The last sample is shorter than the others.
    shown = {"sent": rates.sent[:-1] or rates.sent}
    if measured.plan.subscribers:
        shown["received"] = rates.received[:-1] or rates.received
    scaled = {name: [count / rates.interval for count in counts] for name, counts in shown.items()}
    marks = _steps(max((max(values, default=0.0) for values in scaled.values()), default=0.0))
    bottom = top + _HEIGHT
    yield _text(_LEFT, top - 12, "messages a second")
    for mark in marks:
        y = bottom - mark / marks[-1] * _HEIGHT
        yield _rule(_LEFT, y, _WIDTH - _RIGHT, y)
        yield _text(_LEFT - 6, y + 4, f"{mark:,.6g}", anchor="end")
    scale = _HEIGHT / marks[-1]
    number = max(len(values) for values in scaled.values())
    for column, (name, values) in enumerate(scaled.items()):
        points = [
            (_LEFT + (index + end) / max(1, number) * _PLOT_WIDTH, bottom - value * scale)
            for index, value in enumerate(values)
            for end in (0, 1)
        ]
        yield _line(points, _COLOURS[name])
        x = _WIDTH - _RIGHT - 150 + column * 70
        yield _rule(x, top - 16, x + 14, top - 16, _COLOURS[name])
        yield _text(x + 18, top - 12, name)
    yield _text(_LEFT, bottom + 16, "0 s")
    yield _text(_WIDTH - _RIGHT, bottom + 16, f"{number * rates.interval:,.4g} s", anchor="end")


# -- latencies ------------------------------------------------------------------------------------


def _draw_latencies(measured: Measurement, top: float) -> Iterator[str]:
    latencies = measured.latencies
    rows = list(latencies.rows(_MOST_BARS))
    low = math.log10(max(1, rows[0][0]))
    high = max(math.log10(rows[-1][1]), low + 0.01)
    most = max(count for _, _, count in rows)
    bottom = top + _HEIGHT

    def across(value: float) -> float:
        part = (math.log10(max(1.0, value)) - low) / (high - low)
        return _LEFT + min(1.0, max(0.0, part)) * _PLOT_WIDTH

    yield _text(_LEFT, top - 12, "latency of messages, on a logarithmic scale")
    for start, end, count in rows:
        size = count / most * _HEIGHT
        width = max(0.5, across(end) - across(start) - 0.5)
        yield (
            f'<rect x="{across(start):.1f}" y="{bottom - size:.1f}" width="{width:.1f}" '
            f'height="{size:.1f}" fill="{_COLOURS["received"]}"/>'
        )
    yield _rule(_LEFT, bottom, _WIDTH - _RIGHT, bottom, "#888888")
    for power in range(math.ceil(low), math.floor(high) + 1):
        x = across(10.0**power)
        yield _rule(x, bottom, x, bottom + 5, "#888888")
        if _LEFT + _ROOM < x < _WIDTH - _RIGHT - _ROOM:
            yield _text(x, bottom + 16, f"{10 ** (power - 6):g} ms", anchor="middle")
    for number, part in enumerate(PERCENTILES):
        value = latencies.percentile(part)
        x, y = across(value), top + 10 + 14 * number
        yield _rule(x, y - 8, x, bottom, "#d62728")
        is_right = x > _WIDTH - _RIGHT - 130
        label = f"p{part:g} {milliseconds(value)}"
        yield _text(x + (-4 if is_right else 4), y, label, anchor="end" if is_right else "start")
    yield _text(_LEFT, bottom + 16, milliseconds(latencies.minimum))
    yield _text(_WIDTH - _RIGHT, bottom + 16, milliseconds(latencies.maximum), anchor="end")
