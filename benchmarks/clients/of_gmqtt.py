"""gmqtt, on asyncio; it has no type information."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from benchmarks.clients import subscribed
from benchmarks.clients.workers import ask_each, on_asyncio, time_each, trust
from benchmarks.jobs import REPLIES

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from benchmarks.clients import Work
    from benchmarks.jobs import Job

_gmqtt: Any = importlib.import_module("gmqtt")
_storage: Any = importlib.import_module("gmqtt.storage")
_BURST: Final = 1000
"""How many messages it is given before it may write: it has no backpressure."""


def _ignore(*_arguments: object) -> int:
    return 0


@contextlib.asynccontextmanager
async def _open(
    job: Job, storage: object = None, on_message: Callable[..., int] = _ignore
) -> AsyncGenerator[Any]:
    client = _gmqtt.Client("benchmarks", persistent_storage=storage)
    client.on_message = on_message
    await client.connect("127.0.0.1", job.port, ssl=trust(job) or False)
    yield client
    await client.disconnect()


async def receive(job: Job) -> float:
    """Count in on_message; acknowledges before it calls that."""
    count = 0
    done = asyncio.Event()
    start = perf_counter()

    def on_message(*_arguments: object) -> int:
        nonlocal count
        count += 1
        if count == job.arriving:
            done.set()
        return 0

    def on_subscribe(*_arguments: object) -> None:
        nonlocal start
        start = subscribed(job, start)

    async with _open(job, on_message=on_message) as client:
        client.on_subscribe = on_subscribe
        start = perf_counter()
        client.subscribe([_gmqtt.Subscription(topic, qos=job.qos) for topic in job.topics])
        await done.wait()
        return perf_counter() - start


async def publish(job: Job) -> float:
    """Publish with as many in flight as the Server allows."""
    logging.disable()
    topic, payload, qos = job.topic, job.payload, job.qos
    # It fails if more are in flight than the Server allows, and tells nobody but its storage of
    # acknowledgements.
    window = asyncio.Semaphore(job.window - 1)
    storage = _storage.PersistentStorage()
    remove: Callable[[int], None] = storage.remove_message_by_mid

    def acknowledged(mid: int) -> None:
        remove(mid)
        window.release()

    storage.remove_message_by_mid = acknowledged
    async with _open(job, storage) as client:
        start = perf_counter()
        for number in range(job.messages):
            if qos:
                await window.acquire()
            elif not number % _BURST:
                await asyncio.sleep(0)
            client.publish(topic, payload, qos=qos)
        if not qos:
            client.publish(topic, payload, qos=1)
        await storage.wait_empty()
        return perf_counter() - start


async def latency(job: Job) -> list[float]:
    """Wait until its storage has none unacknowledged."""
    storage = _storage.PersistentStorage()
    async with _open(job, storage) as client:

        async def publish_one() -> None:
            client.publish(job.topic, job.payload, qos=1)
            await storage.wait_empty()

        return await time_each(publish_one, job.messages)


async def request(job: Job) -> float:
    """Match replies by hand."""
    replies: asyncio.Queue[bytes] = asyncio.Queue()
    ready = asyncio.Event()

    def on_message(*arguments: Any) -> int:  # noqa: ANN401 - the last are the properties
        replies.put_nowait(arguments[-1]["correlation_data"][0])
        return 0

    def on_subscribe(*_arguments: object) -> None:
        ready.set()

    async with _open(job, on_message=on_message) as client:
        client.on_subscribe = on_subscribe
        client.subscribe(REPLIES)
        await ready.wait()

        async def send(data: bytes) -> None:
            client.publish(
                job.topic, job.payload, qos=1, response_topic=REPLIES, correlation_data=data
            )

        return await ask_each(send, replies, job.messages)


WORK: Final[Work] = on_asyncio(_open, receive, publish, latency, request)
