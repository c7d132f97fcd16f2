"""zmqtt, on asyncio."""

from __future__ import annotations

import importlib
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from benchmarks.clients import subscribed
from benchmarks.clients.workers import on_asyncio, share_out, time_each, trust
from benchmarks.jobs import MOST_IN_FLIGHT, TASKS, Job

if TYPE_CHECKING:
    from benchmarks.clients import Work

_zmqtt: Any = importlib.import_module("zmqtt")


def _open(job: Job) -> Any:  # noqa: ANN401 - it has types, but not in the environment of ours
    return _zmqtt.create_client(
        "127.0.0.1", job.port, version="5.0", receive_maximum=MOST_IN_FLIGHT, tls=trust(job)
    )


async def receive(job: Job) -> float:
    """Take messages in a loop; each was acknowledged when it came."""
    count = 0
    async with _open(job) as client:
        start = perf_counter()
        async with client.subscribe(*job.topics, qos=_zmqtt.QoS(job.qos)) as messages:
            start = subscribed(job, start)
            async for _ in messages:
                count += 1
                if count == job.arriving:
                    break
            return perf_counter() - start


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


async def publish(job: Job) -> float:
    """Await each at QoS 0; at QoS 1 and 2 several at a time, as it looks at no window."""
    return await _publish(job, min(TASKS, job.window))


async def tasks(job: Job) -> float:
    """Await publishes in many tasks."""
    return await _publish(job, TASKS)


async def latency(job: Job) -> list[float]:
    """Await one after the other."""
    topic, payload, qos = job.topic, job.payload, _zmqtt.QoS(job.qos)
    async with _open(job) as client:
        return await time_each(lambda: client.publish(topic, payload, qos=qos), job.messages)


async def request(job: Job) -> float:
    """Send requests one after the other, each with a Response Topic of its own."""
    async with _open(job) as client:
        start = perf_counter()
        for _ in range(job.messages):
            await client.request(job.topic, job.payload, qos=_zmqtt.QoS.AT_LEAST_ONCE)
        return perf_counter() - start


WORK: Final[Work] = on_asyncio(_open, receive, publish, tasks, latency, request)
