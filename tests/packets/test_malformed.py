"""What the reader refuses: each with the Reason Code for our DISCONNECT and the statement.

Errors about packets of MQTT 3.1.1 and 3.1 name the statement of MQTT 3.1.1.
"""

from __future__ import annotations

import itertools

import pytest

from tests.packets.support import (
    OLD_VERSIONS,
    VERSIONS,
    Refusal,
    forbidden,
    frame,
    malformed,
    read_one,
    refused,
    text,
)
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_3_1, MQTT_3_1_1, MQTT_5, PacketType, Protocol, ReasonCode

CLIENT_ID_NOT_VALID = ReasonCode.CLIENT_IDENTIFIER_NOT_VALID
UNSUPPORTED = ReasonCode.UNSUPPORTED_PROTOCOL_VERSION

# A valid body of each packet type, to put behind wrong fixed headers.
BODIES = {
    PacketType.CONNECT: "00044D515454 05 02 003C 00 0000",
    PacketType.CONNACK: "00 00 00",
    PacketType.PUBACK: "0001",
    PacketType.PUBREC: "0001",
    PacketType.PUBREL: "0001",
    PacketType.PUBCOMP: "0001",
    PacketType.SUBSCRIBE: "0001 00 000161 00",
    PacketType.SUBACK: "0001 00 00",
    PacketType.UNSUBSCRIBE: "0001 00 000161",
    PacketType.UNSUBACK: "0001 00 00",
    PacketType.PINGREQ: "",
    PacketType.PINGRESP: "",
    PacketType.DISCONNECT: "",
    PacketType.AUTH: "",
}
OLD_BODIES = BODIES | {
    PacketType.CONNECT: "00044D515454 04 02 003C 0000",
    PacketType.CONNACK: "00 00",
    PacketType.SUBSCRIBE: "0001 000161 00",
    PacketType.SUBACK: "0001 00",
    PacketType.UNSUBSCRIBE: "0001 000161",
    PacketType.UNSUBACK: "0001",
}
FLAGS = {PacketType.PUBREL: 2, PacketType.SUBSCRIBE: 2, PacketType.UNSUBSCRIBE: 2}


@pytest.mark.parametrize("packet_type", BODIES)
def test_fixed_header_flags_of_mqtt_5(packet_type: PacketType) -> None:
    for flags in range(16):
        data = frame(packet_type << 4 | flags, bytes.fromhex(BODIES[packet_type]))
        if flags == FLAGS.get(packet_type, 0):
            assert read_one(data) is not None
        else:
            assert refused(data) == malformed("MQTT-2.1.3-1")
            # The fixed header alone is enough to know.
            assert refused(bytes((data[0], 20))) == malformed("MQTT-2.1.3-1")


@pytest.mark.parametrize("protocol", OLD_VERSIONS)
@pytest.mark.parametrize("packet_type", BODIES)
def test_fixed_header_flags_below_mqtt_5(packet_type: PacketType, protocol: Protocol) -> None:
    for flags in range(16):
        expected = FLAGS.get(packet_type, 0)
        body = bytes.fromhex(OLD_BODIES[packet_type])
        if packet_type is PacketType.CONNECT and protocol is MQTT_3_1:
            body = bytes.fromhex("00064D5149736470 03 02 003C 000161")
        data = frame(packet_type << 4 | flags, body)
        tolerated = {expected, expected | 8} if expected and protocol is MQTT_3_1 else {expected}
        if flags not in tolerated:
            assert refused(data, protocol) == malformed("MQTT-2.2.2-1")
        elif packet_type is PacketType.AUTH:
            assert refused(data, protocol) == malformed("2.2.1")
        else:
            assert read_one(data, protocol) is not None


@pytest.mark.parametrize("protocol", VERSIONS)
def test_fixed_header_flags_of_publish(protocol: Protocol) -> None:
    for dup, qos, retain in itertools.product((0, 1), range(4), (0, 1)):
        properties = b"\0" if protocol is MQTT_5 else b""
        body = text("a") + (b"\0\7" if qos else b"") + properties
        data = frame(0x30 | dup << 3 | qos << 1 | retain, body)
        if qos == 3:
            assert refused(data, protocol) == malformed("MQTT-3.3.1-4")
        elif dup and not qos:
            assert refused(data, protocol) == malformed("MQTT-3.3.1-2")
        else:
            packet = p.Publish("a", b"", qos, bool(retain), bool(dup), 7 if qos else 0)
            assert read_one(data, protocol) == packet


