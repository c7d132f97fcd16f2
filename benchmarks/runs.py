"""One run of one client."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

import attrs

from benchmarks.clients import CLIENTS
from benchmarks.peers import interpreter
from benchmarks.processes import RunFailed, run_module
from benchmarks.servers import SERVERS

if TYPE_CHECKING:
    from benchmarks.jobs import Job

TIMEOUT: Final = 30.0


class RunLost(RunFailed):
    """Messages did not arrive."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} messages did not arrive")
        self.count = count


def run_once(name: str, job: Job, server_name: str, timeout: float = TIMEOUT) -> dict[str, float]:
    """What it measured, by the name of the figure.

    Raises:
        RunFailed: the client was not done in time, or not all messages came through.
    """
    client = CLIENTS[name]
    deadline = time.monotonic() + timeout
    with (
        run_module(
            "benchmarks.run_client", client.module, deadline=deadline, python=interpreter(client)
        ) as process,
        SERVERS[server_name](job, deadline) as server,
    ):
        job = attrs.evolve(job, port=server.port, window=server.window, authority=server.authority)
        process.go(job.to_json())
        line = process.line()
        if line == "subscribed":
            server.subscribed()
            line = process.line()
        figures: dict[str, float] = json.loads(line)
        if "lost" in figures:
            raise RunLost(int(figures["lost"]))
        seconds = server.check()
    if seconds and not figures:  # a program that keeps no time itself
        figures = {"rate": job.messages / seconds}
    return figures
