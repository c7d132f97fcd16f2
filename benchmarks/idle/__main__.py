"""``python -m benchmarks.idle``: many idle clients in one process, beside a bare loop in Trio.

Memory is what the process has grown by for each client: of the client, and of the task of the
program that opened it. The time of the processor for a PINGREQ and its answer is measured with a
short Keep Alive, and so is the share of a core that follows from it for one of 60 s. One full
collection of all garbage, which may fall into that time or not, takes more than a second where
there are 10,000 clients; so the figure is given without them, too.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Final

import attrs

from benchmarks import report
from benchmarks.idle.descriptors import raise_limit
from benchmarks.processes import RunFailed, run_module

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.processes import Process

CLIENTS: Final = (1_000, 10_000)
KEEP_ALIVE: Final = 10
MOST_MEMORY: Final = 40 * 1024
MOST_SECONDS: Final = 20.0
MOST_RATIO: Final = 1.5
_SHARE: Final = 0.9
_USUAL_KEEP_ALIVE: Final = 60
_TIMEOUT: Final = 180.0
_BARE: Final = "bare"
_KINDS: Final = ("trio_mqtt", "subscribed", _BARE)


@attrs.frozen(kw_only=True)
class Figures:
    """What was measured of one kind of clients.

    Attributes:
        connecting: seconds until all were connected.
        memory: bytes for each.
        ping: processor time for a PINGREQ and its answer, in seconds.
        own: the part of it that is not the garbage collector's.
        closing: seconds until all were closed.
        farewells: how many said DISCONNECT.
    """

    connecting: float
    memory: float
    ping: float
    own: float
    closing: float
    farewells: int


def measure(kind: str, count: int, keep_alive: int) -> Figures:
    """Run so many clients of a kind.

    Raises:
        RunFailed: not all were connected, or kept alive.
    """
    deadline = time.monotonic() + _TIMEOUT
    with run_module("benchmarks.idle.server", deadline=deadline) as server:
        arguments = (kind, str(count), server.line(), str(keep_alive))
        with run_module("benchmarks.idle.clients", *arguments, deadline=deadline) as clients:
            connected = _read(clients)
            before = _counts(server)
            idle = _read(clients)
            after = _counts(server)
            closed = _read(clients)
            counts = _counts(server)
    pings = after.get("pings", 0) - before.get("pings", 0)
    # One more was there before, to import what is imported late.
    if counts["connects"] != count + 1:
        message = f"{counts['connects'] - 1} connections for {count} clients: some were lost"
        raise RunFailed(message)
    if pings < count:
        message = f"{pings} PINGREQs of {count} clients"
        raise RunFailed(message)
    return Figures(
        connecting=connected["connecting"],
        memory=connected["memory"],
        ping=idle["busy"] / pings,
        own=(idle["busy"] - idle["collecting"]) / pings,
        closing=closed["closing"],
        farewells=counts["disconnects"] - 1,
    )


def _read(process: Process) -> dict[str, float]:
    figures: dict[str, float] = json.loads(process.line())
    return figures


def _counts(server: Process) -> dict[str, int]:
    server.go()
    counts: dict[str, int] = json.loads(server.line())
    return counts


def line_of(kind: str, count: int, figures: Figures, bare: Figures) -> str:
    """What is printed of one kind."""
    share = figures.ping * count / (_USUAL_KEEP_ALIVE * _SHARE)
    return (
        f"  {kind:12}{count:>8,}{figures.memory / 1024:>10.1f} KB"
        f"{count / figures.connecting:>11,.0f}{figures.connecting:>8.1f} s"
        f"{figures.ping * 1e6:>10.0f} us{figures.ping / bare.ping:>7.2f}{share:>8.1%}"
        f"{figures.own * 1e6:>9.0f} us{figures.own / bare.own:>7.2f}"
        f"{figures.closing:>9.1f} s{figures.farewells:>10,}"
    )


def misses(kind: str, count: int, figures: Figures, bare: Figures) -> Iterator[str]:
    """What is more than it may be."""
    if kind == _BARE:
        return
    if figures.memory > MOST_MEMORY:
        yield f"{count:,} {kind}: {figures.memory / 1024:.1f} KB each"
    if figures.connecting > MOST_SECONDS:
        yield f"{count:,} {kind}: connected only after {figures.connecting:.1f} s"
    if figures.ping > MOST_RATIO * bare.ping:
        yield f"{count:,} {kind}: {figures.ping / bare.ping:.2f} times a bare loop"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status tells whether all is within its bounds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__)
    add = parser.add_argument
    add("--clients", type=int, nargs="+", default=CLIENTS, help="how many (1,000 and 10,000)")
    add("--keep-alive", type=int, default=KEEP_ALIVE, help="in seconds (%(default)s)")
    options = parser.parse_args(arguments)
    print(f"Idle clients, Keep Alive {options.keep_alive} s, {report.load()}, ", end="")
    print(f"at most {raise_limit():,} descriptors.\n")
    print(
        f"  {'':12}{'clients':>8}{'memory':>13}{'a second':>11}{'all':>10}{'PINGREQ':>13}"
        f"{'ratio':>7}{'at 60 s':>8}{'without gc':>12}{'ratio':>7}{'closing':>11}{'goodbyes':>10}"
    )
    too_much: list[str] = []
    for count in options.clients:
        try:
            bare = measure(_BARE, count, options.keep_alive)
            for kind in _KINDS:
                figures = bare if kind == _BARE else measure(kind, count, options.keep_alive)
                print(line_of(kind, count, figures, bare), flush=True)
                too_much += misses(kind, count, figures, bare)
        except RunFailed as error:
            too_much.append(f"{count:,} clients: {error}")
    for miss in too_much:
        print(f"\ntoo much: {miss}")
    return 1 if too_much else 0


if __name__ == "__main__":
    sys.exit(main())
