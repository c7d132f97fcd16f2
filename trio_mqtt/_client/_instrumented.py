"""The parts of a client that tell instruments what they do.

They take the place of the plain ones where there is an instrument, so that a client without any
pays nothing: no call, no look whether there is one.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Self
from weakref import WeakKeyDictionary

import attrs
from trio.lowlevel import enable_ki_protection

from trio_mqtt._client._buffer import Buffer
from trio_mqtt._client._connecting import Dialer
from trio_mqtt._client._deliveries import Deliveries
from trio_mqtt._client._outgoing import MessageMaker, PublishOptions, result_of
from trio_mqtt._client._sending import Sending
from trio_mqtt._client._subscription import Subscription
from trio_mqtt._client._tap import TappedStream
from trio_mqtt._enums import MQTT_5, ReasonCode
from trio_mqtt._errors import FeatureNotSupported, MQTTError, PacketTooLarge

if TYPE_CHECKING:
    import trio

    from trio_mqtt._client._hooks import Hooks
    from trio_mqtt._client._itinerary import Place
    from trio_mqtt._client._link import Link
    from trio_mqtt._client._message import Message
    from trio_mqtt._client._outgoing import Payload
    from trio_mqtt._client._requests import SubscribeOptions
    from trio_mqtt._enums import Protocol
    from trio_mqtt._protocol.exchanges import Listener, OutgoingMessage
    from trio_mqtt.packets import Connect


_logger = logging.getLogger("trio_mqtt")


@attrs.frozen
class Parts:
    """What a client is made of, as far as instruments watch it.

    Attributes:
        sending: the class of the way out.
        deliveries: the class of the way in.
        dialer: that of what connects.
    """

    sending: type[Sending]
    deliveries: type[Deliveries]
    dialer: type[Dialer]


# -- connections and packets ------------------------------------------------------------------


class InstrumentedDialer(Dialer):
    """Tells of connections, and of the packets on them."""

    hooks: Hooks

    def watch(self, hooks: Hooks) -> None:
        """Tell these from now on."""
        self.hooks = hooks
        self._made = False
        plain_link, plain_serve = self._new_link, self._serve
        taps = hooks.wants("packet_sent", "packet_received")

        def new_link(
            name: str, stream: trio.abc.Stream, connect: Connect, protocol: Protocol
        ) -> Link:
            if taps:
                stream = TappedStream(stream, self._packet_sent, self._packet_received)
            return plain_link(name, stream, connect, protocol)

        async def serve(link: Link) -> None:
            self._made = True
            hooks.call("connection_made", link.name, link.connection.server)
            await plain_serve(link)

        self._new_link, self._serve = new_link, serve

    def _packet_sent(self, *facts: object) -> None:
        self.hooks.call("packet_sent", *facts)

    def _packet_received(self, *facts: object) -> None:
        self.hooks.call("packet_received", *facts)

    async def run(self, place: Place, deadline: float) -> None:
        """Connect and serve; see `Dialer.run`."""
        self._made = False
        self.hooks.call("connection_attempted", place.name)
        loss: Exception | None = None
        try:
            await super().run(place, deadline)
        except Exception as error:
            loss = error
            raise
        finally:
            if self._made:
                self.hooks.call("connection_ended", place.name, loss)
            elif loss is not None:
                self.hooks.call("connection_failed", place.name, loss)


# -- out --------------------------------------------------------------------------------------


class InstrumentedMaker(MessageMaker):
    """Lets instruments choose the User Properties of messages.

    Args:
        maker: what it takes the place of.
        hooks: the instruments.
    """

    def __init__(self, maker: MessageMaker, hooks: Hooks) -> None:
        vars(self).update(vars(maker))
        self._hooks = hooks
        # The properties that the program gave, and where its Message Expiry Interval stands there.
        self._plain: WeakKeyDictionary[OutgoingMessage, tuple[bytes, int]] = WeakKeyDictionary()

    def make(
        self,
        topic: str,
        payload: Payload,
        qos: int,
        retain: bool,  # noqa: FBT001 - as in `MessageMaker.make`
        options: PublishOptions,
    ) -> OutgoingMessage:
        """Check and prepare one message; see `MessageMaker.make`."""
        given: tuple[tuple[str, str], ...] = ()
        if "user_properties" in options:
            given = tuple(options["user_properties"])
            options = {**options, "user_properties": given}
        message = super().make(topic, payload, qos=qos, retain=retain, options=options)
        wanted = self._hooks.user_properties(message, given)
        if wanted == given or self.server.protocol is not MQTT_5:
            return message
        options = {**options, "user_properties": wanted}
        try:
            other = super().make(topic, payload, qos=qos, retain=retain, options=options)
        except PacketTooLarge:
            return message
        except MQTTError:
            _logger.warning("instruments have made User Properties that cannot be sent")
            return message
        self._plain[message] = message.properties, message.expiry_at
        message.properties, message.expiry_at = other.properties, other.expiry_at
        return message

    def check_again(self, message: OutgoingMessage) -> MQTTError | None:
        """Why a message cannot be sent, be it without what instruments have added to it."""
        failure = super().check_again(message)
        if isinstance(failure, FeatureNotSupported | PacketTooLarge) and message in self._plain:
            message.properties, message.expiry_at = self._plain.pop(message)
            return super().check_again(message)
        return failure


class InstrumentedSending(Sending):
    """Tells of messages that the program publishes."""

    hooks: Hooks

    def watch(self, hooks: Hooks) -> None:
        """Tell these from now on."""
        self.hooks = hooks
        if hooks.wants("message_publishing"):
            self._maker = InstrumentedMaker(self._maker, hooks)
            self.make = self._maker.make

    def discard(self, message: OutgoingMessage, error: BaseException) -> None:
        """Note that a message is not to be admitted; see `Sending.discard`."""
        self.hooks.call("message_completed", message, None, error)

    def send_plain(self, topic: str, payload: Payload) -> bool:  # noqa: ARG002 - as the plain one
        """Send nothing without a message to tell of; see `Sending`."""
        return False

    def publish_plain(
        self,
        topic: str,  # noqa: ARG002 - as the plain one
        payload: Payload,  # noqa: ARG002
        qos: int,  # noqa: ARG002
        listener: Listener,  # noqa: ARG002
    ) -> OutgoingMessage | None:
        """Send no message by the short way, on which there is nothing to tell; see `Sending`."""
        return None

    def accept_at_once(self, message: OutgoingMessage) -> bool:  # noqa: ARG002 - as the plain one
        """Send no message by the short way, on which there is nothing to tell; see `Sending`."""
        return False

    @enable_ki_protection
    async def admit(self, message: OutgoingMessage) -> None:
        """Hand a message to the session; see `Sending.admit`."""
        self._await_end(message)
        try:
            await super().admit(message)
        except BaseException as error:
            self.discard(message, error)
            raise
        self._admitted(message)

    @enable_ki_protection
    def admit_nowait(self, message: OutgoingMessage) -> None:
        """Hand a message to the session; see `Sending.admit_nowait`."""
        self._await_end(message)
        try:
            super().admit_nowait(message)
        except BaseException as error:
            self.discard(message, error)
            raise
        self._admitted(message)

    def _admitted(self, message: OutgoingMessage) -> None:
        if message.failure is None:  # else it has expired, which was told
            self.hooks.call("message_published", message)
            if not message.qos:
                self.hooks.call("message_completed", message, ReasonCode.SUCCESS, None)

    def _await_end(self, message: OutgoingMessage) -> None:
        """Tell of the end of an exchange before its publisher learns of it."""
        listener = message.listener

        def listen(message: OutgoingMessage) -> None:
            error: Exception | None = None
            try:
                result_of(message, self.server_name)
            except Exception as failure:  # noqa: BLE001 - it is the publisher's, who gets it
                error = failure
            acknowledgement = message.acknowledgement
            code = None if acknowledgement is None else acknowledgement.reason_code
            self.hooks.call("message_completed", message, code, error)
            if listener is not None:
                listener(message)

        if message.qos:
            message.listener = listen


# -- in ---------------------------------------------------------------------------------------


class InstrumentedBuffer(Buffer):
    """Tells of messages that it hands out, and of those that it drops."""

    hooks: Hooks

    @classmethod
    def of(cls, buffer: Buffer, hooks: Hooks) -> Self:
        """The same as another one, which is empty."""
        new = cls(buffer.name, buffer._most, buffer._overflow, on_room=buffer._on_room)
        new.hooks = hooks
        return new

    def take(self) -> Message | None:
        """The message that came first, or None; see `Buffer.take`."""
        message = super().take()
        if message is not None:
            self.hooks.call("message_delivered", message)
        return message

    def _drop(self, message: Message) -> None:
        super()._drop(message)
        self.hooks.call("message_dropped", message, "buffer_full")

    def clear(self) -> list[Message]:
        """Empty it; see `Buffer.clear`."""
        for message in self._loose:
            self.hooks.call("message_dropped", message, "block_left")
        return super().clear()


class InstrumentedSubscription(Subscription):
    """Has a buffer that tells what becomes of messages."""

    def watch(self, hooks: Hooks) -> None:
        """Tell these from now on."""
        self._buffer = InstrumentedBuffer.of(self._buffer, hooks)


class InstrumentedDeliveries(Deliveries):
    """Tells of messages that are settled, and of those for which there is nobody."""

    hooks: Hooks

    def watch(self, hooks: Hooks) -> None:
        """Tell these from now on."""
        self.hooks = hooks

    def deliver(self, message: Message) -> None:
        """Give a message to its subscriptions; see `Deliveries.deliver`."""
        lost = self.strays + self.stray_replies + self.unclaimed.dropped
        super().deliver(message)
        if lost != self.strays + self.stray_replies + self.unclaimed.dropped:
            self.hooks.call("message_dropped", message, "no_subscription")

    def new_subscription(self, name: str, options: SubscribeOptions) -> Subscription:
        """Make a subscription; see `Deliveries.new_subscription`."""
        subscription = InstrumentedSubscription(
            self, name, buffer=options.buffer, overflow=options.overflow, ack=options.ack
        )
        subscription.watch(self.hooks)
        return subscription

    def answered(self, reply: Message) -> None:
        """Note that a request has got its reply."""
        self.hooks.call("message_delivered", reply)

    def settle(self, message: Message, reason_code: ReasonCode) -> None:
        """Note that a message was settled; see `Deliveries.settle`."""
        if message.settled is None:
            super().settle(message, reason_code)
            self.hooks.call("message_settled", message, reason_code, released=False)

    def accept(self, message: Message) -> None:
        """Settle a message with success; see `Deliveries.accept`."""
        self.settle(message, ReasonCode.SUCCESS)

    def release(self, message: Message) -> None:
        """Settle what nobody has dealt with; see `Deliveries.release`."""
        if message.settled is None:
            super().settle(message, ReasonCode.SUCCESS)
            self.hooks.call("message_settled", message, ReasonCode.SUCCESS, released=True)


PLAIN: Final = Parts(Sending, Deliveries, Dialer)
INSTRUMENTED: Final = Parts(InstrumentedSending, InstrumentedDeliveries, InstrumentedDialer)


def watch(hooks: Hooks, *parts: Sending | Deliveries | Dialer) -> None:
    """Let parts of a client know the instruments, if they are such that tell any."""
    for part in parts:
        if isinstance(part, InstrumentedSending | InstrumentedDeliveries | InstrumentedDialer):
            part.watch(hooks)
