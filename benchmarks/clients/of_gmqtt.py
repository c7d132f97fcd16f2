"""gmqtt, on asyncio; it has no type information."""

from __future__ import annotations

import asyncio
import importlib
import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from benchmarks.clients import subscribed

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.jobs import Job

_gmqtt: Any = importlib.import_module("gmqtt")
_storage: Any = importlib.import_module("gmqtt.storage")
_BURST: Final = 1000
"""How many messages it is given before it may write: it has no backpressure."""


async def _receive(job: Job) -> float:
    count = 0
    done = asyncio.Event()

    def on_message(*_arguments: object) -> int:
        nonlocal count
        count += 1
        if count == job.arriving:
            done.set()
        return 0

    def on_subscribe(*_arguments: object) -> None:
        subscribed()

    client = _gmqtt.Client("benchmarks")
    client.on_message = on_message
    client.on_subscribe = on_subscribe
    await client.connect("127.0.0.1", job.port)
    start = perf_counter()
    client.subscribe(job.topic, qos=job.qos)
    await done.wait()
    seconds = perf_counter() - start
    await client.disconnect()
    return seconds


def receive(job: Job) -> float:
    """Count in on_message; acknowledges before it calls that."""
    return asyncio.run(_receive(job))


async def _publish(job: Job) -> float:
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
    client = _gmqtt.Client("benchmarks", persistent_storage=storage)
    await client.connect("127.0.0.1", job.port)
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
    seconds = perf_counter() - start
    await client.disconnect()
    return seconds


def publish(job: Job) -> float:
    """Publish with as many in flight as the Server allows."""
    logging.disable()
    return asyncio.run(_publish(job))


WORK: Final[dict[str, Callable[[Job], float]]] = {"receive": receive, "publish": publish}
