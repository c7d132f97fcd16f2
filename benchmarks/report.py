"""What is printed."""

from __future__ import annotations

import re
import statistics
import subprocess
from typing import TYPE_CHECKING, Final

from benchmarks import results
from benchmarks.clients import CPU
from benchmarks.codec import OTHER
from benchmarks.results import load
from tests.servers import find_mosquitto

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.results import Results
    from benchmarks.works import Work

_NAME: Final = 30
_COLUMN: Final = 12
_RATIO: Final = 7
_MICROSECONDS: Final = 1e6

RATES: Final = frozenset({"rate", CPU})
"""The figures of which more is better."""

__all__ = ["environment", "gather", "load", "table"]


def environment(clients: Sequence[str]) -> Iterator[str]:
    """What the figures depend on."""
    return describe(gather(clients))


def gather(clients: Sequence[str]) -> dict[str, str]:
    """The same, by name."""
    return results.environment(clients, _mosquitto_version())


def describe(found: Mapping[str, str]) -> Iterator[str]:
    """In lines."""
    versions = [f"{name} {text}" for name, text in found.items() if name not in {"date", "machine"}]
    yield ", ".join(versions)
    yield f"{found['machine']}, {load()}"


def _mosquitto_version() -> str:
    arguments = [find_mosquitto(), "-h"]
    answer = subprocess.run(arguments, capture_output=True, text=True, check=False)  # noqa: S603
    found = re.search(r"version (\S+)", answer.stdout)
    return found[1] if found else "of an unknown version"


def table(measured: Results, works: Sequence[Work], only: str | None = None) -> Iterator[str]:
    """Medians, with what our median is beside each of the others; or only of one figure."""
    first, *others = measured.clients
    heading = f"{'':{_NAME}}{first:>{_COLUMN}}"
    yield heading + "".join(f"{name:>{_COLUMN}}{'ratio':>{_RATIO}}" for name in others)
    server = ""
    for work in works:
        if work.server != server:
            server = work.server
            yield server
        for figure in (only,) if only else work.figures:
            name = work.name if figure in RATES else f"{work.name}, {figure} us"
            line = f"  {name:{_NAME - 2}}{cell(measured, work, first, figure):>{_COLUMN}}"
            for other in others:
                line += f"{cell(measured, work, other, figure):>{_COLUMN}}"
                line += f" {ratio(measured, work, other, figure):>{_RATIO - 1}}"
            yield line


def codec_table(measured: Results) -> Iterator[str]:
    """Packets a second, and how ours is to the other."""
    yield f"{'':{_NAME}}" + "".join(
        f"{name:>{_COLUMN}}{name + ' ' + OTHER:>{_COLUMN + 4}}{'ratio':>{_RATIO}}"
        for name in ("encode", "decode")
    )
    for packet, row in measured.codec.items():
        line = f"  {packet:{_NAME - 2}}"
        for name in ("encode", "decode"):
            ours, theirs, quotient = codec_cells(row, name)
            line += f"{ours:>{_COLUMN}}{theirs:>{_COLUMN + 4}}{quotient:>{_RATIO}}"
        yield line


def codec_cells(row: Mapping[str, Sequence[float]], name: str) -> tuple[str, str, str]:
    """Of encoding or decoding: ours, the other's, and the ratio."""
    ours = statistics.median(row[name])
    values = row.get(f"{name} {OTHER}")
    if not values:
        return f"{ours:,.0f}", "-", ""
    theirs = statistics.median(values)
    return f"{ours:,.0f}", f"{theirs:,.0f}", f"{ours / theirs:.2f}"


def cell(measured: Results, work: Work, client: str, figure: str) -> str:
    """Messages a second, or microseconds; what was lost; or that it cannot."""
    if (work, client) in measured.lost:
        return f"lost {measured.lost[work, client]:,}"
    value = measured.median(work, client, figure)
    if value is None:
        return "-"
    return f"{value if figure in RATES else value * _MICROSECONDS:,.0f}"


def ratio(measured: Results, work: Work, client: str, figure: str) -> str:
    """How many times faster ours is; above 1, it is."""
    ours = measured.median(work, measured.clients[0], figure)
    theirs = measured.median(work, client, figure)
    if not ours or not theirs:
        return ""
    return f"{ours / theirs if figure in RATES else theirs / ours:.2f}"
