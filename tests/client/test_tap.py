"""Packets told apart on a byte stream, however it is cut."""

from __future__ import annotations

from typing import Final

import pytest

from trio_mqtt import MQTT_3_1_1, MQTT_5, PacketType, Protocol, ReasonCode
from trio_mqtt._client._tap import PacketTap
from trio_mqtt.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    UnsubAck,
    Unsubscribe,
    encode,
)

Facts = tuple[PacketType, int, ReasonCode | None]

OK: Final = ReasonCode.SUCCESS
NOT_AUTHORIZED: Final = ReasonCode.NOT_AUTHORIZED
WORDS: Final = Properties(reason_string="no")

PACKETS_5: Final[list[tuple[Packet, ReasonCode | None]]] = [
    (Connect("c"), None),
    (ConnAck(), OK),
    (ConnAck(reason_code=NOT_AUTHORIZED), NOT_AUTHORIZED),
    (Publish("a", b"x"), None),
    (Publish("a", bytes(200), 1, packet_id=1), None),
    (PubAck(1), OK),
    (PubAck(1, NOT_AUTHORIZED), NOT_AUTHORIZED),
    (PubAck(1, NOT_AUTHORIZED, WORDS), NOT_AUTHORIZED),
    (PubRec(1, NOT_AUTHORIZED), NOT_AUTHORIZED),
    (PubRel(1, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND), ReasonCode.PACKET_IDENTIFIER_NOT_FOUND),
    (PubComp(1), OK),
    (Subscribe(1, (SubscriptionRequest("a"),)), None),
    (SubAck(1, (NOT_AUTHORIZED,)), None),
    (Unsubscribe(1, ("a",)), None),
    (UnsubAck(1, (OK,)), None),
    (PingReq(), None),
    (PingResp(), None),
    (Auth(ReasonCode.CONTINUE_AUTHENTICATION, Properties(authentication_method="m")), None),
    (Disconnect(), OK),
    (Disconnect(ReasonCode.SERVER_SHUTTING_DOWN), ReasonCode.SERVER_SHUTTING_DOWN),
]
PACKETS_3_1_1: Final[list[tuple[Packet, ReasonCode | None]]] = [
    (ConnAck(), OK),
    (ConnAck(reason_code=ReasonCode.SERVER_UNAVAILABLE), ReasonCode.SERVER_UNAVAILABLE),
    (ConnAck(reason_code=NOT_AUTHORIZED), NOT_AUTHORIZED),
    (PubAck(1), OK),
    (PubRec(1), OK),
    (Disconnect(), OK),
]


def tap_into(found: list[Facts]) -> PacketTap:
    def note(packet_type: PacketType, size: int, reason_code: ReasonCode | None) -> None:
        found.append((packet_type, size, reason_code))

    return PacketTap(note)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 64, 10_000])
@pytest.mark.parametrize(
    ("packets", "protocol"), [(PACKETS_5, MQTT_5), (PACKETS_3_1_1, MQTT_3_1_1)]
)
def test_packets_are_told_however_the_bytes_are_cut(
    packets: list[tuple[Packet, ReasonCode | None]], protocol: Protocol, size: int
) -> None:
    found: list[Facts] = []
    tap = tap_into(found)
    encoded = [encode(packet, protocol) for packet, _ in packets]
    data = b"".join(encoded)
    for start in range(0, len(data), size):
        tap.feed(bytearray(data[start : start + size]))
    expected = [
        (
            PacketType[type(packet).__name__.upper()],
            len(each),
            ReasonCode.CONTINUE_AUTHENTICATION if isinstance(packet, Auth) else reason_code,
        )
        for (packet, reason_code), each in zip(packets, encoded, strict=True)
    ]
    assert found == expected


def test_a_packet_is_told_once_it_is_whole() -> None:
    found: list[Facts] = []
    tap = tap_into(found)
    data = encode(Publish("a", bytes(1000)), MQTT_5)
    tap.feed(data[:-1])
    assert found == []
    tap.feed(data[-1:])
    assert found == [(PacketType.PUBLISH, len(data), None)]


@pytest.mark.parametrize("garbage", [b"\x00\x00", b"\x30\xff\xff\xff\xff\x01", b"\x0f\x80\x80"])
def test_what_is_no_packet_ends_the_telling(garbage: bytes) -> None:
    found: list[Facts] = []
    tap = tap_into(found)
    ping = encode(PingReq(), MQTT_5)
    tap.feed(ping + garbage)
    tap.feed(ping)
    assert len(found) == 1


@pytest.mark.parametrize(
    "data", [b"\x20\x02\x00\x09", b"\x20\x03\x00\x55\x00", b"\x40\x03\x00\x01\x55"]
)
def test_an_unknown_reason_code_is_none(data: bytes) -> None:
    found: list[Facts] = []
    tap = tap_into(found)
    tap.feed(data)
    assert [each[2] for each in found] == [None]
