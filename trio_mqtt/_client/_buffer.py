"""The bounded buffer of one subscription; no waiting, no Trio.

Two queues, merged by order of arrival. *Windowed* messages (QoS 1 and 2) need no bound of their
own: the Server sends no more than our Receive Maximum until some are settled. *Loose* ones (QoS 0,
and all that are settled on receipt) are bounded here, by count and bytes.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mqtt._client._message import Message

Overflow = Literal["wait", "drop_oldest", "drop_newest"]
"""What happens to a QoS 0 message for which a buffer has no room."""

MOST_BYTES: Final = 1024 * 1024
OVERHEAD: Final = 256
"""What a message takes beside its payload, about, in bytes."""

_NONE: Final[deque[Message]] = deque(maxlen=0)
"""A queue before its first message: an empty one of its own takes 760 bytes."""


def _arrival(message: Message) -> int:
    return message._arrival


class Buffer:
    """Messages between the reader and application code.

    Args:
        name: what it is called in the log.
        most: how many loose messages it holds.
        overflow: what happens to more.
        on_room: called when there is room again, after it was told to hold the reader back.

    Attributes:
        name: what it is called in the log.
        blocking: whether it holds the reader back.
        received: how many messages were put in.
        dropped: how many were dropped for want of room.
        loose_bytes: what the loose messages take, in bytes.
        stalled: whether the consumer has taken nothing for so long that holding the reader back
            is over.
        in_hand: the windowed messages that were taken out, until they are settled.
    """

    def __init__(
        self, name: str, most: int, overflow: Overflow, *, on_room: Callable[[Buffer], None]
    ) -> None:
        self.name = name
        self.blocking = False
        self.received = 0
        self.dropped = 0
        self.loose_bytes = 0
        self.stalled = False
        self.in_hand: dict[Message, None] = {}
        self._left = 0  # how many windowed messages were in it as it was emptied
        self._on_room = on_room
        self._most = most
        self._half = most // 2
        self._overflow: Overflow = overflow
        self._windowed: deque[Message] = _NONE
        self._loose: deque[Message] = _NONE

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._windowed) + len(self._loose)

    @property
    def taken(self) -> int:
        """How many messages were taken out; in any thread."""
        while True:
            received, gone = self.received, self.dropped + self._left
            waiting = len(self)
            # Else messages have come meanwhile: this is not the thread of the reader.
            if (received, gone) == (self.received, self.dropped + self._left):
                return received - gone - waiting

    @property
    def is_full(self) -> bool:
        """Whether the loose messages have reached their bound."""
        return len(self._loose) >= self._most or self.loose_bytes >= MOST_BYTES

    @property
    def may_block(self) -> bool:
        """Whether the reader can be held back, so that nothing need be dropped."""
        return self._overflow == "wait" and not self.stalled

    @property
    def is_half_empty(self) -> bool:
        """Whether it is worth filling it again."""
        return len(self._loose) <= self._half and self.loose_bytes <= MOST_BYTES // 2

    @property
    def is_overgrown(self) -> bool:
        """Whether a full buffer that could not hold the reader back is at its last limit.

        That is the larger of twice its bound and 1 MiB.
        """
        if self.loose_bytes >= 2 * MOST_BYTES:
            return True
        return len(self._loose) >= 2 * self._most and self.loose_bytes >= MOST_BYTES

    def stall(self) -> None:
        """Nothing was taken for the stall timeout: drop, and do not hold the reader back."""
        self.stalled = True
        self.blocking = False

    def put_windowed(self, message: Message) -> None:
        """Add a message that the Receive Maximum bounds."""
        self.received += 1
        if self._windowed is _NONE:
            self._windowed = deque()
        self._windowed.append(message)

    def put_windowed_run(self, messages: list[Message]) -> int:
        """Add messages that the Receive Maximum bounds; says how many, which is all."""
        self.received += len(messages)
        if self._windowed is _NONE:
            self._windowed = deque()
        self._windowed.extend(messages)
        return len(messages)

    def room_for(self, message: Message) -> int:
        """How many messages like this one can be added before it is full."""
        size = len(message.payload) + OVERHEAD
        return min(self._most - 1 - len(self._loose), (MOST_BYTES - self.loose_bytes) // size)

    def put_loose_run(self, messages: list[Message]) -> int:
        """Add messages, no more than there is room for, as long as they do not fill it.

        Returns:
            How many were added.
        """
        if self._loose is _NONE:
            self._loose = deque()
        total = self.loose_bytes + len(messages) * OVERHEAD
        for message in messages:
            total += len(message.payload)
        if total < MOST_BYTES:
            count = len(messages)
        else:
            count, total = self._fitting(messages)
        self._loose += messages if count == len(messages) else messages[:count]
        self.loose_bytes = total
        self.received += count
        return count

    def _fitting(self, messages: list[Message]) -> tuple[int, int]:
        """How many of these can be added before it is full, and the bytes in it then."""
        total = self.loose_bytes
        for count, message in enumerate(messages):
            size = len(message.payload) + OVERHEAD
            if total + size >= MOST_BYTES:
                return count, total
            total += size
        return len(messages), total

    def put_loose(self, message: Message) -> bool:
        """Add a message that nothing else bounds; one may be dropped for it, or be dropped.

        Returns:
            Whether it was full, or is full now.
        """
        self.received += 1
        loose = self._loose
        if loose is _NONE:
            loose = self._loose = deque()
        size = self.loose_bytes + len(message.payload) + OVERHEAD
        if len(loose) + 1 < self._most and size < MOST_BYTES:
            loose.append(message)
            self.loose_bytes = size
            return False  # nor will it be
        if not self.is_full or self._make_room(message):
            loose.append(message)
            self.loose_bytes += len(message.payload) + OVERHEAD
        return True

    def _make_room(self, new: Message) -> bool:
        """Drop what must be dropped for a new message; False if that is the new one."""
        while self._loose and self.is_full and (self._overflow != "wait" or self.is_overgrown):
            if self._overflow == "drop_newest":
                self._drop(new)
                return False
            oldest = self._loose.popleft()
            self.loose_bytes -= len(oldest.payload) + OVERHEAD
            self._drop(oldest)
        return True

    def _drop(self, _message: Message) -> None:
        self.dropped += 1

    def take(self) -> Message | None:
        """The message that came first, or None; a windowed one is in hand from now on."""
        windowed, loose = self._windowed, self._loose
        if windowed and not (loose and loose[0]._arrival < windowed[0]._arrival):
            message = windowed.popleft()
            if message.settled is None:
                self.in_hand[message] = None
        elif loose:
            message = loose.popleft()
            self.loose_bytes -= len(message.payload) + OVERHEAD
        else:
            return None
        if self.blocking or self.stalled:
            self.note_taken()
        return message

    def note_taken(self) -> None:
        """Let the reader go on if there is room enough now, and see that somebody takes them."""
        if self.blocking:
            # Not for every place that gets free: stopping and going on has its price.
            if len(self._loose) <= self._half and self.is_half_empty:
                self.blocking = False
                self._on_room(self)
        elif self.stalled:
            self.stalled = False

    def windowed(self) -> list[Message]:
        """The messages that are to be acknowledged, in order; they stay here."""
        return list(self._windowed)

    def sort(self) -> None:
        """Restore the order of arrival, after messages were put in that came before others."""
        in_order = sorted(self._windowed, key=_arrival)
        self._windowed.clear()
        self._windowed.extend(in_order)

    def clear(self) -> list[Message]:
        """Empty it; the windowed messages are the caller's to settle or to leave."""
        windowed = list(self._windowed)
        self.dropped += len(self._loose)
        self._left += len(windowed)
        self._windowed.clear()
        self._loose.clear()
        self.loose_bytes = 0
        return windowed
