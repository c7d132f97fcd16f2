"""A subscription: what application code iterates over.

A QoS 1 or 2 message that was handed out stays on the books until it is settled or left unclaimed.
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Final, Literal
from weakref import WeakKeyDictionary

import attrs
import trio
from trio.lowlevel import checkpoint, checkpoint_if_cancelled, current_task, enable_ki_protection

from trio_mqtt._client._buffer import OVERHEAD, Buffer, Overflow
from trio_mqtt._client._misuse import OnlyAsync
from trio_mqtt._client._outgoing import own_instance
from trio_mqtt._enums import ReasonCode
from trio_mqtt._protocol.identifiers import MOST_IDENTIFIERS
from trio_mqtt._topics import topic_matches

if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from typing import Self

    from trio_mqtt._client._deliveries import Deliveries
    from trio_mqtt._client._message import Message
    from trio_mqtt._client._outgoing import Publish
    from trio_mqtt._enums import QoS
    from trio_mqtt._errors import MQTTError, UserProperties
    from trio_mqtt.packets import Properties

Ack = Literal["when_done", "manual", "on_receipt"]
"""When a QoS 1 or 2 message is settled."""

_MOST_CALLS: Final = 64
_MOST_SECONDS: Final = 0.001
_logger = logging.getLogger("trio_mqtt")


@attrs.frozen(kw_only=True)
class SubscribeResult:
    """What the Server said to a Topic Filter that it accepted.

    Attributes:
        reason_code: the QoS granted, as a Reason Code.
        reason_string: the Server's own words, or None.
        user_properties: those of the SUBACK.
    """

    reason_code: ReasonCode
    reason_string: str | None = None
    user_properties: UserProperties = ()


@attrs.frozen(kw_only=True)
class SubscriptionStatistics:
    """Counters and gauges of one subscription.

    Attributes:
        received: messages that arrived for it.
        taken: messages handed to application code.
        dropped: messages dropped for want of room, or left in the buffer at QoS 0 at the end.
        released: QoS 1 and 2 messages acknowledged without being handed out, since the block was
            left and the Topic Filter unsubscribed.
        buffered: messages in the buffer now.
        buffered_bytes: what the bounded part of the buffer takes now, in bytes, about.
        in_hand: QoS 1 and 2 messages handed out and not settled.
    """

    received: int
    taken: int
    dropped: int
    released: int
    buffered: int
    buffered_bytes: int
    in_hand: int


class Subscription(OnlyAsync):
    """Messages of one or more Topic Filters; made by `Client.subscribe`.

    Iterate over it, in as many tasks as you like: each message goes to one of them.
    """

    def __init__(
        self,
        deliveries: Deliveries,
        name: str,
        *,
        buffer: int,
        overflow: Overflow,
        ack: Ack,
    ) -> None:
        self._name = name
        self._granted: dict[str, QoS] = {}
        self._answers: dict[str, SubscribeResult] = {}
        self._deliveries = deliveries
        self._ack = ack
        self._buffer = Buffer(name, buffer, overflow, on_room=deliveries.valve.unblock)
        self._dropping = False
        self._released = 0
        self._loops: WeakKeyDictionary[trio.lowlevel.Task, _Loop] | None = None
        self._line = trio.lowlevel.ParkingLot()
        self._waited_for = False  # whether somebody may stand in the line
        self._closed = False
        self._failure: MQTTError | None = None
        # Of `receive`; not kept after the end, so that nothing is left for the garbage collector.
        self._plain_loop: _Loop | None = _Loop(self, settles=False)

    @property
    def granted(self) -> Mapping[str, QoS]:
        """Each Topic Filter and the QoS that the Server granted as the block began (3.9.3)."""
        return dict(self._granted)

    @property
    def answers(self) -> Mapping[str, SubscribeResult]:
        """What the Server said to each Topic Filter whose SUBACK the block waited for (3.9).

        It needs none for what another block has subscribed already.
        """
        return dict(self._answers)

    def statistics(self) -> SubscriptionStatistics:
        """Counters and gauges, as of now; in any thread, as `Client.statistics`."""
        buffer = self._buffer
        return SubscriptionStatistics(
            received=buffer.received,
            taken=buffer.taken,
            dropped=buffer.dropped,
            released=self._released,
            buffered=len(buffer),
            buffered_bytes=buffer.loose_bytes,
            in_hand=len(buffer.in_hand),
        )

    # -- taking out: application code ---------------------------------------------------------

    @enable_ki_protection
    def __aiter__(self) -> _Loop:
        """A new loop. What an earlier loop of the same task left in hand becomes unclaimed."""
        task = current_task()
        if self._loops is None:
            self._loops = WeakKeyDictionary()
        earlier = self._loops.get(task)
        loop = self._loops[task] = _Loop(self, settles=self._ack == "when_done")
        if earlier is not None:
            earlier.abandon()
            loop.keep_pace(earlier)
        return loop

    @enable_ki_protection
    async def receive(self) -> Message:
        """Wait for a message and take it; this settles nothing.

        Cancelled, it has taken nothing: no message is lost.

        Raises:
            trio.ClosedResourceError: the block of the subscription was left.
            MQTTError: the client failed, and what had arrived is taken.
        """
        loop = self._plain_loop or _Loop(self, settles=False)
        return await loop.__anext__()

    async def _wait(self) -> Message:
        """Wait for a message, as there is none, and take it."""
        while True:
            self._check_open()
            self._waited_for = True
            await self._line.park()
            message = self._buffer.take()
            if message is not None:
                return message

    @enable_ki_protection
    def receive_nowait(self) -> Message:
        """Take a message that has arrived; this settles nothing.

        Raises:
            trio.WouldBlock: none has.
            trio.ClosedResourceError: the block of the subscription was left.
            MQTTError: the client failed, and what had arrived is taken.
        """
        message = self._buffer.take()
        if message is None:
            self._check_open()
            raise trio.WouldBlock
        return message

    def _check_open(self) -> None:
        if self._closed:
            message = f"the block of the {self._name} was left; receive inside it"
            raise trio.ClosedResourceError(message)
        if self._failure is not None:
            raise own_instance(self._failure)
        self._deliveries.check_open()

    # -- putting in: the reader ---------------------------------------------------------------

    def _put(self, message: Message) -> None:
        message._holder = self
        buffer = self._buffer
        if message.qos and self._ack != "on_receipt":
            buffer.put_windowed(message)
        else:
            if message.qos:
                self._settle(message, ReasonCode.SUCCESS)
            dropped = buffer.dropped
            if buffer.put_loose(message):
                self._note_full(dropping=dropped != buffer.dropped)
            elif self._dropping and buffer.is_half_empty:
                self._dropping = False
        if self._waited_for:
            self._line.unpark()
            self._waited_for = bool(self._line)

    def _room_for(self, message: Message) -> int:
        """How many messages like this one can be put in before it matters how many."""
        if message.qos:
            return 0 if self._ack == "on_receipt" else MOST_IDENTIFIERS
        return 0 if self._dropping else self._buffer.room_for(message)

    def _put_run(self, run: list[Message], *, windowed: bool) -> int:
        """Put several messages in, all of QoS 0 or none; says how many it took of them.

        That it holds them they know already.
        """
        buffer = self._buffer
        count = buffer.put_windowed_run(run) if windowed else buffer.put_loose_run(run)
        if self._waited_for and count:
            self._line.unpark(count=count)
            self._waited_for = bool(self._line)
        return count

    def _note_full(self, *, dropping: bool) -> None:
        buffer = self._buffer
        if dropping and not self._dropping:  # once for a burst
            self._dropping = True
            _logger.warning("the %s is full and drops messages", self._name)
        if buffer.is_full and buffer.may_block and not buffer.blocking:
            buffer.blocking = True
            self._deliveries.valve.block(buffer)

    # -- settling -----------------------------------------------------------------------------

    @enable_ki_protection
    def _settle(self, message: Message, reason_code: ReasonCode) -> None:
        if message.settled is None and message.qos:
            self._buffer.in_hand.pop(message, None)
            self._deliveries.settle(message, reason_code)

    def _publisher(self) -> Publish | None:
        return self._deliveries.publish

    def _check_rejection(self, message: Message) -> None:
        self._deliveries.check_rejection(message)

    def _explain(self, message: Message, code: ReasonCode, properties: Properties) -> None:
        self._deliveries.explain(message, code, properties)

    @enable_ki_protection
    def _leave_unclaimed(self, message: Message) -> None:
        if message in self._buffer.in_hand:
            del self._buffer.in_hand[message]
            self._deliveries.unclaimed.add(message, handed_out=True)

    def _holds(self, original: Message) -> bool:
        """Whether a PUBLISH, or a copy of it, is in hand or in the buffer."""
        return any(
            (each if each._shared is None else each._shared.original) is original
            for each in (*self._buffer.in_hand, *self._buffer.windowed())
        )

    # -- the end ------------------------------------------------------------------------------

    def _refuse(self, error: MQTTError) -> None:
        """A Topic Filter could not be subscribed again: tell so, once the buffer is empty."""
        self._failure = error
        self._wake_all()

    def _wake_all(self) -> None:
        """Let every waiter look again: the client has failed or was closed."""
        self._line.unpark_all()

    @enable_ki_protection
    def _close(
        self,
        *,
        unsubscribed: bool,
        claimed: Container[Message] = (),
        inherited: tuple[str, ...] = (),
    ) -> frozenset[Message]:
        """The block is left: in hand is unclaimed; buffered, too, unless we unsubscribed.

        Args:
            unsubscribed: whether UNSUBSCRIBE is sent.
            claimed: what was unclaimed before, and is again, since the block was never entered.
            inherited: shared Topic Filters that other blocks hold; what only this block got of
                them is unclaimed, too.

        Returns:
            What is unclaimed now.
        """
        self._closed = True
        self._deliveries.valve.unblock(self._buffer)
        in_hand = list(self._buffer.in_hand)
        buffered = self._buffer.clear()
        self._buffer.in_hand.clear()
        self._loops = self._plain_loop = None
        left = set(in_hand)
        for message in in_hand:
            self._deliveries.unclaimed.add(message, handed_out=True)
        for message in buffered:
            inherits = message._shared is None and any(
                topic_matches(each, message.topic) for each in inherited
            )
            if unsubscribed and message not in claimed and not inherits:
                self._released += 1
                self._deliveries.release(message)
            else:
                left.add(message)
                self._deliveries.unclaimed.add(message)
        self._line.unpark_all()
        return frozenset(left)


class _Loop:
    """One ``async for`` over a subscription, with the message it has in hand.

    Args:
        subscription: where the messages come from.
        settles: whether a message is settled when the next one is asked for.
    """

    __slots__ = ("_calls", "_deadline", "_in_hand", "_settles", "_subscription")

    def __init__(self, subscription: Subscription, *, settles: bool) -> None:
        self._subscription = subscription
        self._settles = settles
        self._in_hand: Message | None = None
        self._calls = 0
        self._deadline = 0.0

    def __aiter__(self) -> Self:
        return self

    @enable_ki_protection
    async def __anext__(self) -> Message:
        """Settle the message in hand, then wait for the next one.

        Cancelled while it waits, it has taken nothing; the message before is settled.
        """
        # In one piece, since whatever is called is called for every message.
        subscription = self._subscription
        buffer = subscription._buffer
        message = self._in_hand
        if message is not None:
            self._in_hand = None
            # Else it is settled, or was left unclaimed, by a `with` that failed, or is another's.
            if not message._guarded and buffer.in_hand.pop(message, message) is None:
                message._guarded = None  # a `with` would come too late
                subscription._deliveries.accept(message)
            message = None  # it may be large, and the next one may be long in coming
        # As Pacer does. The checkpoint comes first and the message is taken after it: the other
        # order would lose messages to cancellation.
        self._calls += 1
        if self._calls < _MOST_CALLS and perf_counter() < self._deadline:
            await checkpoint_if_cancelled()
        else:
            await checkpoint()
            self._calls = 0
            self._deadline = perf_counter() + _MOST_SECONDS
        if buffer._windowed or not (loose := buffer._loose):
            message = buffer.take() or await subscription._wait()
            if self._settles and message.qos:
                self._in_hand = message
            return message
        message = loose.popleft()  # as `Buffer.take` does
        buffer.loose_bytes -= len(message.payload) + OVERHEAD
        if (buffer.blocking and len(loose) <= buffer._half) or buffer.stalled:
            buffer.note_taken()
        return message

    def keep_pace(self, earlier: _Loop) -> None:
        """Let others have their turn when the earlier loop would have."""
        self._calls, self._deadline = earlier._calls, earlier._deadline

    @enable_ki_protection
    def abandon(self) -> None:
        """Leave the message in hand unclaimed: its task has begun another loop."""
        message = self._in_hand
        self._in_hand = None
        if message is not None and not message._guarded:
            self._subscription._leave_unclaimed(message)
