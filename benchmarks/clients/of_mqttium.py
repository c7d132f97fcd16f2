"""mqttium, on asyncio."""

from __future__ import annotations

import asyncio
import importlib
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from benchmarks.clients import subscribed
from benchmarks.clients.workers import share_out
from benchmarks.jobs import MOST_IN_FLIGHT, TASKS, Job

if TYPE_CHECKING:
    from collections.abc import Callable

_mqttium: Any = importlib.import_module("mqttium")
_api: Any = importlib.import_module("mqttium.api")


def _client(**options: object) -> Any:  # noqa: ANN401 - it has types, but not in the environment of ours
    return _api.AsyncClient(
        "benchmarks",
        protocol=_mqttium.MQTTProtocolVersion.MQTTv5,
        max_inbound_inflight=MOST_IN_FLIGHT,
        max_unacknowledged_messages=None,
        max_unacknowledged_bytes=None,
        **options,
    )


async def _receive(job: Job) -> float:
    count = 0
    done = asyncio.Event()

    def on_message(*_arguments: object) -> None:
        nonlocal count
        count += 1
        if count == job.arriving:
            done.set()

    client = _client(message_delivery="callback")
    client.on_message = on_message
    await client.connect("127.0.0.1", job.port)
    start = perf_counter()
    await client.subscribe(job.topic, qos=job.qos)
    subscribed()
    await done.wait()
    seconds = perf_counter() - start
    await client.disconnect()
    return seconds


def receive(job: Job) -> float:
    """Count in on_message, which is faster than its iterator."""
    return asyncio.run(_receive(job))


async def _publish(job: Job) -> float:
    topic, payload, qos = job.topic, job.payload, job.qos
    client = _client()
    await client.connect("127.0.0.1", job.port)
    message = _api.PublishMessage(topic, payload, qos=qos)
    start = perf_counter()
    receipt = await client.publish_many(message for _ in range(job.messages))
    await receipt.wait()
    if not qos:
        await (await client.publish(topic, payload, qos=1)).wait()
    seconds = perf_counter() - start
    await client.disconnect()
    return seconds


def publish(job: Job) -> float:
    """Publish with publish_many, and wait for what that returns."""
    return asyncio.run(_publish(job))


async def _tasks(job: Job) -> float:
    topic, payload, qos = job.topic, job.payload, job.qos
    client = _client()
    await client.connect("127.0.0.1", job.port)

    async def publish_one() -> None:
        receipt = await client.publish(topic, payload, qos=qos)
        await receipt.wait()

    start = perf_counter()
    await share_out(publish_one, job.messages, TASKS)
    seconds = perf_counter() - start
    await client.disconnect()
    return seconds


def tasks(job: Job) -> float:
    """Await publishes in many tasks."""
    return asyncio.run(_tasks(job))


WORK: Final[dict[str, Callable[[Job], float]]] = {
    "receive": receive,
    "publish": publish,
    "tasks": tasks,
}
