"""Messages that nobody holds, until a subscription claims them or their time is over."""

from __future__ import annotations

import logging
from collections import OrderedDict
from itertools import chain
from typing import TYPE_CHECKING

import attrs
import trio
from trio.lowlevel import enable_ki_protection

from trio_mqtt._client._message import SharedReceipt
from trio_mqtt._topics import topic_matches
from trio_mqtt.events import MessageReleased

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Iterator

    from trio_mqtt._client._event_stream import EventStreams
    from trio_mqtt._client._message import Message
    from trio_mqtt._client._outgoing import Publish
    from trio_mqtt._client._session import Session
    from trio_mqtt._client._subscription import Subscription
    from trio_mqtt._enums import ReasonCode
    from trio_mqtt.packets import Properties

_logger = logging.getLogger("trio_mqtt")


def _arrival(message: Message) -> int:
    return message._arrival


@attrs.frozen
class Unclaimed:
    """How an unacknowledged message waits for somebody who takes it.

    Attributes:
        release_at: when it is acknowledged instead (Trio's clock).
        attempt: what its `attempt` is for whoever takes it.
    """

    release_at: float
    attempt: int


class UnclaimedMessages:
    """Keeps unsettled QoS 1 and 2 messages for the next subscription that matches them.

    It is their `Holder`: one that application code has in hand can still be settled by it.

    Args:
        session: the Session, which stores what is released.
        timeout: how long a message waits for a subscription, in seconds.
        settle: settles a message.
        release: settles one with which nobody has dealt.
        check_rejection: raises FeatureNotSupported if a message cannot be rejected.
        explain: has an acknowledgement say more than its Reason Code.
        publisher: says how a message is replied to.
        events: who is told of releases.
        start: starts a background task.

    Attributes:
        settling: messages whose settling is being committed with an effect of the program; they
            are left alone.
        released: how many were acknowledged since nobody claimed them in time.
        dropped: QoS 0 messages that were left unclaimed.
    """

    def __init__(  # noqa: PLR0913 - the parts that it stands between
        self,
        session: Session,
        timeout: float,
        *,
        settle: Callable[[Message, ReasonCode], None],
        release: Callable[[Message], None],
        check_rejection: Callable[[Message], None],
        explain: Callable[[Message, ReasonCode, Properties], None],
        publisher: Callable[[], Publish | None],
        events: EventStreams,
        start: Callable[[Callable[[], Awaitable[None]]], None],
    ) -> None:
        self.settling: dict[Message, None] = {}
        self.released: int = 0
        self.dropped: int = 0
        self._session = session
        self._timeout = timeout
        self._settle_message = settle
        self._release_message = release
        self._check_message = check_rejection
        self._explain_message = explain
        self._find_publisher = publisher
        self._events = events
        self._start = start
        self._name = "nobody"  # as a holder
        # Those that hold up others, in the order in which they are released; and those that were
        # acknowledged and are in the storage, with their attempts.
        self._waiting: OrderedDict[Message, Unclaimed] = OrderedDict()
        self._stored: dict[Message, int] = {}
        self._releasing = False
        for arrival, (number, entry) in enumerate(session._unclaimed.messages.items(), start=1):
            message, attempt = entry
            message._arrival = arrival
            message._stored = number
            message._holder = self
            self._stored[message] = attempt

    def __len__(self) -> int:
        """How many there are."""
        return len(self._waiting) + len(self._stored)

    def __iter__(self) -> Iterator[Message]:
        """The messages."""
        return chain(self._stored, self._waiting)

    def discard(self, message: Message) -> None:
        """Forget a message if it is here: it was settled."""
        self._waiting.pop(message, None)
        self._stored.pop(message, None)

    def add(self, message: Message, *, handed_out: bool = False) -> None:
        """Keep an unsettled message for the next subscription that matches it.

        Args:
            message: the message.
            handed_out: whether application code has had it in hand.
        """
        if not message.qos:
            if not self.dropped:
                text = "QoS 0 messages, such as one to %r, find no subscription and are dropped"
                _logger.warning(text, message.topic)
            self.dropped += 1
            return
        if message.settled is not None:
            return
        message._holder = self
        attempt = message.attempt + handed_out
        if message._stored:  # it was acknowledged long ago, and holds nobody up
            self._stored[message] = attempt
            return
        self._waiting[message] = Unclaimed(trio.current_time() + self._timeout, attempt)
        if not self._releasing:
            self._releasing = True
            self._start(self._release_overdue)

    def claim(
        self,
        subscription: Subscription,
        topic_filters: tuple[str, ...],
        *,
        left: Container[Message] | None = None,
    ) -> frozenset[Message]:
        """Hand the unclaimed messages that match to a subscription, in order of arrival.

        Args:
            subscription: who gets them.
            topic_filters: what they must match.
            left: what a competitor has left; only of this, and nothing of it that several
                subscriptions got, for this one may be among them.

        Returns:
            What it got: each PUBLISH once, however many subscriptions have left it.
        """
        claimed: dict[SharedReceipt, Message] = {}
        for message in sorted(self, key=_arrival):
            if message in self.settling:
                continue  # it is being dealt with; if that fails, it is still here
            if left is not None and (message not in left or message._shared is not None):
                continue
            if not any(topic_matches(each, message.topic) for each in topic_filters):
                continue
            attempt = self._take(message)
            message._holder = None
            shared = message._shared or SharedReceipt(message, 1)
            if shared in claimed:
                shared.holders -= 1
                claimed[shared].attempt = max(attempt, claimed[shared].attempt)
                continue
            again = claimed[shared] = message._copy_for_another(shared)
            again._stored = message._stored
            again.attempt = attempt
        for again in claimed.values():
            subscription._put(again)
        subscription._buffer.sort()
        return frozenset(claimed.values())

    def _take(self, message: Message) -> int:
        """Take a message out; says what its attempt is."""
        waiting = self._waiting.pop(message, None)
        return self._stored.pop(message) if waiting is None else waiting.attempt

    @enable_ki_protection
    async def _release_overdue(self) -> None:
        while (message := next(iter(self._waiting), None)) is not None:
            waiting = self._waiting[message]
            now = trio.current_time()
            if now < waiting.release_at:
                await trio.sleep_until(waiting.release_at)
            elif message in self.settling:
                self._waiting[message] = Unclaimed(now + self._timeout, waiting.attempt)
                self._waiting.move_to_end(message)
            else:
                self._release(message, waiting.attempt)
        self._releasing = False

    def _release(self, message: Message, attempt: int) -> None:
        """Acknowledge what nobody has claimed; a durable storage keeps it all the same."""
        self.released += 1
        original = message if message._shared is None else message._shared.original
        stored = None
        if message._shared is None or message._shared.holders == 1:
            stored = self._session._unclaimed.store(message, attempt)
        self._events.put(MessageReleased(message=message, claimable=stored is not None))
        _logger.warning(
            "a QoS %d message to %r was left unsettled and not claimed by a subscription for "
            "%g s; it is acknowledged now%s",
            message.qos,
            message.topic,
            self._timeout,
            "" if stored is None else ", and kept in the storage",
        )
        if stored is not None:
            number, original.stored_in = stored
            again = message._copy_for_another(None)
            again._stored = number
            again._holder = self
            self._stored[again] = attempt
            self._session._unclaimed.messages[number] = (again, attempt)
        self._release_message(message)

    # -- as a holder ---------------------------------------------------------------------------

    def _publisher(self) -> Publish | None:
        return self._find_publisher()

    def _settle(self, message: Message, reason_code: ReasonCode) -> None:
        self._settle_message(message, reason_code)

    def _check_rejection(self, message: Message) -> None:
        self._check_message(message)

    def _explain(self, message: Message, code: ReasonCode, properties: Properties) -> None:
        self._explain_message(message, code, properties)

    def _leave_unclaimed(self, message: Message) -> None:
        """It is unclaimed already."""
