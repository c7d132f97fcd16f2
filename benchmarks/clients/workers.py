"""What the clients on asyncio share."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks.jobs import Job, correlation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

    from benchmarks.clients import Work


async def share_out(publish: Callable[[], Awaitable[object]], count: int, tasks: int) -> None:
    """Publish so many messages from so many tasks, each awaiting one before the next."""
    numbers = iter(range(count))

    async def work() -> None:
        for _ in numbers:
            await publish()

    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(work())


async def time_each(publish: Callable[[], Awaitable[object]], count: int) -> list[float]:
    """How long each publish took, one after the other, in seconds."""
    times: list[float] = []
    for _ in range(count):
        start = perf_counter()
        await publish()
        times.append(perf_counter() - start)
    return times


async def ask_each(
    send: Callable[[bytes], Awaitable[object]], replies: asyncio.Queue[bytes], count: int
) -> float:
    """Send requests, each when the reply to the one before has come; the seconds of all.

    Args:
        send: publishes a request with this Correlation Data.
        replies: the Correlation Data of what comes back.
        count: how many requests.
    """
    start = perf_counter()
    for number in range(count):
        await send(correlation(number))
        if await replies.get() != correlation(number):
            raise ValueError("the reply to another request")
    return perf_counter() - start


async def connect_each(
    job: Job, open_client: Callable[[Job], AbstractAsyncContextManager[object]]
) -> float:
    """Connect and close; the seconds of all, on Trio as on asyncio."""
    start = perf_counter()
    for _ in range(job.messages):
        async with open_client(job):
            pass
    return perf_counter() - start


def on_asyncio(
    open_client: Callable[[Job], AbstractAsyncContextManager[object]],
    *works: Callable[[Job], Coroutine[object, object, float | list[float]]],
) -> Work:
    """The works of a client, each by the name of the function that does it, and to connect."""

    async def connect(job: Job) -> float:
        return await connect_each(job, open_client)

    def run(
        work: Callable[[Job], Coroutine[object, object, float | list[float]]], job: Job
    ) -> float | list[float]:
        return asyncio.run(work(job))

    return {work.__name__: partial(run, work) for work in (*works, connect)}


def trust(job: Job) -> ssl.SSLContext | None:
    """What TLS needs, if the job is to run over it."""
    return ssl.create_default_context(cafile=job.authority) if job.transport == "tls" else None
