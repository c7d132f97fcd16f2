"""Properties: each at most once, each with a value that it may have."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.packets.support import encode_refused, read_one, refused
from tests.packets.test_properties import BY_NAME, COMPANIONS, PLACES, framed, having, one
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_5, ReasonCode

OF_CLIENTS: Final = {"CONNECT", "W", "PUBLISH", "SUBSCRIBE", "DISCONNECT", "AUTH"}

ONCE: Final = """
U-3.1.2.11.2-1 CONNECT session_expiry_interval
U-3.1.2.11.3-1 CONNECT receive_maximum
U-3.1.2.11.4-1 CONNECT maximum_packet_size
U-3.1.2.11.5-1 CONNECT topic_alias_maximum
U-3.1.2.11.6-1 CONNECT request_response_information
U-3.1.2.11.7-1 CONNECT request_problem_information
U-3.1.2.11.9-1 CONNECT authentication_method
U-3.1.2.11.10-2 CONNECT authentication_data
U-3.1.3.2.2-1 W will_delay_interval
U-3.1.3.2.3-2 W payload_format_indicator
U-3.1.3.2.4-1 W message_expiry_interval
U-3.1.3.2.5-1 W content_type
U-3.1.3.2.6-1 W response_topic
U-3.1.3.2.7-1 W correlation_data
U-3.2.2.3.2-1 CONNACK session_expiry_interval
U-3.2.2.3.3-1 CONNACK receive_maximum
U-3.2.2.3.4-1 CONNACK maximum_qos
U-3.2.2.3.5-1 CONNACK retain_available
U-3.2.2.3.6-1 CONNACK maximum_packet_size
U-3.2.2.3.7-1 CONNACK assigned_client_identifier
U-3.2.2.3.8-1 CONNACK topic_alias_maximum
U-3.2.2.3.9-2 CONNACK reason_string
U-3.2.2.3.11-1 CONNACK wildcard_subscription_available
U-3.2.2.3.12-1 CONNACK subscription_identifier_available
U-3.2.2.3.13-1 CONNACK shared_subscription_available
U-3.2.2.3.14-1 CONNACK server_keep_alive
U-3.2.2.3.15-1 CONNACK response_information
U-3.2.2.3.16-1 CONNACK server_reference
U-3.2.2.3.17-1 CONNACK authentication_method
U-3.2.2.3.18-1 CONNACK authentication_data
U-3.3.2.3.4-1 PUBLISH topic_alias
U-3.3.2.3.5-1 PUBLISH response_topic
U-3.3.2.3.6-1 PUBLISH correlation_data
U-3.3.2.3.9-1 PUBLISH content_type
U-3.4.2.2.2-1 PUBACK reason_string
U-3.5.2.2.2-2 PUBREC reason_string
U-3.6.2.2.2-2 PUBREL reason_string
U-3.7.2.2.2-2 PUBCOMP reason_string
U-3.8.2.1.2-2 SUBSCRIBE subscription_identifiers
U-3.9.2.1.2-2 SUBACK reason_string
U-3.11.2.1.2-2 UNSUBACK reason_string
U-3.14.2.2.2-1 DISCONNECT session_expiry_interval
U-3.14.2.2.3-2 DISCONNECT reason_string
U-3.14.2.2.5-1 DISCONNECT server_reference
U-3.15.2.2.2-1 AUTH authentication_method
U-3.15.2.2.3-1 AUTH authentication_data
U-3.15.2.2.4-2 AUTH reason_string
"""

VALUES: Final = """
U-3.1.2.11.3-1 CONNECT receive_maximum 0
U-3.1.2.11.4-1 CONNECT maximum_packet_size 0
U-3.1.2.11.6-1 CONNECT request_response_information 2 255
U-3.1.2.11.7-1 CONNECT request_problem_information 2 255
U-3.2.2.3.3-1 CONNACK receive_maximum 0
U-3.2.2.3.4-1 CONNACK maximum_qos 2 255
U-3.2.2.3.5-1 CONNACK retain_available 2 255
U-3.2.2.3.6-1 CONNACK maximum_packet_size 0
U-3.2.2.3.11-1 CONNACK wildcard_subscription_available 2 255
U-3.2.2.3.12-1 CONNACK subscription_identifier_available 2 255
U-3.2.2.3.13-1 CONNACK shared_subscription_available 2 255
U-3.3.2.3.8-1 PUBLISH subscription_identifiers 0
U-3.8.2.1.2-1 SUBSCRIBE subscription_identifiers 0
"""


def cases(table: str) -> list[Any]:
    """Each row as a case that shows the statement at its beginning."""
    return [
        pytest.param(
            place,
            name,
            tuple(map(int, values)),
            id=f"{place}-{name}",
            marks=pytest.mark.statement(statement),
        )
        for statement, place, name, *values in map(str.split, table.strip().splitlines())
    ]


@pytest.mark.parametrize(("place", "name", "values"), cases(ONCE))
def test_it_stands_once(place: str, name: str, values: tuple[int, ...]) -> None:
    row = BY_NAME[name]
    companion = COMPANIONS.get((name, place))
    beside = one(BY_NAME[companion]) if companion else b""
    outcome = refused(framed(place, beside + one(row) * 2))
    assert outcome.reason_code is ReasonCode.PROTOCOL_ERROR
    assert not outcome.malformed
    if place in OF_CLIENTS:
        given = {name: row.value}
        if companion:
            given[companion] = BY_NAME[companion].value
        sent = p.encode(PLACES[place][0](having(given)), MQTT_5)
        assert sent.count(one(row)) == 1
    assert values == ()


@pytest.mark.parametrize(("place", "name", "values"), cases(VALUES))
def test_it_has_no_other_value(place: str, name: str, values: tuple[int, ...]) -> None:
    row = BY_NAME[name]
    size = len(one(row)) - 1 if name != "subscription_identifiers" else 1
    for value in values:
        block = bytes((row.identifier,)) + value.to_bytes(size, "big")
        assert refused(framed(place, block)).reason_code is ReasonCode.PROTOCOL_ERROR
        given = (value,) if name == "subscription_identifiers" else value
        assert encode_refused(PLACES[place][0](having({name: given}))) is not None
    assert values


@pytest.mark.statement("U-3.15.2.2.2-1")
def test_auth_names_its_method() -> None:
    block = one(BY_NAME["authentication_data"])
    assert refused(framed("AUTH", block)).reason_code is ReasonCode.PROTOCOL_ERROR
    assert encode_refused(p.Auth(ReasonCode.RE_AUTHENTICATE)) == "3.15.2.2.2"


@pytest.mark.statement("U-3.1.2.11.10-1")
def test_no_authentication_data_without_a_method() -> None:
    block = one(BY_NAME["authentication_data"])
    assert refused(framed("CONNECT", block)).reason_code is ReasonCode.PROTOCOL_ERROR
    packet = p.Connect("c", properties=p.Properties(authentication_data=b"d"))
    assert encode_refused(packet) == "3.1.2.11.10"


@pytest.mark.statement("MQTT-3.3.2-8")
def test_no_topic_alias_is_0() -> None:
    assert encode_refused(p.Publish("t", properties=p.Properties(topic_alias=0))) == "MQTT-3.3.2-8"


SHORT: Final = """
U-3.4.2.1-1 U-3.4.2.2.1-1 40 PUBACK 87
U-3.5.2.1-1 U-3.5.2.2.1-1 50 PUBREC 87
U-3.6.2.1-1 U-3.6.2.2.1-1 62 PUBREL 92
U-3.7.2.1-1 U-3.7.2.2.1-1 70 PUBCOMP 92
"""
CLASSES: Final[dict[str, type[p.PubAck | p.PubRec | p.PubRel | p.PubComp]]] = {
    "PUBACK": p.PubAck,
    "PUBREC": p.PubRec,
    "PUBREL": p.PubRel,
    "PUBCOMP": p.PubComp,
}


@pytest.mark.parametrize(
    ("first", "name", "code"),
    [
        pytest.param(first, name, code, id=name, marks=pytest.mark.statement(success, length))
        for success, length, first, name, code in map(str.split, SHORT.strip().splitlines())
    ],
)
def test_short_acknowledgements_are_read(first: str, name: str, code: str) -> None:
    assert read_one(bytes.fromhex(f"{first} 02 0007")) == CLASSES[name](7)
    assert read_one(bytes.fromhex(f"{first} 03 0007 00")) == CLASSES[name](7)
    failure = CLASSES[name](7, ReasonCode(int(code, 16)))
    assert read_one(bytes.fromhex(f"{first} 03 0007 {code}")) == failure


@pytest.mark.parametrize(
    ("first", "name"),
    [
        pytest.param(first, name, id=name, marks=pytest.mark.statement(success))
        for success, _, first, name, _ in map(str.split, SHORT.strip().splitlines())
    ],
)
def test_short_acknowledgements_are_read_among_others(first: str, name: str) -> None:
    reader = p.PacketReader()
    reader.feed(bytes.fromhex(f"D0 00 {first} 02 0007 D0 00"))
    assert reader.read_packets() == [p.PingResp(), CLASSES[name](7), p.PingResp()]


@pytest.mark.parametrize(
    ("first", "name"),
    [
        pytest.param(first, name, id=name, marks=pytest.mark.statement(statement))
        for statement, first, name in (
            ("U-3.4.2.1-2", "40", "PUBACK"),
            ("U-3.5.2.1-2", "50", "PUBREC"),
            ("U-3.6.2.1-2", "62", "PUBREL"),
            ("U-3.7.2.1-2", "70", "PUBCOMP"),
        )
    ],
)
def test_what_says_only_success_is_short(first: str, name: str) -> None:
    packet = CLASSES[name](7)
    assert p.encode(packet, MQTT_5) == bytes.fromhex(f"{first} 02 0007")
    packet.properties = p.Properties(reason_string="r")
    assert p.encode(packet, MQTT_5) == bytes.fromhex(f"{first} 08 0007 00 04 1F 0001 72")


@pytest.mark.statement("U-3.14.2.1-1", "U-3.14.2.2.1-1")
def test_a_short_disconnect_is_read() -> None:
    assert read_one(bytes.fromhex("E0 00")) == p.Disconnect()
    assert read_one(bytes.fromhex("E0 01 8E")) == p.Disconnect(ReasonCode.SESSION_TAKEN_OVER)


@pytest.mark.statement("U-3.14.2.1-2")
def test_a_disconnect_that_says_nothing_is_short() -> None:
    assert p.encode(p.Disconnect(), MQTT_5) == bytes.fromhex("E0 00")
    packet = p.Disconnect(properties=p.Properties(session_expiry_interval=1))
    assert p.encode(packet, MQTT_5) == bytes.fromhex("E0 07 00 05 11 00000001")


@pytest.mark.statement("U-3.15.2.1-1")
def test_a_short_auth_is_read() -> None:
    assert read_one(bytes.fromhex("F0 00")) == p.Auth()