@pytest.mark.parametrize("protocol", VERSIONS)
def test_packet_type_0(protocol: Protocol) -> None:
    for flags in range(16):
        statement = "2.1.2" if protocol is MQTT_5 else "2.2.1"
        assert refused(bytes((flags, 0)), protocol) == malformed(statement)


LENGTHS = [
    ("C0 80 80 80 80 01", "five bytes"),
    ("C0 80 80 80 80", "a fourth byte that says more follow"),
    ("C0 FF FF FF FF 7F", "five bytes, all ones"),
    ("30 80 80 80 80 00 00", "five bytes in PUBLISH"),
]


@pytest.mark.parametrize("data", [row[0] for row in LENGTHS], ids=[row[1] for row in LENGTHS])
def test_remaining_length_of_five_bytes(data: str) -> None:
    assert refused(bytes.fromhex(data)) == malformed("1.5.5")
    for protocol in OLD_VERSIONS:
        assert refused(bytes.fromhex(data), protocol) == malformed("2.2.3")


@pytest.mark.parametrize("length", ["80 00", "80 80 00", "80 80 80 00"])
def test_overlong_remaining_length_is_wrong_in_mqtt_5_only(length: str) -> None:
    data = bytes.fromhex(f"C0 {length}")
    assert refused(data) == malformed("MQTT-1.5.5-1")
    for protocol in OLD_VERSIONS:
        assert read_one(data, protocol) == p.PingReq()


@pytest.mark.parametrize("length", ["82 00", "82 80 00", "82 80 80 00"])
@pytest.mark.parametrize("packet_id", [b"\x01\x01", b"\xff\xff"])
def test_overlong_remaining_length_with_a_body(length: str, packet_id: bytes) -> None:
    data = bytes.fromhex(f"40 {length}") + packet_id
    assert refused(data) == malformed("MQTT-1.5.5-1")
    for protocol in OLD_VERSIONS:
        assert read_one(data, protocol) == p.PubAck(int.from_bytes(packet_id, "big"))


def test_overlong_remaining_length_is_seen_although_the_body_looks_like_more_of_it() -> None:
    assert refused(bytes.fromhex("E0 81 00 80")) == malformed("MQTT-1.5.5-1")


@pytest.mark.parametrize(
    ("first", "body", "refusal"),
    [
        (0x20, "00 00 80 00", malformed("MQTT-1.5.5-1")),
        (0x20, "00 00 80 80 80 80 00", malformed("1.5.5")),
        (0x20, "00 00 FF FF FF 7F", malformed("2.2.2.1")),
        (0x20, "00 00 04 93 00 00 01", malformed("MQTT-1.5.5-1")),  # an overlong identifier
        (0x20, "00 00 05 FF FF FF FF 7F", malformed("1.5.5")),
        (0x30, "000161 80 00", malformed("MQTT-1.5.5-1")),
        (0x30, "000161 80 80 80 80 00", malformed("1.5.5")),
        (0x30, "000161 FF FF FF 7F", malformed("2.2.2.1")),
        (0x30, "000161 03 0B 80 00", malformed("MQTT-1.5.5-1")),
        (0x30, "000161 06 0B 80 80 80 80 01", malformed("1.5.5")),
    ],
)
def test_variable_byte_integers_inside_a_packet(first: int, body: str, refusal: Refusal) -> None:
    assert refused(frame(first, bytes.fromhex(body))) == refusal


BAD_UTF_8 = {
    "U+D800": "EDA080",
    "U+DFFF": "EDBFBF",
    "surrogate pair": "EDA081EDB080",
    "overlong U+0000": "C080",
    "overlong slash": "C0AF",
    "overlong slash in three bytes": "E080AF",
    "above U+10FFFF": "F4908080",
    "continuation byte alone": "80",
    "cut sequence": "E282",
    "FF": "FF",
    "Latin-1": "E4",
}


