"""Data types (1.5) and the structure of a packet (2)."""

from __future__ import annotations

from typing import Final

import pytest

from tests.ledger.support import by_version
from tests.packets.support import (
    encode_refused,
    frame,
    length_bytes,
    malformed,
    read_one,
    refused,
    text,
)
from tests.protocol.support import Wire, publish, subscribe, unsubscribe
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, Protocol, ReasonCode

SURROGATES: Final = ("\ud800", "\udfff", "a\ud83d\ude00")
ILL_FORMED: Final = ("EDA080", "EDBFBF", "C0AF", "F4908080", "FF", "E282")
QOS_0: Final = ReasonCode.GRANTED_QOS_0


def publish_to(raw: bytes, protocol: Protocol) -> bytes:
    return frame(0x30, text(raw) + (b"\0" if protocol is MQTT_5 else b""))


@by_version("MQTT-1.5.4-1", "MQTT-1.5.3-1")
def test_ill_formed_utf_8_is_not_sent(protocol: Protocol) -> None:
    for topic in SURROGATES:
        statement = encode_refused(p.Publish(topic), protocol)
        assert statement == ("MQTT-1.5.4-1" if protocol is MQTT_5 else "MQTT-1.5.3-1")
        assert encode_refused(p.Connect("c", username=topic), protocol) == statement


@by_version("U-1.5.4-1", "MQTT-1.5.3-1")
def test_ill_formed_utf_8_is_not_taken(protocol: Protocol) -> None:
    for raw in ILL_FORMED:
        outcome = refused(publish_to(bytes.fromhex(raw), protocol), protocol)
        assert outcome.malformed, raw


@by_version("MQTT-1.5.4-2", "MQTT-1.5.3-2")
def test_the_null_character_is_not_sent(protocol: Protocol) -> None:
    for name in ("\0", "a\0b"):
        statement = encode_refused(p.Connect("c", username=name), protocol)
        assert statement == ("MQTT-1.5.4-2" if protocol is MQTT_5 else "MQTT-1.5.3-2")


@by_version("U-1.5.4-2", "MQTT-1.5.3-2")
def test_the_null_character_is_not_taken(protocol: Protocol) -> None:
    for raw in (b"\0", b"a\0b"):
        assert refused(publish_to(raw, protocol), protocol).malformed


@by_version("MQTT-1.5.4-3", "MQTT-1.5.3-3")
def test_a_byte_order_mark_is_a_character_like_others(protocol: Protocol) -> None:
    for raw in (b"\xef\xbb\xbf", b"\xef\xbb\xbfa", b"a\xef\xbb\xbf"):
        packet = p.Publish(raw.decode())
        assert packet.topic[0] == "\ufeff" or packet.topic[-1] == "\ufeff"
        assert read_one(publish_to(raw, protocol), protocol) == packet
        assert p.encode(packet, protocol) == publish_to(raw, protocol)


@by_version("U-1.5.4-4", "U-1.5.3-2")
def test_control_characters_are_taken_as_they_come(protocol: Protocol) -> None:
    """A receiver may refuse them; this one leaves that to the program."""
    for character in ("\x01", "\x1f", "\x7f", "\x9f", "\ufffe", "\U0001ffff"):
        packet = read_one(publish_to(character.encode(), protocol), protocol)
        assert packet == p.Publish(character)


@pytest.mark.statement("MQTT-1.5.5-1")
def test_a_variable_byte_integer_takes_as_few_bytes_as_it_can() -> None:
    for value, shortest in ((1, "01"), (127, "7F"), (128, "8001"), (16383, "FF7F")):
        packet = p.Publish("t", properties=p.Properties(subscription_identifiers=(value,)))
        block = b"\x0b" + bytes.fromhex(shortest)
        data = frame(0x30, text("t") + length_bytes(len(block)) + block)
        assert p.encode(packet, MQTT_5) == data
        assert read_one(data) == packet
    for overlong in ("30 05 0001 74 80 00", "30 07 0001 74 03 0B 81 00", "C0 80 00"):
        assert refused(bytes.fromhex(overlong)) == malformed("MQTT-1.5.5-1")


@pytest.mark.statement("MQTT-1.5.7-1")
@pytest.mark.parametrize("pair", [("\ud800", "v"), ("n", "\ud800"), ("\0", "v"), ("n", "\0")])
def test_both_strings_of_a_pair_that_is_sent_are_well_formed(pair: tuple[str, str]) -> None:
    properties = p.Properties(user_properties=(("fine", "fine"), pair))
    assert encode_refused(p.Publish("t", properties=properties)) in {"MQTT-1.5.4-1", "MQTT-1.5.4-2"}


