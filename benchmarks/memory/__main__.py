"""``python -m benchmarks.memory``: how many copies of a large message are in memory at once.

What the process grew by at its highest, divided by the payload, which counts as one copy; over TCP,
and with TLS and WebSocket above it.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.processes import run_module

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZE: Final = 100
ALLOWED: Final = 2.2
"""Copies over TCP: two, and what the process takes beside them."""
_SCHEMES: Final = {"tcp": "mqtt", "tls": "mqtts", "ws": "ws"}
_DIRECTIONS: Final = ("in", "out")
_TIMEOUT: Final = 120.0


def measure(transport: str, direction: str, size: int) -> float:
    """How many copies there are at the most."""
    deadline = time.monotonic() + _TIMEOUT
    with run_module("benchmarks.memory.server", transport, str(size), deadline=deadline) as server:
        port, file = server.line().split()
        url = f"{_SCHEMES[transport]}://127.0.0.1:{port}"
        arguments = (direction, url, file, str(size))
        try:
            with run_module("benchmarks.memory.client", *arguments, deadline=deadline) as client:
                return int(client.line()) / size
        finally:
            if file != "-":
                Path(file).unlink()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status tells whether TCP keeps to two copies."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="of the payload, MB (%(default)s)")
    options = parser.parse_args(arguments)
    print(f"Copies of a payload of {options.size} MB in memory at the most, itself among them.\n")
    print(f"  {'':8}" + "".join(f"{direction:>8}" for direction in _DIRECTIONS))
    worst = 0.0
    for transport in _SCHEMES:
        copies = [measure(transport, each, options.size * 1_000_000) for each in _DIRECTIONS]
        if transport == "tcp":
            worst = max(copies)
        print(f"  {transport:8}" + "".join(f"{each:>8.2f}" for each in copies), flush=True)
    return 0 if worst <= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
