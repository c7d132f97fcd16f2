"""The 27 properties of MQTT 5.0 as one table (2.2.2).

The table is after OASIS "MQTT Version 5.0", Table 2-4; see NOTICE-OASIS.md.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

from trio_mqtt._enums import PacketType, ReasonCode


class PropertyKind(enum.StrEnum):
    """The data type of a property's value; a str, since it is looked up for each property."""

    BYTE = "Byte"
    TWO_BYTE = "Two Byte Integer"
    FOUR_BYTE = "Four Byte Integer"
    VARINT = "Variable Byte Integer"
    STRING = "UTF-8 Encoded String"
    BINARY = "Binary Data"
    STRING_PAIR = "UTF-8 String Pair"


_P = PacketType
WILL: Final = 0
"""Stands beside the packet types for the Will Properties of CONNECT (3.1.3.2)."""
_ACKNOWLEDGEMENTS = (_P.PUBACK, _P.PUBREC, _P.PUBREL, _P.PUBCOMP, _P.SUBACK, _P.UNSUBACK)
_EVERYWHERE = (
    WILL,
    _P.CONNECT,
    _P.CONNACK,
    _P.PUBLISH,
    *_ACKNOWLEDGEMENTS,
    _P.SUBSCRIBE,
    _P.UNSUBSCRIBE,
    _P.DISCONNECT,
    _P.AUTH,
)


@attrs.frozen
class PropertyRow:
    """One row of the table.

    Attributes:
        identifier: the number that stands before the value.
        name: the attribute of `Properties` that holds it.
        title: the standard's name.
        kind: the data type.
        packets: where it may stand: packet types, or WILL.
        least: the smallest number allowed.
        most: the largest number allowed, or None for all that the type holds.
        repeated_in: the packets in which it may stand more than once.
        section: where the standard explains the values.
        refusal: the Reason Code for a forbidden value.
    """

    identifier: int
    name: str
    title: str
    kind: PropertyKind
    packets: tuple[int, ...]
    least: int = 0
    most: int | None = None
    repeated_in: tuple[int, ...] = ()
    section: str = "2.2.2.2"
    refusal: ReasonCode = ReasonCode.PROTOCOL_ERROR


_R = PropertyRow
_K = PropertyKind
_MESSAGE = (_P.PUBLISH, WILL)

PROPERTY_TABLE: tuple[PropertyRow, ...] = (
    _R(1, "payload_format_indicator", "Payload Format Indicator", _K.BYTE, _MESSAGE, 0, 1),
    _R(2, "message_expiry_interval", "Message Expiry Interval", _K.FOUR_BYTE, _MESSAGE),
    _R(3, "content_type", "Content Type", _K.STRING, _MESSAGE),
    _R(8, "response_topic", "Response Topic", _K.STRING, _MESSAGE, section="MQTT-3.3.2-14"),
    _R(9, "correlation_data", "Correlation Data", _K.BINARY, _MESSAGE),
    _R(
        11,
        "subscription_identifiers",
        "Subscription Identifier",
        _K.VARINT,
        (_P.PUBLISH, _P.SUBSCRIBE),
        1,
        repeated_in=(_P.PUBLISH,),
        section="3.8.2.1.2",
    ),
    _R(
        17,
        "session_expiry_interval",
        "Session Expiry Interval",
        _K.FOUR_BYTE,
        (_P.CONNECT, _P.CONNACK, _P.DISCONNECT),
    ),
    _R(18, "assigned_client_identifier", "Assigned Client Identifier", _K.STRING, (_P.CONNACK,)),
    _R(19, "server_keep_alive", "Server Keep Alive", _K.TWO_BYTE, (_P.CONNACK,)),
    _R(
        21,
        "authentication_method",
        "Authentication Method",
        _K.STRING,
        (_P.CONNECT, _P.CONNACK, _P.AUTH),
    ),
    _R(
        22,
        "authentication_data",
        "Authentication Data",
        _K.BINARY,
        (_P.CONNECT, _P.CONNACK, _P.AUTH),
    ),
    _R(
        23,
        "request_problem_information",
        "Request Problem Information",
        _K.BYTE,
        (_P.CONNECT,),
        0,
        1,
        section="3.1.2.11.7",
    ),
    _R(24, "will_delay_interval", "Will Delay Interval", _K.FOUR_BYTE, (WILL,)),
    _R(
        25,
        "request_response_information",
        "Request Response Information",
        _K.BYTE,
        (_P.CONNECT,),
        0,
        1,
        section="3.1.2.11.6",
    ),
    _R(26, "response_information", "Response Information", _K.STRING, (_P.CONNACK,)),
    _R(28, "server_reference", "Server Reference", _K.STRING, (_P.CONNACK, _P.DISCONNECT)),
    _R(
        31,
        "reason_string",
        "Reason String",
        _K.STRING,
        (_P.CONNACK, *_ACKNOWLEDGEMENTS, _P.DISCONNECT, _P.AUTH),
    ),
    _R(
        33,
        "receive_maximum",
        "Receive Maximum",
        _K.TWO_BYTE,
        (_P.CONNECT, _P.CONNACK),
        1,
        section="3.1.2.11.3",
    ),
    _R(34, "topic_alias_maximum", "Topic Alias Maximum", _K.TWO_BYTE, (_P.CONNECT, _P.CONNACK)),
    _R(
        35,
        "topic_alias",
        "Topic Alias",
        _K.TWO_BYTE,
        (_P.PUBLISH,),
        1,
        section="MQTT-3.3.2-8",
        refusal=ReasonCode.TOPIC_ALIAS_INVALID,
    ),
    _R(36, "maximum_qos", "Maximum QoS", _K.BYTE, (_P.CONNACK,), 0, 1, section="3.2.2.3.4"),
    _R(
        37,
        "retain_available",
        "Retain Available",
        _K.BYTE,
        (_P.CONNACK,),
        0,
        1,
        section="3.2.2.3.5",
    ),
    _R(
        38, "user_properties", "User Property", _K.STRING_PAIR, _EVERYWHERE, repeated_in=_EVERYWHERE
    ),
    _R(
        39,
        "maximum_packet_size",
        "Maximum Packet Size",
        _K.FOUR_BYTE,
        (_P.CONNECT, _P.CONNACK),
        1,
        section="3.1.2.11.4",
    ),
    _R(
        40,
        "wildcard_subscription_available",
        "Wildcard Subscription Available",
        _K.BYTE,
        (_P.CONNACK,),
        0,
        1,
        section="3.2.2.3.11",
    ),
    _R(
        41,
        "subscription_identifier_available",
        "Subscription Identifier Available",
        _K.BYTE,
        (_P.CONNACK,),
        0,
        1,
        section="3.2.2.3.12",
    ),
    _R(
        42,
        "shared_subscription_available",
        "Shared Subscription Available",
        _K.BYTE,
        (_P.CONNACK,),
        0,
        1,
        section="3.2.2.3.13",
    ),
)
