"""A program that is flooded, in a process of its own, whose memory is measured.

``python -m tests.client.flood_client PORT COUNT OVERFLOW CONSUMER`` prints what came of it.

The consumer does not sleep by the clock: each of its pauses lasts until the flood has run into
it, that is until reading is paused, or so many messages are dropped.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio
from trio.testing import MockClock

from tests.client.flood_peer import BATCH
from tests.client.support import open_once

if TYPE_CHECKING:
    from trio_mqtt import Client, Subscription

PAUSE_AFTER: Final = 40_000
DROPS: Final = 10_000
FOREVER: Final = 1_000_000
"""In seconds of a clock that runs fast."""
RATE: Final = 200


def memory(what: str) -> int:
    """VmRSS, the resident memory now, or VmHWM, the most there ever was, in bytes.

    Not `ru_maxrss`: that begins with what the parent process had.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition(what + ":")[2].split()[0]) * 1024


class Consumer:
    """Takes what it gets, and pauses often."""

    def __init__(self, client: Client, messages: Subscription, count: int) -> None:
        self._client = client
        self._messages = messages
        self._count = count
        self.taken = 0
        self.pauses = 0
        self.gaps = 0  # messages missing between two that were taken, each counted below BATCH

    def _is_over(self) -> bool:
        return self._messages.statistics().received == self._count

    async def _pause(self) -> None:
        """Until the flood is held back, or has made us lose much, or is over."""
        self.pauses += 1
        paused = self._client.statistics().reading_paused
        dropped = self._messages.statistics().dropped
        while (
            self._client.statistics().reading_paused == paused
            and self._messages.statistics().dropped < dropped + DROPS
            and not self._is_over()
        ):
            await trio.lowlevel.checkpoint()

    async def run(self) -> None:
        expected = 0
        while not self._is_over() or self._messages.statistics().buffered:
            number = int((await self._messages.receive()).payload)
            self.gaps += (number - expected) % BATCH
            expected = number + 1
            self.taken += 1
            if self.taken % PAUSE_AFTER == 1:
                await self._pause()


async def run(port: int, count: int, overflow: Any, consumer: str) -> None:
    async with (
        open_once(
            f"mqtt://127.0.0.1:{port}",
            keep_alive=0,
            connect_timeout=FOREVER,
            close_timeout=FOREVER,
        ) as client,
        client.subscribe("end") as end,
        trio.open_nursery() as nursery,
    ):
        before = memory("VmRSS")
        async with client.subscribe("flood", overflow=overflow) as messages:
            work = Consumer(client, messages, count)
            if consumer == "pauses":
                await work.run()
            elif consumer == "awaits":  # an answer that comes when the flood is over
                nursery.start_soon(lambda: client.publish("answered/late", qos=1))
            await end.receive()
            grown = memory("VmHWM") - before
            statistics = messages.statistics()
            result = {
                "grown": grown,
                "taken": work.taken,
                "pauses": work.pauses,
                "gaps": work.gaps,
                "received": statistics.received,
                "dropped": statistics.dropped,
                "buffered": statistics.buffered,
                "reading_paused": client.statistics().reading_paused,
            }
    sys.stdout.write(json.dumps(result))


def main() -> None:
    port, count, overflow, consumer = sys.argv[1:]
    clock = MockClock(rate=RATE) if consumer == "stalls" else None
    trio.run(run, int(port), int(count), overflow, consumer, clock=clock)


if __name__ == "__main__":
    main()
