"""The generated parts of the documentation's page about performance.

``python -m benchmarks.page`` writes them into docs/performance/, of the results that lie there.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.clients import CLIENTS
from benchmarks.codec import OTHER
from benchmarks.plot import draw
from benchmarks.report import RATES, cell, codec_cells, ratio
from benchmarks.results import Results
from benchmarks.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DIRECTORY: Final = Path(__file__).parent.parent / "docs" / "performance"
RESULTS: Final = DIRECTORY / "results.json"
_DO_NOT_EDIT: Final = '.. Written by "make bench"; edit benchmarks/page.py instead.'


def parts(measured: Results) -> dict[str, str]:
    """The text of each file, by its name."""
    texts = {
        "environment": environment(measured),
        "canned": table(measured, "canned"),
        "mosquitto": table(measured, "mosquitto"),
        "codec": codec_table(measured),
        "targets": targets_table(measured),
        "losses": losses(measured),
        "notes": notes(measured),
    }
    files = {
        f"{name}.inc": "\n".join((_DO_NOT_EDIT, "", *lines, "")) for name, lines in texts.items()
    }
    return {**files, "plot.svg": draw(measured)}


def environment(measured: Results) -> Iterator[str]:
    """What the figures depend on."""
    found = dict(measured.environment)
    date, machine, load = (found.pop(name) for name in ("date", "machine", "load"))
    versions = ", ".join(f"{name} {version}" for name, version in found.items())
    minutes = measured.seconds / 60
    yield (
        f"Measured on {date}, on a machine with {machine}, in {measured.rounds} rounds, which took "
        f"{minutes:.0f} minutes, at a load of {load} with the run itself in it: {versions}."
    )


def list_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table as reStructuredText."""
    yield ".. list-table::"
    yield "   :header-rows: 1"
    yield ""
    for row in (header, *rows):
        for index, text in enumerate(row):
            yield f"   {'  ' if index else '* '}- {text}".rstrip()


def table(measured: Results, server: str) -> Iterator[str]:
    """Medians, and in brackets how many times ours is faster."""
    rows: list[list[str]] = []
    for work in measured.works():
        if work.server == server:
            for figure in work.figures:
                name = work.name if figure in RATES else f"{work.name}, {figure}, microseconds"
                cells = [name]
                for client in measured.clients:
                    beside = ratio(measured, work, client, figure)
                    text = cell(measured, work, client, figure)
                    is_other = client != measured.clients[0]
                    cells.append(f"{text} ({beside})" if beside and is_other else text)
                rows.append(cells)
    others = [name for name in measured.clients if any(_has(row, name, measured) for row in rows)]
    columns = [0, *(1 + measured.clients.index(name) for name in others)]
    yield from list_table(["", *others], [[row[at] for at in columns] for row in rows])


def _has(row: Sequence[str], client: str, measured: Results) -> bool:
    return row[1 + measured.clients.index(client)] != "-"


def codec_table(measured: Results) -> Iterator[str]:
    """Packets a second."""
    header = ["Packet"]
    for name in ("encode", "decode"):
        header += [name, f"{name}, {OTHER}", "ratio"]
    rows = [
        [packet, *codec_cells(row, "encode"), *codec_cells(row, "decode")]
        for packet, row in measured.codec.items()
    ]
    return list_table(header, rows)


def targets_table(measured: Results) -> Iterator[str]:
    """What was to be reached."""
    return list_table(
        ("Ratio of", "To be", "Measured", ""), [each.describe(measured) for each in TARGETS]
    )


def losses(measured: Results) -> Iterator[str]:
    """Where another client in Python is faster, the worst first."""
    first, *others = measured.clients
    found: list[tuple[float, str]] = []
    for work in measured.works():
        for figure in work.figures:
            for name in others:
                beside = ratio(measured, work, name, figure)
                if beside and float(beside) < 1 and CLIENTS[name].requirement:
                    what = work.name if figure in RATES else f"{work.name}, {figure}"
                    text = f"* {what}, {work.server}: {first} is at {beside} of {name}"
                    found.append((float(beside), text))
    if found:
        yield from (text for _, text in sorted(found))
    else:
        yield "There is no row where it is."
    if measured.codec:
        slower = [
            statistics.median(row["decode"]) / statistics.median(row[f"decode {OTHER}"])
            for row in measured.codec.values()
            if f"decode {OTHER}" in row
        ]
        if slower:
            yield (
                f"* The codec of {OTHER} alone, without a client: ours decodes at "
                f"{min(slower):.2f} to {max(slower):.2f} of its rate"
            )


def notes(measured: Results) -> Iterator[str]:
    """What a client cannot, and who takes a message that is sent again for the same."""
    for name in measured.clients:
        for reason in dict.fromkeys(CLIENTS[name].cannot.values()):
            yield f"* {reason}."
    right = [name for name, found in measured.duplicates.items() if found]
    wrong = [name for name, found in measured.duplicates.items() if not found]
    if right:
        yield f"* A QoS 2 message that is sent again is taken for the same by {', '.join(right)}."
    if wrong:
        yield f"* It is not, in the test made here, by {', '.join(wrong)}."
    if "aiomqtt 3" in wrong:
        yield (
            "* aiomqtt 3 hands packets to the application, which has to know repetitions itself; "
            "the loop measured here, like those of its documentation, does not look for them."
        )
    for failure in measured.failures:
        yield f"* A run failed: {failure.splitlines()[0]}"


def write(measured: Results, directory: Path = DIRECTORY) -> None:
    """Write the files."""
    for name, text in parts(measured).items():
        (directory / name).write_text(text, encoding="utf-8")


def main() -> int:
    """Write the files of the results that are stored."""
    write(Results.load(RESULTS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
