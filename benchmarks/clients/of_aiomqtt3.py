"""aiomqtt 3, on asyncio, with a codec written in Rust."""

from __future__ import annotations

import asyncio
import importlib
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from benchmarks.clients import MessagesLost, subscribed
from benchmarks.clients.workers import share_out
from benchmarks.jobs import TASKS, Job

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_aiomqtt: Any = importlib.import_module("aiomqtt")
_AT_A_TIME: Final = 20
"""Publishes in flight: with more it gets slower, as all wait for one event beside their own."""


def _open(job: Job) -> Any:  # noqa: ANN401 - it has types, but not in the environment of ours
    return _aiomqtt.Client(hostname="127.0.0.1", port=job.port, clean_start=True)


async def _receive(job: Job) -> float:
    count = 0
    publish_packet = _aiomqtt.PublishPacket
    exactly_once = _aiomqtt.QoS.EXACTLY_ONCE
    at_least_once = _aiomqtt.QoS.AT_LEAST_ONCE
    async with _open(job) as client:
        start = perf_counter()
        await client.subscribe(job.topic, max_qos=_aiomqtt.QoS(max(1, job.qos)))  # for the last
        subscribed()
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


def receive(job: Job) -> float:
    """Take messages in a loop, and acknowledge each in it, as its documentation does."""
    return asyncio.run(_receive(job))


async def _publish(job: Job, tasks: int) -> float:
    topic, payload, qos = job.topic, job.payload, _aiomqtt.QoS(job.qos)
    async with _open(job) as client:
        identifiers = client.packet_ids

        def publish_once() -> Awaitable[object]:
            sent: Awaitable[object] = client.publish(
                topic, payload, qos=qos, packet_id=next(identifiers)
            )
            return sent

        async def publish_twice() -> None:
            identifier = next(identifiers)
            await client.publish(topic, payload, qos=qos, packet_id=identifier)
            await client.pubrel(identifier)

        start = perf_counter()
        if job.qos:
            publish = publish_once if job.qos == 1 else publish_twice
            await share_out(publish, job.messages, tasks)
        else:
            for _ in range(job.messages):
                await client.publish(topic, payload)
            qos = _aiomqtt.QoS.AT_LEAST_ONCE
            await publish_once()
        return perf_counter() - start


def publish(job: Job) -> float:
    """Await each at QoS 0; at QoS 1 and 2 several at a time."""
    return asyncio.run(_publish(job, min(_AT_A_TIME, job.window)))


def tasks(job: Job) -> float:
    """Await publishes in many tasks."""
    return asyncio.run(_publish(job, TASKS))


WORK: Final[dict[str, Callable[[Job], float]]] = {
    "receive": receive,
    "publish": publish,
    "tasks": tasks,
}
