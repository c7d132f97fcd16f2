"""mqttium, on asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from benchmarks.clients import subscribed
from benchmarks.clients.workers import ask_each, on_asyncio, share_out, time_each, trust
from benchmarks.jobs import MOST_IN_FLIGHT, REPLIES, TASKS, Job

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from benchmarks.clients import Work

_mqttium: Any = importlib.import_module("mqttium")
_api: Any = importlib.import_module("mqttium.api")


@contextlib.asynccontextmanager
async def _open(job: Job, on_message: Callable[[Any], None] | None = None) -> AsyncGenerator[Any]:
    client = _api.AsyncClient(
        "benchmarks",
        protocol=_mqttium.MQTTProtocolVersion.MQTTv5,
        max_inbound_inflight=MOST_IN_FLIGHT,
        max_unacknowledged_messages=None,
        max_unacknowledged_bytes=None,
        max_write_queue_bytes=max(2 * job.size, 1 << 20),
        message_delivery="callback" if on_message else "iterator",
    )
    if on_message:
        client.on_message = on_message
    if job.transport == "ws":
        await client.connect_ws(f"ws://127.0.0.1:{job.port}/mqtt")
    else:
        await client.connect("127.0.0.1", job.port, ssl=trust(job))
    yield client
    await client.disconnect()


async def receive(job: Job) -> float:
    """Count in on_message, which is faster than its iterator."""
    count = 0
    done = asyncio.Event()

    def on_message(_message: object) -> None:
        nonlocal count
        count += 1
        if count == job.arriving:
            done.set()

    async with _open(job, on_message) as client:
        start = perf_counter()
        await client.subscribe(job.topics, qos=job.qos)
        start = subscribed(job, start)
        await done.wait()
        return perf_counter() - start


async def publish(job: Job) -> float:
    """Publish with publish_many, and wait for what that returns."""
    async with _open(job) as client:
        message = _api.PublishMessage(job.topic, job.payload, qos=job.qos)
        start = perf_counter()
        receipt = await client.publish_many(message for _ in range(job.messages))
        await receipt.wait()
        if not job.qos:
            await (await client.publish(job.topic, job.payload, qos=1)).wait()
        return perf_counter() - start


async def _publish_in_turn(job: Job, *, timed: bool) -> float | list[float]:
    topic, payload, qos = job.topic, job.payload, job.qos
    async with _open(job) as client:

        async def publish_one() -> None:
            receipt = await client.publish(topic, payload, qos=qos)
            await receipt.wait()

        if timed:
            return await time_each(publish_one, job.messages)
        start = perf_counter()
        await share_out(publish_one, job.messages, TASKS)
        return perf_counter() - start


async def tasks(job: Job) -> float | list[float]:
    """Await publishes in many tasks."""
    return await _publish_in_turn(job, timed=False)


async def latency(job: Job) -> float | list[float]:
    """Await one after the other."""
    return await _publish_in_turn(job, timed=True)


async def request(job: Job) -> float:
    """Match replies by hand."""
    replies: asyncio.Queue[bytes] = asyncio.Queue()

    def on_message(message: Any) -> None:  # noqa: ANN401 - of the library
        replies.put_nowait(message.properties.get("correlation_data"))

    async with _open(job, on_message) as client:
        await client.subscribe(REPLIES)

        async def send(data: bytes) -> None:
            properties = _api.Properties({"response_topic": REPLIES, "correlation_data": data})
            await client.publish(job.topic, job.payload, qos=1, properties=properties)

        return await ask_each(send, replies, job.messages)


WORK: Final[Work] = on_asyncio(_open, receive, publish, tasks, latency, request)
