"""Bytes to packets, one complete packet at a time; refusing whatever the standard calls wrong.

Each decoder gets the bytes, where the variable header begins and where the packet ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from trio_mqtt._enums import (
    MQTT_3_1,
    MQTT_3_1_1,
    MQTT_5,
    PacketType,
    Protocol,
    QoS,
    ReasonCode,
    RetainHandling,
)
from trio_mqtt._errors import MalformedPacket, RemoteProtocolError
from trio_mqtt._topics import SHARE_PREFIX, why_not_a_topic_filter, why_not_a_topic_name
from trio_mqtt.packets import _classes as classes
from trio_mqtt.packets import _tables, _wire
from trio_mqtt.packets._properties import NO_PROPERTIES, Properties, read_properties
from trio_mqtt.packets._property_table import WILL

if TYPE_CHECKING:
    from collections.abc import Callable

    Decoder = Callable[[bytes, int, int, Protocol], classes.Packet]

_A = TypeVar("_A", bound=classes.Acknowledgement)
_P = PacketType
_VERSIONS = {
    (b"MQIsdp", 3): MQTT_3_1,
    (b"MQTT", 4): MQTT_3_1_1,
    (b"MQTT", 5): MQTT_5,
}


def read_packet_id(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Read a Packet Identifier, which is never 0 (2.2.1)."""
    packet_id, position = _wire.read_two_byte(data, position, end, "the Packet Identifier")
    if packet_id == 0:
        raise RemoteProtocolError("the Packet Identifier is 0", statement="2.2.1")
    return packet_id, position


def check_topic_name(topic: str, wildcards: str = "MQTT-3.3.2-2") -> None:
    """Refuse a received Topic Name that is empty or has wildcards."""
    problem = why_not_a_topic_name(topic, wildcards)
    if problem is not None:
        message = f"the Topic Name {problem[0]}"
        raise RemoteProtocolError(
            message, reason_code=ReasonCode.TOPIC_NAME_INVALID, statement=problem[1]
        )


def read_protocol(data: bytes, position: int, end: int) -> tuple[Protocol, int]:
    """Read the Protocol Name and Version of a CONNECT (3.1.2.1, 3.1.2.2)."""
    name, position = _wire.read_binary(data, position, end, "the Protocol Name")
    level, position = _wire.read_byte(data, position, end, "the Protocol Version")
    protocol = _VERSIONS.get((name, level))
    if protocol is None:
        message = f"no known version of MQTT: protocol name {name[:20]!r}, version {level}"
        raise RemoteProtocolError(
            message,
            reason_code=ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
            statement="MQTT-3.1.2-2" if name == b"MQTT" else "MQTT-3.1.2-1",
        )
    return protocol, position


def _expect_end(packet_type: PacketType, position: int, end: int) -> None:
    if position != end:
        message = f"{packet_type.name} has {end - position} bytes behind its end"
        raise MalformedPacket(message, statement="2.1.4")


def _properties(
    data: bytes, position: int, end: int, where: int, protocol: Protocol
) -> tuple[Properties, int]:
    if protocol is not MQTT_5:
        return NO_PROPERTIES, position
    return read_properties(data, position, end, where)


def _connect(data: bytes, position: int, end: int, _protocol: Protocol) -> classes.Connect:
    protocol, position = read_protocol(data, position, end)
    flags, position = _wire.read_byte(data, position, end, "the Connect Flags")
    _check_connect_flags(flags, protocol)
    keep_alive, position = _wire.read_two_byte(data, position, end, "Keep Alive")
    properties, position = _properties(data, position, end, _P.CONNECT, protocol)
    if properties.authentication_data is not None and properties.authentication_method is None:
        message = "CONNECT has Authentication Data without an Authentication Method"
        raise RemoteProtocolError(message, statement="3.1.2.11.10")
    client_id, position = _wire.read_string(data, position, end, "the Client Identifier")
    clean_start = bool(flags & 0x02)
    _check_client_id(client_id, protocol, clean_start=clean_start)
    will = username = password = None
    if flags & 0x04:
        will, position = _will(data, position, end, flags, protocol)
    if flags & 0x80:
        username, position = _wire.read_string(data, position, end, "the User Name")
    if flags & 0x40:
        password, position = _wire.read_binary(data, position, end, "the Password")
    _expect_end(_P.CONNECT, position, end)
    return classes.Connect(client_id, clean_start, keep_alive, username, password, will, properties)


def _check_client_id(client_id: str, protocol: Protocol, *, clean_start: bool) -> None:
    if protocol is MQTT_3_1 and not 1 <= len(client_id) <= _tables.LONGEST_3_1_CLIENT_ID:
        message = f"the Client Identifier has {len(client_id)} characters; MQTT 3.1 has 1 to 23"
    elif protocol is MQTT_3_1_1 and not client_id and not clean_start:
        message = "the Client Identifier is empty, and Clean Session is 0"
    else:
        return
    raise RemoteProtocolError(
        message,
        reason_code=ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
        statement="MQTT-3.1.3-8" if protocol is MQTT_3_1_1 else None,
    )


