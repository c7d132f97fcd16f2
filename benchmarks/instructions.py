"""How many instructions a message costs: a guard that a busy machine does not disturb.

``python -m benchmarks.instructions`` has callgrind, a tool of Valgrind, count what the whole client
does for a message, without sockets (`benchmarks.counted`), and prints it beside what
``instructions.json`` says of the same minor version of Python. What counts is the ratio to a bare
loop in Python, which parses PUBLISH packets and is counted in the same run, so that another build
of Python makes little difference. More than 5 % above what is stored fails; ``--write`` stores.

Two runs differ by about 0.1 %; one takes a minute. Not in the figures: what the kernel does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from benchmarks.counted.works import MARKED, MESSAGES, REFERENCE, WORKS
from benchmarks.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

STORE: Final = Path(__file__).with_suffix(".json")
ALLOWED: Final = 1.05
_TIMEOUT: Final = 600.0
_TOTALS: Final = re.compile(r"^totals: (\d+)$", re.MULTILINE)

Counts = dict[str, float]
"""Instructions for each message, by work."""


class CountFailed(Exception):
    """There is no figure."""


@attrs.frozen
class Row:
    """What is said of one work.

    Attributes:
        work: its name.
        count: instructions for each message.
        ratio: that, divided by those of the reference loop.
        stored: the ratio stored, or None.
    """

    work: str
    count: float
    ratio: float
    stored: float | None

    @property
    def change(self) -> float | None:
        """What the ratio has become, 1.0 being what is stored, or None."""
        return None if self.stored is None else self.ratio / self.stored


def count(works: Sequence[str]) -> Counts:
    """Count the instructions of these works, in one process.

    Raises:
        CountFailed: there is no Valgrind, or a work failed.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise CountFailed("this needs Valgrind; 'apt-get install valgrind' on Debian and Ubuntu")
    with tempfile.TemporaryDirectory(prefix="instructions-") as directory:
        command = [
            valgrind,
            "--tool=callgrind",
            f"--dump-before={MARKED}",
            f"--callgrind-out-file={directory}/parts",
            *(sys.executable, "-m", "benchmarks.counted", *works),
        ]
        # Nothing of the caller's environment decides where things lie in memory.
        environment = {
            "PATH": os.defpath,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
        }
        try:
            done = subprocess.run(  # noqa: S603 - a program of ours
                command,
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CountFailed(f"it was not done within {_TIMEOUT:g} s") from None
        if done.returncode:
            raise CountFailed(done.stderr)
        # What stands between the two marks of a work is every other part.
        return {
            work: _total(Path(directory, f"parts.{2 * number}")) / MESSAGES
            for number, work in enumerate(works, 1)
        }


def _total(part: Path) -> int:
    try:
        found = _TOTALS.search(part.read_text())
    except FileNotFoundError:
        found = None
    if found is None:
        raise CountFailed(f"callgrind did not notice a call of {MARKED}")
    return int(found[1])


def compare(counts: Counts, stored: Mapping[str, float]) -> list[Row]:
    """Each work beside what is stored of it."""
    reference = counts[REFERENCE]
    stored_reference = stored.get(REFERENCE)
    return [
        Row(
            work,
            value,
            value / reference,
            stored[work] / stored_reference if stored_reference and work in stored else None,
        )
        for work, value in counts.items()
    ]


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Lines to print."""
    yield f"  {'':20}{'instructions':>14}{'loops':>10}{'stored':>10}{'change':>10}"
    for row in rows:
        line = f"  {row.work:20}{row.count:>14,.0f}{row.ratio:>10.2f}"
        if row.stored is not None and row.change is not None:
            line += f"{row.stored:>10.2f}{row.change - 1:>+10.1%}"
        yield line


def excesses(rows: Sequence[Row]) -> list[str]:
    """The works that have become too dear."""
    return [row.work for row in rows if row.change is not None and row.change > ALLOWED]


def main(arguments: Sequence[str] | None = None) -> int:
    """Count and print; the exit status tells whether all is within what is stored."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--write", action="store_true", help="store the figures")
    options = parser.parse_args(arguments)
    version = ".".join(platform.python_version_tuple()[:2])
    store: dict[str, Counts] = json.loads(STORE.read_text())
    try:
        counts = count(list(WORKS))
    except CountFailed as error:
        print(f"no instructions were counted: {error}", file=sys.stderr)
        return 1
    rows = compare(counts, store.get(version, {}))
    print(f"Instructions for a message, Python {version}; loops: divided by the reference.\n")
    print(*table(rows), sep="\n")
    if options.write:
        store[version] = {work: round(value) for work, value in counts.items()}
        STORE.write_text(json.dumps(store, indent=2) + "\n")
        return 0
    if version not in store:
        print(f"\nNothing is stored for Python {version}; --write stores it.")
    dear = excesses(rows)
    if dear:
        print(f"\nMore than {ALLOWED - 1:.0%} above what is stored: {', '.join(dear)}")
    return 1 if dear else 0


if __name__ == "__main__":
    sys.exit(main())
