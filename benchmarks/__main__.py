"""The command."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Final

import attrs

from benchmarks import report
from benchmarks.clients import CLIENTS, DURABLE
from benchmarks.jobs import PAYLOAD_SIZE, WORKS, Job, Work
from benchmarks.processes import RunFailed, run_module
from benchmarks.servers import SERVERS

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUNDS: Final = 3
MESSAGES: Final = 60_000
_TIMEOUT: Final = 30.0


def run_once(client: str, job: Job, server_name: str) -> float:
    """Messages a second.

    Raises:
        RunFailed: the client was not done in time, or not all messages came through.
    """
    deadline = time.monotonic() + _TIMEOUT
    with SERVERS[server_name](job, deadline) as server:
        job = attrs.evolve(job, port=server.port, window=server.window)
        with run_module(
            "benchmarks.run_client", client, job.to_json(), deadline=deadline
        ) as process:
            line = process.line()
            if line == "subscribed":
                server.subscribed()
                line = process.line()
            server.check()
    return job.messages / float(line)


def run_all(
    works: Sequence[Work], clients: Sequence[str], rounds: int, messages: int
) -> tuple[report.Rates, list[str]]:
    """Every client does every work in turn, several times over; rates, and what failed."""
    rates: report.Rates = {}
    failures: list[str] = []
    for number in range(rounds):
        for work in works:
            for name in clients:
                count = max(1, int(messages * work.share * CLIENTS[name].share))
                job = Job(kind=work.kind, qos=work.qos, messages=count)
                try:
                    rate = run_once(name, job, work.server)
                except RunFailed as error:
                    failures.append(f"{name}, {work.name}, {work.server}: {error}")
                    continue
                rates.setdefault((work, name), []).append(rate)
        print(f"round {number + 1} of {rounds} done, {report.load()}", file=sys.stderr)
    return rates, failures


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
    add("--only", choices=sorted({work.kind for work in WORKS}), help="one kind of work")
    add("--server", choices=sorted(SERVERS), help="one server")
    add(
        "--clients",
        nargs="+",
        choices=list(CLIENTS),
        default=[name for name in CLIENTS if name != DURABLE],
        metavar="CLIENT",
        help=f"some of {', '.join(CLIENTS)}; the first is compared with the others",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; the exit status tells whether all runs count."""
    options = parse_arguments(arguments)
    works = [
        work
        for work in WORKS
        if options.only in {None, work.kind} and options.server in {None, work.server}
    ]
    print(*report.environment(options.clients), sep="\n")
    rates, failures = run_all(works, options.clients, options.rounds, options.messages)
    print(
        f"\nMessages a second: medians of {options.rounds} rounds, {PAYLOAD_SIZE}-byte payloads, "
        f"MQTT 5.0.\nRatios: {options.clients[0]} divided by the client on their left.\n"
    )
    print(*report.table(works, options.clients, rates), sep="\n")
    for failure in failures:
        print(f"\nfailed: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
