"""What a Session keeps for its client beside messages on their way (4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trio_mqtt._client._message import Message
from trio_mqtt._protocol.records import (
    SUBSCRIPTION,
    UNCLAIMED,
    KeptSubscription,
    decode_subscription,
    decode_unclaimed,
    encode_subscription,
    encode_unclaimed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trio_mqtt._protocol.journal import Journal

_MOST_UNCLAIMED: Final = 10_000
_MOST_UNCLAIMED_BYTES: Final = 64 * 1024 * 1024


class KeptSubscriptions:
    """The Topic Filters that the Server keeps for the Session.

    Args:
        journal: where changes are noted for the disk, or None.
        records: those of the storage, by Topic Filter.

    Raises:
        struct.error: a record cannot be read.
    """

    def __init__(
        self, journal: Journal | None = None, records: Mapping[int | str, bytes] | None = None
    ) -> None:
        self._journal = journal
        self._by_filter = {
            str(topic_filter): decode_subscription(str(topic_filter), record)
            for topic_filter, record in (records or {}).items()
        }

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_filter)

    def __iter__(self) -> Iterator[KeptSubscription]:
        """Each of them."""
        return iter(self._by_filter.values())

    def get(self, topic_filter: str) -> KeptSubscription | None:
        """What is kept of a Topic Filter, or None."""
        return self._by_filter.get(topic_filter)

    def put(self, kept: KeptSubscription) -> int:
        """Remember a subscription; says which batch must be on disk before SUBSCRIBE is sent."""
        topic_filter = kept.request.topic_filter
        self._by_filter[topic_filter] = kept
        if self._journal is None:
            return 0
        return self._journal.put((SUBSCRIPTION, topic_filter), encode_subscription(kept))

    def drop(self, topic_filter: str) -> None:
        """Forget a subscription, if it is remembered."""
        if self._by_filter.pop(topic_filter, None) is not None and self._journal is not None:
            self._journal.delete((SUBSCRIPTION, topic_filter))


class UnclaimedRecords:
    """Messages that were acknowledged although nobody had dealt with them.

    Args:
        journal: where changes are noted for the disk; None keeps nothing.
        records: those of the storage, by number.

    Attributes:
        messages: each message and its attempt, by number.

    Raises:
        ValueError: a record cannot be read, or struct.error or MQTTError.
    """

    def __init__(
        self, journal: Journal | None = None, records: Mapping[int | str, bytes] | None = None
    ) -> None:
        self.messages: dict[int, tuple[Message, int]] = {}
        self._journal = journal
        self._size = 0
        for number, record in (records or {}).items():
            message, attempt = decode_unclaimed(record, Message)
            if isinstance(message, Message):
                self.messages[int(number)] = (message, attempt)
                self._size += len(message.payload)
        self._last = max(self.messages, default=0)

    def store(self, message: Message, attempt: int) -> tuple[int, int] | None:
        """Keep a message that is about to be acknowledged.

        Returns:
            Its number, and the batch that must be on disk before the acknowledgement is sent; or
            None if there is no durable storage, or no room.
        """
        journal = self._journal
        size = len(message.payload)
        if (
            journal is None
            or len(self.messages) >= _MOST_UNCLAIMED
            or self._size + size > _MOST_UNCLAIMED_BYTES
        ):
            return None
        self._last += 1
        number = self._last
        self.messages[number] = (message, attempt)
        self._size += size
        return number, journal.put((UNCLAIMED, number), encode_unclaimed(message, attempt))

    def drop(self, number: int) -> None:
        """Forget a message, if it is here."""
        entry = self.messages.pop(number, None)
        if entry is not None and self._journal is not None:
            self._size -= len(entry[0].payload)
            self._journal.delete((UNCLAIMED, number))
