"""Whether a message costs as much after a million others as at the beginning.

``python -m benchmarks.flat`` receives and publishes within the process, without sockets. It divides
the processor time that a message takes after many others by what it took at the beginning, and
what one takes with 10,000 Topic Filters subscribed by what it takes with one.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import trio

import trio_mqtt
from benchmarks import report
from benchmarks.counted.stream import ScriptedStream, chunks_of
from benchmarks.jobs import MOST_IN_FLIGHT, Job
from trio_mqtt import MQTT_5
from trio_mqtt.packets import Publish, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

MESSAGES: Final = 1_000_000
SUBSCRIPTIONS: Final = (1, 100, 10_000)
ALLOWED: Final = 2.0
_BATCH: Final = 500
_AHEAD: Final = 10
"""So many batches are sent before the first is taken."""
_WARM_UP: Final = 1_000
_PART: Final = 1_000
_ROUND: Final = MOST_IN_FLIGHT // _BATCH * _BATCH  # then Packet Identifiers begin again

Part = tuple[int, float]
"""How many messages there had been, and seconds for each of those since the part before."""


class Watch:
    """Processor time by the message, in parts that are ten times as long as the one before.

    Args:
        total: how many messages there will be, after those that do not count.
    """

    def __init__(self, total: int) -> None:
        self.parts: list[Part] = []
        self.last = _WARM_UP + total
        self._next = _WARM_UP
        self._before = 0
        self._time = 0.0

    def look(self, count: int) -> None:
        """So many messages have passed."""
        if count != self._next:
            return
        now = time.process_time()
        if self._before:
            self.parts.append((count - _WARM_UP, (now - self._time) / (count - self._before)))
        self._before, self._time = count, now
        self._next = min(_WARM_UP + max(_PART, (count - _WARM_UP) * 10), self.last)


def _open(stream: ScriptedStream) -> AbstractAsyncContextManager[trio_mqtt.Client]:
    return trio_mqtt.open_client(
        connector=stream.connect,
        client_id="flat",
        protocol=MQTT_5,
        keep_alive=0,
        receive_maximum=MOST_IN_FLIGHT,
    )


async def receive(qos: int, messages: int) -> list[Part]:
    """Receive messages on one subscription."""
    watch = Watch(messages)
    job = Job(kind="receive", qos=qos, messages=_ROUND)
    stream = ScriptedStream(chunks_of(job, _BATCH))
    count = 0
    async with _open(stream) as client, client.subscribe(job.topic, qos=qos) as subscription:
        stream.release(_AHEAD)
        async for _message in subscription:
            count += 1
            watch.look(count)
            if count % _BATCH == 0:
                stream.release(1)
            if count == watch.last:
                break
    return watch.parts


async def publish(qos: int, messages: int) -> list[Part]:
    """Publish messages through one publisher."""
    watch = Watch(messages)
    job = Job(kind="publish", qos=qos, messages=1)
    topic, payload = job.topic, job.payload
    async with _open(ScriptedStream()) as client, client.open_publisher(qos=qos) as publisher:
        for count in range(1, watch.last + 1):
            await publisher.send(topic, payload)
            watch.look(count)
    return watch.parts


def _filters(count: int) -> list[str]:
    return [f"benchmarks/{number}/topic" for number in range(count)]


def _chunk(topics: Sequence[str]) -> bytes:
    return b"".join(encode(Publish(topic, b"x" * 64), MQTT_5) for topic in topics)


async def one_block(count: int, messages: int) -> float:
    """Seconds for each message to one of so many Topic Filters in turn, all of one block."""
    filters = _filters(count)
    topics = [filters[number * 7919 % count] for number in range(max(count, _BATCH))]
    chunks = [_chunk(topics[at : at + _BATCH]) for at in range(0, len(topics), _BATCH)]
    stream = ScriptedStream(chunks)
    async with _open(stream) as client, client.subscribe(*filters) as subscription:
        return await _take(stream, subscription, messages)


async def many_blocks(count: int, messages: int) -> float:
    """Seconds for each message to the last of so many blocks with a Topic Filter each."""
    filters = _filters(count)
    stream = ScriptedStream([_chunk(filters[-1:] * _BATCH)])
    async with _open(stream) as client, AsyncExitStack() as stack:
        subscriptions = [
            await stack.enter_async_context(client.subscribe(each)) for each in filters
        ]
        return await _take(stream, subscriptions[-1], messages)


async def _take(
    stream: ScriptedStream, subscription: trio_mqtt.Subscription, messages: int
) -> float:
    warm_up = messages // 2
    start = 0.0
    stream.release((messages + warm_up) // _BATCH)
    for count in range(messages + warm_up):
        if count == warm_up:
            start = time.process_time()
        await subscription.receive()
    return (time.process_time() - start) / messages


def growth(name: str, parts: Sequence[Part]) -> tuple[str, float]:
    """A line to print, and the ratio of the last part to the first."""
    ratio = parts[-1][1] / parts[0][1]
    columns = "".join(f"{seconds * 1e6:>12.2f}" for _, seconds in parts)
    return f"  {name:22}{columns}{ratio:>8.2f}", ratio


_WORKS: Final[dict[str, Callable[[int, int], Awaitable[list[Part]]]]] = {
    "receive": receive,
    "publish": publish,
}
_SHAPES: Final[dict[str, Callable[[int, int], Awaitable[float]]]] = {
    "filters of one block": one_block,
    "blocks of one filter": many_blocks,
}


def lines(messages: int, few: int, subscriptions: Sequence[int]) -> Iterator[tuple[str, float]]:
    """Lines to print, each with its ratio."""
    for kind, work in _WORKS.items():
        for qos in (0, 1, 2):
            yield growth(f"{kind} QoS {qos}", trio.run(work, qos, messages))
    for name, shape in _SHAPES.items():
        yield growth(name, [(count, trio.run(shape, count, few)) for count in subscriptions])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status tells whether the cost stays within its bound."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flat", description=__doc__)
    add = parser.add_argument
    add("--messages", type=int, default=MESSAGES, help="of each work (%(default)s)")
    add("--few", type=int, default=20_000, help="for each number of filters (%(default)s)")
    add("--subscriptions", type=int, nargs="+", default=SUBSCRIPTIONS, help="1, 100 and 10,000")
    options = parser.parse_args(arguments)
    print(f"Processor time for a message in microseconds, {report.load()}: of the first 1,000")
    print(f"messages, of those up to 10,000, 100,000 and {options.messages:,}; and with")
    print(f"{', '.join(f'{count:,}' for count in options.subscriptions)} Topic Filters.\n")
    worst = 0.0
    for line, ratio in lines(options.messages, options.few, options.subscriptions):
        worst = max(worst, ratio)
        print(line, flush=True)
    print(f"\nThe highest ratio is {worst:.2f}; {ALLOWED:.0f} is allowed.")
    return 0 if worst <= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