def _check_connect_flags(flags: int, protocol: Protocol) -> None:
    if flags & 0x01:
        raise MalformedPacket("the reserved Connect Flag is 1", statement="MQTT-3.1.2-3")
    if not flags & 0x04 and flags & 0x18:
        message = "the Connect Flags have a Will QoS without the Will Flag"
        raise MalformedPacket(message, statement="MQTT-3.1.2-11")
    if not flags & 0x04 and flags & 0x20:
        message = "the Connect Flags have Will Retain without the Will Flag"
        raise MalformedPacket(message, statement="MQTT-3.1.2-13")
    if flags & 0x18 == 0x18:  # noqa: PLR2004 - both bits of Will QoS
        raise MalformedPacket("the Will QoS is 3", statement="MQTT-3.1.2-12")
    if protocol is not MQTT_5 and flags & 0xC0 == 0x40:  # noqa: PLR2004
        message = "the Connect Flags have a Password without a User Name"
        raise MalformedPacket(message, statement="MQTT-3.1.2-22")


def _will(
    data: bytes, position: int, end: int, flags: int, protocol: Protocol
) -> tuple[classes.WillMessage, int]:
    properties, position = _properties(data, position, end, WILL, protocol)
    topic, position = _wire.read_string(data, position, end, "the Will Topic")
    check_topic_name(topic, "MQTT-4.7.0-1")
    payload, position = _wire.read_binary(data, position, end, "the Will Payload")
    will = classes.WillMessage(topic, payload, QoS(flags >> 3 & 3), bool(flags & 0x20), properties)
    return will, position


def _connack(data: bytes, position: int, end: int, protocol: Protocol) -> classes.ConnAck:
    flags, position = _wire.read_byte(data, position, end, "the Connect Acknowledge Flags")
    code, position = _wire.read_byte(data, position, end, "the Connect Reason Code")
    if protocol is MQTT_3_1:
        flags = 0  # "not used" there
    if flags > 1:
        message = f"the Connect Acknowledge Flags are 0x{flags:02X}"
        raise MalformedPacket(message, statement="MQTT-3.2.2-1")
    read = _tables.read_reason_code if protocol is MQTT_5 else _tables.read_return_code
    reason_code = read(_P.CONNACK, code)
    if flags and code:
        message = "CONNACK has Session Present 1 and a failure"
        raise RemoteProtocolError(message, statement="MQTT-3.2.2-6")
    properties, position = _properties(data, position, end, _P.CONNACK, protocol)
    _expect_end(_P.CONNACK, position, end)
    return classes.ConnAck(bool(flags), reason_code, properties)


def _acknowledgement(
    packet_type: PacketType, packet_class: type[_A]
) -> Callable[[bytes, int, int, Protocol], _A]:
    def decode(data: bytes, position: int, end: int, protocol: Protocol) -> _A:
        packet_id, position = read_packet_id(data, position, end)
        if position == end:
            return packet_class(packet_id)
        if protocol is not MQTT_5:
            _expect_end(packet_type, position, end)
        reason_code = _tables.read_reason_code(packet_type, data[position])
        position += 1
        properties = NO_PROPERTIES
        if position < end:
            properties, position = read_properties(data, position, end, packet_type)
        _expect_end(packet_type, position, end)
        return packet_class(packet_id, reason_code, properties)

    return decode


def _subscribe(data: bytes, position: int, end: int, protocol: Protocol) -> classes.Subscribe:
    packet_id, position = read_packet_id(data, position, end)
    properties, position = _properties(data, position, end, _P.SUBSCRIBE, protocol)
    requests: list[classes.SubscriptionRequest] = []
    while position < end:
        topic_filter, position = _topic_filter(data, position, end)
        options, position = _wire.read_byte(data, position, end, "the Subscription Options")
        requests.append(_subscription_request(topic_filter, options, protocol))
    if not requests:
        raise RemoteProtocolError("SUBSCRIBE has no Topic Filter", statement="MQTT-3.8.3-2")
    return classes.Subscribe(packet_id, tuple(requests), properties)


def _topic_filter(data: bytes, position: int, end: int) -> tuple[str, int]:
    topic_filter, position = _wire.read_string(data, position, end, "a Topic Filter")
    problem = why_not_a_topic_filter(topic_filter)
    if problem is not None:
        raise RemoteProtocolError(
            f"a Topic Filter {problem[0]}",
            reason_code=ReasonCode.TOPIC_FILTER_INVALID,
            statement=problem[1],
        )
    return topic_filter, position


def _subscription_request(
    topic_filter: str, options: int, protocol: Protocol
) -> classes.SubscriptionRequest:
    qos, retain_handling = options & 3, options >> 4 & 3
    if qos > QoS.EXACTLY_ONCE:
        raise RemoteProtocolError("the requested QoS is 3", statement="3.8.3.1")
    if options & (0xC0 if protocol is MQTT_5 else 0xFC):
        message = f"the Subscription Options are 0x{options:02X}, with a reserved bit set"
        raise MalformedPacket(message, statement="MQTT-3.8.3-5")
    if retain_handling > RetainHandling.DO_NOT_SEND:
        raise RemoteProtocolError("Retain Handling is 3", statement="3.8.3.1")
    no_local = bool(options & 0x04)
    if no_local and topic_filter.startswith(SHARE_PREFIX):
        message = "No Local is set on a shared subscription"
        raise RemoteProtocolError(message, statement="MQTT-3.8.3-4")
    return classes.SubscriptionRequest(
        topic_filter, QoS(qos), no_local, bool(options & 0x08), RetainHandling(retain_handling)
    )


