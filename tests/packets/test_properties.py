"""The 27 properties: their bytes, their places, their repetition and their values.

The table below was written from the standard (2.2.2.2), not from ours: identifier, attribute, a
value and its bytes, and the packets that may carry it, `W` for the Will Properties.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import pytest

from tests.packets.support import (
    OLD_VERSIONS,
    Refusal,
    encode_refused,
    forbidden,
    frame,
    length_bytes,
    malformed,
    read_one,
    refused,
    text,
)
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_5, Protocol, ReasonCode

if TYPE_CHECKING:
    from collections.abc import Callable


class Row(NamedTuple):
    identifier: int
    name: str
    value: Any
    data: str
    places: str


ACKNOWLEDGEMENTS = "PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK"
ANYWHERE = f"CONNECT CONNACK PUBLISH W {ACKNOWLEDGEMENTS} SUBSCRIBE UNSUBSCRIBE DISCONNECT AUTH"
ROWS = [
    Row(0x01, "payload_format_indicator", 1, "01", "PUBLISH W"),
    Row(0x02, "message_expiry_interval", 0x01020304, "01020304", "PUBLISH W"),
    Row(0x03, "content_type", "t\u00e9", "0003 74C3A9", "PUBLISH W"),
    Row(0x08, "response_topic", "a/b", "0003 612F62", "PUBLISH W"),
    Row(0x09, "correlation_data", b"\x00\xff", "0002 00FF", "PUBLISH W"),
    Row(0x0B, "subscription_identifiers", (300,), "AC02", "PUBLISH SUBSCRIBE"),
    Row(0x11, "session_expiry_interval", 2**32 - 1, "FFFFFFFF", "CONNECT CONNACK DISCONNECT"),
    Row(0x12, "assigned_client_identifier", "id", "0002 6964", "CONNACK"),
    Row(0x13, "server_keep_alive", 0, "0000", "CONNACK"),
    Row(0x15, "authentication_method", "m", "0001 6D", "CONNECT CONNACK AUTH"),
    Row(0x16, "authentication_data", b"", "0000", "CONNECT CONNACK AUTH"),
    Row(0x17, "request_problem_information", 0, "00", "CONNECT"),
    Row(0x18, "will_delay_interval", 1, "00000001", "W"),
    Row(0x19, "request_response_information", 1, "01", "CONNECT"),
    Row(0x1A, "response_information", "r", "0001 72", "CONNACK"),
    Row(0x1C, "server_reference", "h:1", "0003 683A31", "CONNACK DISCONNECT"),
    Row(0x1F, "reason_string", "no", "0002 6E6F", f"CONNACK {ACKNOWLEDGEMENTS} DISCONNECT AUTH"),
    Row(0x21, "receive_maximum", 1, "0001", "CONNECT CONNACK"),
    Row(0x22, "topic_alias_maximum", 0, "0000", "CONNECT CONNACK"),
    Row(0x23, "topic_alias", 65535, "FFFF", "PUBLISH"),
    Row(0x24, "maximum_qos", 0, "00", "CONNACK"),
    Row(0x25, "retain_available", 1, "01", "CONNACK"),
    Row(0x26, "user_properties", (("k", "v"),), "0001 6B 0001 76", ANYWHERE),
    Row(0x27, "maximum_packet_size", 2**32 - 1, "FFFFFFFF", "CONNECT CONNACK"),
    Row(0x28, "wildcard_subscription_available", 0, "00", "CONNACK"),
    Row(0x29, "subscription_identifier_available", 1, "01", "CONNACK"),
    Row(0x2A, "shared_subscription_available", 0, "00", "CONNACK"),
]

# Each place as the packet around its properties, and its bytes before and behind the length and
# the properties.
REQUEST = (p.SubscriptionRequest("a"),)
OK = ReasonCode.SUCCESS
PLACES: dict[str, tuple[Callable[[p.Properties], p.Packet], int, str, str]] = {
    "CONNECT": (
        lambda properties: p.Connect("c", properties=properties),
        0x10,
        "00044D515454 05 02 003C",
        "0001 63",
    ),
    "W": (
        lambda properties: p.Connect("c", will=p.WillMessage("w", properties=properties)),
        0x10,
        "00044D515454 05 06 003C 00 0001 63",
        "0001 77 0000",
    ),
    "CONNACK": (lambda properties: p.ConnAck(properties=properties), 0x20, "00 00", ""),
    "PUBLISH": (
        lambda properties: p.Publish("t", b"p", properties=properties),
        0x30,
        "0001 74",
        "70",
    ),
    "PUBACK": (lambda properties: p.PubAck(1, OK, properties), 0x40, "0001 00", ""),
    "PUBREC": (lambda properties: p.PubRec(1, OK, properties), 0x50, "0001 00", ""),
    "PUBREL": (lambda properties: p.PubRel(1, OK, properties), 0x62, "0001 00", ""),
    "PUBCOMP": (lambda properties: p.PubComp(1, OK, properties), 0x70, "0001 00", ""),
    "SUBSCRIBE": (
        lambda properties: p.Subscribe(1, REQUEST, properties),
        0x82,
        "0001",
        "0001 61 00",
    ),
    "SUBACK": (lambda properties: p.SubAck(1, (OK,), properties), 0x90, "0001", "00"),
    "UNSUBSCRIBE": (
        lambda properties: p.Unsubscribe(1, ("a",), properties),
        0xA2,
        "0001",
        "0001 61",
    ),
    "UNSUBACK": (lambda properties: p.UnsubAck(1, (OK,), properties), 0xB0, "0001", "00"),
    "DISCONNECT": (lambda properties: p.Disconnect(OK, properties), 0xE0, "00", ""),
    "AUTH": (lambda properties: p.Auth(OK, properties), 0xF0, "00", ""),
}
# What the standard wants beside a property.
COMPANIONS = {
    ("authentication_data", "CONNECT"): "authentication_method",
    ("reason_string", "AUTH"): "authentication_method",
    ("user_properties", "AUTH"): "authentication_method",
    ("authentication_data", "AUTH"): "authentication_method",
}
BY_NAME = {row.name: row for row in ROWS}
NAMES = pytest.mark.parametrize("name", BY_NAME)
WHERE_ALLOWED = pytest.mark.parametrize(
    ("name", "place"), [(row.name, place) for row in ROWS for place in row.places.split()]
)
EVERYWHERE = pytest.mark.parametrize("place", PLACES)


def framed(place: str, block: bytes) -> bytes:
    """A packet with these bytes as its properties."""
    _, first, before, behind = PLACES[place]
    return frame(
        first,
        bytes.fromhex(before) + length_bytes(len(block)) + block + bytes.fromhex(behind),
    )


def having(values: dict[str, Any]) -> p.Properties:
    """Properties with these values, whatever their types."""
    return p.Properties(**values)


def one(row: Row) -> bytes:
    return bytes((row.identifier,)) + bytes.fromhex(row.data)


def test_our_table_names_the_same_properties() -> None:
    ours = {(row.identifier, row.name) for row in p.PROPERTY_TABLE}
    assert ours == {(row.identifier, row.name) for row in ROWS}
    assert [field.name for field in attrs.fields(p.Properties)] == list(BY_NAME)


@EVERYWHERE
@NAMES
def test_each_property_in_each_place(name: str, place: str) -> None:
    row = BY_NAME[name]
    values: dict[str, Any] = {name: row.value}
    block = one(row)
    companion = COMPANIONS.get((name, place))
    if companion is not None:
        values[companion] = BY_NAME[companion].value
        other = one(BY_NAME[companion])
        block = block + other if row.identifier < BY_NAME[companion].identifier else other + block
    packet = PLACES[place][0](having(values))
    if place in row.places.split():
        assert p.encode(packet, MQTT_5).hex() == framed(place, block).hex()
        assert read_one(framed(place, block)) == packet
    else:
        assert refused(framed(place, one(row))) == malformed("2.2.2.2")
        if place == "AUTH":
            packet = p.Auth(OK, having({"authentication_method": "m", **values}))
        assert encode_refused(packet) == "2.2.2.2"


@EVERYWHERE
def test_identifiers_that_are_none(place: str) -> None:
    known = {row.identifier for row in ROWS}
    for identifier in set(range(128)) - known:
        data = framed(place, bytes((identifier, 0, 0, 0, 0)))
        assert refused(data) == malformed("2.2.2.2")
    assert refused(framed(place, bytes.fromhex("8001 00"))) == malformed("2.2.2.2")


@WHERE_ALLOWED
def test_a_property_cut_short(name: str, place: str) -> None:
    row = BY_NAME[name]
    whole = one(row)
    for size in range(1, len(whole)):
        assert refused(framed(place, whole[:size])) == malformed("2.1.4")


REPEATED_STATEMENTS = {
    "subscription_identifiers": "3.8.2.1.2",
    "response_topic": "MQTT-3.3.2-14",
    "request_problem_information": "3.1.2.11.7",
    "request_response_information": "3.1.2.11.6",
    "receive_maximum": "3.1.2.11.3",
    "topic_alias": "MQTT-3.3.2-8",
    "maximum_qos": "3.2.2.3.4",
    "retain_available": "3.2.2.3.5",
    "maximum_packet_size": "3.1.2.11.4",
    "wildcard_subscription_available": "3.2.2.3.11",
    "subscription_identifier_available": "3.2.2.3.12",
    "shared_subscription_available": "3.2.2.3.13",
}


@WHERE_ALLOWED
def test_a_property_twice(name: str, place: str) -> None:
    """Only User Property may repeat, and Subscription Identifier in PUBLISH, both in order."""
    row = BY_NAME[name]
    data = framed(place, one(row) * 2)
    if name == "user_properties" or (name, place) == ("subscription_identifiers", "PUBLISH"):
        values: dict[str, Any] = {name: row.value * 2}
        block = one(row) * 2
        if place == "AUTH":
            values["authentication_method"] = "m"
            block = bytes.fromhex("15 0001 6D") + block
        packet = PLACES[place][0](having(values))
        assert read_one(framed(place, block)) == packet
        assert p.encode(packet, MQTT_5) == framed(place, block)
    else:
        assert refused(data) == forbidden(REPEATED_STATEMENTS.get(name, "2.2.2.2"))


def test_a_subscription_has_one_identifier() -> None:
    packet = p.Subscribe(1, REQUEST, p.Properties(subscription_identifiers=(1, 2)))
    assert encode_refused(packet) == "3.8.2.1.2"


WRONG_VALUES: list[tuple[str, str, bytes, Refusal]] = [
    *(
        (name, place, bytes((value,)), forbidden(statement))
        for name, place, statement in (
            ("payload_format_indicator", "PUBLISH", "2.2.2.2"),
            ("payload_format_indicator", "W", "2.2.2.2"),
            ("request_problem_information", "CONNECT", "3.1.2.11.7"),
            ("request_response_information", "CONNECT", "3.1.2.11.6"),
            ("maximum_qos", "CONNACK", "3.2.2.3.4"),
            ("retain_available", "CONNACK", "3.2.2.3.5"),
            ("wildcard_subscription_available", "CONNACK", "3.2.2.3.11"),
            ("subscription_identifier_available", "CONNACK", "3.2.2.3.12"),
            ("shared_subscription_available", "CONNACK", "3.2.2.3.13"),
        )
        for value in (2, 3, 127, 128, 255)
    ),
    ("receive_maximum", "CONNECT", b"\0\0", forbidden("3.1.2.11.3")),
    ("receive_maximum", "CONNACK", b"\0\0", forbidden("3.1.2.11.3")),
    ("maximum_packet_size", "CONNECT", b"\0\0\0\0", forbidden("3.1.2.11.4")),
    ("maximum_packet_size", "CONNACK", b"\0\0\0\0", forbidden("3.1.2.11.4")),
    ("subscription_identifiers", "PUBLISH", b"\0", forbidden("3.8.2.1.2")),
    ("subscription_identifiers", "SUBSCRIBE", b"\0", forbidden("3.8.2.1.2")),
    (
        "topic_alias",
        "PUBLISH",
        b"\0\0",
        forbidden("MQTT-3.3.2-8", ReasonCode.TOPIC_ALIAS_INVALID),
    ),
    ("response_topic", "PUBLISH", text("a/#"), forbidden("MQTT-3.3.2-14")),
    ("response_topic", "W", text("+"), forbidden("MQTT-3.3.2-14")),
    ("response_topic", "PUBLISH", text(""), forbidden("MQTT-4.7.3-1")),
    ("response_topic", "PUBLISH", text("\0"), malformed("MQTT-1.5.4-2")),
    ("content_type", "PUBLISH", text(b"\xff"), malformed("MQTT-1.5.4-1")),
    ("user_properties", "CONNACK", text("") + text(b"\xed\xa0\x80"), malformed("MQTT-1.5.4-1")),
]


@pytest.mark.parametrize(("name", "place", "value", "refusal"), WRONG_VALUES)
def test_values_that_are_refused(name: str, place: str, value: bytes, refusal: Refusal) -> None:
    data = framed(place, bytes((BY_NAME[name].identifier,)) + value)
    assert refused(data) == refusal


LIMITS = {
    "message_expiry_interval": (0, 2**32 - 1),
    "session_expiry_interval": (0, 2**32 - 1),
    "will_delay_interval": (0, 2**32 - 1),
    "server_keep_alive": (0, 65535),
    "topic_alias_maximum": (0, 65535),
    "topic_alias": (1, 65535),
    "receive_maximum": (1, 65535),
    "maximum_packet_size": (1, 2**32 - 1),
    "payload_format_indicator": (0, 1),
    "request_problem_information": (0, 1),
    "request_response_information": (0, 1),
    "maximum_qos": (0, 1),
    "retain_available": (0, 1),
    "wildcard_subscription_available": (0, 1),
    "subscription_identifier_available": (0, 1),
    "shared_subscription_available": (0, 1),
    "subscription_identifiers": (1, 268435455),
}


@pytest.mark.parametrize("name", LIMITS)
def test_numbers_at_and_beyond_their_limits(name: str) -> None:
    least, most = LIMITS[name]
    place = BY_NAME[name].places.split()[0]
    statement = REPEATED_STATEMENTS.get(name, "2.2.2.2")
    listed = name == "subscription_identifiers"
    for number in (least, most):
        values: dict[str, Any] = {name: (number,) if listed else number}
        packet = PLACES[place][0](having(values))
        assert read_one(p.encode(packet, MQTT_5)) == packet
    for number in (least - 1, most + 1, -(2**70), 2**70):
        values = {name: (number,) if listed else number}
        packet = PLACES[place][0](having(values))
        assert encode_refused(packet) == statement


STRINGS = [row.name for row in ROWS if isinstance(row.value, str)]


@pytest.mark.parametrize("name", STRINGS)
def test_strings_that_cannot_be_sent(name: str) -> None:
    place = BY_NAME[name].places.split()[0]
    for value, statement in (
        ("\0", "MQTT-1.5.4-2"),
        ("\ud800", "MQTT-1.5.4-1"),
        ("\u20ac" * 21846, "1.5.6"),
    ):
        packet = PLACES[place][0](having({name: value}))
        other = "MQTT-4.7.3-3" if name == "response_topic" else "1.5.6"
        assert encode_refused(packet) == (other if statement == "1.5.6" else statement)


def test_user_properties_and_binary_data_that_cannot_be_sent() -> None:
    for pair, statement in (
        (("\0", ""), "MQTT-1.5.4-2"),
        (("", "\0"), "MQTT-1.5.4-2"),
        (("\udfff", ""), "MQTT-1.5.4-1"),
        (("", "\udfff"), "MQTT-1.5.4-1"),
        (("", "x" * 65536), "1.5.6"),
    ):
        assert encode_refused(p.ConnAck(properties=p.Properties(user_properties=(pair,)))) == (
            statement
        )
    properties = p.Properties(correlation_data=bytes(65536))
    assert encode_refused(p.Publish("t", properties=properties)) == "1.5.6"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("payload_format_indicator", "1"),
        ("message_expiry_interval", 1.5),
        ("content_type", 5),
        ("content_type", b"text"),
        ("response_topic", b"t"),
        ("correlation_data", "text"),
        ("topic_alias", b"\1"),
        ("subscription_identifiers", ("1",)),
        ("user_properties", (["k", "v"],)),
        ("user_properties", ("kv",)),
        ("user_properties", (("k",),)),
        ("user_properties", (("k", "v", "w"),)),
        ("user_properties", ("k", "v")),
    ],
)
def test_values_of_another_type(name: str, value: object) -> None:
    packet = p.Publish("t", properties=having({name: value}))
    title = next(row.title for row in p.PROPERTY_TABLE if row.name == name)
    with pytest.raises(TypeError, match=title):
        p.encode(packet, MQTT_5)


@pytest.mark.parametrize("protocol", OLD_VERSIONS)
@pytest.mark.parametrize("place", [place for place in PLACES if place != "AUTH"])
def test_no_version_below_5_has_properties(place: str, protocol: Protocol) -> None:
    packet = PLACES[place][0](p.Properties(user_properties=(("k", "v"),)))
    if isinstance(packet, p.UnsubAck):
        packet.reason_codes = ()
    assert encode_refused(packet, protocol) is None


def test_empty_lists_are_no_properties() -> None:
    """Lists where tuples are asked for, but nothing is in them."""
    empty: Any = []
    properties = p.Properties(user_properties=empty, subscription_identifiers=empty)
    assert p.encode(p.ConnAck(properties=properties), MQTT_5) == bytes.fromhex("20 03 00 00 00")


def test_the_order_of_user_properties_among_others_is_kept() -> None:
    """Other properties may stand between them (2.2.2.2: their order has no meaning)."""
    first, second = text("z") + text("1"), text("a") + text("2")
    block = b"\x26" + first + b"\x01\x01" + b"\x26" + second + b"\x26" + first
    packet = read_one(framed("PUBLISH", block))
    assert isinstance(packet, p.Publish)
    assert packet.properties.user_properties == (("z", "1"), ("a", "2"), ("z", "1"))
    assert packet.properties.payload_format_indicator == 1


def test_a_repr_shows_what_is_present_but_no_authentication_data() -> None:
    properties = p.Properties(topic_alias=3, user_properties=(("k", "v"),))
    assert repr(properties) == "Properties(topic_alias=3, user_properties=(('k', 'v'),))"
    assert repr(p.NO_PROPERTIES) == "Properties()"
    assert "secret" not in repr(p.Properties(authentication_data=b"secret"))
