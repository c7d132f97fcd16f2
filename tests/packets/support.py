"""What the tests of the codec share: framing, reading, and what a refusal said."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from trio_mqtt._enums import MQTT_5, Protocol, ReasonCode
from trio_mqtt._errors import LocalProtocolError, MalformedPacket, RemoteProtocolError
from trio_mqtt.packets import Packet, PacketReader, encode

VERSIONS = tuple(Protocol)
OLD_VERSIONS = (Protocol.MQTT_3_1, Protocol.MQTT_3_1_1)


class Refusal(NamedTuple):
    """What an error about received bytes says to a program."""

    malformed: bool
    reason_code: ReasonCode
    statement: str | None


def malformed(statement: str | None) -> Refusal:
    return Refusal(malformed=True, reason_code=ReasonCode.MALFORMED_PACKET, statement=statement)


def forbidden(
    statement: str | None, reason_code: ReasonCode = ReasonCode.PROTOCOL_ERROR
) -> Refusal:
    return Refusal(malformed=False, reason_code=reason_code, statement=statement)


def length_bytes(length: int) -> bytes:
    """A Variable Byte Integer by the pseudo code of section 1.5.5, for what the tests frame."""
    encoded = bytearray()
    while True:
        length, byte = divmod(length, 128)
        if not length:
            encoded.append(byte)
            return bytes(encoded)
        encoded.append(byte | 128)


def frame(first: int, body: bytes) -> bytes:
    """A packet from its first byte and all that follows the Remaining Length."""
    return bytes((first,)) + length_bytes(len(body)) + body


def text(value: str | bytes) -> bytes:
    """A UTF-8 Encoded String, or Binary Data, with its length."""
    raw = value.encode() if isinstance(value, str) else value
    return len(raw).to_bytes(2, "big") + raw


def drain(reader: PacketReader) -> list[Packet]:
    found: list[Packet] = []
    while packets := reader.read_packets():
        found += packets
    return found


def read_all(data: bytes, protocol: Protocol | None = MQTT_5) -> list[Packet]:
    """Every packet in `data`, which must end with a whole one."""
    reader = PacketReader(protocol)
    reader.feed(data)
    found = drain(reader)
    assert reader.buffered == 0
    return found


def read_one(data: bytes, protocol: Protocol | None = MQTT_5) -> Packet:
    (packet,) = read_all(data, protocol)
    return packet


def refused(data: bytes, protocol: Protocol | None = MQTT_5) -> Refusal:
    """What the reader has against `data`."""
    reader = PacketReader(protocol)
    reader.feed(data)
    with pytest.raises(RemoteProtocolError) as caught:
        reader.read_packets()
    error = caught.value
    assert str(error)
    return Refusal(isinstance(error, MalformedPacket), error.reason_code, error.statement)


def encode_refused(packet: Packet, protocol: Protocol = MQTT_5) -> str | None:
    """The statement that sending `packet` would violate."""
    with pytest.raises(LocalProtocolError) as caught:
        encode(packet, protocol)
    assert str(caught.value)
    return caught.value.statement
