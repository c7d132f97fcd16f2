"""Answers to SUBSCRIBE and UNSUBSCRIBE, and what answers nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trio_mqtt._enums import MQTT_5, Protocol
from trio_mqtt._errors import RemoteProtocolError
from trio_mqtt._protocol.exchanges import OutgoingMessage, Request
from trio_mqtt.packets import SubAck, Subscribe, UnsubAck, Unsubscribe

if TYPE_CHECKING:
    from trio_mqtt._protocol.identifiers import PacketIdentifiers
    from trio_mqtt.packets import PubAck, PubComp, PubRec

_ANSWERS: Final = {Subscribe: SubAck, Unsubscribe: UnsubAck}


def take_answer(
    identifiers: PacketIdentifiers[OutgoingMessage | Request],
    packet: SubAck | UnsubAck,
    protocol: Protocol,
) -> Request | None:
    """Match a SUBACK or UNSUBACK with its request, and free the Packet Identifier.

    Returns:
        The request, or None if there is none.

    Raises:
        RemoteProtocolError: the packet does not answer what its identifier stands for.
    """
    request = identifiers.holder(packet.packet_id)
    if request is None:
        return None
    if not isinstance(request, Request) or _ANSWERS[type(request.packet)] is not type(packet):
        raise refusal(packet, "answers another packet", "MQTT-2.2.1-6")
    expected = request.expected
    if isinstance(packet, UnsubAck) and protocol is not MQTT_5:
        expected = 0
    if len(packet.reason_codes) != expected:
        why = f"has {len(packet.reason_codes)} Reason Codes for {expected} Topic Filters"
        statement = "MQTT-3.8.4-6" if isinstance(packet, SubAck) else "MQTT-3.11.3-1"
        raise refusal(packet, why, statement)
    identifiers.release(packet.packet_id)
    request.answer = packet
    return request


def refusal(
    packet: PubAck | PubRec | PubComp | SubAck | UnsubAck, why: str, statement: str
) -> RemoteProtocolError:
    """The error that says what is wrong with an answer."""
    message = f"{type(packet).__name__.upper()} with the Packet Identifier {packet.packet_id} {why}"
    return RemoteProtocolError(message, statement=statement)
