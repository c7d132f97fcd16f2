"""``python -m benchmarks.idle.clients KIND PORT COUNT KEEP_ALIVE``: the clients of one process.

It prints a line of JSON when all are connected, another when they have been idle for two Keep
Alives, and a last one when all are closed.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

import trio_mqtt
from benchmarks.idle.descriptors import raise_limit
from trio_mqtt import MQTT_5
from trio_mqtt.packets import Connect, Disconnect, PingReq, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

_AT_ONCE: Final = 100
"""So many connect at a time."""
_PINGS: Final = 2
"""For how many Keep Alives they are idle."""
_SHARE: Final = 0.9
"""The part of the Keep Alive after which trio_mqtt sends PINGREQ; the bare loop does the same."""
_MOST_OF_AN_ANSWER: Final = 64


def resident() -> int:
    """The memory of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


class Crowd:
    """The clients of this process.

    Args:
        count: how many there will be.
        port: where the Server listens.
        keep_alive: in seconds.

    Attributes:
        port: where the Server listens.
        keep_alive: in seconds.
        door: held by those that connect.
        complete: set when all are connected.
        closing: set when all are to close.
    """

    def __init__(self, count: int, port: int, keep_alive: int) -> None:
        self.port = port
        self.keep_alive = keep_alive
        self.door = trio.Semaphore(_AT_ONCE)
        self.complete = trio.Event()
        self.closing = trio.Event()
        self._missing = count

    async def live(self, life: Callable[[Crowd], Awaitable[None]]) -> None:
        """Wait for the door, then live."""
        await self.door.acquire()
        await life(self)

    async def stay(self) -> None:
        """Be connected until all are to close."""
        self.door.release()
        self._missing -= 1
        if not self._missing:
            self.complete.set()
        await self.closing.wait()


def _open(crowd: Crowd) -> AbstractAsyncContextManager[trio_mqtt.Client]:
    url = f"mqtt://127.0.0.1:{crowd.port}"
    return trio_mqtt.open_client(url, protocol=MQTT_5, keep_alive=crowd.keep_alive)


async def ours(crowd: Crowd) -> None:
    """A client of trio_mqtt."""
    async with _open(crowd):
        await crowd.stay()


async def subscribed(crowd: Crowd) -> None:
    """A client of trio_mqtt with a subscription."""
    async with _open(crowd) as client, client.subscribe("some/topic", qos=1):
        await crowd.stay()


async def bare(crowd: Crowd) -> None:
    """The least that Trio can do: one task, which sends PINGREQ and waits for what comes."""
    stream = await trio.open_tcp_stream("127.0.0.1", crowd.port)
    async with stream:
        await stream.send_all(encode(Connect("bare", keep_alive=crowd.keep_alive), MQTT_5))
        await stream.receive_some(_MOST_OF_AN_ANSWER)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_ping, stream, crowd.keep_alive * _SHARE)
            await crowd.stay()
            nursery.cancel_scope.cancel()
        await stream.send_all(encode(Disconnect(), MQTT_5))


async def _ping(stream: trio.SocketStream, interval: float) -> None:
    ping = encode(PingReq(), MQTT_5)
    while True:
        await trio.sleep(interval)
        await stream.send_all(ping)
        await stream.receive_some(_MOST_OF_AN_ANSWER)


class Collecting:
    """Counts what the garbage collector takes, as one of its callbacks.

    Attributes:
        seconds: of the processor, so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._start = 0.0

    def __call__(self, phase: str, _info: dict[str, int]) -> None:
        """It begins or ends a collection."""
        now = time.process_time()
        if phase == "start":
            self._start = now
        else:
            self.seconds += now - self._start


KINDS: Final[dict[str, Callable[[Crowd], Awaitable[None]]]] = {
    "trio_mqtt": ours,
    "subscribed": subscribed,
    "bare": bare,
}


def tell(**figures: float) -> None:
    """Print what was measured."""
    print(json.dumps(figures), flush=True)


async def run(kind: str, count: int, port: int, keep_alive: int) -> None:
    """Connect, be idle, close."""
    await _meet(kind, Crowd(1, port, keep_alive))  # so that what is imported late is there
    gc.collect()
    before = resident()
    crowd = Crowd(count, port, keep_alive)
    async with trio.open_nursery() as nursery:
        start = time.perf_counter()
        for _ in range(count):
            nursery.start_soon(crowd.live, KINDS[kind])
        await crowd.complete.wait()
        seconds = time.perf_counter() - start
        gc.collect()
        tell(connecting=seconds, memory=(resident() - before) / count)
        collecting = Collecting()
        gc.callbacks.append(collecting)
        busy = time.process_time()
        await trio.sleep(_PINGS * keep_alive * _SHARE)
        tell(busy=time.process_time() - busy, collecting=collecting.seconds)
        start = time.perf_counter()
        crowd.closing.set()
    tell(closing=time.perf_counter() - start)


async def _meet(kind: str, crowd: Crowd) -> None:
    crowd.closing.set()
    await crowd.live(KINDS[kind])


if __name__ == "__main__":
    raise_limit()
    _, which, *numbers = sys.argv
    how_many, where, seconds = map(int, numbers)
    trio.run(run, which, how_many, where, seconds)