def _suback(data: bytes, position: int, end: int, protocol: Protocol) -> classes.SubAck:
    packet_id, position = read_packet_id(data, position, end)
    properties, position = _properties(data, position, end, _P.SUBACK, protocol)
    if position == end:
        raise RemoteProtocolError("SUBACK has no Reason Code", statement="MQTT-3.8.4-6")
    read = _tables.read_reason_code if protocol is MQTT_5 else _tables.read_return_code
    reason_codes = tuple(read(_P.SUBACK, code) for code in data[position:end])
    return classes.SubAck(packet_id, reason_codes, properties)


def _unsubscribe(data: bytes, position: int, end: int, protocol: Protocol) -> classes.Unsubscribe:
    packet_id, position = read_packet_id(data, position, end)
    properties, position = _properties(data, position, end, _P.UNSUBSCRIBE, protocol)
    topic_filters: list[str] = []
    while position < end:
        topic_filter, position = _topic_filter(data, position, end)
        topic_filters.append(topic_filter)
    if not topic_filters:
        raise RemoteProtocolError("UNSUBSCRIBE has no Topic Filter", statement="MQTT-3.10.3-2")
    return classes.Unsubscribe(packet_id, tuple(topic_filters), properties)


def _unsuback(data: bytes, position: int, end: int, protocol: Protocol) -> classes.UnsubAck:
    packet_id, position = read_packet_id(data, position, end)
    if protocol is not MQTT_5:
        _expect_end(_P.UNSUBACK, position, end)
        return classes.UnsubAck(packet_id)
    properties, position = read_properties(data, position, end, _P.UNSUBACK)
    if position == end:
        raise RemoteProtocolError("UNSUBACK has no Reason Code", statement="MQTT-3.11.3-1")
    reason_codes = tuple(_tables.read_reason_code(_P.UNSUBACK, c) for c in data[position:end])
    return classes.UnsubAck(packet_id, reason_codes, properties)


def _pingreq(_data: bytes, position: int, end: int, _protocol: Protocol) -> classes.PingReq:
    _expect_end(_P.PINGREQ, position, end)
    return classes.PingReq()


def _pingresp(_data: bytes, position: int, end: int, _protocol: Protocol) -> classes.PingResp:
    _expect_end(_P.PINGRESP, position, end)
    return classes.PingResp()


def _reason_and_properties(
    packet_type: PacketType, data: bytes, position: int, end: int
) -> tuple[ReasonCode, Properties]:
    """What DISCONNECT and AUTH consist of; each part may be missing with all behind it."""
    if position == end:
        return ReasonCode.SUCCESS, NO_PROPERTIES
    reason_code = _tables.read_reason_code(packet_type, data[position])
    position += 1
    properties = NO_PROPERTIES
    if position < end:
        properties, position = read_properties(data, position, end, packet_type)
    _expect_end(packet_type, position, end)
    return reason_code, properties


def _disconnect(data: bytes, position: int, end: int, protocol: Protocol) -> classes.Disconnect:
    if protocol is not MQTT_5:
        _expect_end(_P.DISCONNECT, position, end)
    return classes.Disconnect(*_reason_and_properties(_P.DISCONNECT, data, position, end))


def _auth(data: bytes, position: int, end: int, protocol: Protocol) -> classes.Auth:
    if protocol is not MQTT_5:
        raise MalformedPacket(f"{protocol.title} has no AUTH packet", statement="2.1.2")
    reason_code, properties = _reason_and_properties(_P.AUTH, data, position, end)
    if properties.authentication_method is None and position != end:
        # 3.15.2.1 lets the whole be left out, 3.15.2.2.2 demands the method otherwise.
        raise RemoteProtocolError("AUTH has no Authentication Method", statement="3.15.2.2.2")
    return classes.Auth(reason_code, properties)


DECODERS: dict[PacketType, Decoder] = {
    _P.CONNECT: _connect,
    _P.CONNACK: _connack,
    _P.PUBACK: _acknowledgement(_P.PUBACK, classes.PubAck),
    _P.PUBREC: _acknowledgement(_P.PUBREC, classes.PubRec),
    _P.PUBREL: _acknowledgement(_P.PUBREL, classes.PubRel),
    _P.PUBCOMP: _acknowledgement(_P.PUBCOMP, classes.PubComp),
    _P.SUBSCRIBE: _subscribe,
    _P.SUBACK: _suback,
    _P.UNSUBSCRIBE: _unsubscribe,
    _P.UNSUBACK: _unsuback,
    _P.PINGREQ: _pingreq,
    _P.PINGRESP: _pingresp,
    _P.DISCONNECT: _disconnect,
    _P.AUTH: _auth,
}
"""How to decode each packet type but PUBLISH, which the reader does itself."""
