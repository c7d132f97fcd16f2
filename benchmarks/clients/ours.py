"""trio_mqtt."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

import trio

import trio_mqtt
from benchmarks.clients import subscribed
from benchmarks.clients.workers import connect_each, trust
from benchmarks.jobs import MOST_IN_FLIGHT, TASKS, Job

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from benchmarks.clients import Work

_SCHEMES: Final = {"tcp": "mqtt", "tls": "mqtts", "ws": "ws"}


def _open(job: Job) -> AbstractAsyncContextManager[trio_mqtt.Client]:
    """The others announce no Receive Maximum, so they get as much at once."""
    return trio_mqtt.open_client(
        f"{_SCHEMES[job.transport]}://127.0.0.1:{job.port}",
        protocol=trio_mqtt.MQTT_5,
        receive_maximum=MOST_IN_FLIGHT,
        ssl_context=trust(job),
    )


async def _receive(job: Job) -> float:
    count = 0
    seconds = 0.0
    async with _open(job) as client:
        start = perf_counter()
        async with client.subscribe(*job.topics, qos=job.qos) as messages:
            start = subscribed(job, start)
            async for message in messages:
                count += 1
                if count == job.arriving:
                    message.ack()  # leaving the loop would not
                    seconds = perf_counter() - start
                    break
    return seconds


def receive(job: Job) -> float:
    """Take messages in a loop; each is settled as the next is asked for."""
    return trio.run(_receive, job)


async def _publish(job: Job) -> float:
    topic, payload = job.topic, job.payload
    async with _open(job) as client:
        start = perf_counter()
        async with client.open_publisher(qos=job.qos) as publisher:
            for _ in range(job.messages):
                await publisher.send(topic, payload)
        if not job.qos:
            await client.publish(topic, payload, qos=1)
        return perf_counter() - start


def publish(job: Job) -> float:
    """Send through a publisher, which waits for all acknowledgements in the end."""
    return trio.run(_publish, job)


async def _tasks(job: Job) -> float:
    topic, payload, qos = job.topic, job.payload, job.qos
    numbers = iter(range(job.messages))
    async with _open(job) as client:

        async def work() -> None:
            for _ in numbers:
                await client.publish(topic, payload, qos=qos)

        start = perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(TASKS):
                nursery.start_soon(work)
        return perf_counter() - start


def tasks(job: Job) -> float:
    """Await publishes in many tasks."""
    return trio.run(_tasks, job)


async def _latency(job: Job) -> list[float]:
    topic, payload, qos = job.topic, job.payload, job.qos
    times: list[float] = []
    async with _open(job) as client:
        for _ in range(job.messages):
            start = perf_counter()
            await client.publish(topic, payload, qos=qos)
            times.append(perf_counter() - start)
    return times


def latency(job: Job) -> list[float]:
    """Await one after the other."""
    return trio.run(_latency, job)


async def _request(job: Job) -> float:
    async with _open(job) as client:
        start = perf_counter()
        for _ in range(job.messages):
            await client.request(job.topic, job.payload)
        return perf_counter() - start


def request(job: Job) -> float:
    """Send requests one after the other."""
    return trio.run(_request, job)


def connect(job: Job) -> float:
    """Connect and close."""
    return trio.run(connect_each, job, _open)


WORK: Final[Work] = {
    "receive": receive,
    "publish": publish,
    "tasks": tasks,
    "latency": latency,
    "request": request,
    "connect": connect,
}
