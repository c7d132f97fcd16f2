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
    """

    def __init__(self, window: int, progress: Progress) -> None:
        self.acknowledged = 0
        self.sent_bytes = 0
        self.refused = _Some()
        self.missing = _Some()
        self._refusal = ""
        self._reason = ""
        self._window = window
        self._progress = progress
        self._pending: deque[tuple[str, Delivery | None, int]] = deque()
        self._closed = False
        self._changed = trio.lowlevel.ParkingLot()

    async def add(self, label: str, delivery: Delivery, size: int) -> None:
        """Watch a message, once fewer than the window are watched."""
        self._pending.append((label, delivery, size))
        self._changed.unpark_all()
        while len(self._pending) > self._window:
            await self._changed.park()

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
        self._changed.unpark_all()

    async def collect(self) -> None:
        """Wait for the acknowledgements until there are no more; cancelled, for none."""
        while True:
            while not self._pending:
                if self._closed:
                    return
                await self._changed.park()
            await self._collect_one()
            self._pending.popleft()
            self._changed.unpark_all()

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
        except (MQTTError, trio.ClosedResourceError) as error:
            self._reason = self._reason or str(error)
            self.missing.add(label)
        else:
            self.acknowledged += 1
        self._progress.advance(size)

    def summary(self, kept_in: str | None) -> str | None:
        """What was refused or not acknowledged, in a sentence, or None.

        Args:
            kept_in: the file that keeps what was not acknowledged, or None.
        """
        parts: list[str] = []
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
        return f"{'; '.join(parts)} ({self.acknowledged} acknowledged)"
