"""Who gets a received message, and what becomes of it afterwards.

The one place that knows the routes and the way to the acknowledgement.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, cast

from trio_mqtt._client._event_stream import EventStreams
from trio_mqtt._client._held_watch import HeldWatch
from trio_mqtt._client._message import Message, SharedReceipt
from trio_mqtt._client._routes import Routes, kept_route
from trio_mqtt._client._subscription import Subscription
from trio_mqtt._client._unclaimed import UnclaimedMessages
from trio_mqtt._client._valve import Valve
from trio_mqtt._client._versions import as_spoken
from trio_mqtt._enums import MQTT_5, QoS, ReasonCode
from trio_mqtt._errors import ConnectionLost, FeatureNotSupported, LocalProtocolError
from trio_mqtt._protocol.records import RECEIVED, UNCLAIMED
from trio_mqtt.packets import NO_PROPERTIES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mqtt._client._outgoing import Publish
    from trio_mqtt._client._requests import SubscribeOptions
    from trio_mqtt._client._session import Session
    from trio_mqtt._client._versions import UnsupportedProperties
    from trio_mqtt._protocol.connection import Connection
    from trio_mqtt._protocol.exchanges import IncomingMessage
    from trio_mqtt._protocol.receiver import Receiver
    from trio_mqtt.abc import Changes
    from trio_mqtt.packets import Properties
    from trio_mqtt.packets._runs import PublishRun

_SUCCESS: Final = ReasonCode.SUCCESS
_logger = logging.getLogger("trio_mqtt")


class ReceiveWindow:
    """Below MQTT 5.0 nothing but a pause of the reader bounds the unsettled messages.

    Attributes:
        name: what it is called in the log.
        taken: how often it had room again.
        full: whether it was full and has had no room since.
    """

    def __init__(self) -> None:
        self.name = "the receive_maximum of unsettled messages"
        self.taken = 0
        self.full = False

    def stall(self) -> None:
        """Messages that are to be acknowledged cannot be dropped: reading just goes on."""


class Deliveries:
    """Routes messages to subscriptions and settlements back to the connection.

    Args:
        session: the Session.
        receive_maximum: how many messages may be unsettled at once.
        unclaimed_timeout: how long an unclaimed message waits for a subscription, in seconds.
        check_open: raises if the client is closed or has failed.
        start: starts a background task.

    Attributes:
        routes: the subscriptions by Topic Filter.
        valve: says when the reader must pause.
        unclaimed: messages that nobody holds.
        subscriptions: those whose block is entered and not left.
        events: who watches.
        strays: messages that nothing here had subscribed to.
        stray_replies: replies to requests that do not wait any more.
        publish: how a message is replied to.
        unsupported: what becomes of properties where the Server has none.
    """

    def __init__(
        self,
        session: Session,
        *,
        receive_maximum: int,
        unclaimed_timeout: float,
        check_open: Callable[[], None],
        start: Callable[[Callable[[], Awaitable[None]]], None],
    ) -> None:
        self.routes: Routes = Routes()
        self.valve: Valve = Valve()
        self.strays: int = 0
        self.stray_replies = 0
        self.publish: Publish | None = None
        self.unsupported: UnsupportedProperties = "refuse"
        self.subscriptions: dict[Subscription, None] = {}
        self.events: EventStreams = EventStreams(check_open)
        self.unclaimed: UnclaimedMessages = UnclaimedMessages(
            session,
            unclaimed_timeout,
            settle=self.settle,
            release=self.release,
            check_rejection=self.check_rejection,
            explain=self.explain,
            publisher=lambda: self.publish,
            events=self.events,
            start=start,
        )
        self.check_open = check_open
        self._session = session
        self._foreign = False  # whether the Server may have subscriptions that we do not know
        self._receive_maximum = receive_maximum
        self._receiver: Receiver | None = None
        self._window = ReceiveWindow()
        self._watch = HeldWatch(start, self.subscriptions)
        self._arrivals = len(self.unclaimed)
        self._overruns = 0
        self._held = 0  # QoS 1 and 2 messages delivered and not settled
        for kept in session._subscriptions:
            self.routes.add(kept_route(kept))

    def connected(self, connection: Connection, *, first: bool) -> None:
        """Acknowledge on this connection from now on.

        Args:
            connection: the connection.
            first: whether it is the first of this client: then the Server may send for Topic
                Filters that an earlier run of the program has subscribed.
        """
        self._receiver = self._watch.receiver = connection.receiver
        if self._held:
            self._watch.begin()
        self._overruns = 0
        if first or not connection.resumed:
            self._foreign = connection.resumed

    def new_subscription(self, name: str, options: SubscribeOptions) -> Subscription:
        """Make a subscription, for which there is no route yet; the name is for messages."""
        return Subscription(
            self, name, buffer=options.buffer, overflow=options.overflow, ack=options.ack
        )

    def close(self) -> None:
        """Let everybody who waits for a message see that the client failed or is closed."""
        for subscription in self.subscriptions:
            subscription._wake_all()
        self.events.wake()

    # -- in -----------------------------------------------------------------------------------

    def deliver(self, message: Message) -> None:
        """Give a message to the subscriptions that it is for."""
        self._arrivals += 1
        message._arrival = self._arrivals
        if message.qos:
            self._held += 1
            if not self._watch.running:
                self._watch.begin()
        subscription = self.routes.only(message.topic)
        if subscription is not None:
            subscription._put(message)
        else:
            self._deliver_to_several(message)
        if self._held >= self._receive_maximum:
            self._close_window()

    def deliver_run(self, received: PublishRun[IncomingMessage], start: int) -> int:
        """Give several messages in a row to the one subscription that they are for.

        That is most of them, and costs a third of delivering each; what is rare is for `deliver`.

        Args:
            received: all of the same QoS.
            start: the position of the first to look at.

        Returns:
            How many were delivered; 0 if the first needs a closer look.
        """
        messages = cast("PublishRun[Message]", received)  # of which the connection makes them
        first = messages[start]
        only = self.routes.only
        topic = first.topic
        subscription = only(topic) or self.routes.sole(topic)
        if subscription is None:
            return 0
        windowed = first.qos > 0
        room = subscription._room_for(first)
        if windowed:
            room = min(room, self._receive_maximum - 1 - self._held)
        if room <= 0:
            return 0
        run = messages if start == 0 and room >= len(messages) else messages[start : start + room]
        arrival = before = self._arrivals
        for message in run:
            if message.topic is not topic:  # the reader makes one object of the same names
                topic = message.topic
                if (only(topic) or self.routes.sole(topic)) is not subscription:
                    run = run[: arrival - before]
                    break
            arrival += 1
            message._arrival = arrival
            message._holder = subscription
        count = subscription._put_run(run, windowed=windowed)
        self._arrivals += count
        if windowed:
            self._held += count
            if not self._watch.running:
                self._watch.begin()
        return count

    def _deliver_to_several(self, message: Message) -> None:
        holders, subscribed = self.routes.find(message)
        if len(holders) == 1:
            holders[0]._put(message)
        elif holders:
            shared = SharedReceipt(message, len(holders))
            for holder in holders:
                holder._put(message._copy_for_another(shared))
        elif not subscribed and not self._may_be_wanted(message):
            self.strays += 1
            self._acknowledge(message, _SUCCESS)  # MQTT-4.5.0-2
        else:
            self.unclaimed.add(message)

    def _may_be_wanted(self, message: Message) -> bool:
        """Whether it may be for a subscription of an earlier run, not yet made again here."""
        return self._foreign and not self.routes.was_unsubscribed(message.topic)

    def _close_window(self) -> None:
        receiver = self._receiver
        if receiver is None:
            return
        earlier = self._held - receiver.unsettled  # of earlier connections
        if receiver.protocol is MQTT_5 and earlier < self._receive_maximum:
            if receiver.overruns and not self._overruns:
                text = "the server exceeds our receive_maximum of %d; this is tolerated for a while"
                _logger.warning(text, self._receive_maximum)
            self._overruns = receiver.overruns
            return
        if not self._window.full:
            self._window.full = True
            self.valve.block(self._window)
        if receiver.is_overrun:
            text = (
                f"{self._held} messages are unsettled, and the receive_maximum is "
                f"{self._receive_maximum}; the connection is closed, so that they do not fill "
                "the memory; settle messages before awaiting answers of the server"
            )
            raise ConnectionLost(text)

    # -- out ----------------------------------------------------------------------------------

    def settle(self, message: Message, reason_code: ReasonCode) -> None:
        """Note that one holder has dealt with a QoS 1 or 2 message."""
        if message.settled is not None:
            return
        if message._holder is self.unclaimed:
            self.unclaimed.discard(message)
        shared = message._shared
        if shared is None:
            self._acknowledge(message, reason_code)
            return
        message.settled = reason_code
        shared.holders -= 1
        shared.accepted = shared.accepted or not reason_code.is_failure
        if not shared.holders:
            self._acknowledge(shared.original, _SUCCESS if shared.accepted else reason_code)

    def accept(self, message: Message) -> None:
        """Settle, with success, a message that a subscription has in hand; paid for each."""
        receiver = self._receiver
        if message._shared is not None or message._stored or receiver is None:
            self.settle(message, _SUCCESS)
            return
        receiver.settle(message)
        self._held -= 1
        if self._window.full:
            self._note_room()

    def release(self, message: Message) -> None:
        """Settle a message with which nobody has dealt: the Server may forget it."""
        self.settle(message, _SUCCESS)

    def answered(self, reply: Message) -> None:
        """Note that a request has got its reply."""

    def _acknowledge(self, message: Message, reason_code: ReasonCode) -> None:
        receiver = self._receiver
        if not message.qos:
            return
        if receiver is None:
            message.settled = reason_code
            self._session._unclaimed.drop(message._stored)
            return
        receiver.settle(message, reason_code)
        if message._stored:  # it was acknowledged long ago
            self._session._unclaimed.drop(message._stored)
            return
        self._held -= 1
        if self._window.full:
            self._note_room()

    def _note_room(self) -> None:
        if self._held < self._receive_maximum:
            self._window.full = False
            self._window.taken += 1
            self.valve.unblock(self._window)

    def has(self, message: Message) -> bool:
        """Whether a message is of this client, in the hands of its code."""
        holder = message._holder
        return holder is self.unclaimed or holder in self.subscriptions

    def receipt(self, message: Message) -> Changes:
        """What the storage is to remember of a message that is settled.

        Raises:
            LocalProtocolError: other subscriptions have it, too; the last of them settles it.
        """
        shared = message._shared
        if shared is not None and shared.holders > 1:
            text = (
                f"{shared.holders} subscriptions of this client have the message to "
                f"{message.topic!r}, so that its receipt cannot be committed with the work of one; "
                "settle the others first, or subscribe so that they do not overlap"
            )
            raise LocalProtocolError(text)
        original = message if shared is None else shared.original
        if original._stored:
            return {(UNCLAIMED, original._stored): None}
        receiver = self._receiver
        if original.qos != QoS.EXACTLY_ONCE or receiver is None or not receiver.expects(original):
            return {}
        return {(RECEIVED, original.packet_id): b""}

    def explain(self, message: Message, reason_code: ReasonCode, properties: Properties) -> None:
        """Have the acknowledgement of a message say more, once it is settled with this code."""
        receiver = self._receiver
        if receiver is None or message.settled is not None or not message.qos:
            return
        protocol = receiver.protocol
        spoken = as_spoken(properties, protocol, self.unsupported, "an acknowledgement")
        if spoken != NO_PROPERTIES:
            original = message if message._shared is None else message._shared.original
            self._session._state.explain(original, reason_code, spoken)

    def check_rejection(self, message: Message) -> None:
        """Raise FeatureNotSupported if a message cannot be rejected."""
        if not message.qos:
            text = "a QoS 0 message has no acknowledgement that could reject it"
            raise FeatureNotSupported(text)
        if self._receiver is not None and self._receiver.protocol is not MQTT_5:
            title = self._receiver.protocol.title
            text = f"{title} has no way to reject a message; settle it, or leave it unacknowledged"
            raise FeatureNotSupported(text)
