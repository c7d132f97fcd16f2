"""Why no client on Trio receives at three quarters of the bare loop's rate.

``python -m benchmarks.bound`` times what `benchmarks.clients.bare` does with what it has read, in
memory, and then the same with what a program on Trio sees of a message, one thing more each time:
it comes out of an asynchronous iterator; that is a cancellation point; it is an object of a class.
There is no reading, no second task, and nothing checked, bounded, routed or acknowledged. So what
is left of the rate is more than a client can reach that hands out messages so, with such a parser.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from benchmarks import report
from benchmarks.clients.bare import READ, parse
from benchmarks.clients.bare_trio import Message, Messages, objects
from benchmarks.jobs import Job
from benchmarks.wire import publish_stream
from trio_mqtt import MQTT_5

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    Pair = tuple[str, bytes]

T = TypeVar("T")

MESSAGES: Final = 200_000
ROUNDS: Final = 9


def _pairs(chunk: bytes) -> list[Pair]:
    return parse(chunk)[0]


def _objects(chunk: bytes) -> list[Message]:
    return objects(_pairs(chunk))


class _Parsed(Messages[T]):
    """What is in chunks, with a cancellation point each."""

    def __init__(self, made: Callable[[bytes], list[T]], chunks: Sequence[bytes]) -> None:
        super().__init__()
        self._made = made
        self._chunks = iter(chunks)

    async def more(self) -> None:
        """Parse one more.

        Raises:
            StopAsyncIteration: there is none.
        """
        for chunk in self._chunks:
            self.arrived += self._made(chunk)
            return
        raise StopAsyncIteration


class _Unstoppable(_Parsed[T]):
    """The same without cancellation points."""

    async def __anext__(self) -> T:
        while not self.arrived:
            await self.more()
        return self.arrived.popleft()


async def _parse(chunks: Sequence[bytes]) -> int:
    return sum([len(_pairs(chunk)) for chunk in chunks])


async def _take(
    messages: Callable[[Sequence[bytes]], _Parsed[Pair] | _Parsed[Message]],
    chunks: Sequence[bytes],
) -> int:
    count = 0
    async for _ in messages(chunks):
        count += 1
    return count


STEPS: Final[Mapping[str, Callable[[Sequence[bytes]], Awaitable[int]]]] = {
    "a list of pairs for each read": _parse,
    "taken by `async for`": partial(_take, partial(_Unstoppable, _pairs)),
    "a cancellation point each": partial(_take, partial(_Parsed, _pairs)),
    "an object each": partial(_take, partial(_Parsed, _objects)),
}
"""By what each adds to the one before."""


def measure(messages: int, rounds: int) -> dict[str, float]:
    """Seconds for each message, by step; medians.

    Raises:
        RuntimeError: messages are missing.
    """
    stream, size = publish_stream(Job(kind="receive", qos=0, messages=messages), MQTT_5)
    whole = READ // size * size
    chunks = [stream[start : start + whole] for start in range(0, len(stream), whole)]
    times: dict[str, list[float]] = {name: [] for name in STEPS}
    for _ in range(rounds):
        for name, step in STEPS.items():
            start = perf_counter()
            count = trio.run(step, chunks)
            times[name].append((perf_counter() - start) / messages)
            if count != messages:
                raise RuntimeError(f"{messages - count} messages are missing: {name}")
    return {name: statistics.median(found) for name, found in times.items()}


def lines(times: Mapping[str, float]) -> Iterator[str]:
    """To print."""
    least = next(iter(times.values()))
    for name, seconds in times.items():
        yield f"  {name:32}{seconds * 1e6:>8.2f} us{least / seconds:>8.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bound", description=__doc__)
    parser.add_argument("--messages", type=int, default=MESSAGES, help="of a round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="(%(default)s)")
    options = parser.parse_args(arguments)
    print(f"Each message, {report.load()}; and the rate, divided by that of the bare loop.\n")
    print(*lines(measure(options.messages, options.rounds)), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
