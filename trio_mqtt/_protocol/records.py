"""How a durable Session looks in its storage: what each kind of record holds, as bytes.

A message being sent has one record with all of it, written once, and, when its Packet Identifier
or its state changes after that, a second and small one that overrides the first.
"""

from __future__ import annotations

import math
import struct
from enum import IntEnum
from typing import Final

import attrs

from trio_mqtt._enums import MQTT_5, Protocol, QoS
from trio_mqtt._errors import MQTTError
from trio_mqtt._protocol.exchanges import IncomingMessage, OutgoingMessage
from trio_mqtt._protocol.handshakes import SenderState
from trio_mqtt.packets import (
    PacketReader,
    Publish,
    SubscriptionRequest,
    encode,
)
from trio_mqtt.packets._encoder import encode_topic

OUTGOING: Final = "outgoing"
"""A message to be sent, by its sequence."""
PROGRESS: Final = "progress"
"""What has changed of it since."""
RECEIVED: Final = "received"
"""A Packet Identifier of the Server's whose QoS 2 message was settled, until PUBREL."""
SUBSCRIPTION: Final = "subscription"
"""A Topic Filter that the Server keeps, or is to keep, or to keep no more."""
UNCLAIMED: Final = "unclaimed"
"""A message that was acknowledged although nobody had dealt with it, by a number."""
SESSION: Final = "session"
"""The rest, under one key."""
DISCARDED: Final = "discarded"
"""A mark that the Session was given up and the Server may still have it."""

_MESSAGE: Final = struct.Struct(">BHBQdBHI")
_PROGRESS: Final = struct.Struct(">HBQ")
_SUBSCRIPTION: Final = struct.Struct(">IBBBB")
_SESSION: Final = struct.Struct(">BII")
_ATTEMPT: Final = struct.Struct(">I")
_GIVEN_UP: Final = 0x80
"""Added to the state of a message that is not sent any more and keeps its Packet Identifier."""
_STATE_SHIFT: Final = 4  # of the state of a subscription, above its QoS
_OVERHEAD: Final = 256  # what a message takes beside its payload, about
_IN_FLIGHT: Final = {
    QoS.AT_LEAST_ONCE: SenderState.AWAITING_PUBACK,
    QoS.EXACTLY_ONCE: SenderState.AWAITING_PUBREC,
}


def encode_message(message: OutgoingMessage, time_shift: float) -> bytes:
    """The record of a message to be sent.

    Args:
        message: the message.
        time_shift: wall-clock time less the Session's clock, in seconds.
    """
    expires_at = math.nan if message.expires_at is None else message.expires_at + time_shift
    header = _MESSAGE.pack(
        message.qos << 1 | message.retain,
        message.packet_id,
        message.state,
        message.released,
        expires_at,
        message.expiry_at,
        len(message.topic_field),
        len(message.properties),
    )
    return b"".join((header, message.topic_field, message.properties, message.payload))


def decode_message(sequence: int, record: bytes, time_shift: float) -> OutgoingMessage:
    """The message of a record; raises ValueError, or struct.error, if that is none."""
    (flags, packet_id, state, released, expires_at, expiry_at, topic_size, properties_size) = (
        _MESSAGE.unpack_from(record)
    )
    start = _MESSAGE.size + topic_size
    end = start + properties_size
    topic = record[_MESSAGE.size + 2 : start].decode()
    payload = record[end:]
    message = OutgoingMessage(
        topic,
        encode_topic(topic),
        payload,
        QoS(flags >> 1),
        bool(flags & 1),
        record[start:end],
        len(payload) + _OVERHEAD,
        packet_id=packet_id,
        state=SenderState(state),
        expires_at=None if math.isnan(expires_at) else expires_at - time_shift,
        expiry_at=expiry_at,
        sequence=sequence,
        released=released,
    )
    _mark_in_flight(message)
    return message


def encode_progress(message: OutgoingMessage) -> bytes:
    """The record of what has changed of a message."""
    state = message.state if message.failure is None else message.state | _GIVEN_UP
    return _PROGRESS.pack(message.packet_id, state, message.released)


