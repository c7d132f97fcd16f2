"""The command."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from benchmarks import codec, page, report, targets
from benchmarks.clients import CLIENTS, CPU, DURABLE
from benchmarks.jobs import PAYLOAD_SIZE
from benchmarks.peers import installed
from benchmarks.processes import RunFailed
from benchmarks.results import Results
from benchmarks.runs import RunLost, run_once
from benchmarks.servers import SERVERS
from benchmarks.works import DUPLICATES, WORKS, Work

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUNDS: Final = 3
MESSAGES: Final = 60_000
CODEC: Final = "codec"
_QUICK: Final = 10
_PROBE_TIMEOUT: Final = 5.0


def run_all(works: Sequence[Work], clients: Sequence[str], rounds: int, messages: int) -> Results:
    """Every client does every work in turn, several times over."""
    measured = Results(clients=tuple(clients), rounds=rounds, environment=report.gather(clients))
    start = time.monotonic()
    loads: list[float] = []
    for number in range(rounds):
        for work in (each for each in works for _ in range(each.times)):
            for name in clients:
                if work.traits & CLIENTS[name].cannot.keys():
                    continue
                run_into(measured, work, name, messages)
        loads.append(os.getloadavg()[0])
        measured.environment["load"] = f"{min(loads):.1f} to {max(loads):.1f}"
        print(f"round {number + 1} of {rounds} done, {report.load()}", file=sys.stderr)
    measured.seconds = time.monotonic() - start
    return measured


def probe_duplicates(measured: Results) -> None:
    """Note who takes a QoS 2 message that is sent again for the same."""
    job = attrs.evolve(DUPLICATES.job(0, 1.0), messages=5)
    for name in measured.clients:
        if not DUPLICATES.traits & CLIENTS[name].cannot.keys():
            try:
                run_once(name, job, DUPLICATES.server, _PROBE_TIMEOUT)
            except RunFailed:
                measured.duplicates[name] = False
            else:
                measured.duplicates[name] = True


def run_into(measured: Results, work: Work, name: str, messages: int) -> None:
    """Do one run and note what came of it."""
    job = work.job(messages, CLIENTS[name].share)
    try:
        figures = run_once(name, job, work.server)
    except RunLost as error:
        measured.lost[work, name] = max(error.count, measured.lost.get((work, name), 0))
    except RunFailed as error:
        measured.failures.append(f"{name}, {work.name}, {work.server}: {error}")
    else:
        for figure, value in figures.items():
            rounded = float(f"{value:.4g}")
            measured.figures.setdefault((work, name, figure), []).append(rounded)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=ROUNDS, help="how often each run is repeated (%(default)s)")
    add(
        "--messages",
        type=int,
        default=MESSAGES,
        help="of a run; slow clients get a part of that (%(default)s)",
    )
    kinds = sorted({work.kind for work in WORKS} | {CODEC})
    add("--only", choices=kinds, help="one kind of work")
    add("--quick", action="store_true", help="one round, few messages, only payloads of 64 bytes")
    add("--server", choices=sorted(SERVERS), help="one server")
    add(
        "--clients",
        nargs="+",
        choices=list(CLIENTS),
        metavar="CLIENT",
        help=f"some of {', '.join(CLIENTS)}; the first is compared with the others",
    )
    add("--cpu", action="store_true", help="a second table, by processor time")
    add("--results", type=Path, help="a file to write them to, in JSON")
    add("--page", action="store_true", help="write the documentation's page of them")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; the exit status tells whether all runs count."""
    options = parse_arguments(arguments)
    works = [
        work
        for work in WORKS
        if options.only in {None, work.kind}
        and options.server in {None, work.server}
        and not (options.quick and not work.quick)
    ]
    if options.quick:
        options.rounds = 1
        options.messages //= _QUICK
    clients = options.clients or [name for name in installed() if name != DURABLE]
    print(*report.environment(clients), sep="\n")
    measured = run_all(works, clients, options.rounds, options.messages)
    print(
        f"\nMessages a second: medians of {options.rounds} rounds, {PAYLOAD_SIZE}-byte payloads "
        f"unless said,\nMQTT 5.0. Ratios: {clients[0]} divided by the client on their left.\n"
    )
    print(*report.table(measured, works), sep="\n")
    if options.cpu:
        print("\nThe same a second of the client's processor time, connecting and closing in it:\n")
        print(*report.table(measured, works, CPU), sep="\n")
    if options.only in {None, CODEC}:
        measured.codec = codec.measure(options.rounds)
        print("\nThe codec alone, packets a second:\n")
        print(*report.codec_table(measured), sep="\n")
    if options.only is None:
        probe_duplicates(measured)
        print("\nWhat was to be reached:\n")
        print(*targets.lines(measured), sep="\n")
    for failure in measured.failures:
        print(f"\nfailed: {failure}")
    if options.results:
        measured.save(options.results)
    if options.page:
        measured.save(page.RESULTS)
        page.write(measured)
    return 1 if measured.failures else 0


if __name__ == "__main__":
    sys.exit(main())
