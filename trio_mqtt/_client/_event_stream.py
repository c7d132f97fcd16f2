"""Events on their way to whoever watches the client."""

from __future__ import annotations

import logging
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import trio

from trio_mqtt._client._misuse import OnlyAsync
from trio_mqtt.events import PublishFailed, SessionReplaced

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Self

    from trio_mqtt.events import Event

MOST_EVENTS: Final = 1000
_logger = logging.getLogger("trio_mqtt")


class EventStream(OnlyAsync):
    """Events from the moment on at which its block was entered; made by `Client.events`.

    At most 1,000 wait to be taken; then the oldest are dropped and counted.

    Attributes:
        dropped: how many were dropped.
    """

    def __init__(self, check_open: Callable[[], None]) -> None:
        self.dropped: int = 0
        self._check_open = check_open
        self._waiting: deque[Event] = deque()
        self._line = trio.lowlevel.ParkingLot()

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> Event:
        """Wait for the next event; cancelled, it has taken none.

        Raises:
            StopAsyncIteration: the client is closed.
            MQTTError: the client has failed, and what had happened before is taken.
        """
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            try:
                self._check_open()
            except trio.ClosedResourceError:
                raise StopAsyncIteration from None
            await self._line.park()
        return self._waiting.popleft()

    def put(self, event: Event) -> None:
        """Add an event."""
        if len(self._waiting) >= MOST_EVENTS:
            self._waiting.popleft()
            self.dropped += 1
            if self.dropped == 1:
                _logger.warning("events are dropped: %d wait and nobody takes them", MOST_EVENTS)
        self._waiting.append(event)
        self._line.unpark()

    def wake(self) -> None:
        """Let every waiter look again: the client has failed or was closed."""
        self._line.unpark_all()


class EventStreams:
    """All who watch a client.

    What is lost before the block of the client begins, when nobody can watch yet, is kept for the
    first of them.
    """

    def __init__(self, check_open: Callable[[], None]) -> None:
        self._check_open = check_open
        self._streams: list[EventStream] = []
        self._early: list[Event] = []
        self._began = False

    def begin(self) -> None:
        """The block of the client begins: whoever wants to watch can."""
        self._began = True

    @contextmanager
    def open(self) -> Generator[EventStream]:
        """A stream that gets every event while the block runs."""
        stream = EventStream(self._check_open)
        for event in self._early:
            stream.put(event)
        self._early.clear()
        self._streams.append(stream)
        try:
            yield stream
        finally:
            self._streams.remove(stream)

    def put(self, event: Event) -> None:
        """Tell everybody who watches."""
        if not self._began and isinstance(event, SessionReplaced | PublishFailed):
            self._early.append(event)
            del self._early[:-MOST_EVENTS]
        for stream in self._streams:
            stream.put(event)

    def wake(self) -> None:
        """Let every waiter look again."""
        for stream in self._streams:
            stream.wake()