def strings(protocol: Protocol, raw: bytes) -> dict[str, bytes]:
    """Packets with `raw` in each place where a UTF-8 Encoded String stands."""
    v5 = protocol is MQTT_5
    none = b"\0" if v5 else b""
    head = {
        MQTT_3_1: b"\0\6MQIsdp\3",
        MQTT_3_1_1: b"\0\4MQTT\4",
        MQTT_5: b"\0\4MQTT\5",
    }[protocol]
    found = {
        "Client Identifier": frame(0x10, head + b"\2\0\0" + none + text(raw)),
        "Will Topic": frame(
            0x10, head + b"\6\0\0" + none + text("c") + none + text(raw) + text("")
        ),
        "User Name": frame(0x10, head + b"\x82\0\0" + none + text("c") + text(raw)),
        "Topic Name": frame(0x30, text(raw) + none),
        "SUBSCRIBE": frame(0x82, b"\0\1" + none + text(raw) + b"\0"),
        "UNSUBSCRIBE": frame(0xA2, b"\0\1" + none + text(raw)),
    }
    if v5:
        reason = b"\x1f" + text(raw)
        name, value = b"\x26" + text(raw) + text(""), b"\x26" + text("") + text(raw)
        found |= {
            "Reason String": frame(0x40, b"\0\1\0" + bytes((len(reason),)) + reason),
            "User Property name": frame(0x30, text("t") + bytes((len(name),)) + name),
            "User Property value": frame(0x30, text("t") + bytes((len(value),)) + value),
            "Content Type": frame(0x30, text("t") + bytes((len(raw) + 3,)) + b"\3" + text(raw)),
        }
    return found


@pytest.mark.parametrize("protocol", VERSIONS)
@pytest.mark.parametrize("what", BAD_UTF_8)
def test_ill_formed_utf_8(what: str, protocol: Protocol) -> None:
    raw = bytes.fromhex(BAD_UTF_8[what])
    statement = "MQTT-1.5.4-1" if protocol is MQTT_5 else "MQTT-1.5.3-1"
    for where, data in strings(protocol, raw).items():
        assert refused(data, protocol) == malformed(statement), where


@pytest.mark.parametrize("protocol", VERSIONS)
@pytest.mark.parametrize("raw", [b"\0", b"a\0", b"a\0b"])
def test_null_characters(raw: bytes, protocol: Protocol) -> None:
    statement = "MQTT-1.5.4-2" if protocol is MQTT_5 else "MQTT-1.5.3-2"
    for where, data in strings(protocol, raw).items():
        assert refused(data, protocol) == malformed(statement), where


@pytest.mark.parametrize("protocol", VERSIONS)
@pytest.mark.parametrize(
    "raw", ["\ufeff", "\ufeffa", "a\ufeffb", "a\ufeff", "\uffff", "\U0010ffff"]
)
def test_text_is_kept_as_it_came(raw: str, protocol: Protocol) -> None:
    """U+FEFF is neither skipped nor stripped (MQTT-1.5.4-3, MQTT-1.5.3-3)."""
    for where, data in strings(protocol, raw.encode()).items():
        assert raw in repr_of_strings(read_one(data, protocol)), where


def repr_of_strings(packet: p.Packet) -> set[object]:
    """Every string in a packet."""
    match packet:
        case p.Connect(client_id=client_id, username=username, will=will):
            return {client_id, username, will and will.topic}
        case p.Publish(topic=topic, properties=properties):
            pairs = itertools.chain(*properties.user_properties)
            return {topic, properties.content_type, *pairs}
        case p.PubAck(properties=properties):
            return {properties.reason_string}
        case p.Subscribe(requests=requests):
            return {request.topic_filter for request in requests}
        case p.Unsubscribe(topic_filters=topic_filters):
            return set(topic_filters)
        case _:
            raise TypeError(packet)


CONNECT = b"\0\4MQTT"
WILL_FLAGS = [
    (0x01, "MQTT-3.1.2-3", "MQTT-3.1.2-3"),
    (0x03, "MQTT-3.1.2-3", "MQTT-3.1.2-3"),
    (0x08, "MQTT-3.1.2-11", "MQTT-3.1.2-13"),
    (0x10, "MQTT-3.1.2-11", "MQTT-3.1.2-13"),
    (0x18, "MQTT-3.1.2-11", "MQTT-3.1.2-13"),
    (0x20, "MQTT-3.1.2-13", "MQTT-3.1.2-15"),
    (0x1C, "MQTT-3.1.2-12", "MQTT-3.1.2-14"),
    (0x3E, "MQTT-3.1.2-12", "MQTT-3.1.2-14"),
]


@pytest.mark.parametrize(("flags", "statement", "older"), WILL_FLAGS)
def test_connect_flags(flags: int, statement: str, older: str) -> None:
    rest = text("c") + text("t") + text("p")
    data = frame(0x10, CONNECT + bytes((5, flags, 0, 0, 0)) + b"\0" + rest)
    assert refused(data, None) == malformed(statement)
    data = frame(0x10, CONNECT + bytes((4, flags, 0, 0)) + rest)
    assert refused(data, None) == malformed(older)
    data = frame(0x10, b"\0\6MQIsdp" + bytes((3, flags, 0, 0)) + rest)
    assert refused(data, None) == malformed(older)


