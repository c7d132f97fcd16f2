"""What a Server may send, and when; what happens when it sends something else."""

from __future__ import annotations

import traceback

import pytest

from tests.protocol.support import Wire, publish
from trio_mqtt._enums import Protocol, ReasonCode
from trio_mqtt._errors import RemoteProtocolError
from trio_mqtt.packets import (
    Packet,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    PubRec,
    PubRel,
    SubAck,
    encode,
)


def name_of(packet: Packet) -> str:
    return type(packet).__name__.upper()


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize(
    "packet",
    [
        publish(0, 0),
        publish(1, 1),
        publish(1, 2),
        PubAck(1),
        PubRec(1),
        PubRel(1),
        PubComp(1),
        SubAck(1, (ReasonCode.SUCCESS,)),
        PingResp(),
    ],
    ids=repr,
)
def test_anything_before_connack(protocol: Protocol, packet: Packet) -> None:
    wire = Wire(protocol, connack=None)
    error = wire.refuses(packet)
    assert f"{name_of(packet)} before CONNACK" in str(error)
    assert error.statement == "MQTT-3.2.0-1"
    assert error.reason_code is ReasonCode.PROTOCOL_ERROR
    assert [name_of(one) for one in wire.sent()] == ["CONNECT"]


def test_the_same_error_again_and_again_has_the_same_traceback() -> None:
    wire = Wire()
    wire.connection.receive_data(
        encode(publish(1), wire.protocol) + encode(PingReq(), wire.protocol)
    )
    assert len(wire.connection.next_events()) == 1
    depths: set[int] = set()
    for _ in range(3):
        with pytest.raises(RemoteProtocolError) as caught:
            wire.connection.next_events()
        depths.add(len(traceback.extract_tb(caught.value.__traceback__)))
    assert len(depths) == 1
