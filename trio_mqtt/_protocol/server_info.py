"""What the Server granted in CONNACK (3.2.2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trio_mqtt._enums import Protocol, QoS

if TYPE_CHECKING:
    from trio_mqtt.packets import ConnAck, Connect

_MOST_TWO_BYTE = 65_535


@attrs.frozen(kw_only=True)
class ServerInfo:
    """What the Server said of itself and of this connection.

    Below MQTT 5.0 the Server says nothing; then everything is available and unlimited.

    Attributes:
        protocol: the version of MQTT in use.
        client_id: the Client Identifier in use: ours, or the one that the Server assigned.
        session_present: whether the Server went on with a Session it had.
        keep_alive: the Keep Alive in force, in seconds; 0 is off (MQTT-3.1.2-21).
        session_expiry_interval: how long the Server keeps the Session after the connection, in
            seconds.
        receive_maximum: how many QoS 1 and 2 messages of ours may be unacknowledged at once.
        maximum_qos: the highest QoS that may be published.
        retain_available: whether retained messages may be published.
        maximum_packet_size: the largest packet that may be sent, in bytes, or None.
        topic_alias_maximum: how many Topic Aliases may be used.
        wildcard_subscription_available: whether Topic Filters may have wildcards.
        subscription_identifier_available: whether subscriptions may have identifiers.
        shared_subscription_available: whether ``$share`` may be used.
        response_information: the basis for response topics, or None.
        server_reference: another Server to use, or None.
        reason_string: the Server's own words, or None.
        user_properties: name and value pairs, in order.
    """

    protocol: Protocol
    client_id: str
    session_present: bool = False
    keep_alive: int = 0
    session_expiry_interval: int = 0
    receive_maximum: int = _MOST_TWO_BYTE
    maximum_qos: QoS = QoS.EXACTLY_ONCE
    retain_available: bool = True
    maximum_packet_size: int | None = None
    topic_alias_maximum: int = 0
    wildcard_subscription_available: bool = True
    subscription_identifier_available: bool = True
    shared_subscription_available: bool = True
    response_information: str | None = None
    server_reference: str | None = None
    reason_string: str | None = None
    user_properties: tuple[tuple[str, str], ...] = ()


def _given(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


def read_server_info(connect: Connect, connack: ConnAck, protocol: Protocol) -> ServerInfo:
    """Combine what we asked for with what the Server answered."""
    answer = connack.properties
    is_5 = protocol is Protocol.MQTT_5
    return ServerInfo(
        protocol=protocol,
        client_id=answer.assigned_client_identifier or connect.client_id,
        session_present=connack.session_present,
        keep_alive=_given(answer.server_keep_alive, connect.keep_alive),
        session_expiry_interval=_given(
            answer.session_expiry_interval, connect.properties.session_expiry_interval or 0
        ),
        receive_maximum=_given(answer.receive_maximum, _MOST_TWO_BYTE),
        maximum_qos=QoS(_given(answer.maximum_qos, QoS.EXACTLY_ONCE)),
        retain_available=answer.retain_available != 0,
        maximum_packet_size=answer.maximum_packet_size,
        topic_alias_maximum=answer.topic_alias_maximum or 0,
        wildcard_subscription_available=answer.wildcard_subscription_available != 0,
        subscription_identifier_available=is_5 and answer.subscription_identifier_available != 0,
        shared_subscription_available=answer.shared_subscription_available != 0,
        response_information=answer.response_information,
        server_reference=answer.server_reference,
        reason_string=answer.reason_string,
        user_properties=answer.user_properties,
    )
