"""Packets beside their bytes, written out by hand from the standards, checked both ways."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.packets.support import OLD_VERSIONS, frame, length_bytes, read_all, read_one, text
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_3_1, MQTT_3_1_1, MQTT_5, Protocol, QoS, ReasonCode, RetainHandling

if TYPE_CHECKING:
    Row = tuple[p.Packet, str]

R = ReasonCode
P = p.Properties
REQUEST = p.SubscriptionRequest

MQTT_5_ROWS: list[Row] = [
    # CONNECT: name, version, flags, Keep Alive, properties, payload
    (p.Connect("", keep_alive=0), "10 0D 00044D515454 05 02 0000 00 0000"),
    (p.Connect("c", clean_start=False), "10 0E 00044D515454 05 00 003C 00 0001 63"),
    (p.Connect("c", keep_alive=65535), "10 0E 00044D515454 05 02 FFFF 00 0001 63"),
    (
        p.Connect("c", username="us", password=b"\x00\xff"),
        "10 16 00044D515454 05 C2 003C 00 0001 63 0002 7573 0002 00FF",
    ),
    (p.Connect("c", username=""), "10 10 00044D515454 05 82 003C 00 0001 63 0000"),
    (p.Connect("c", password=b""), "10 10 00044D515454 05 42 003C 00 0001 63 0000"),
    (
        p.Connect("c", will=p.WillMessage("w")),
        "10 14 00044D515454 05 06 003C 00 0001 63 00 0001 77 0000",
    ),
    (
        p.Connect("c", will=p.WillMessage("w", b"bye", QoS.AT_LEAST_ONCE, retain=True)),
        "10 17 00044D515454 05 2E 003C 00 0001 63 00 0001 77 0003 627965",
    ),
    (
        p.Connect(
            "c",
            clean_start=False,
            username="u",
            password=b"p",
            will=p.WillMessage(
                "w", b"!", QoS.EXACTLY_ONCE, properties=P(will_delay_interval=5, content_type="t")
            ),
            properties=P(session_expiry_interval=0xFFFFFFFF, receive_maximum=10),
        ),
        (
            "10 2C 00044D515454 05 D4 003C 08 11 FFFFFFFF 21 000A 0001 63"
            "09 03 0001 74 18 00000005 0001 77 0001 21 0001 75 0001 70"
        ),
    ),
    # CONNACK: flags, code, properties
    (p.ConnAck(), "20 03 00 00 00"),
    (p.ConnAck(session_present=True), "20 03 01 00 00"),
    (p.ConnAck(reason_code=R.NOT_AUTHORIZED), "20 03 00 87 00"),
    (
        p.ConnAck(properties=P(receive_maximum=5, maximum_qos=1, assigned_client_identifier="x")),
        "20 0C 00 00 09 12 0001 78 21 0005 24 01",
    ),
    # PUBLISH: Topic Name, [Packet Identifier], properties, payload
    (p.Publish("a/b"), "30 06 0003 612F62 00"),
    (p.Publish("a/b", b"hi", retain=True), "31 08 0003 612F62 00 6869"),
    (p.Publish("a", b"\x00", 1, packet_id=10), "32 07 0001 61 000A 00 00"),
    (p.Publish("a", b"x", 1, dup=True, packet_id=0xABCD), "3A 07 0001 61 ABCD 00 78"),
    (p.Publish("a", b"", 2, retain=True, dup=True, packet_id=65535), "3D 06 0001 61 FFFF 00"),
    (p.Publish("a", b"", 2, packet_id=1), "34 06 0001 61 0001 00"),
    (p.Publish("", b"x", properties=P(topic_alias=3)), "30 07 0000 03 23 0003 78"),
    (
        p.Publish("\u20ac", b"", properties=P(subscription_identifiers=(1, 128, 268435455))),
        "30 10 0003 E282AC 0A 0B 01 0B 8001 0B FFFFFF7F",
    ),
    (
        p.Publish("t", b"", properties=P(user_properties=(("b", "1"), ("a", "2"), ("b", "1")))),
        "30 19 0001 74 15 26 0001 62 0001 31 26 0001 61 0001 32 26 0001 62 0001 31",
    ),
    # The acknowledgements of PUBLISH
    (p.PubAck(1), "40 02 0001"),
    (p.PubAck(65535, R.NO_MATCHING_SUBSCRIBERS), "40 04 FFFF 10 00"),
    (p.PubAck(1, R.SUCCESS, P(reason_string="ok")), "40 09 0001 00 05 1F 0002 6F6B"),
    (p.PubAck(2, R.QUOTA_EXCEEDED, P(reason_string="!")), "40 08 0002 97 04 1F 0001 21"),
    (p.PubRec(258), "50 02 0102"),
    (p.PubRec(1, R.PACKET_IDENTIFIER_IN_USE), "50 04 0001 91 00"),
    (p.PubRec(1, R.SUCCESS, P(user_properties=(("", ""),))), "50 09 0001 00 05 26 0000 0000"),
    (p.PubRel(1), "62 02 0001"),
    (p.PubRel(1, R.PACKET_IDENTIFIER_NOT_FOUND), "62 04 0001 92 00"),
    (p.PubComp(1), "70 02 0001"),
    (p.PubComp(1, R.PACKET_IDENTIFIER_NOT_FOUND), "70 04 0001 92 00"),
    # SUBSCRIBE: Packet Identifier, properties, (Topic Filter, options)+
    (p.Subscribe(1, (REQUEST("a"),)), "82 07 0001 00 0001 61 00"),
    (
        p.Subscribe(
            10,
            (
                REQUEST("a/#", QoS.EXACTLY_ONCE),
                REQUEST(
                    "+",
                    QoS.AT_LEAST_ONCE,
                    no_local=True,
                    retain_as_published=True,
                    retain_handling=RetainHandling.DO_NOT_SEND,
                ),
                REQUEST("$share/g/a", retain_handling=RetainHandling.SEND_IF_NEW),
            ),
            P(subscription_identifiers=(200,)),
        ),
        "82 1D 000A 03 0B C801 0003 612F23 02 0001 2B 2D 000A 2473686172652F672F61 10",
    ),
    (
        p.Subscribe(1, (REQUEST("a", no_local=True), REQUEST("a", retain_as_published=True))),
        "82 0B 0001 00 0001 61 04 0001 61 08",
    ),
    (p.SubAck(10, (R.GRANTED_QOS_2,)), "90 04 000A 00 02"),
    (
        p.SubAck(10, (R.GRANTED_QOS_0, R.GRANTED_QOS_1, R.NOT_AUTHORIZED), P(reason_string="n")),
        "90 0A 000A 04 1F 0001 6E 00 01 87",
    ),
    (p.Unsubscribe(7, ("a", "b/+")), "A2 0B 0007 00 0001 61 0003 622F2B"),
    (
        p.Unsubscribe(7, ("#",), P(user_properties=(("k", "v"),))),
        "A2 0D 0007 07 26 0001 6B 0001 76 0001 23",
    ),
    (p.UnsubAck(7, (R.SUCCESS, R.NO_SUBSCRIPTION_EXISTED)), "B0 05 0007 00 00 11"),
    (p.UnsubAck(7, (R.SUCCESS,), P(reason_string="")), "B0 07 0007 03 1F 0000 00"),
    (p.PingReq(), "C0 00"),
    (p.PingResp(), "D0 00"),
    (p.Disconnect(), "E0 00"),
    (p.Disconnect(R.DISCONNECT_WITH_WILL_MESSAGE), "E0 02 04 00"),
    (p.Disconnect(properties=P(session_expiry_interval=0)), "E0 07 00 05 11 00000000"),
    (p.Disconnect(R.SERVER_MOVED, P(server_reference="h")), "E0 06 9D 04 1C 0001 68"),
    (
        p.Auth(
            R.CONTINUE_AUTHENTICATION, P(authentication_method="m", authentication_data=b"\xff")
        ),
        "F0 0A 18 08 15 0001 6D 16 0001 FF",
    ),
    (p.Auth(properties=P(authentication_method="")), "F0 05 00 03 15 0000"),
]

MQTT_3_1_1_ROWS: list[Row] = [
    (p.Connect(""), "10 0C 00044D515454 04 02 003C 0000"),
    (p.Connect("c", clean_start=False), "10 0D 00044D515454 04 00 003C 0001 63"),
    (
        p.Connect(
            "c",
            keep_alive=10,
            username="u",
            password=b"pw",
            will=p.WillMessage("w", b"", QoS.EXACTLY_ONCE, retain=True),
        ),
        "10 19 00044D515454 04 F6 000A 0001 63 0001 77 0000 0001 75 0002 7077",
    ),
    (p.Connect("c", username="u"), "10 10 00044D515454 04 82 003C 0001 63 0001 75"),
    (p.ConnAck(), "20 02 00 00"),
    (p.ConnAck(session_present=True), "20 02 01 00"),
    (p.ConnAck(reason_code=R.BAD_USER_NAME_OR_PASSWORD), "20 02 00 04"),
]

MQTT_3_1_ROWS: list[Row] = [
    (p.Connect("c"), "10 0F 00064D5149736470 03 02 003C 0001 63"),
    (
        p.Connect("c", clean_start=False, username="u", password=b"p"),
        "10 15 00064D5149736470 03 C0 003C 0001 63 0001 75 0001 70",
    ),
    (
        p.Connect("c", will=p.WillMessage("w", b"gone", QoS.AT_LEAST_ONCE)),
        "10 18 00064D5149736470 03 0E 003C 0001 63 0001 77 0004 676F6E65",
    ),
    (p.ConnAck(), "20 02 00 00"),
    (p.ConnAck(reason_code=R.SERVER_UNAVAILABLE), "20 02 00 03"),
]

OLD_ROWS: list[Row] = [
    (p.Publish("a/b"), "30 05 0003 612F62"),
    (p.Publish("a", b"\x00", 1, packet_id=10), "32 06 0001 61 000A 00"),
    (p.Publish("a", b"x", 2, retain=True, dup=True, packet_id=65535), "3D 06 0001 61 FFFF 78"),
    (p.PubAck(1), "40 02 0001"),
    (p.PubRec(258), "50 02 0102"),
    (p.PubRel(65535), "62 02 FFFF"),
    (p.PubComp(1), "70 02 0001"),
    (p.Subscribe(1, (REQUEST("a"),)), "82 06 0001 0001 61 00"),
    (p.Subscribe(1, (REQUEST("a", 1), REQUEST("b/#", 2))), "82 0C 0001 0001 61 01 0003 622F23 02"),
    (p.SubAck(1, (R.GRANTED_QOS_1, R.UNSPECIFIED_ERROR)), "90 04 0001 01 80"),
    (p.Unsubscribe(1, ("a", "+")), "A2 08 0001 0001 61 0001 2B"),
    (p.UnsubAck(300), "B0 02 012C"),
    (p.PingReq(), "C0 00"),
    (p.PingResp(), "D0 00"),
    (p.Disconnect(), "E0 00"),
]

ROWS: dict[Protocol, list[Row]] = {
    MQTT_5: MQTT_5_ROWS,
    MQTT_3_1_1: MQTT_3_1_1_ROWS + OLD_ROWS,
    MQTT_3_1: MQTT_3_1_ROWS + OLD_ROWS,
}
CASES = [
    pytest.param(protocol, *row, id=f"{protocol.title}: {type(row[0]).__name__} {row[1][:30]}")
    for protocol, rows in ROWS.items()
    for row in rows
]


@pytest.mark.parametrize(("protocol", "packet", "data"), CASES)
def test_a_packet_and_its_bytes(protocol: Protocol, packet: p.Packet, data: str) -> None:
    assert p.encode(packet, protocol).hex() == bytes.fromhex(data).hex()
    assert read_one(bytes.fromhex(data), protocol) == packet


@pytest.mark.parametrize("protocol", ROWS)
def test_the_rows_show_every_packet_type(protocol: Protocol) -> None:
    shown = {type(packet) for packet, _ in ROWS[protocol]}
    assert len(shown) == (15 if protocol is MQTT_5 else 14)


@pytest.mark.parametrize("protocol", ROWS)
def test_all_rows_in_one_stream(protocol: Protocol) -> None:
    rows = ROWS[protocol]
    data = b"".join(bytes.fromhex(row[1]) for row in rows)
    assert read_all(data, protocol) == [row[0] for row in rows]


SHORT_FORMS: list[Row] = [
    (p.PubAck(5), "40 02 0005"),
    (p.PubAck(5), "40 03 0005 00"),
    (p.PubAck(5), "40 04 0005 00 00"),
    (p.PubAck(5, R.NOT_AUTHORIZED), "40 03 0005 87"),
    (p.PubRec(5), "50 02 0005"),
    (p.PubRec(5), "50 03 0005 00"),
    (p.PubRec(5), "50 04 0005 00 00"),
    (p.PubRec(5, R.NOT_AUTHORIZED), "50 03 0005 87"),
    (p.PubRel(5), "62 02 0005"),
    (p.PubRel(5), "62 03 0005 00"),
    (p.PubRel(5), "62 04 0005 00 00"),
    (p.PubRel(5, R.PACKET_IDENTIFIER_NOT_FOUND), "62 03 0005 92"),
    (p.PubComp(5), "70 02 0005"),
    (p.PubComp(5), "70 03 0005 00"),
    (p.PubComp(5), "70 04 0005 00 00"),
    (p.PubComp(5, R.PACKET_IDENTIFIER_NOT_FOUND), "70 03 0005 92"),
    (p.Disconnect(), "E0 00"),
    (p.Disconnect(), "E0 01 00"),
    (p.Disconnect(), "E0 02 00 00"),
    (p.Disconnect(R.SESSION_TAKEN_OVER), "E0 01 8E"),
    (p.Disconnect(R.SESSION_TAKEN_OVER), "E0 02 8E 00"),
    (p.Auth(), "F0 00"),
]


@pytest.mark.parametrize(("packet", "data"), SHORT_FORMS)
def test_what_may_be_left_out_in_mqtt_5(packet: p.Packet, data: str) -> None:
    """3.4.2.1, 3.4.2.2.1 and their like; 3.14.2.1; 3.15.2.1."""
    assert read_one(bytes.fromhex(data)) == packet


@pytest.mark.parametrize(("size", "length"), [
    (127 - 3, "7F"), (128 - 3, "8001"), (16383 - 3, "FF7F"), (16384 - 3, "808001"),
    (2097151 - 3, "FFFF7F"), (2097152 - 3, "80808001"),
])  # fmt: skip
def test_each_size_of_the_remaining_length(size: int, length: str) -> None:
    for protocol in OLD_VERSIONS:
        packet = p.Publish("a", bytes(size))
        data = bytes.fromhex(f"30 {length} 0001 61") + bytes(size)
        assert p.encode(packet, protocol) == data
        assert read_one(data, protocol) == packet


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16382, 16383, 65535])
def test_each_size_of_the_property_length(size: int) -> None:
    packet = p.Publish("a", b"payload", properties=P(correlation_data=bytes(size)))
    block = b"\x09" + text(bytes(size))
    data = frame(0x30, text("a") + length_bytes(len(block)) + block + b"payload")
    assert p.encode(packet, MQTT_5) == data
    assert read_one(data) == packet


def test_strings_of_the_largest_size() -> None:
    longest = "\u20ac" * 21845
    assert len(longest.encode()) == 65535
    for packet in (
        p.Publish(longest),
        p.Connect(longest, username=longest, password=bytes(65535)),
        p.Subscribe(1, (REQUEST(longest),)),
        p.PubAck(1, properties=P(reason_string=longest, user_properties=((longest, longest),))),
    ):
        assert read_one(p.encode(packet, MQTT_5)) == packet


def test_values_are_members_of_the_enums() -> None:
    """So that what is printed has names; comparing them with numbers works all the same."""
    published = read_one(bytes.fromhex("32 06 0001 61 0001 00"))
    assert isinstance(published, p.Publish)
    assert published.qos is QoS.AT_LEAST_ONCE
    acknowledged = read_one(bytes.fromhex("40 03 0001 87"))
    assert isinstance(acknowledged, p.PubAck)
    assert acknowledged.reason_code is R.NOT_AUTHORIZED
    subscribed = read_one(bytes.fromhex("82 07 0001 00 0001 61 12"))
    assert isinstance(subscribed, p.Subscribe)
    assert subscribed.requests[0].qos is QoS.EXACTLY_ONCE
    assert subscribed.requests[0].retain_handling is RetainHandling.SEND_IF_NEW


def test_bytes_like_payloads_are_written() -> None:
    for payload, protocol in itertools.product(
        (b"abc", bytearray(b"abc"), memoryview(b"abc")), ROWS
    ):
        # What a program hands over may be any of these; what comes back is bytes.
        packet = p.Publish("t", payload)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        assert read_one(p.encode(packet, protocol), protocol) == p.Publish("t", b"abc")


def test_a_session_is_not_reported_in_mqtt_3_1() -> None:
    """Its CONNACK has no Session Present; the byte is not used, whatever stands there."""
    assert p.encode(p.ConnAck(session_present=True), MQTT_3_1) == bytes.fromhex("20 02 00 00")
    assert read_one(bytes.fromhex("20 02 FF 00"), MQTT_3_1) == p.ConnAck()
