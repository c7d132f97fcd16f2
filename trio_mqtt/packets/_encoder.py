"""Packets to bytes, refusing whatever the standard forbids to send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trio_mqtt._enums import (
    MQTT_3_1,
    MQTT_3_1_1,
    MQTT_5,
    PacketType,
    Protocol,
    RetainHandling,
    is_qos,
)
from trio_mqtt._errors import LocalProtocolError
from trio_mqtt._topics import SHARE_PREFIX, check_topic_filter, check_topic_name
from trio_mqtt.packets import _classes as classes
from trio_mqtt.packets import _tables, _wire
from trio_mqtt.packets._properties import NO_PROPERTIES, Properties, write_properties
from trio_mqtt.packets._property_table import WILL

if TYPE_CHECKING:
    from collections.abc import Callable

_P = PacketType
PUBLISH_FIRST_BYTE: Final = _P.PUBLISH << 4
DUP_FLAG: Final = 0b1000
RETAIN_FLAG: Final = 0b0001
_PREFIXES = {
    MQTT_3_1: b"\x00\x06MQIsdp\x03",
    MQTT_3_1_1: b"\x00\x04MQTT\x04",
    MQTT_5: b"\x00\x04MQTT\x05",
}


def encode(packet: classes.Packet, protocol: Protocol) -> bytes:
    """Encode a Control Packet.

    Args:
        packet: what to encode.
        protocol: the version of MQTT that the Network Connection speaks.

    Raises:
        LocalProtocolError: the standard forbids such a packet, or this version has no such thing.
    """
    for packet_class in type(packet).__mro__:
        encoder = _ENCODERS.get(packet_class)
        if encoder is not None:
            try:
                return encoder(packet, protocol)
            except LocalProtocolError as error:
                error.statement = _tables.statement_in(protocol, error.statement)
                raise
    message = f"{type(packet).__name__} is not a Control Packet"
    raise TypeError(message)


def _finish(packet_type: PacketType, body: bytes) -> bytes:
    first = packet_type << 4 | _tables.fixed_flags(packet_type)
    return bytes((first,)) + _wire.write_varint(len(body)) + body


def _properties(properties: Properties, where: PacketType | int, protocol: Protocol) -> bytes:
    if protocol is MQTT_5:
        return write_properties(properties, where)
    if properties != NO_PROPERTIES:
        message = f"{protocol.title} has no properties, and {properties!r} were given"
        raise LocalProtocolError(message)
    return b""


def _packet_id(packet_id: int) -> bytes:
    return _wire.write_two_byte(packet_id, "the Packet Identifier", "MQTT-2.2.1-3", least=1)


def _check_qos(qos: int, statement: str) -> None:
    if not is_qos(qos):
        raise LocalProtocolError(f"QoS is {qos}; it must be 0, 1 or 2", statement=statement)


def _connect(packet: classes.Connect, protocol: Protocol) -> bytes:
    _check_connect(packet, protocol)
    will = packet.will
    flags = bool(packet.clean_start) << 1
    payload = _wire.write_string(packet.client_id, "the Client Identifier")
    if will is not None:
        _check_qos(will.qos, "MQTT-3.1.2-12")
        check_topic_name(will.topic, "MQTT-4.7.0-1")
        flags |= 1 << 2 | will.qos << 3 | bool(will.retain) << 5
        payload += _properties(will.properties, WILL, protocol)
        payload += _wire.write_string(will.topic, "the Will Topic")
        payload += _wire.write_binary(will.payload, "the Will Payload")
    if packet.username is not None:
        flags |= 1 << 7
        payload += _wire.write_string(packet.username, "the User Name")
    if packet.password is not None:
        flags |= 1 << 6
        payload += _wire.write_binary(packet.password, "the Password")
    return _finish(
        _P.CONNECT,
        _PREFIXES[protocol]
        + bytes((flags,))
        + _wire.write_two_byte(packet.keep_alive, "Keep Alive", "3.1.2.10")
        + _properties(packet.properties, _P.CONNECT, protocol)
        + payload,
    )


def _check_connect(packet: classes.Connect, protocol: Protocol) -> None:
    properties = packet.properties
    if protocol is MQTT_5:
        if properties.authentication_data is not None and properties.authentication_method is None:
            message = "CONNECT has Authentication Data without an Authentication Method"
            raise LocalProtocolError(message, statement="3.1.2.11.10")
        return
    if packet.password is not None and packet.username is None:
        message = f"{protocol.title} has no Password without a User Name"
        raise LocalProtocolError(message, statement="MQTT-3.1.2-22")
    if protocol is MQTT_3_1 and not 1 <= len(packet.client_id) <= _tables.LONGEST_3_1_CLIENT_ID:
        message = (
            f"the Client Identifier has {len(packet.client_id)} characters; "
            f"MQTT 3.1 wants 1 to {_tables.LONGEST_3_1_CLIENT_ID}"
        )
        raise LocalProtocolError(message)
    if not packet.client_id and not packet.clean_start:
        message = f"{protocol.title} needs a Client Identifier unless Clean Session is 1"
        raise LocalProtocolError(message, statement="MQTT-3.1.3-7")


def _connack(packet: classes.ConnAck, protocol: Protocol) -> bytes:
    if packet.session_present and packet.reason_code:
        message = "CONNACK has Session Present 1 and a failure"
        raise LocalProtocolError(message, statement="MQTT-3.2.2-6")
    code = (_tables.write_reason_code if protocol is MQTT_5 else _tables.write_return_code)(
        _P.CONNACK, packet.reason_code
    )
    body = bytes((bool(packet.session_present) and protocol is not MQTT_3_1,)) + code
    return _finish(_P.CONNACK, body + _properties(packet.properties, _P.CONNACK, protocol))


def publish_header(  # noqa: PLR0913, PLR0917 - the parts of a PUBLISH, one by one, on the hot path
    first: int,
    topic: bytes,
    qos: int,
    packet_id: int,
    properties: bytes,
    payload_size: int,
    payload: bytes = b"",
) -> bytes:
    """Everything of a PUBLISH before its payload, from parts that were checked before.

    Args:
        first: the first byte of the fixed header, as `publish_first_byte` makes it.
        topic: the Topic Name as a UTF-8 Encoded String, with its length.
        qos: the Quality of Service.
        packet_id: the Packet Identifier, unused at QoS 0.
        properties: the property length and the properties; empty below MQTT 5.0.
        payload_size: what the payload takes, in bytes.
        payload: the payload itself, to be copied behind the header; nothing leaves that out.
    """
    # One formatting each: half the time of adding the parts up.
    if qos:
        length = len(topic) + 2 + len(properties) + payload_size
        high, low = packet_id >> 8, packet_id & 0xFF
        if length < 128:  # noqa: PLR2004 - in one byte
            return b"%c%c%b%c%c%b%b" % (first, length, topic, high, low, properties, payload)
        varint = _wire.write_varint(length)
        return b"%c%b%b%c%c%b%b" % (first, varint, topic, high, low, properties, payload)
    length = len(topic) + len(properties) + payload_size
    if length < 128:  # noqa: PLR2004 - in one byte
        return b"%c%c%b%b%b" % (first, length, topic, properties, payload)
    varint = _wire.write_varint(length)
    return b"%c%b%b%b%b" % (first, varint, topic, properties, payload)


def encode_topic(topic: str) -> bytes:
    """A Topic Name to publish to, as a UTF-8 Encoded String with its length.

    Raises:
        LocalProtocolError: it is no Topic Name.
    """
    check_topic_name(topic)
    return _wire.write_string(topic, "the Topic Name")


def encode_publish_properties(properties: Properties) -> bytes:
    """The property length and properties of a PUBLISH.

    Raises:
        LocalProtocolError: one cannot stand there, or its value is forbidden.
    """
    return write_properties(properties, _P.PUBLISH)


def publish_first_byte(qos: int, *, retain: bool, dup: bool) -> int:
    """The packet type, DUP, QoS and RETAIN as they stand in the fixed header (3.3.1)."""
    return PUBLISH_FIRST_BYTE | (DUP_FLAG if dup else 0) | qos << 1 | (RETAIN_FLAG if retain else 0)


def _publish(packet: classes.Publish, protocol: Protocol) -> bytes:
    _check_qos(packet.qos, "MQTT-3.3.1-4")
    if packet.dup and not packet.qos:
        raise LocalProtocolError("DUP must be 0 at QoS 0", statement="MQTT-3.3.1-2")
    if packet.packet_id and not packet.qos:
        message = "a PUBLISH at QoS 0 has no Packet Identifier"
        raise LocalProtocolError(message, statement="MQTT-2.2.1-2")
    if packet.topic or protocol is not MQTT_5 or packet.properties.topic_alias is None:
        check_topic_name(packet.topic)
    if packet.qos:
        _packet_id(packet.packet_id)
    header = publish_header(
        publish_first_byte(packet.qos, retain=packet.retain, dup=packet.dup),
        _wire.write_string(packet.topic, "the Topic Name"),
        packet.qos,
        packet.packet_id,
        _properties(packet.properties, _P.PUBLISH, protocol),
        len(packet.payload),
    )
    return header + packet.payload


def _acknowledgement(
    packet_type: PacketType,
) -> Callable[[classes.Acknowledgement, Protocol], bytes]:
    def encode_one(packet: classes.Acknowledgement, protocol: Protocol) -> bytes:
        body = _packet_id(packet.packet_id)
        if protocol is MQTT_5:
            code = _tables.write_reason_code(packet_type, packet.reason_code)
            if packet.reason_code or packet.properties != NO_PROPERTIES:
                # Both are left out together or not at all (3.4.2.1).
                body += code + write_properties(packet.properties, packet_type)
        else:
            if packet.reason_code:
                message = f"{packet_type.name} of {protocol.title} has no Reason Code"
                raise LocalProtocolError(message)
            _properties(packet.properties, packet_type, protocol)
        return _finish(packet_type, body)

    return encode_one


def _subscribe(packet: classes.Subscribe, protocol: Protocol) -> bytes:
    if not packet.requests:
        message = "SUBSCRIBE needs at least one Topic Filter"
        raise LocalProtocolError(message, statement="MQTT-3.8.3-2")
    body = _packet_id(packet.packet_id) + _properties(packet.properties, _P.SUBSCRIBE, protocol)
    for request in packet.requests:
        check_topic_filter(request.topic_filter)
        body += _wire.write_string(request.topic_filter, "the Topic Filter")
        body += bytes((_subscription_options(request, protocol),))
    return _finish(_P.SUBSCRIBE, body)


def _subscription_options(request: classes.SubscriptionRequest, protocol: Protocol) -> int:
    _check_qos(request.qos, "3.8.3.1")
    if request.no_local and request.topic_filter.startswith(SHARE_PREFIX):
        message = "No Local cannot be set on a shared subscription"
        raise LocalProtocolError(message, statement="MQTT-3.8.3-4")
    if not 0 <= request.retain_handling <= RetainHandling.DO_NOT_SEND:
        message = f"Retain Handling is {request.retain_handling}; it must be 0, 1 or 2"
        raise LocalProtocolError(message, statement="3.8.3.1")
    options = (
        request.qos
        | bool(request.no_local) << 2
        | bool(request.retain_as_published) << 3
        | request.retain_handling << 4
    )
    if protocol is not MQTT_5 and options != request.qos:
        message = f"{protocol.title} has no subscription option but the QoS"
        raise LocalProtocolError(message)
    return options


def _suback(packet: classes.SubAck, protocol: Protocol) -> bytes:
    write = _tables.write_reason_code if protocol is MQTT_5 else _tables.write_return_code
    codes = b"".join(write(_P.SUBACK, code) for code in packet.reason_codes)
    if not codes:
        message = "SUBACK needs a Reason Code for each Topic Filter"
        raise LocalProtocolError(message, statement="MQTT-3.8.4-6")
    properties = _properties(packet.properties, _P.SUBACK, protocol)
    return _finish(_P.SUBACK, _packet_id(packet.packet_id) + properties + codes)


def _unsubscribe(packet: classes.Unsubscribe, protocol: Protocol) -> bytes:
    if not packet.topic_filters:
        message = "UNSUBSCRIBE needs at least one Topic Filter"
        raise LocalProtocolError(message, statement="MQTT-3.10.3-2")
    body = _packet_id(packet.packet_id) + _properties(packet.properties, _P.UNSUBSCRIBE, protocol)
    for topic_filter in packet.topic_filters:
        check_topic_filter(topic_filter)
        body += _wire.write_string(topic_filter, "the Topic Filter")
    return _finish(_P.UNSUBSCRIBE, body)


def _unsuback(packet: classes.UnsubAck, protocol: Protocol) -> bytes:
    properties = _properties(packet.properties, _P.UNSUBACK, protocol)
    if (protocol is MQTT_5) != bool(packet.reason_codes):
        message = (
            "UNSUBACK needs a Reason Code for each Topic Filter in MQTT 5.0, and has none below"
        )
        raise LocalProtocolError(message, statement="MQTT-3.11.3-1")
    codes = b"".join(_tables.write_reason_code(_P.UNSUBACK, code) for code in packet.reason_codes)
    return _finish(_P.UNSUBACK, _packet_id(packet.packet_id) + properties + codes)


def _disconnect(packet: classes.Disconnect, protocol: Protocol) -> bytes:
    if protocol is not MQTT_5:
        if packet.reason_code:
            raise LocalProtocolError(f"DISCONNECT of {protocol.title} has no Reason Code")
        return _finish(_P.DISCONNECT, _properties(packet.properties, _P.DISCONNECT, protocol))
    code = _tables.write_reason_code(_P.DISCONNECT, packet.reason_code)
    if packet.reason_code or packet.properties != NO_PROPERTIES:
        return _finish(_P.DISCONNECT, code + write_properties(packet.properties, _P.DISCONNECT))
    return _finish(_P.DISCONNECT, b"")


def _auth(packet: classes.Auth, protocol: Protocol) -> bytes:
    if protocol is not MQTT_5:
        raise LocalProtocolError(f"{protocol.title} has no AUTH packet")
    if packet.properties.authentication_method is None:
        message = "AUTH needs an Authentication Method"
        raise LocalProtocolError(message, statement="3.15.2.2.2")
    code = _tables.write_reason_code(_P.AUTH, packet.reason_code)
    return _finish(_P.AUTH, code + write_properties(packet.properties, _P.AUTH))


def _empty(packet_type: PacketType) -> Callable[[classes.Packet, Protocol], bytes]:
    encoded = _finish(packet_type, b"")
    return lambda _packet, _protocol: encoded


_ENCODERS: dict[type, Callable[..., bytes]] = {
    classes.Connect: _connect,
    classes.ConnAck: _connack,
    classes.Publish: _publish,
    classes.PubAck: _acknowledgement(_P.PUBACK),
    classes.PubRec: _acknowledgement(_P.PUBREC),
    classes.PubRel: _acknowledgement(_P.PUBREL),
    classes.PubComp: _acknowledgement(_P.PUBCOMP),
    classes.Subscribe: _subscribe,
    classes.SubAck: _suback,
    classes.Unsubscribe: _unsubscribe,
    classes.UnsubAck: _unsuback,
    classes.PingReq: _empty(_P.PINGREQ),
    classes.PingResp: _empty(_P.PINGRESP),
    classes.Disconnect: _disconnect,
    classes.Auth: _auth,
}
