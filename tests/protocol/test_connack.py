"""From CONNECT to CONNACK, in every form that it may come in."""

from __future__ import annotations

import pytest

from tests.protocol.support import Wire
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, Protocol, ReasonCode
from trio_mqtt._protocol.server_info import ServerInfo
from trio_mqtt.packets import ConnAck, Disconnect, Properties, encode


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("reason", ["", "a", "ab", "\N{SPACE}\N{STX}" * 3])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_connack_in_pieces(protocol: Protocol, reason: str, size: int) -> None:
    properties = Properties(reason_string=reason if protocol is MQTT_5 else None)
    connack = ConnAck(properties=properties)
    wire = Wire(protocol, connack=None)
    data = encode(connack, protocol)
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    for piece in pieces[:-1]:
        assert wire.feed_bytes(piece) == []
    assert wire.feed_bytes(pieces[-1]) == [connack]
    assert wire.connection.protocol is protocol
    assert wire.connection.server is not None
    assert wire.connection.server.protocol is protocol


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("code", range(1, 6))
def test_connack_of_3_1_1_to_a_connect_of_5(size: int, code: int) -> None:
    wire = Wire(connack=None)
    data = bytes((0x20, 2, 0, code))
    pieces = [data[start : start + size] for start in range(0, 4, size)]
    for piece in pieces[:-1]:
        assert wire.feed_bytes(piece) == []
    (connack,) = wire.feed_bytes(pieces[-1])
    assert isinstance(connack, ConnAck)
    assert encode(connack, MQTT_3_1_1) == data
    assert wire.connection.protocol is MQTT_3_1_1
    assert wire.connection.server is None


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("first", [ReasonCode.SUCCESS, ReasonCode.SERVER_UNAVAILABLE])
@pytest.mark.parametrize("second", [ReasonCode.SUCCESS, ReasonCode.SERVER_UNAVAILABLE])
def test_second_connack(protocol: Protocol, first: ReasonCode, second: ReasonCode) -> None:
    wire = Wire(protocol, connack=ConnAck(reason_code=first))
    server = wire.connection.server
    error = wire.refuses(ConnAck(reason_code=second))
    assert error.reason_code is ReasonCode.PROTOCOL_ERROR
    assert "second CONNACK" in str(error)
    assert wire.connection.server is server
    assert wire.publish(1).packet_id == (first is ReasonCode.SUCCESS)


def test_both_halves_go_on_in_the_version_of_the_answer() -> None:
    wire = Wire(connack=None)
    wire.feed_bytes(b"\x20\x02\0\0")
    wire.connection.disconnect(Disconnect(ReasonCode.PROTOCOL_ERROR))
    connection = wire.connection
    assert connection.server == ServerInfo(
        protocol=MQTT_3_1_1,
        client_id="c",
        keep_alive=60,
        subscription_identifier_available=False,
    )
    assert connection.sender.protocol is connection.receiver.protocol is MQTT_3_1_1
    assert connection.output.take()[-1] == b"\xe0\0"
