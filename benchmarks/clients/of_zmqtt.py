"""zmqtt, on asyncio."""

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

_zmqtt: Any = importlib.import_module("zmqtt")


def _open(job: Job) -> Any:  # noqa: ANN401 - it has types, but not in the environment of ours
    return _zmqtt.create_client(
        "127.0.0.1", job.port, version="5.0", receive_maximum=MOST_IN_FLIGHT
    )


async def _receive(job: Job) -> float:
    count = 0
    async with _open(job) as client:
        start = perf_counter()
        async with client.subscribe(job.topic, qos=_zmqtt.QoS(job.qos)) as messages:
            subscribed()
            async for _ in messages:
                count += 1
                if count == job.arriving:
                    break
            return perf_counter() - start


def receive(job: Job) -> float:
    """Take messages in a loop; each was acknowledged when it came."""
    return asyncio.run(_receive(job))


async def _publish(job: Job, tasks: int) -> float:
    topic, payload, qos = job.topic, job.payload, _zmqtt.QoS(job.qos)
    async with _open(job) as client:
        publish = client.publish
        start = perf_counter()
        if job.qos:
            await share_out(lambda: publish(topic, payload, qos=qos), job.messages, tasks)
        else:
            for _ in range(job.messages):
                await publish(topic, payload)
            await publish(topic, payload, qos=_zmqtt.QoS.AT_LEAST_ONCE)
        return perf_counter() - start


def publish(job: Job) -> float:
    """Await each at QoS 0; at QoS 1 and 2 several at a time, as it looks at no window."""
    return asyncio.run(_publish(job, min(TASKS, job.window)))


def tasks(job: Job) -> float:
    """Await publishes in many tasks."""
    return asyncio.run(_publish(job, TASKS))


WORK: Final[dict[str, Callable[[Job], float]]] = {
    "receive": receive,
    "publish": publish,
    "tasks": tasks,
}
