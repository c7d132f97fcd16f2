"""aiomqtt 2, on asyncio and paho-mqtt."""

from __future__ import annotations

import asyncio
import importlib
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from benchmarks.clients import subscribed
from benchmarks.clients.workers import ask_each, on_asyncio, share_out, time_each, trust
from benchmarks.jobs import REPLIES, TASKS, Job

if TYPE_CHECKING:
    from benchmarks.clients import Work

_aiomqtt: Any = importlib.import_module("aiomqtt")
_properties: Any = importlib.import_module("paho.mqtt.properties")
_packet_types: Any = importlib.import_module("paho.mqtt.packettypes")
_AT_A_TIME: Final = 20
"""Publishes in flight: with more it gets slower, as each is looked for among all."""


def _open(job: Job) -> Any:  # noqa: ANN401 - it has types, but not in the environment of ours
    client = _aiomqtt.Client(
        "127.0.0.1",
        job.port,
        protocol=_aiomqtt.ProtocolVersion.V5,
        max_inflight_messages=min(job.window, TASKS),
        timeout=60,
        transport="websockets" if job.transport == "ws" else "tcp",
        tls_context=trust(job),
    )
    client.pending_calls_threshold = TASKS  # no warnings below that
    return client


async def receive(job: Job) -> float:
    """Take messages in a loop; each was acknowledged when it came."""
    count = 0
    async with _open(job) as client:
        start = perf_counter()
        await client.subscribe([(topic, job.qos) for topic in job.topics])
        start = subscribed(job, start)
        async for _ in client.messages:
            count += 1
            if count == job.arriving:
                break
        return perf_counter() - start


async def _publish(job: Job, tasks: int) -> float:
    async with _open(job) as client:
        publish, topic, payload, qos = client.publish, job.topic, job.payload, job.qos
        start = perf_counter()
        if qos:
            await share_out(lambda: publish(topic, payload, qos), job.messages, tasks)
        else:
            for _ in range(job.messages):
                await publish(topic, payload)
            await publish(topic, payload, 1)
        return perf_counter() - start


async def publish(job: Job) -> float:
    """Await each at QoS 0; at QoS 1 and 2 several at a time."""
    return await _publish(job, min(_AT_A_TIME, job.window))


async def tasks(job: Job) -> float:
    """Await publishes in many tasks."""
    return await _publish(job, TASKS)


async def latency(job: Job) -> list[float]:
    """Await one after the other."""
    topic, payload, qos = job.topic, job.payload, job.qos
    async with _open(job) as client:
        return await time_each(lambda: client.publish(topic, payload, qos), job.messages)


async def request(job: Job) -> float:
    """Match replies by hand."""
    replies: asyncio.Queue[bytes] = asyncio.Queue()
    async with _open(job) as client:
        await client.subscribe(REPLIES)

        async def take() -> None:
            async for message in client.messages:
                replies.put_nowait(message.properties.CorrelationData)

        async def send(data: bytes) -> None:
            properties = _properties.Properties(_packet_types.PacketTypes.PUBLISH)
            properties.ResponseTopic = REPLIES
            properties.CorrelationData = data
            await client.publish(job.topic, job.payload, 1, properties=properties)

        taking = asyncio.create_task(take())
        seconds = await ask_each(send, replies, job.messages)
        taking.cancel()
        return seconds


WORK: Final[Work] = on_asyncio(_open, receive, publish, tasks, latency, request)