def apply_progress(message: OutgoingMessage, record: bytes) -> None:
    """Bring a message to where its second record says it is."""
    message.packet_id, state, message.released = _PROGRESS.unpack(record)
    if state & _GIVEN_UP:
        message.failure = MQTTError("the message was given up by an earlier run of the program")
    message.state = SenderState(state & ~_GIVEN_UP)
    _mark_in_flight(message)


def _mark_in_flight(message: OutgoingMessage) -> None:
    # With a Packet Identifier it may have been sent before the crash; nothing tells.
    if message.packet_id and message.state is SenderState.IDLE:
        message.state = _IN_FLIGHT[QoS(message.qos)]


class SubscriptionState(IntEnum):
    """How far the Server is known to be with a Topic Filter."""

    KEPT = 0
    """It has answered the SUBSCRIBE, and keeps the Topic Filter for the Session."""
    ASKED = 1
    """It has not answered the SUBSCRIBE, or may have forgotten: that is to be made anew."""
    LEAVING = 2
    """It has not answered the UNSUBSCRIBE, or there was none yet: that is to be made anew."""


@attrs.frozen
class KeptSubscription:
    """A Topic Filter that the Server keeps for the Session, or is to keep, or to keep no more.

    Attributes:
        identifier: its Subscription Identifier, or None.
        request: its options.
        state: how far the Server is known to be with it.
    """

    identifier: int | None
    request: SubscriptionRequest
    state: SubscriptionState = SubscriptionState.KEPT


def encode_subscription(kept: KeptSubscription) -> bytes:
    """The record of a subscription; the Topic Filter is its key."""
    request = kept.request
    return _SUBSCRIPTION.pack(
        kept.identifier or 0,
        kept.state << _STATE_SHIFT | request.qos,
        request.no_local,
        request.retain_as_published,
        request.retain_handling,
    )


def decode_subscription(topic_filter: str, record: bytes) -> KeptSubscription:
    """The subscription of a record; raises ValueError, or struct.error, if that is none."""
    identifier, flags, no_local, retain_as_published, handling = _SUBSCRIPTION.unpack(record)
    state, qos = divmod(flags, 1 << _STATE_SHIFT)
    request = SubscriptionRequest(
        topic_filter, qos, bool(no_local), bool(retain_as_published), handling
    )
    return KeptSubscription(identifier or None, request, SubscriptionState(state))


@attrs.frozen
class SessionRecord:
    """What a Session knows of itself.

    Attributes:
        protocol: the version of MQTT that it speaks.
        expiry: how long the Server keeps it, in seconds.
        last_identifier: the last Subscription Identifier given out.
        server: the address of the Server that has it, for people.
    """

    protocol: Protocol
    expiry: int
    last_identifier: int
    server: str = ""


def encode_session(record: SessionRecord) -> bytes:
    """What a Session knows of itself, as a record."""
    fields = _SESSION.pack(record.protocol, record.expiry, record.last_identifier)
    return fields + record.server.encode()


def decode_session(record: bytes) -> SessionRecord:
    """The reverse; raises ValueError, or struct.error, if it is none."""
    protocol, expiry, last_identifier = _SESSION.unpack_from(record)
    server = record[_SESSION.size :].decode()
    return SessionRecord(Protocol(protocol), expiry, last_identifier, server)


def encode_unclaimed(message: IncomingMessage, attempt: int) -> bytes:
    """The record of a received message that nobody has dealt with, as a PUBLISH of MQTT 5.0."""
    properties = attrs.evolve(message.properties, topic_alias=None)
    packet = Publish(message.topic, message.payload, message.qos, message.retain)
    packet.packet_id = 1
    packet.properties = properties
    return _ATTEMPT.pack(attempt) + encode(packet, MQTT_5)


def decode_unclaimed(
    record: bytes, message_type: type[IncomingMessage]
) -> tuple[IncomingMessage, int]:
    """The message of a record, and what its `attempt` is."""
    reader = PacketReader(MQTT_5, publish_type=message_type)
    reader.feed(record[_ATTEMPT.size :])
    packets = reader.read_packets(2)
    if len(packets) != 1 or not isinstance(packets[0], IncomingMessage):
        message = "it holds no PUBLISH"
        raise ValueError(message)
    (attempt,) = _ATTEMPT.unpack_from(record)
    return packets[0], attempt
