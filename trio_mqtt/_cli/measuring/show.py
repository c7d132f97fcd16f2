"""The results of a measurement: a line while it runs, a table, a histogram, JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from rich.table import Table

from trio_mqtt._cli._text import for_people

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from trio_mqtt._cli.measuring.run import Measurement

PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)
"""What the table tells of the latencies, beside the least and the most."""

_HISTOGRAM_ROWS: Final = 24
_HISTOGRAM_SCALE: Final = 42
"""What stands in front of a bar, in characters."""
_LONGEST_BAR: Final = 80
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_MS: Final = 1e6
"""Nanoseconds in a millisecond."""


def rate(count: float, seconds: float) -> float:
    """So many a second; 0 if there was no time."""
    return count / seconds if seconds > 0 else 0.0


def milliseconds(nanoseconds: float) -> str:
    """A latency for people."""
    value = nanoseconds / _MS
    digits = 0 if value >= 100 else 1 if value >= 10 else 3  # noqa: PLR2004 - three digits or so
    return f"{value:,.{digits}f} ms"


def live_line(measured: Measurement) -> str:
    """How it goes, in a line."""
    rates = measured.rates
    sent = rate(rates.sent[-1], rates.interval) if rates.sent else 0.0
    received = rate(rates.received[-1], rates.interval) if rates.received else 0.0
    total = measured.plan.messages
    of_all = f" of {total:,}" if total is not None else ""
    return (
        f"sent {measured.sent:,}{of_all} ({sent:,.0f}/s)  "
        f"received {measured.received:,} ({received:,.0f}/s)  "
        f"under way {measured.lost:,}"
    )


def _counts(measured: Measurement) -> Iterator[tuple[str, str, str]]:
    """The rows about messages: what, how many, how fast."""
    yield "sent", f"{measured.sent:,}", f"{rate(measured.sent, measured.sending_seconds):,.0f}/s"
    if measured.rejected:
        yield "refused by the server", f"{measured.rejected:,}", ""
    if measured.plan.subscribers:
        per_second = rate(measured.received, measured.receiving_seconds)
        yield "received", f"{measured.received:,}", f"{per_second:,.0f}/s"
        what = "lost" if measured.complete else "under way"
        yield what, f"{measured.lost:,}", _share(measured.lost, measured.expected)
        yield "doubled", f"{measured.doubled:,}", _share(measured.doubled, measured.expected)
    if measured.late:  # MQTT keeps the order of messages on a topic
        yield "out of order", f"{measured.late:,}", _share(measured.late, measured.expected)
    if measured.dropped:
        yield "lost in this program", f"{measured.dropped:,}", "it could not keep up"
    if measured.connections:
        yield "connections lost", f"{measured.connections:,}", ""


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.3g} %" if part and whole else ""


def _latencies(measured: Measurement) -> Iterator[tuple[str, float]]:
    latencies = measured.latencies
    yield "min", latencies.minimum
    for part in PERCENTILES:
        yield f"p{part:g}", latencies.percentile(part)
    yield "max", latencies.maximum
    yield "mean", latencies.mean


def _table(title: str) -> Table:
    return Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold")


def tables(measured: Measurement) -> Iterator[Table]:
    """The results for people."""
    counts = _table("Messages")
    counts.add_column("")
    counts.add_column("count", justify="right")
    counts.add_column("", justify="right")
    for row in _counts(measured):
        bad = row[0] not in ("sent", "received") and row[1] != "0"
        counts.add_row(*row, style="yellow" if bad else None)
    yield counts
    if measured.latencies.count:
        times = _table("Latency")
        for name, _ in _latencies(measured):
            times.add_column(name, justify="right")
        times.add_row(*(milliseconds(value) for _, value in _latencies(measured)))
        yield times


def describe(measured: Measurement) -> str:
    """What was measured, in a line."""
    plan = measured.plan
    return (
        f"{measured.protocol}, QoS {plan.qos}, {plan.size:,} bytes, "
        f"{_number(plan.publishers, 'publisher')}, {_number(plan.subscribers, 'subscriber')}, "
        + (f"{plan.rate:,g} messages a second" if plan.rate else "as fast as they can")
        + ("; stopped before its end" if measured.interrupted else "")
    )


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def print_results(console: Console, measured: Measurement, *, histogram: bool) -> None:
    """Print everything."""
    console.print(describe(measured))
    for table in tables(measured):
        console.print()
        console.print(table)
    if measured.refusal:
        console.print(f"\n{for_people(measured.refusal)}")
    if histogram and measured.latencies.count:
        console.print()
        width = min(_LONGEST_BAR, console.width - _HISTOGRAM_SCALE)
        for line in histogram_lines(measured, width, plain=not console.is_terminal):
            console.print(line)


def histogram_lines(measured: Measurement, width: int, *, plain: bool) -> Iterator[str]:
    """The latencies as bars, on a scale on which equal steps are equal factors.

    Args:
        measured: the results.
        width: of the longest bar, in characters.
        plain: whether only ASCII is to be used.
    """
    rows = list(measured.latencies.rows(_HISTOGRAM_ROWS))
    most = max(count for _, _, count in rows)
    draw: Callable[[float], str] = _plain_bar if plain else _bar
    for start, end, count in rows:
        scale = f"{start / _MS:>10,.3f} to {end / _MS:>10,.3f} ms"
        yield f"{scale} {count:>11,} {draw(count / most * width)}".rstrip()


def _bar(length: float) -> str:
    eighths = round(length * 8)
    if length > 0:
        eighths = max(1, eighths)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _plain_bar(length: float) -> str:
    return "#" * (max(1, round(length)) if length > 0 else 0)


def as_json(measured: Measurement) -> str:
    """The results for machines: counts, rates in messages a second, times in seconds."""
    plan = measured.plan
    latency = {name: value / 1e9 for name, value in _latencies(measured)}
    results = {
        "protocol": measured.protocol,
        "qos": plan.qos,
        "size": plan.size,
        "publishers": plan.publishers,
        "subscribers": plan.subscribers,
        "rate": plan.rate,
        "interrupted": measured.interrupted,
        "complete": measured.complete,
        "sent": measured.sent,
        "refused": measured.rejected,
        "received": measured.received,
        "lost": measured.lost,
        "doubled": measured.doubled,
        "out_of_order": measured.late,
        "lost_in_this_program": measured.dropped,
        "connections_lost": measured.connections,
        "sending_seconds": measured.sending_seconds,
        "receiving_seconds": measured.receiving_seconds,
        "sent_per_second": rate(measured.sent, measured.sending_seconds),
        "received_per_second": rate(measured.received, measured.receiving_seconds),
        "latency": latency if measured.latencies.count else None,
    }
    return json.dumps(results, indent=2)
