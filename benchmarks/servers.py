"""Servers to run against."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from benchmarks.jobs import MOST_IN_FLIGHT, Job
from benchmarks.processes import RunFailed, run_module
from tests.servers import run_mosquitto

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager

_MOSQUITTO_WINDOW: Final = 20  # as it comes


@attrs.frozen(kw_only=True)
class Server:
    """A server that runs for one job.

    Attributes:
        port: where it listens, on 127.0.0.1.
        window: its Receive Maximum.
        subscribed: to be called when the client has its SUBACK.
        check: raises RunFailed if the server saw something else than it should, and tells how long
            it took if it knows; to be called when the client is done.
    """

    port: int
    window: int
    subscribed: Callable[[], None]
    check: Callable[[], float | None]


def _nothing() -> None:
    """Nothing is to be done."""


def _unknown() -> None:
    """Saw nothing, and knows no time."""


def expected_counts(job: Job) -> dict[str, int]:
    """What a canned server counts if all is well."""
    if job.kind == "receive":
        return {"sent": job.messages}
    counts = {f"PUBLISH {job.qos}": job.messages}
    if job.qos == 0:
        counts["PUBLISH 1"] = 1  # whose acknowledgement tells that all have arrived
    elif job.qos == 2:  # noqa: PLR2004 - each PUBLISH has its PUBREL
        counts["6"] = job.messages
    return counts


@contextlib.contextmanager
def run_canned(job: Job, deadline: float) -> Generator[Server]:
    """The canned server."""
    with run_module("benchmarks.canned", job.to_json(), deadline=deadline) as process:

        def check() -> float:
            answer = json.loads(process.line())
            counts = answer["counts"]
            if counts != expected_counts(job):
                message = f"the server counted {counts} instead of {expected_counts(job)}"
                raise RunFailed(message)
            seconds: float = answer["seconds"]
            return seconds

        yield Server(
            port=int(process.line()), window=MOST_IN_FLIGHT, subscribed=_nothing, check=check
        )


@contextlib.contextmanager
def run_real(job: Job, deadline: float) -> Generator[Server]:
    """Mosquitto; with a publisher behind it, if the job is to receive."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmarks-"))
        port = stack.enter_context(run_mosquitto(Path(directory))).port
        subscribed = _nothing
        if job.kind == "receive":
            argument = attrs.evolve(job, port=port).to_json()
            feeder = stack.enter_context(
                run_module("benchmarks.feeder", argument, deadline=deadline)
            )
            feeder.line()
            subscribed = feeder.go
        yield Server(port=port, window=_MOSQUITTO_WINDOW, subscribed=subscribed, check=_unknown)


SERVERS: Final[dict[str, Callable[[Job, float], AbstractContextManager[Server]]]] = {
    "canned": run_canned,
    "mosquitto": run_real,
}
