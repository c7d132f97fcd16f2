"""No client, but as little as any on Trio has to do: what is left of its time is a client's own.

A task reads and parses as `benchmarks.clients.bare` does, and makes an object of each message; it
reads on when they are taken. A loop takes them, with a cancellation point for each and a scheduling
point for every 64. Nothing is checked, routed or acknowledged, and nothing else is answered.
"""

from __future__ import annotations

from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Final

import attrs
import trio
from trio.lowlevel import checkpoint, checkpoint_if_cancelled

from benchmarks.clients import subscribed
from benchmarks.clients.bare import CONNECT, READ, SUBACK, parse, subscribe

if TYPE_CHECKING:
    from benchmarks.clients import Work
    from benchmarks.jobs import Job

MOST_CALLS: Final = 64


@attrs.define(eq=False)
class Message:
    """The fields of a PUBLISH."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    packet_id: int
    properties: bytes


class _Messages:
    """What arrives, as an asynchronous iterator."""

    def __init__(self, stream: trio.SocketStream, rest: bytes) -> None:
        self._stream = stream
        self._rest = rest
        self._arrived: deque[Message] = deque()
        self._some = trio.lowlevel.ParkingLot()
        self._none = trio.lowlevel.ParkingLot()
        self._calls = 0

    async def read(self) -> None:
        """Read and parse, until it is cancelled."""
        data = self._rest
        while True:
            pairs, position = parse(data)
            self._arrived += [
                Message(topic, payload, 0, False, False, 0, b"")  # noqa: FBT003 - faster so
                for topic, payload in pairs
            ]
            self._some.unpark_all()
            while self._arrived:
                await self._none.park()
            data = data[position:] + await self._stream.receive_some(READ)

    def __aiter__(self) -> _Messages:
        return self

    async def __anext__(self) -> Message:
        self._calls += 1
        if self._calls < MOST_CALLS:
            await checkpoint_if_cancelled()
        else:
            await checkpoint()
            self._calls = 0
        while not self._arrived:
            self._none.unpark_all()
            await self._some.park()
        return self._arrived.popleft()


async def _receive(job: Job) -> float:
    stream = await trio.open_tcp_stream("127.0.0.1", job.port)
    async with stream, trio.open_nursery() as nursery:
        await stream.send_all(CONNECT)
        await stream.receive_some(READ)
        start = perf_counter()
        await stream.send_all(subscribe(job.topic))
        rest = b""
        while len(rest) < SUBACK:
            rest += await stream.receive_some(READ)
        start = subscribed(job, start)
        messages = _Messages(stream, rest[SUBACK:])
        nursery.start_soon(messages.read)
        count = 0
        async for _ in messages:
            count += 1
            if count == job.arriving:
                break
        seconds = perf_counter() - start
        nursery.cancel_scope.cancel()
    return seconds


def receive(job: Job) -> float:
    """Count what was taken."""
    return trio.run(_receive, job)


WORK: Final[Work] = {"receive": receive}
