"""What a Session keeps while an exchange of packets is under way."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from trio_mqtt._enums import ReasonCode  # noqa: TC001 - attrs looks at it
from trio_mqtt._protocol.handshakes import SenderState
from trio_mqtt.packets import Publish

if TYPE_CHECKING:
    from trio_mqtt.packets import PubAck, PubComp, PubRec, SubAck, Subscribe, UnsubAck, Unsubscribe

Listener = Callable[["OutgoingMessage"], object]
"""Is told of a message once its exchange is over, or has failed."""


def _size_only(payload: bytes) -> str:
    return f"<{len(payload)} bytes>"


@attrs.define(eq=False)
class OutgoingMessage:
    """An Application Message on its way to the Server, checked and ready to be encoded.

    Attributes:
        topic: the Topic Name.
        topic_field: the same as a UTF-8 Encoded String with its length.
        payload: the Application Message.
        qos: the Quality of Service.
        retain: the RETAIN flag.
        properties: the property length and properties; empty below MQTT 5.0.
        size: what the whole takes in memory, about, in bytes.
        listener: called once, when the exchange is over or has failed.
        packet_id: the Packet Identifier, 0 until the message is to be sent.
        state: where the handshake stands.
        acknowledgement: the packet that says what became of it, once the exchange is over, or None;
            one stands for several that came in a row and say the same.
        verdict: the PUBREC that accepted it, if it says more than that; PUBCOMP has none of it.
        failure: the error that ended the exchange instead, or None.
        expires_at: when it is of no use any more, by the Session's clock, or None.
        expiry_at: where its Message Expiry Interval stands in `properties`.
        was_sent: whether it was sent before, in a Session that the Server has lost since.
        sequence: its place among all messages of a durable Session, else 0.
        accepted_in: the batch of the journal with which it came to disk.
        stored_in: the batch that must be on disk before it is sent.
        released: its place among the PUBRELs.
    """

    topic: str
    topic_field: bytes = attrs.field(repr=False)
    payload: bytes = attrs.field(repr=_size_only)
    qos: int
    retain: bool
    properties: bytes = attrs.field(repr=False)
    size: int = attrs.field(repr=False)
    listener: Listener | None = attrs.field(default=None, repr=False)
    packet_id: int = 0
    state: SenderState = SenderState.IDLE
    acknowledgement: PubAck | PubRec | PubComp | None = None
    verdict: PubRec | None = None
    failure: Exception | None = None
    expires_at: float | None = None
    expiry_at: int = 0
    was_sent: bool = False
    sequence: int = 0
    accepted_in: int = 0
    stored_in: int = 0
    released: int = 0

    def tell(self) -> None:
        """Call the listener: the exchange is over."""
        if self.listener is not None:
            self.listener(self)

    def is_over_at(self, now: float) -> bool:
        """Whether it has expired; what was ever sent does not, any more."""
        return self.expires_at is not None and not self.was_sent and self.expires_at <= now

    def properties_at(self, now: float) -> bytes:
        """Its properties, with the time that remains to it, at least a second."""
        if self.expires_at is None:
            return self.properties
        start, end = self.expiry_at, self.expiry_at + 4
        remaining = max(1, math.ceil(self.expires_at - now))
        return self.properties[:start] + remaining.to_bytes(4, "big") + self.properties[end:]


@attrs.define(eq=False)
class Request:
    """A SUBSCRIBE or UNSUBSCRIBE that awaits its answer.

    Attributes:
        packet: what to send; it gets its Packet Identifier when it is sent.
        expected: how many Reason Codes the answer must have.
        listener: called once, when the answer has come or the request has failed.
        answer: the SUBACK or UNSUBACK, or None.
        failure: the error that ended it instead, or None.
        stored_in: the batch of the journal that must be on disk before it is sent.
    """

    packet: Subscribe | Unsubscribe
    expected: int
    listener: Callable[[Request], object] | None = None
    answer: SubAck | UnsubAck | None = None
    failure: Exception | None = None
    stored_in: int = 0

    def tell(self) -> None:
        """Call the listener: the answer has come, or will not."""
        if self.listener is not None:
            self.listener(self)


@attrs.define(eq=False)
class IncomingMessage(Publish):
    """A PUBLISH that was received, and what became of it.

    Attributes:
        settled: None until it is settled; then the Reason Code of its acknowledgement.
        stored_in: the batch of the journal that must be on disk before it is acknowledged.
    """

    settled: ReasonCode | None = attrs.field(default=None, init=False)
    stored_in: int = attrs.field(default=0, init=False, repr=False)

    # Two messages that look alike are two messages; not methods of ours, for they are too slow.
    if TYPE_CHECKING:

        def __hash__(self) -> int: ...  # type: ignore[override] # `Publish` has none

    else:  # checkers take what is assigned for a method of another class
        __eq__ = object.__eq__
        __hash__ = object.__hash__