def test_every_value_of_the_connect_flags() -> None:
    """Each is refused or gives back exactly what it said; password alone is MQTT 5's."""
    for protocol, flags in itertools.product((MQTT_3_1_1, MQTT_5), range(256)):
        none = b"\0" if protocol is MQTT_5 else b""
        body = CONNECT + bytes((protocol, flags, 0, 60)) + none + text("c")
        body += none + text("t") + text("p") if flags & 4 else b""
        body += text("u") if flags & 0x80 else b""
        body += text("pw") if flags & 0x40 else b""
        data = frame(0x10, body)
        bad_will = flags & 0x18 == 0x18 if flags & 4 else flags & 0x38
        password_alone = flags & 0xC0 == 0x40
        if flags & 1 or bad_will:
            assert refused(data, None).malformed
        elif password_alone and protocol is MQTT_3_1_1:
            assert refused(data, None) == malformed("MQTT-3.1.2-22")
        else:
            will = p.WillMessage("t", b"p", flags >> 3 & 3, bool(flags & 32)) if flags & 4 else None
            packet = p.Connect(
                "c",
                bool(flags & 2),
                60,
                "u" if flags & 0x80 else None,
                b"pw" if flags & 0x40 else None,
                will,
            )
            assert read_one(data, None) == packet
            assert p.encode(packet, protocol) == data


@pytest.mark.parametrize(
    ("prefix", "statement"),
    [
        (b"\0\4MQTT\3", "MQTT-3.1.2-2"),
        (b"\0\4MQTT\6", "MQTT-3.1.2-2"),
        (b"\0\4MQTT\0", "MQTT-3.1.2-2"),
        (b"\0\4MQTT\x84", "MQTT-3.1.2-2"),
        (b"\0\4MQTT\xff", "MQTT-3.1.2-2"),
        (b"\0\4mqtt\5", "MQTT-3.1.2-1"),
        (b"\0\4MQXX\5", "MQTT-3.1.2-1"),
        (b"\0\6MQIsdp\4", "MQTT-3.1.2-1"),
        (b"\0\6MQIsdp\5", "MQTT-3.1.2-1"),
        (b"\0\0\5", "MQTT-3.1.2-1"),
        (b"\0\5MQTT\0\5", "MQTT-3.1.2-1"),
        (b"\0\4\xff\xff\xff\xff\5", "MQTT-3.1.2-1"),
    ],
)
def test_unknown_versions(prefix: bytes, statement: str) -> None:
    data = frame(0x10, prefix + b"\2\0\0\0\0\0")
    for protocol in (None, *VERSIONS):
        assert refused(data, protocol) == forbidden(statement, UNSUPPORTED)


@pytest.mark.parametrize(
    ("protocol", "client_id", "flags", "refusal"),
    [
        (MQTT_3_1_1, "", 0, forbidden("MQTT-3.1.3-8", CLIENT_ID_NOT_VALID)),
        (MQTT_3_1, "", 0, forbidden(None, CLIENT_ID_NOT_VALID)),
        (MQTT_3_1, "", 2, forbidden(None, CLIENT_ID_NOT_VALID)),
        (MQTT_3_1, "c" * 24, 2, forbidden(None, CLIENT_ID_NOT_VALID)),
    ],
)
def test_client_identifiers(
    protocol: Protocol, client_id: str, flags: int, refusal: Refusal
) -> None:
    name = "MQIsdp" if protocol is MQTT_3_1 else "MQTT"
    data = frame(0x10, text(name) + bytes((protocol, flags, 0, 0)) + text(client_id))
    assert refused(data, None) == refusal


def test_client_identifiers_at_the_limit() -> None:
    for protocol, client_id, flags in (
        (MQTT_3_1_1, "", 2),
        (MQTT_3_1_1, "c" * 24, 0),
        (MQTT_3_1, "c" * 23, 0),
        (MQTT_3_1, "\u20ac" * 23, 0),  # characters count, not bytes
        (MQTT_5, "", 0),
    ):
        name = "MQIsdp" if protocol is MQTT_3_1 else "MQTT"
        none = b"\0" if protocol is MQTT_5 else b""
        body = text(name) + bytes((protocol, flags, 0, 0)) + none + text(client_id)
        packet = p.Connect(client_id, bool(flags), 0)
        assert read_one(frame(0x10, body), None) == packet
        assert p.encode(packet, protocol) == frame(0x10, body)