@pytest.mark.statement("U-1.5.7-1")
@pytest.mark.parametrize("raw", [b"\xff", b"\xed\xa0\x80", b"\0"])
@pytest.mark.parametrize("first", [True, False])
def test_both_strings_of_a_pair_that_comes_are_well_formed(raw: bytes, *, first: bool) -> None:
    pair = text(raw) + text("v") if first else text("n") + text(raw)
    block = b"\x26" + pair
    assert refused(frame(0x30, text("t") + length_bytes(len(block)) + block)).malformed


@pytest.mark.statement("311:U-2.2.3-1")
def test_the_remaining_length_takes_four_bytes_at_most() -> None:
    assert refused(bytes.fromhex("C0 80 80 80 80 01"), MQTT_3_1_1) == malformed("2.2.3")


FLAGS: Final[dict[type, int]] = {p.PubRel: 2, p.Subscribe: 2, p.Unsubscribe: 2}
SENT: Final[list[p.Packet]] = [
    p.Connect("c"),
    p.PubAck(1),
    p.PubRec(1),
    p.PubRel(1),
    p.PubComp(1),
    p.Subscribe(1, (p.SubscriptionRequest("t"),)),
    p.Unsubscribe(1, ("t",)),
    p.PingReq(),
    p.Disconnect(),
]


@by_version("MQTT-2.1.3-1", "MQTT-2.2.2-1")
def test_reserved_flags_are_sent_as_the_table_says(protocol: Protocol) -> None:
    for packet in SENT:
        assert p.encode(packet, protocol)[0] & 0x0F == FLAGS.get(type(packet), 0), packet


@by_version("U-2.1.3-1", "MQTT-2.2.2-2")
def test_other_flags_are_refused(protocol: Protocol) -> None:
    for packet in SENT:
        data = bytearray(p.encode(packet, protocol))
        for bit in (1, 2, 4, 8):
            data[0] ^= bit
            assert refused(bytes(data), protocol).malformed, packet
            data[0] ^= bit


@by_version("MQTT-2.2.1-2", "MQTT-2.3.1-5")
def test_qos_0_has_no_packet_identifier(protocol: Protocol) -> None:
    packet = p.Publish("t", b"payload")
    properties = b"\0" if protocol is MQTT_5 else b""
    assert p.encode(packet, protocol) == frame(0x30, text("t") + properties + b"payload")
    packet.packet_id = 7
    assert encode_refused(packet, protocol) is not None


@by_version("MQTT-2.2.1-3", "MQTT-2.3.1-1 MQTT-2.3.1-2")
def test_new_packets_get_identifiers_that_nobody_uses(protocol: Protocol) -> None:
    wire = Wire(protocol)
    assert wire.publish(1).packet_id == 1
    wire.session.identifiers.last = 65534  # near the end of the numbers
    used = [wire.publish(1).packet_id, wire.publish(2).packet_id]
    used += [
        wire.request(subscribe()).packet.packet_id,
        wire.request(unsubscribe()).packet.packet_id,
    ]
    assert used == [65535, 2, 3, 4]  # 1 is in use, and 0 is none
    assert [getattr(each, "packet_id", None) for each in wire.sent()] == [1, *used]


@pytest.mark.statement("U-2.2.1-4", "U-2.2.1-5")
def test_one_set_of_identifiers_for_all_that_is_sent() -> None:
    wire = Wire()
    used = {wire.publish(1).packet_id, wire.request(subscribe()).packet.packet_id}
    used |= {wire.publish(2).packet_id, wire.request(unsubscribe()).packet.packet_id}
    assert len(used) == 4
    # That of the Server is another set.
    assert [each.packet_id for each in wire.receive(*(publish(each) for each in used))] == [*used]


@pytest.mark.statement("U-2.2.1-1", "U-2.2.1-2")
@pytest.mark.parametrize(
    ("qos", "answers"),
    [
        (1, [p.PubAck(1)]),
        (1, [p.PubAck(1, ReasonCode.QUOTA_EXCEEDED)]),
        (2, [p.PubRec(1), p.PubComp(1)]),
        (2, [p.PubRec(1, ReasonCode.QUOTA_EXCEEDED)]),
    ],
)
def test_an_identifier_is_free_after_the_last_answer(qos: int, answers: list[p.Packet]) -> None:
    wire = Wire()
    message = wire.publish(qos)
    identifiers = wire.session.identifiers
    for answer in answers:
        assert identifiers.holder(1) is message
        wire.feed(answer)
    assert identifiers.holder(1) is None


