"""aiomqtt 3, on asyncio, with a codec written in Rust."""

from __future__ import annotations

import asyncio
import importlib
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from benchmarks.clients import MessagesLost, subscribed
from benchmarks.clients.workers import ask_each, on_asyncio, share_out, time_each, trust
from benchmarks.jobs import REPLIES, TASKS, Job

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.clients import Work

_aiomqtt: Any = importlib.import_module("aiomqtt")
_AT_A_TIME: Final = 20
"""Publishes in flight: with more it gets slower, as all wait for one event beside their own."""


def _open(job: Job) -> Any:  # noqa: ANN401 - it has types, but not in the environment of ours
    # It checks the certificate for what it is told to connect to, a host name or an address.
    return _aiomqtt.Client(
        hostname="127.0.0.1", port=job.port, clean_start=True, ssl_context=trust(job)
    )


async def receive(job: Job) -> float:
    """Take messages in a loop, and acknowledge each in it, as its documentation does."""
    count = 0
    publish_packet = _aiomqtt.PublishPacket
    exactly_once = _aiomqtt.QoS.EXACTLY_ONCE
    at_least_once = _aiomqtt.QoS.AT_LEAST_ONCE
    async with _open(job) as client:
        start = perf_counter()
        for topic in job.topics:  # one of QoS 1 tells that no more of QoS 0 will come
            await client.subscribe(topic, max_qos=_aiomqtt.QoS(max(1, job.qos)))
        start = subscribed(job, start)
        async for message in client.messages():
            if isinstance(message, publish_packet):
                count += 1
                if message.qos == at_least_once:
                    if not job.qos or count == job.arriving:
                        break
                    await client.puback(message.packet_id)
                elif message.qos == exactly_once:
                    await client.pubrec(message.packet_id)
            else:
                await client.pubcomp(message.packet_id)
        seconds = perf_counter() - start
    if count < job.arriving:
        raise MessagesLost(job.arriving - count)
    return seconds


def _publisher(client: Any, job: Job, qos: int) -> Callable[[], Awaitable[object]]:  # noqa: ANN401
    """A function that publishes a message and awaits all of its acknowledgements."""
    topic, payload, level = job.topic, job.payload, _aiomqtt.QoS(qos)
    identifiers = client.packet_ids

    async def publish_twice() -> None:
        identifier = next(identifiers)
        await client.publish(topic, payload, qos=level, packet_id=identifier)
        await client.pubrel(identifier)

    def publish_once() -> Awaitable[object]:
        sent: Awaitable[object] = client.publish(
            topic, payload, qos=level, packet_id=next(identifiers)
        )
        return sent

    return publish_once if qos == 1 else publish_twice


async def _publish(job: Job, tasks: int) -> float:
    topic, payload = job.topic, job.payload
    async with _open(job) as client:
        start = perf_counter()
        if job.qos:
            await share_out(_publisher(client, job, job.qos), job.messages, tasks)
        else:
            for _ in range(job.messages):
                await client.publish(topic, payload)
            await _publisher(client, job, 1)()
        return perf_counter() - start


async def publish(job: Job) -> float:
    """Await each at QoS 0; at QoS 1 and 2 several at a time."""
    return await _publish(job, min(_AT_A_TIME, job.window))


async def tasks(job: Job) -> float:
    """Await publishes in many tasks."""
    return await _publish(job, TASKS)


async def latency(job: Job) -> list[float]:
    """Await one after the other."""
    async with _open(job) as client:
        return await time_each(_publisher(client, job, job.qos), job.messages)


async def request(job: Job) -> float:
    """Match replies by hand."""
    replies: asyncio.Queue[bytes] = asyncio.Queue()
    async with _open(job) as client:
        identifiers = client.packet_ids
        await client.subscribe(REPLIES, max_qos=_aiomqtt.QoS.AT_MOST_ONCE)

        async def take() -> None:
            async for message in client.messages():
                replies.put_nowait(message.correlation_data)

        async def send(data: bytes) -> None:
            await client.publish(
                job.topic,
                job.payload,
                qos=_aiomqtt.QoS.AT_LEAST_ONCE,
                packet_id=next(identifiers),
                response_topic=REPLIES,
                correlation_data=data,
            )

        taking = asyncio.create_task(take())
        seconds = await ask_each(send, replies, job.messages)
        taking.cancel()
        return seconds


WORK: Final[Work] = on_asyncio(_open, receive, publish, tasks, latency, request)
