"""What a Server may send, and when; what happens when it sends something else."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import pytest

from tests.protocol.support import Wire, publish, subscribe
from trio_mqtt._enums import MQTT_5, Protocol, ReasonCode
from trio_mqtt._errors import RemoteProtocolError
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    Unsubscribe,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable


NOT_ITS_IDENTIFIER = ("MQTT-2.2.1-6", "MQTT-2.3.1-7")
NOT_EACH_FILTER = ("MQTT-3.8.4-6", "MQTT-3.8.4-5")


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


CLIENT_PACKETS: list[Packet] = [
    Connect("c"),
    Subscribe(1, (SubscriptionRequest("t"),)),
    Unsubscribe(1, ("t",)),
    PingReq(),
]


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("packet", CLIENT_PACKETS, ids=name_of)
@pytest.mark.parametrize("connack", [None, ConnAck()], ids=["before CONNACK", "after CONNACK"])
def test_what_only_a_client_may_send(
    protocol: Protocol, packet: Packet, connack: ConnAck | None
) -> None:
    error = Wire(protocol, connack=connack).refuses(packet)
    assert str(error) == f"the Server sent {name_of(packet)}, which only a Client may send"
    assert error.reason_code is ReasonCode.PROTOCOL_ERROR
    assert error.statement == ("2.1.2" if protocol is MQTT_5 else "2.2.1")


def nothing(_wire: Wire) -> None:
    pass


def message(qos: int) -> Callable[[Wire], object]:
    return lambda wire: wire.publish(qos)


def subscription(wire: Wire) -> None:
    wire.request(subscribe(2))


def incoming(wire: Wire) -> None:
    assert len(wire.feed(publish(1, 2))) == 1


GRANTED = ReasonCode.GRANTED_QOS_0


@pytest.mark.parametrize(
    ("before", "packet", "statement", "older"),
    [
        pytest.param(*row[1:], id=row[0])
        for row in (
            ("second CONNACK", nothing, ConnAck(), "MQTT-3.2.0-2", "3.2"),
            ("PUBREC at QoS 1", message(1), PubRec(1), "3.5", "3.5"),
            ("PUBCOMP at QoS 1", message(1), PubComp(1), "3.7", "3.7"),
            ("PUBACK at QoS 2", message(2), PubAck(1), "3.4", "3.4"),
            ("PUBCOMP before PUBREL", message(2), PubComp(1), "3.7", "3.7"),
            ("PUBREL before PUBREC", incoming, PubRel(1), "MQTT-4.3.3-4", "MQTT-4.3.3-1"),
            ("PUBACK for SUBSCRIBE", subscription, PubAck(1), "2.2.1", "2.3.1"),
            ("SUBACK for PUBLISH", message(1), SubAck(1, (GRANTED,)), *NOT_ITS_IDENTIFIER),
            ("SUBACK of one", subscription, SubAck(1, (GRANTED,)), *NOT_EACH_FILTER),
            ("SUBACK of three", subscription, SubAck(1, (GRANTED,) * 3), *NOT_EACH_FILTER),
        )
    ],
)
@pytest.mark.parametrize("protocol", Protocol)
def test_violations_by_the_statements_of_each_version(
    protocol: Protocol,
    before: Callable[[Wire], object],
    packet: Packet,
    statement: str,
    older: str,
) -> None:
    wire = Wire(protocol)
    before(wire)
    wire.sent()
    error = wire.refuses(packet)
    assert error.reason_code is ReasonCode.PROTOCOL_ERROR
    assert error.statement == (statement if protocol is MQTT_5 else older)
    assert name_of(packet) in str(error)
    assert wire.sent() == []
