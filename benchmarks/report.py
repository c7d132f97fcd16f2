"""What is printed."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
from importlib import metadata
from typing import TYPE_CHECKING, Final

from benchmarks.clients import CLIENTS
from tests.servers import find_mosquitto

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.jobs import Work

_NAME: Final = 16
_COLUMN: Final = 12
_RATIO: Final = 8

Rates = dict[tuple["Work", str], list[float]]
"""Messages a second of each round, by work and client."""


def environment(clients: Sequence[str]) -> Iterator[str]:
    """What the figures depend on."""
    versions = [f"{name} {metadata.version(CLIENTS[name].distribution)}" for name in clients]
    yield f"{', '.join(versions)}, mosquitto {_mosquitto_version()}"
    yield (
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"trio {metadata.version('trio')}, {platform.system()} {platform.release()}, "
        f"{os.cpu_count()} CPUs, {load()}"
    )


def load() -> str:
    """How busy the machine is; the run itself counts."""
    return f"load {os.getloadavg()[0]:.1f}"


def _mosquitto_version() -> str:
    arguments = [find_mosquitto(), "-h"]
    answer = subprocess.run(arguments, capture_output=True, text=True, check=False)  # noqa: S603
    found = re.search(r"version (\S+)", answer.stdout)
    return found[1] if found else "of an unknown version"


def table(
    works: Sequence[Work], clients: Sequence[str], rates: Mapping[tuple[Work, str], list[float]]
) -> Iterator[str]:
    """Medians, with what our median is beside each of the others."""
    first, *others = clients
    heading = f"{'':{_NAME}}{first:>{_COLUMN}}"
    yield heading + "".join(f"{name:>{_COLUMN}}{'ratio':>{_RATIO}}" for name in others)
    server = ""
    for work in works:
        if work.server != server:
            server = work.server
            yield server
        ours = _median(rates.get((work, first)))
        line = f"  {work.name:{_NAME - 2}}{_number(ours):>{_COLUMN}}"
        for name in others:
            theirs = _median(rates.get((work, name)))
            ratio = f"{ours / theirs:.2f}" if ours and theirs else "-"
            line += f"{_number(theirs):>{_COLUMN}}{ratio:>{_RATIO}}"
        yield line


def _median(values: Sequence[float] | None) -> float | None:
    return statistics.median(values) if values else None


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
