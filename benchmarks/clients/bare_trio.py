"""No client, but as little as any on Trio has to do: what is left of its time is a client's own.

A task reads and parses as `benchmarks.clients.bare` does, and makes an object of each message; it
reads on when they are taken. A loop takes them, with a cancellation point for each and a scheduling
point for every 64. Nothing is checked, routed or acknowledged, and nothing else is answered.
"""

from __future__ import annotations

import abc
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import attrs
import trio
from trio.lowlevel import checkpoint, checkpoint_if_cancelled

from benchmarks.clients import subscribed
from benchmarks.clients.bare import CONNECT, READ, SUBACK, parse, subscribe

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.clients import Work
    from benchmarks.jobs import Job

T = TypeVar("T")

_MOST_CALLS: Final = 64


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


def objects(pairs: Iterable[tuple[str, bytes]]) -> list[Message]:
    """An object of each message."""
    return [
        Message(topic, payload, 0, False, False, 0, b"")  # noqa: FBT003 - faster so
        for topic, payload in pairs
    ]


class Messages(abc.ABC, Generic[T]):
    """An asynchronous iterator with a cancellation point each.

    Attributes:
        arrived: what is there to be taken.
    """

    def __init__(self) -> None:
        self.arrived: deque[T] = deque()
        self._calls = 0

    def __aiter__(self) -> Messages[T]:
        """Itself."""
        return self

    async def __anext__(self) -> T:
        """The next message; cancelled, it has taken none."""
        self._calls += 1
        if self._calls < _MOST_CALLS:
            await checkpoint_if_cancelled()
        else:
            await checkpoint()
            self._calls = 0
        while not self.arrived:
            await self.more()
        return self.arrived.popleft()

    @abc.abstractmethod
    async def more(self) -> None:
        """Called when nothing is left."""


class _Received(Messages[Message]):
    """What arrives at a socket."""

    def __init__(self, stream: trio.SocketStream, rest: bytes) -> None:
        super().__init__()
        self._stream = stream
        self._rest = rest
        self._some = trio.lowlevel.ParkingLot()
        self._none = trio.lowlevel.ParkingLot()

    async def read(self) -> None:
        """Read and parse, until it is cancelled."""
        data = self._rest
        while True:
            pairs, position = parse(data)
            self.arrived += objects(pairs)
            self._some.unpark_all()
            while self.arrived:
                await self._none.park()
            data = data[position:] + await self._stream.receive_some(READ)

    async def more(self) -> None:
        """Have it read."""
        self._none.unpark_all()
        await self._some.park()


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
        messages = _Received(stream, rest[SUBACK:])
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
