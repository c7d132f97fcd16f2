"""What durability costs: ``python -m benchmarks.durable``.

The same messages are published through `open_publisher` with a Session in memory and with one on
disk, in turn. The canned server grants a Receive Maximum of 65,535 and answers at once. On disk,
each message is committed with ``synchronous=FULL`` before it is sent.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import report
from benchmarks.__main__ import ROUNDS
from benchmarks.clients import CLIENTS, DURABLE
from benchmarks.jobs import Job
from benchmarks.runs import run_once

if TYPE_CHECKING:
    from collections.abc import Sequence

MESSAGES: Final = 60_000
MEMORY: Final = next(iter(CLIENTS))


def disk() -> str:
    """The device and file system that the database is on."""
    path = Path(tempfile.gettempdir()).resolve()
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        device, mount, kind = line.split()[:3]
        if path.is_relative_to(mount) and len(mount) > len(best[0]):
            best = (mount, f"{device} ({kind})")
    return best[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.durable", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    options = parser.parse_args(arguments)
    where = disk() if os.path.exists("/proc/mounts") else "unknown"  # noqa: PTH110 - one line
    print(*report.environment([MEMORY]), f"disk: {where}", sep="\n")
    print(f"\n{'messages a second':20}{'in memory':>12}{'on disk':>12}{'ratio':>8}")
    for qos in (1, 2):
        rates: dict[str, list[float]] = {MEMORY: [], DURABLE: []}
        for _ in range(options.rounds):
            for client, measured in rates.items():
                job = Job(kind="publish", qos=qos, messages=options.messages)
                measured.append(run_once(client, job, "canned")["rate"])
        memory, durable = (statistics.median(each) for each in rates.values())
        print(f"  QoS {qos:<14}{memory:>12,.0f}{durable:>12,.0f}{durable / memory:>8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
