"""What a Session keeps for its client beside messages on their way (4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trio_mqtt._client._message import Message
from trio_mqtt._protocol.records import (
    SUBSCRIPTION,
    UNCLAIMED,
    KeptSubscription,
    SubscriptionState,
    decode_subscription,
    decode_unclaimed,
    encode_subscription,
    encode_unclaimed,
)
from trio_mqtt.packets import SubscriptionRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trio_mqtt._protocol.journal import Journal

_MOST_UNCLAIMED: Final = 10_000
_MOST_UNCLAIMED_BYTES: Final = 64 * 1024 * 1024


@attrs.frozen
class Change:
    """What a SUBSCRIBE or UNSUBSCRIBE changes for a Topic Filter, until it is answered.

    Attributes:
        kept: what is remembered until then.
        before: what was remembered before, or None.
        stored_in: the batch that must be on disk before it is sent.
    """

    kept: KeptSubscription
    before: KeptSubscription | None
    stored_in: int


class KeptSubscriptions:
    """The Topic Filters that the Server keeps for the Session, as far as is known.

    A SUBSCRIBE or UNSUBSCRIBE without an answer is over when the client is closed. Here it is
    remembered, so that the next client makes it anew.

    Args:
        journal: where changes are noted for the disk, or None.
        records: those of the storage, by Topic Filter.

    Raises:
        ValueError: a record cannot be read, or struct.error.
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
        """How many Topic Filters are remembered, with those that are being left."""
        return len(self._by_filter)

    def __iter__(self) -> Iterator[KeptSubscription]:
        """Those that the Server keeps, or is to keep."""
        kept = self._by_filter.values()
        return (each for each in kept if each.state is not SubscriptionState.LEAVING)

    def get(self, topic_filter: str) -> KeptSubscription | None:
        """What is remembered of a Topic Filter that is not being left, or None."""
        kept = self._by_filter.get(topic_filter)
        return None if kept is None or kept.state is SubscriptionState.LEAVING else kept

    def left(self) -> list[Change]:
        """Those that are to be unsubscribed."""
        kept = self._by_filter.values()
        return [Change(each, None, 0) for each in kept if each.state is SubscriptionState.LEAVING]

    # -- SUBSCRIBE ----------------------------------------------------------------------------

    def ask(self, identifier: int | None, request: SubscriptionRequest) -> Change:
        """A SUBSCRIBE is about to be sent for what the Server is to keep."""
        return self._change(KeptSubscription(identifier, request, SubscriptionState.ASKED))

    def ask_again(self, topic_filter: str) -> int:
        """A SUBSCRIBE is made anew; says which batch must be on disk before it is sent."""
        kept = self.get(topic_filter)
        if kept is None:
            return 0
        if kept.state is SubscriptionState.KEPT:
            return self._put(attrs.evolve(kept, state=SubscriptionState.ASKED))
        return 0 if self._journal is None else self._journal.after((SUBSCRIPTION, topic_filter))

    def grant(self, topic_filter: str) -> None:
        """The Server has granted the last SUBSCRIBE."""
        kept = self.get(topic_filter)
        if kept is not None and kept.state is SubscriptionState.ASKED:
            self._put(attrs.evolve(kept, state=SubscriptionState.KEPT))

    def keep(self, identifier: int | None, request: SubscriptionRequest) -> None:
        """The Server keeps what it was asked for without a word of that, if it did not anyway."""
        if self.get(request.topic_filter) is None:
            self._put(KeptSubscription(identifier, request))

    def drop(self, topic_filter: str) -> None:
        """The Server has nothing of a Topic Filter, or is to keep nothing of it."""
        if self.get(topic_filter) is not None:
            self._delete(topic_filter)

    def doubt(self, *, lost: bool) -> None:
        """The Server has another Session now, or may have.

        Args:
            lost: whether that is certain; then there is nothing to unsubscribe, either.
        """
        for kept in list(self._by_filter.values()):
            if kept.state is SubscriptionState.KEPT:
                self._put(attrs.evolve(kept, state=SubscriptionState.ASKED))
            elif lost and kept.state is SubscriptionState.LEAVING:
                self._delete(kept.request.topic_filter)

    # -- UNSUBSCRIBE --------------------------------------------------------------------------

    def leave(self, topic_filter: str) -> Change:
        """A Topic Filter is to be unsubscribed."""
        request = SubscriptionRequest(topic_filter)
        return self._change(KeptSubscription(None, request, SubscriptionState.LEAVING))

    def end(self, change: Change) -> None:
        """The UNSUBSCRIBE was answered; what was subscribed since stays."""
        if self._is_last(change):
            self._delete(change.kept.request.topic_filter)

    # -- either -------------------------------------------------------------------------------

    def take_back(self, change: Change) -> None:
        """A request was refused: all is as before, but for what was asked for since."""
        if change.before is None:
            self.end(change)
        elif self._is_last(change):
            self._put(change.before)

    def _is_last(self, change: Change) -> bool:
        return self._by_filter.get(change.kept.request.topic_filter) is change.kept

    def _change(self, kept: KeptSubscription) -> Change:
        before = self._by_filter.get(kept.request.topic_filter)
        return Change(kept, before, self._put(kept))

    def _put(self, kept: KeptSubscription) -> int:
        topic_filter = kept.request.topic_filter
        self._by_filter[topic_filter] = kept
        if self._journal is None:
            return 0
        return self._journal.put((SUBSCRIPTION, topic_filter), encode_subscription(kept))

    def _delete(self, topic_filter: str) -> None:
        del self._by_filter[topic_filter]
        if self._journal is not None:
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
