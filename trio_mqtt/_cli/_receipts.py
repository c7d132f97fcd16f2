"""Which of the published messages the Server has acknowledged."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mqtt import Delivery, MQTTError, PublishRejected

if TYPE_CHECKING:
    from trio_mqtt._cli._progress import Progress


@attrs.define
class _Some:
    """Some messages: the first one and how many there are."""

    first: str = ""
    count: int = 0

    def add(self, label: str) -> None:
        self.first = self.first or label or "the message"
        self.count += 1

    def __str__(self) -> str:
        return self.first if self.count == 1 else f"{self.first} and {self.count - 1} more"


class Receipts:
    """Waits for acknowledgements in order, and keeps count.

    Args:
        window: how many messages may wait for theirs.
        progress: is told of each.
        qos: the Quality of Service; at 0 there are none, and what is sent counts.
    """

    def __init__(self, window: int, progress: Progress, qos: int) -> None:
        self.read = 0
        self.acknowledged = 0
        self.sent_bytes = 0
        self.refused = _Some()
        self.missing = _Some()
        self._refusal = ""
        self._through = "acknowledged" if qos else "sent"
        self._last = ""
        self._window = window
        self._progress = progress
        self._pending: deque[tuple[str, Delivery | None, int]] = deque()
        self._closed = False
        self._more = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()

    async def add(self, label: str, delivery: Delivery, size: int) -> None:
        """Watch a message; once the window is full, wait until half of it is through.

        Each place could be taken as soon as it is free; but then each message would be a packet of
        the network by itself, and a change of tasks or two.
        """
        self._pending.append((label, delivery, size))
        if self._more:
            self._more.unpark_all()
        if len(self._pending) >= self._window:
            while len(self._pending) > self._window // 2:
                await self._room.park()

    def begin(self, label: str) -> None:
        """Note that a message was read, and is about to be published."""
        self.read += 1
        self._last = label

    def add_sent(self, size: int) -> None:
        """Count a message of QoS 0, which nobody acknowledges."""
        self.acknowledged += 1
        self.sent_bytes += size
        self._progress.advance(size)

    def add_doubtful(self, label: str) -> None:
        """Note a message whose acceptance was interrupted: the session may have it or not."""
        self._pending.append((label, None, 0))

    def close(self) -> None:
        """Let `collect` end once all are collected: there are no more to come."""
        self._closed = True
        self._more.unpark_all()

    async def collect(self) -> None:
        """Wait for the acknowledgements until there are no more; cancelled, for none."""
        while True:
            while not self._pending:
                if self._closed:
                    return
                await self._more.park()
            await self._collect_one()
            self._pending.popleft()
            if len(self._pending) <= self._window // 2:
                self._room.unpark_all()

    async def collect_rest(self) -> None:
        """Sort what is left, once the client is closed, so that nothing has to be waited for."""
        self._closed = True
        with trio.CancelScope(shield=True):
            await self.collect()

    async def _collect_one(self) -> None:
        label, delivery, size = self._pending[0]
        if delivery is None:
            self.missing.add(label)
            return
        try:
            await delivery.wait()
        except PublishRejected as error:
            self._refusal = self._refusal or str(error)
            self.refused.add(label)
        except (MQTTError, trio.ClosedResourceError):
            self.missing.add(label)
        else:
            self.acknowledged += 1
        self._progress.advance(size)

    def summary(self, kept_in: str | None, *, stopped: bool = False) -> str | None:
        """Where it ended and what was refused or not acknowledged, on a line; None if all is well.

        Args:
            kept_in: the file that keeps what was not acknowledged, or None.
            stopped: whether it ended before its time; of many messages the last one is named then.
        """
        parts: list[str] = []
        if stopped and self._last:
            parts.append(f"stopped at {self._last}")
        if self.refused.count:
            parts.append(f"refused: {self.refused}: {self._refusal}")
        if self.missing.count:
            fate = (
                "the server may or may not have got that"
                if kept_in is None
                else f"it is kept in {kept_in}, and the next run with that sends it"
            )
            parts.append(f"not acknowledged: {self.missing}; {fate}")
        if not parts:
            return None
        return f"{'; '.join(parts)} ({self.read} read, {self.acknowledged} {self._through})"
