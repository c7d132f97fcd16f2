"""A received message as application code sees it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol, Unpack

import attrs
from trio.lowlevel import enable_ki_protection

from trio_mqtt._enums import MQTT_5, ReasonCode
from trio_mqtt._errors import LocalProtocolError
from trio_mqtt._protocol.exchanges import IncomingMessage
from trio_mqtt.packets import NO_PROPERTIES, Properties, PubAck, encode
from trio_mqtt.packets._properties import as_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

    from trio_mqtt._client._outgoing import Payload, Publish, PublishOptions, PublishResult
    from trio_mqtt._errors import UserProperties

REJECTIONS = frozenset(
    (
        ReasonCode.UNSPECIFIED_ERROR,
        ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
        ReasonCode.NOT_AUTHORIZED,
        ReasonCode.TOPIC_NAME_INVALID,
        ReasonCode.QUOTA_EXCEEDED,
        ReasonCode.PAYLOAD_FORMAT_INVALID,
    )
)
"""The Reason Codes that a receiver may refuse a message with (3.4.2.1)."""


class Holder(Protocol):
    """Who is told what became of a message: its subscription, or the keeper of the unclaimed."""

    _name: str

    def _settle(self, message: Message, reason_code: ReasonCode) -> None: ...

    def _check_rejection(self, message: Message) -> None: ...

    def _explain(self, message: Message, code: ReasonCode, properties: Properties) -> None: ...

    def _leave_unclaimed(self, message: Message) -> None: ...

    def _publisher(self) -> Publish | None: ...


@attrs.define(eq=False)
class SharedReceipt:
    """Several subscriptions hold one PUBLISH; it is settled when all have settled it.

    Attributes:
        original: the PUBLISH.
        holders: how many have not settled it.
        accepted: whether one of them accepted it.
    """

    original: Message
    holders: int
    accepted: bool = False


@attrs.define(eq=False, init=False)
class Message(IncomingMessage):
    """An Application Message that a subscription received (3.3).

    At QoS 1 and 2 it is acknowledged when it is *settled*: by the loop that received it asking for
    its next message, by `ack`, by `reject`, or by the end of a ``with message:`` block.

    A ``with message:`` block must begin before the loop asks for its next message: after that it
    is too late, the message is settled, and the block raises `LocalProtocolError`. To hand messages
    over to tasks, use ``await nursery.start(work, message)`` and call ``task_status.started()``
    inside the block; or subscribe with ``ack="manual"``.

    Your tests can make one: ``Message("a/topic", b"payload")``; settling it does nothing.

    Attributes:
        topic: the Topic Name.
        payload: the Application Message itself.
        qos: the Quality of Service with which it came.
        retain: whether it is a retained message, see Retain As Published.
        dup: whether the Server marked it as a re-delivery.
        packet_id: the Packet Identifier, 0 at QoS 0.
        properties: the properties of the PUBLISH.
        settled: None, or the Reason Code that it was settled with.
        attempt: 1 when it is handed out first, 2 when it was left unsettled once, and so on.
    """

    attempt: int = 1
    _arrival: int = attrs.field(default=0, repr=False)
    _holder: Holder | None = attrs.field(default=None, repr=False)
    _shared: SharedReceipt | None = attrs.field(default=None, repr=False)
    _stored: int = attrs.field(default=0, repr=False)
    # Whether it is in a `with`; None if the loop has settled it, so that one would come too late.
    _guarded: bool | None = attrs.field(default=False, repr=False)

    # Written out, since attrs would look each default up that is no argument, for every message:
    # a third of what a message costs.
    def __init__(  # noqa: PLR0913, PLR0917 - the fields of a PUBLISH
        self,
        topic: str,
        payload: bytes = b"",
        qos: int = 0,
        retain: bool = False,  # noqa: FBT001, FBT002 - as `Publish` has it
        dup: bool = False,  # noqa: FBT001, FBT002
        packet_id: int = 0,
        properties: Properties = NO_PROPERTIES,
        *,
        attempt: int = 1,
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.dup = dup
        self.packet_id = packet_id
        self.properties = properties
        self.settled: ReasonCode | None = None
        self.stored_in = 0
        self.attempt = attempt
        self._arrival = 0
        self._holder = None
        self._shared = None
        self._stored = 0
        self._guarded = False

    @property
    def content_type(self) -> str | None:
        """What the payload is, in the sender's words (3.3.2.3.9)."""
        return self.properties.content_type

    @property
    def response_topic(self) -> str | None:
        """Where the sender wants an answer (3.3.2.3.5)."""
        return self.properties.response_topic

    @property
    def correlation_data(self) -> bytes | None:
        """What the answer is to carry (3.3.2.3.6)."""
        return self.properties.correlation_data

    @property
    def user_properties(self) -> UserProperties:
        """Name and value pairs of the sender, in order (3.3.2.3.7)."""
        return self.properties.user_properties

    @property
    def message_expiry(self) -> int | None:
        """How much longer the message was of use when the Server sent it, in seconds."""
        return self.properties.message_expiry_interval

    def text(self) -> str:
        """The payload as UTF-8 text.

        Raises:
            UnicodeDecodeError: it is none.
        """
        try:
            return self.payload.decode()
        except ValueError as error:
            error.add_note(f"this is the payload of a message to {self.topic!r}")
            raise

    def json(self) -> object:
        """The payload as JSON.

        Raises:
            ValueError: it is none.
        """
        try:
            value: object = json.loads(self.payload)
        except ValueError as error:
            error.add_note(f"this is the payload of a message to {self.topic!r}")
            raise
        return value

    @enable_ki_protection
    def ack(
        self,
        *,
        reason_string: str | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Settle the message: it was dealt with, the Server may forget it.

        Synchronous; the acknowledgement goes out as soon as those of all earlier messages of its
        QoS have (MQTT-4.6.0-2, MQTT-4.6.0-3). Again, at QoS 0, or on a message that another
        subscription has taken over since, it does nothing.

        Args:
            reason_string: words for people, in PUBACK or PUBREC (MQTT 5.0, 3.4.2.2.2); left out
                where the Server takes no packet of that size.
            user_properties: name and value pairs for it, likewise.

        Raises:
            LocalProtocolError: the standard forbids what the acknowledgement is to say; the message
                stays held.
            FeatureNotSupported: below MQTT 5.0 it can say nothing; the message stays held.
        """
        if reason_string is not None or user_properties:
            self._explain(ReasonCode.SUCCESS, reason_string, user_properties)
        self._settle(ReasonCode.SUCCESS)

    @enable_ki_protection
    def reject(
        self,
        reason_code: ReasonCode = ReasonCode.UNSPECIFIED_ERROR,
        *,
        reason_string: str | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Settle the message by refusing it (MQTT 5.0, QoS 1 and 2).

        The Server does not send it again (MQTT-4.4.0-2): it is gone.

        Args:
            reason_code: 0x80, 0x83, 0x87, 0x90, 0x97 or 0x99.
            reason_string: as that of `ack`.
            user_properties: as those of `ack`.

        Raises:
            LocalProtocolError: another Reason Code, or the standard forbids what else the
                acknowledgement is to say; the message stays held.
            FeatureNotSupported: at QoS 0 or below MQTT 5.0; the message stays held.
        """
        if reason_code not in REJECTIONS:
            allowed = ", ".join(f"0x{code:02X}" for code in sorted(REJECTIONS))
            message = f"a message is rejected with one of {allowed}, not 0x{reason_code:02X}"
            raise LocalProtocolError(message, statement="3.4.2.1")
        if self._holder is not None:
            self._holder._check_rejection(self)
        if reason_string is not None or user_properties:
            self._explain(reason_code, reason_string, user_properties)
        self._settle(reason_code)

    def _explain(
        self,
        reason_code: ReasonCode,
        reason_string: str | None,
        user_properties: Iterable[tuple[str, str]],
    ) -> None:
        properties = Properties(
            reason_string=reason_string, user_properties=as_pairs(user_properties)
        )
        encode(PubAck(1, reason_code, properties), MQTT_5)  # what the standard forbids, it refuses
        if self._holder is not None:
            self._holder._explain(self, ReasonCode(reason_code), properties)

    async def reply(
        self,
        payload: Payload = b"",
        *,
        qos: int | None = None,
        retain: bool = False,
        **options: Unpack[PublishOptions],
    ) -> PublishResult:
        """Answer a request: publish to its Response Topic, with its Correlation Data (4.10).

        It settles nothing. Cancelled, it is as `Client.publish` is.

        Args:
            payload: as that of `Client.publish`.
            qos: 0, 1 or 2; by default that of the message.
            retain: whether the Server keeps the reply.
            **options: as those of `Client.publish`.

        Raises:
            LocalProtocolError: the message has no Response Topic.
            RuntimeError: it did not come from a client, or another subscription has it now.
            MQTTError: as `Client.publish` says.
        """
        topic = self.response_topic
        if topic is None:
            message = (
                f"the message to {self.topic!r} has no Response Topic: who sent it expects no "
                "reply, or says elsewhere where to publish it"
            )
            raise LocalProtocolError(message)
        publish = None if self._holder is None else self._holder._publisher()
        if publish is None:
            message = (
                f"the message to {self.topic!r} cannot be replied to: a client has not received "
                "it, or another subscription has taken it over since"
            )
            raise RuntimeError(message)
        options.setdefault("correlation_data", self.correlation_data)
        reply_qos = self.qos if qos is None else qos
        return await publish(topic, payload, qos=reply_qos, retain=retain, **options)

    def _settle(self, reason_code: ReasonCode) -> None:
        if self._holder is not None:
            self._holder._settle(self, reason_code)

    def _copy_for_another(self, shared: SharedReceipt | None) -> Message:
        copy = Message(
            self.topic,
            self.payload,
            self.qos,
            self.retain,
            self.dup,
            self.packet_id,
            self.properties,
            attempt=self.attempt,
        )
        copy._shared = shared
        copy._arrival = self._arrival
        return copy

    @enable_ki_protection
    def __enter__(self) -> Self:
        """Keep the message held until the block is done, whatever the loop does.

        Raises:
            LocalProtocolError: the loop has settled it already, by asking for its next message.
        """
        if self._guarded is None:
            message = (
                f"`with` comes too late for the message to {self.topic!r}: the loop that received "
                "it has asked for its next message since, and thereby settled this one; start the "
                "task with `await nursery.start(work, message)` and call task_status.started() "
                'inside the `with`, or subscribe with ack="manual"'
            )
            raise LocalProtocolError(message)
        self._guarded = True
        return self

    @enable_ki_protection
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Settle the message; or leave it unclaimed, if the block failed."""
        self._guarded = False
        if exc_type is None:
            self.ack()
        elif self._holder is not None:
            self._holder._leave_unclaimed(self)