@by_version("U-2.2.1-3", "MQTT-2.3.1-3")
def test_the_identifier_of_a_request_is_free_after_its_answer(protocol: Protocol) -> None:
    wire = Wire(protocol)
    wire.request(subscribe())
    wire.request(unsubscribe())
    held = [wire.session.identifiers.holder(each) is not None for each in (1, 2)]
    wire.feed(p.SubAck(1, (QOS_0,)))
    wire.feed(p.UnsubAck(2, (ReasonCode.SUCCESS,) if protocol is MQTT_5 else ()))
    assert held == [True, True]
    assert len(wire.session.identifiers) == 0


@by_version("MQTT-2.2.1-5", "MQTT-2.3.1-6")
def test_acknowledgements_have_the_identifier_of_the_publish(protocol: Protocol) -> None:
    wire = Wire(protocol)
    one, two = wire.receive(publish(700, 1), publish(900, 2))
    wire.connection.receiver.settle(two)
    wire.connection.receiver.settle(one)
    wire.feed(p.PubRel(900))
    assert sorted(wire.sent(), key=str) == [p.PubAck(700), p.PubComp(900), p.PubRec(900)]
    wire.session.identifiers.last = 299
    assert wire.publish(2).packet_id == 300
    wire.sent()
    wire.feed(p.PubRec(300))
    assert wire.sent() == [p.PubRel(300)]


@by_version("MQTT-2.2.1-4", "MQTT-2.3.1-4")
def test_the_server_uses_no_identifier_0(protocol: Protocol) -> None:
    properties = b"\0" if protocol is MQTT_5 else b""
    for qos in (1, 2):
        data = frame(0x30 | qos << 1, text("t") + b"\0\0" + properties)
        assert refused(data, protocol).reason_code is ReasonCode.PROTOCOL_ERROR


@by_version("MQTT-2.2.1-6", "MQTT-2.3.1-7")
def test_an_answer_has_the_identifier_of_its_request(protocol: Protocol) -> None:
    wire = Wire(protocol)
    wire.publish(1)
    first, second = wire.request(subscribe()), wire.request(subscribe())
    assert wire.feed(p.SubAck(3, (QOS_0,))) == [second]
    assert first.answer is None
    error = wire.refuses(p.SubAck(1, (QOS_0,)))
    assert error.statement == ("MQTT-2.2.1-6" if protocol is MQTT_5 else "MQTT-2.3.1-7")


@pytest.mark.statement("MQTT-2.2.2-1")
@pytest.mark.parametrize(
    ("packet", "data"),
    [
        (p.Connect("c"), "10 0E 00044D515454 05 02 003C 00 0001 63"),
        (
            p.Connect("c", will=p.WillMessage("w")),
            "10 14 00044D515454 05 06 003C 00 0001 6300 0001 77 0000",
        ),
        (p.Publish("t", b"p"), "30 05 0001 74 00 70"),
        (p.PubAck(1, ReasonCode.QUOTA_EXCEEDED), "40 04 0001 97 00"),
        (p.Subscribe(1, (p.SubscriptionRequest("a"),)), "82 07 0001 00 0001 61 00"),
        (p.Unsubscribe(1, ("a",)), "A2 06 0001 00 0001 61"),
        (p.Disconnect(ReasonCode.DISCONNECT_WITH_WILL_MESSAGE), "E0 02 04 00"),
    ],
)
def test_no_properties_are_a_length_of_0(packet: p.Packet, data: str) -> None:
    assert p.encode(packet, MQTT_5).hex() == bytes.fromhex(data).hex()


@pytest.mark.statement("U-2.2.2.2-1", "U-2.2.2.2-2")
@pytest.mark.parametrize(
    "block",
    ["18 00000001", "12 0001 63", "7F 00", "23 01", "01"],
    ids=["of the Will", "of CONNACK", "of none", "one byte of two", "none of one"],
)
def test_a_property_in_the_wrong_place_or_of_the_wrong_type(block: str) -> None:
    properties = bytes.fromhex(block)
    data = frame(0x30, text("t") + length_bytes(len(properties)) + properties)
    outcome = refused(data)
    assert outcome.malformed
    assert outcome.reason_code is ReasonCode.MALFORMED_PACKET
