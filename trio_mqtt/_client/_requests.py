"""SUBSCRIBE and UNSUBSCRIBE: whether a Server takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trio_mqtt._errors import FeatureNotSupported, MQTTError, PacketTooLarge
from trio_mqtt._topics import split_share
from trio_mqtt.packets import Subscribe, Unsubscribe, encode

if TYPE_CHECKING:
    from trio_mqtt._protocol.server_info import ServerInfo


def check_available(topic_filter: str, server: ServerInfo) -> None:
    """Raise FeatureNotSupported if the Server has no subscriptions of this kind (3.2.2.3)."""
    lacks = None
    if not server.shared_subscription_available and split_share(topic_filter)[0] is not None:
        lacks = "shared subscriptions"
    elif not server.wildcard_subscription_available and set("+#") & set(topic_filter):
        lacks = "wildcards"
    if lacks is not None:
        message = f"cannot subscribe to {topic_filter!r}: the server has no {lacks}"
        raise FeatureNotSupported(message)


def check_size(packet: Subscribe | Unsubscribe, server: ServerInfo, server_name: str) -> None:
    """Raise PacketTooLarge if the Server does not take so much (MQTT-3.2.2-15)."""
    size = len(encode(attrs.evolve(packet, packet_id=1), server.protocol))
    limit = server.maximum_packet_size
    if limit is not None and size > limit:
        name = type(packet).__name__.upper()
        text = (
            f"the {name} would take {size} bytes, and {server_name} granted a Maximum "
            f"Packet Size of {limit}; use shorter Topic Filters"
        )
        raise PacketTooLarge(text, size=size, limit=limit)


def why_not(
    packet: Subscribe | Unsubscribe, server: ServerInfo, server_name: str
) -> MQTTError | None:
    """Why a Server takes no such request, or None."""
    try:
        if isinstance(packet, Subscribe):
            for request in packet.requests:
                check_available(request.topic_filter, server)
        check_size(packet, server, server_name)
    except (FeatureNotSupported, PacketTooLarge) as error:
        return error
    return None
