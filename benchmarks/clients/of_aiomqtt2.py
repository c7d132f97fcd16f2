"""aiomqtt 2, on asyncio and paho-mqtt."""

from __future__ import annotations

import asyncio
import importlib
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from benchmarks.clients import subscribed
from benchmarks.clients.workers import share_out
from benchmarks.jobs import TASKS, Job

if TYPE_CHECKING:
    from collections.abc import Callable

_aiomqtt: Any = importlib.import_module("aiomqtt")
_AT_A_TIME: Final = 20
"""Publishes in flight: with more it gets slower, as each is looked for among all."""


def _open(job: Job) -> Any:  # noqa: ANN401 - it has types, but not in the environment of ours
    client = _aiomqtt.Client(
        "127.0.0.1",
        job.port,
        protocol=_aiomqtt.ProtocolVersion.V5,
        max_inflight_messages=min(job.window, TASKS),
        timeout=60,
    )
    client.pending_calls_threshold = TASKS  # no warnings below that
    return client


async def _receive(job: Job) -> float:
    count = 0
    async with _open(job) as client:
        start = perf_counter()
        await client.subscribe(job.topic, qos=job.qos)
        subscribed()
        async for _ in client.messages:
            count += 1
            if count == job.arriving:
                break
        return perf_counter() - start


def receive(job: Job) -> float:
    """Take messages in a loop; each was acknowledged when it came."""
    return asyncio.run(_receive(job))


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
