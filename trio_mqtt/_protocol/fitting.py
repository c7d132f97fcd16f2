"""Packets that say more than they must, as far as the peer takes so much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from trio_mqtt.packets import Auth, Disconnect, PubAck, PubComp, PubRec, PubRel, encode

if TYPE_CHECKING:
    from trio_mqtt._enums import Protocol

_Explained = PubAck | PubRec | PubRel | PubComp | Disconnect | Auth
_SHORTER: Final[tuple[dict[str, Any], ...]] = (
    {"user_properties": ()},
    {"reason_string": None},
    {"user_properties": (), "reason_string": None},
)
"""What is left out, in this order, until the packet is small enough."""


def encode_within(packet: _Explained, protocol: Protocol, limit: int | None) -> bytes:
    """Encode a packet, without User Properties or Reason String if it is too large with them.

    Both are for people, and must not make a packet too large: MQTT-3.4.2-2, MQTT-3.4.2-3 and
    their like for PUBREC, PUBREL, PUBCOMP, DISCONNECT and AUTH.

    Args:
        packet: what to encode.
        protocol: the version of MQTT spoken.
        limit: the Maximum Packet Size of the peer, in bytes, or None.

    Raises:
        LocalProtocolError: the standard forbids such a packet.
    """
    data = encode(packet, protocol)
    if limit is None or len(data) <= limit:
        return data
    for missing in _SHORTER:
        properties = attrs.evolve(packet.properties, **missing)
        data = encode(attrs.evolve(packet, properties=properties), protocol)
        if len(data) <= limit:
            break
    return data
