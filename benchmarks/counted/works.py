"""The works. Each begins with messages that do not count, so that what is made once is made.

Between its two marks stand MESSAGES messages and nothing else.
"""

from __future__ import annotations

import ctypes
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import trio
import trio.testing

import trio_mqtt
from benchmarks.counted.stream import ScriptedStream, chunks_of
from benchmarks.jobs import MOST_IN_FLIGHT, Job
from trio_mqtt.packets import PingReq, encode

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

MARKED: Final = "srand48_r"
"""A function of the C library that only `_mark` calls: the instrument divides its count there."""
MESSAGES: Final = 2_000
_WARM_UP: Final = 1_000
_BATCH: Final = 500
_TASKS: Final = 50
_CLIENTS: Final = 200
_KEEP_ALIVE: Final = 60
_SHARE: Final = 0.9
_PING_TIMEOUT: Final = 10

Life = Callable[[], Awaitable[None]]

# What ctypes calls itself is seen as a part of ctypes; what that calls, is seen.
_function = ctypes.CDLL(None).srand48


def _mark() -> None:
    _function(0)


def _open(stream: ScriptedStream) -> AbstractAsyncContextManager[trio_mqtt.Client]:
    return trio_mqtt.open_client(
        connector=stream.connect,
        client_id="instructions",
        protocol=trio_mqtt.MQTT_5,
        keep_alive=0,
        receive_maximum=MOST_IN_FLIGHT,
    )


def _run(work: Callable[[int], Awaitable[None]], qos: int) -> Callable[[], None]:
    # Its clock stands still.
    return lambda: trio.run(work, qos, clock=trio.testing.MockClock())


async def _receive(qos: int) -> None:
    job = Job(kind="receive", qos=qos, messages=_WARM_UP + MESSAGES)
    stream = ScriptedStream(chunks_of(job, _BATCH))
    count = 0
    async with _open(stream) as client, client.subscribe(job.topic, qos=qos) as messages:
        stream.release(_WARM_UP // _BATCH)
        async for _message in messages:
            count += 1
            if count == _WARM_UP:
                _mark()
                stream.release(MESSAGES // _BATCH)
            elif count == job.messages:
                _mark()
                break


async def _publish(qos: int) -> None:
    job = Job(kind="publish", qos=qos, messages=_WARM_UP + MESSAGES)
    topic, payload = job.topic, job.payload
    async with _open(ScriptedStream()) as client, client.open_publisher(qos=qos) as publisher:
        for _ in range(_WARM_UP):
            await publisher.send(topic, payload)
        _mark()
        for _ in range(MESSAGES):
            await publisher.send(topic, payload)
        _mark()


async def _await_each(qos: int) -> None:
    job = Job(kind="publish", qos=qos, messages=_WARM_UP + MESSAGES)
    topic, payload = job.topic, job.payload

    async def publish(count: int) -> None:
        for _ in range(count):
            await client.publish(topic, payload, qos=qos)

    async with _open(ScriptedStream()) as client:
        await publish(_WARM_UP)
        _mark()
        await publish(MESSAGES)
        _mark()


async def _publish_in_tasks(qos: int) -> None:
    job = Job(kind="publish", qos=qos, messages=_WARM_UP + MESSAGES)
    topic, payload = job.topic, job.payload

    async def publish(count: int) -> None:
        for _ in range(count):
            await client.publish(topic, payload, qos=qos)

    async def publish_in_all(count: int) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(_TASKS):
                nursery.start_soon(publish, count // _TASKS)

    async with _open(ScriptedStream()) as client:
        await publish_in_all(_WARM_UP)
        _mark()
        await publish_in_all(MESSAGES)
        _mark()


async def _keep_alive(clock: trio.testing.MockClock, life: Life) -> None:
    """All clients send PINGREQ and get their answers, some times over."""
    async with trio.open_nursery() as nursery:
        for _ in range(_CLIENTS):
            nursery.start_soon(life)
        await trio.testing.wait_all_tasks_blocked()
        for count in (2, MESSAGES // _CLIENTS):
            for _ in range(count):
                for seconds in (_PING_TIMEOUT, _KEEP_ALIVE * _SHARE - _PING_TIMEOUT):
                    clock.jump(seconds)
                    await trio.testing.wait_all_tasks_blocked()
            _mark()
        nursery.cancel_scope.cancel()


async def _live() -> None:
    connector = ScriptedStream().connect
    async with trio_mqtt.open_client(
        connector=connector, client_id="idle", protocol=trio_mqtt.MQTT_5, keep_alive=_KEEP_ALIVE
    ):
        await trio.sleep_forever()


async def _ping_bare() -> None:
    stream = ScriptedStream()
    ping = encode(PingReq(), trio_mqtt.MQTT_5)
    while True:
        await trio.sleep(_KEEP_ALIVE * _SHARE)
        await stream.send_all(ping)
        await stream.receive_some()


def _idle(life: Life) -> Callable[[], None]:
    clock = trio.testing.MockClock()
    return lambda: trio.run(_keep_alive, clock, life, clock=clock)


def _parse_bare(stream: bytes, qos: int) -> list[tuple[str, bytes]]:
    """The loop that every figure is compared with: what a PUBLISH costs if nothing is asked of it.

    It must not change.
    """
    found: list[tuple[str, bytes]] = []
    position = 0
    end = len(stream)
    while position < end:
        length = stream[position + 1]
        start = position + 2
        position = start + length
        after_topic = start + 2 + (stream[start] << 8 | stream[start + 1])
        topic = stream[start + 2 : after_topic].decode()
        at = after_topic + (2 if qos else 0)
        found.append((topic, stream[at + 1 + stream[at] : position]))
    return found


def _reference() -> None:
    for messages in (_WARM_UP, MESSAGES):
        job = Job(kind="receive", qos=0, messages=messages)
        (stream,) = chunks_of(job, messages)
        if messages == MESSAGES:
            _mark()
        found = _parse_bare(stream, 0)
        if messages == MESSAGES:
            _mark()
        if found != [(job.topic, job.payload)] * messages:
            raise RuntimeError("the reference loop has found something else")


REFERENCE: Final = "reference"
WORKS: Final[dict[str, Callable[[], None]]] = {
    REFERENCE: _reference,
    "receive QoS 0": _run(_receive, 0),
    "receive QoS 1": _run(_receive, 1),
    "receive QoS 2": _run(_receive, 2),
    "publish QoS 0": _run(_publish, 0),
    "publish QoS 1": _run(_publish, 1),
    "publish QoS 2": _run(_publish, 2),
    "await each QoS 1": _run(_await_each, 1),
    "keep alive": _idle(_live),
    "keep alive, bare": _idle(_ping_bare),
    "50 tasks QoS 1": _run(_publish_in_tasks, 1),
}
