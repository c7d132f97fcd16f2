"""Each of the 256 codes in each packet that carries one, both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.packets.support import (
    OLD_VERSIONS,
    encode_refused,
    forbidden,
    frame,
    malformed,
    read_one,
    refused,
)
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_5, Protocol, ReasonCode

if TYPE_CHECKING:
    from collections.abc import Callable

    Case = tuple[Callable[[ReasonCode], p.Packet], int, str, str, str, str]

METHOD = p.Properties(authentication_method="m")

# Name, how to build it, what stands before and behind the code on the wire, the codes of the
# standard's table (3.2.2.2, 3.4.2.1, ..., 3.15.2.1; 0x8C in DISCONNECT is from Table 2-6), and
# the statement that restricts them.
CASES: dict[str, Case] = {
    "CONNACK": (
        lambda code: p.ConnAck(reason_code=code),
        0x20,
        "00",
        "00",
        "00 80 81 82 83 84 85 86 87 88 89 8A 8C 90 95 97 99 9A 9B 9C 9D 9F",
        "MQTT-3.2.2-8",
    ),
    "PUBACK": (
        lambda code: p.PubAck(1, code),
        0x40,
        "0001",
        "00",
        "00 10 80 83 87 90 91 97 99",
        "MQTT-3.4.2-1",
    ),
    "PUBREC": (
        lambda code: p.PubRec(1, code),
        0x50,
        "0001",
        "00",
        "00 10 80 83 87 90 91 97 99",
        "MQTT-3.5.2-1",
    ),
    "PUBREL": (lambda code: p.PubRel(1, code), 0x62, "0001", "00", "00 92", "MQTT-3.6.2-1"),
    "PUBCOMP": (lambda code: p.PubComp(1, code), 0x70, "0001", "00", "00 92", "MQTT-3.7.2-1"),
    "SUBACK": (
        lambda code: p.SubAck(1, (code,)),
        0x90,
        "000100",
        "",
        "00 01 02 80 83 87 8F 91 97 9E A1 A2",
        "MQTT-3.9.3-2",
    ),
    "UNSUBACK": (
        lambda code: p.UnsubAck(1, (code,)),
        0xB0,
        "000100",
        "",
        "00 11 80 83 87 8F 91",
        "MQTT-3.11.3-2",
    ),
    "DISCONNECT": (
        p.Disconnect,
        0xE0,
        "",
        "00",
        "00 04 80 81 82 83 87 89 8B 8C 8D 8E 8F 90 93 94 95 96 97 98 99 9A 9B 9C 9D 9E 9F A0 A1 A2",
        "MQTT-3.14.2-1",
    ),
    "AUTH": (
        lambda code: p.Auth(code, METHOD),
        0xF0,
        "",
        "04 15 0001 6D",
        "00 18 19",
        "MQTT-3.15.2-1",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_mqtt_5_allows_exactly_the_codes_of_its_table_in_what_it_reads(name: str) -> None:
    build, first, before, behind, allowed, statement = CASES[name]
    for code in range(256):
        body = bytes.fromhex(before) + bytes((code,)) + bytes.fromhex(behind)
        if code in bytes.fromhex(allowed):
            assert read_one(frame(first, body)) == build(ReasonCode(code))
        else:
            assert refused(frame(first, body)) == forbidden(statement)


@pytest.mark.parametrize("name", CASES)
def test_mqtt_5_allows_exactly_the_codes_of_its_table_in_what_it_writes(name: str) -> None:
    build, first, before, behind, allowed, statement = CASES[name]
    for number in (-1, *range(300)):
        # Nothing but the annotation keeps a program from putting a plain number there.
        code: ReasonCode = number  # pyright: ignore[reportAssignmentType]
        if 0 <= number < 256 and number in bytes.fromhex(allowed):
            body = bytes.fromhex(before) + bytes((number,)) + bytes.fromhex(behind)
            encoded = p.encode(build(code), MQTT_5)
            # 0x00 with no properties may be left out in the packets where that is shorter.
            short = frame(first, bytes.fromhex(before)) if number == 0 and behind == "00" else b""
            assert encoded in (frame(first, body), short)
        else:
            assert encode_refused(build(code)) == statement


CONNECT_RETURN_CODES = {
    0: ReasonCode.SUCCESS,
    1: ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    2: ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
    3: ReasonCode.SERVER_UNAVAILABLE,
    4: ReasonCode.BAD_USER_NAME_OR_PASSWORD,
    5: ReasonCode.NOT_AUTHORIZED,
}
SUBSCRIBE_RETURN_CODES = {
    0: ReasonCode.GRANTED_QOS_0,
    1: ReasonCode.GRANTED_QOS_1,
    2: ReasonCode.GRANTED_QOS_2,
    0x80: ReasonCode.UNSPECIFIED_ERROR,
}


@pytest.mark.parametrize("protocol", OLD_VERSIONS)
def test_return_codes_of_connack_below_mqtt_5(protocol: Protocol) -> None:
    for code in range(256):
        data = bytes((0x20, 2, 0, code))
        if code in CONNECT_RETURN_CODES:
            packet = p.ConnAck(reason_code=CONNECT_RETURN_CODES[code])
            assert read_one(data, protocol) == packet
            assert p.encode(packet, protocol) == data
        else:
            assert refused(data, protocol) == malformed("3.2.2.3")


@pytest.mark.parametrize("protocol", OLD_VERSIONS)
def test_return_codes_of_suback_below_mqtt_5(protocol: Protocol) -> None:
    for code in range(256):
        data = bytes((0x90, 3, 0, 9, code))
        if code in SUBSCRIBE_RETURN_CODES:
            packet = p.SubAck(9, (SUBSCRIBE_RETURN_CODES[code],))
            assert read_one(data, protocol) == packet
            assert p.encode(packet, protocol) == data
        else:
            assert refused(data, protocol) == malformed("MQTT-3.9.3-2")


@pytest.mark.parametrize("protocol", OLD_VERSIONS)
def test_reason_codes_that_have_no_return_code_are_not_written_below_mqtt_5(
    protocol: Protocol,
) -> None:
    for number in (-1, *range(300)):
        code: ReasonCode = number  # pyright: ignore[reportAssignmentType]
        if number not in CONNECT_RETURN_CODES.values():
            assert encode_refused(p.ConnAck(reason_code=code), protocol) == "3.2.2.3"
        if number not in SUBSCRIBE_RETURN_CODES.values():
            assert encode_refused(p.SubAck(1, (code,)), protocol) == "MQTT-3.9.3-2"
        if number:
            for packet in (p.PubAck, p.PubRec, p.PubRel, p.PubComp):
                assert encode_refused(packet(1, code), protocol) is None
            assert encode_refused(p.Disconnect(code), protocol) is None
            assert encode_refused(p.UnsubAck(1, (code,)), protocol) is not None


def test_the_table_gives_every_code_of_the_standard_to_some_packet() -> None:
    used = {code for case in CASES.values() for code in bytes.fromhex(case[4])}
    assert used == {code.value for code in ReasonCode}
