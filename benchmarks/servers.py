"""Servers to run against."""

from __future__ import annotations

import atexit
import contextlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import trustme

from benchmarks.jobs import MOST_IN_FLIGHT, Job
from benchmarks.processes import Process, RunFailed, run_module
from tests.servers import run_mosquitto

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager

_COUNTED_AS_SENT: Final = frozenset({"receive", "duplicates", "request", "connect"})
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
        authority: what a client has to trust, if it runs over TLS; a file.
    """

    port: int
    window: int
    subscribed: Callable[[], None]
    check: Callable[[], float | None]
    authority: str = ""


def _nothing() -> None:
    """Nothing is to be done."""


def _unknown() -> None:
    """Saw nothing, and knows no time."""


def expected_counts(job: Job) -> dict[str, int]:
    """What a canned server counts if all is well."""
    if job.kind in _COUNTED_AS_SENT:
        return {"sent": job.messages}
    counts = {f"PUBLISH {job.qos}": job.messages}
    if job.qos == 2:  # noqa: PLR2004 - each PUBLISH has its PUBREL
        counts["6"] = job.messages
    return counts


@contextlib.contextmanager
def run_canned(job: Job, deadline: float) -> Generator[Server]:
    """The canned server."""
    with contextlib.ExitStack() as stack:
        if job.transport == "tls":
            authority = stack.enter_context(make_certificates())
            job = attrs.evolve(job, authority=str(authority))
        process = _take_canned(deadline)
        ends = stack.enter_context(contextlib.ExitStack())
        ends.callback(process.end)
        process.go(job.to_json())

        def check() -> float:
            answer = json.loads(process.line())
            ends.pop_all()
            _IDLE.append(process)
            counts = answer["counts"]
            if job.qos == 0:
                counts.pop("PUBLISH 1", None)  # the one that told that all had arrived
            if counts != expected_counts(job):
                message = f"the server counted {counts} instead of {expected_counts(job)}"
                raise RunFailed(message)
            seconds: float = answer["seconds"]
            return seconds

        yield Server(
            port=int(process.line()),
            window=MOST_IN_FLIGHT,
            subscribed=process.go if job.subscriptions > 1 else _nothing,
            check=check,
            authority=job.authority,
        )


_IDLE: Final[list[Process]] = []
"""Canned servers that have done their job, and can do the next."""


def _take_canned(deadline: float) -> Process:
    process = _IDLE.pop() if _IDLE else Process("benchmarks.canned", deadline=deadline)
    process.deadline = deadline
    return process


@atexit.register
def _end_all() -> None:
    while _IDLE:
        _IDLE.pop().end()


@contextlib.contextmanager
def make_certificates() -> Generator[Path]:
    """An authority in a file, for the length of a block, and beside it a server's certificate."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        path = Path(directory) / "authority.pem"
        authority.cert_pem.write_to_path(path)
        certificate.private_key_and_cert_chain_pem.write_to_path(path.with_name("server.pem"))
        yield path


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
