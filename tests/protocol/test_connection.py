"""What a Server may send, and when; what happens when it sends something else."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import pytest

from tests.protocol.support import Wire, outgoing, publish, subscribe
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, Protocol, ReasonCode
from trio_mqtt._errors import MalformedPacket, RemoteProtocolError
from trio_mqtt._protocol.exchanges import IncomingMessage
from trio_mqtt.packets import (
    NO_PROPERTIES,
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


# -- packets without an exchange ---------------------------------------------------------------


def test_ping() -> None:
    wire = Wire()
    outstanding = [wire.connection.ping_outstanding]
    wire.connection.ping()
    outstanding.append(wire.connection.ping_outstanding)
    assert wire.sent() == [PingReq()]
    assert len(wire.feed(publish(0, 0), PingResp())) == 1
    outstanding.append(wire.connection.ping_outstanding)
    assert outstanding == [False, True, False]
    assert wire.feed(PingResp()) == []  # one that was not asked for does no harm


def test_disconnect_of_the_server() -> None:
    wire = Wire()
    packet = Disconnect(
        ReasonCode.SESSION_TAKEN_OVER, Properties(reason_string="w", server_reference="s")
    )
    assert wire.feed(packet) == [packet]


@pytest.mark.parametrize("connack", [None, ConnAck()])
def test_disconnect_of_a_server_before_5(connack: ConnAck | None) -> None:
    wire = Wire(MQTT_3_1_1, connack=connack)
    error = wire.refuses(Disconnect())
    assert error.statement == ("MQTT-3.2.0-1" if connack is None else "3.14")
    assert "DISCONNECT" in str(error)


AUTH = Auth(ReasonCode.CONTINUE_AUTHENTICATION, Properties(authentication_method="m"))


@pytest.mark.parametrize("connack", [None, ConnAck()], ids=["before CONNACK", "after CONNACK"])
def test_auth_uninvited(connack: ConnAck | None) -> None:
    error = Wire(connack=connack).refuses(AUTH)
    assert error.reason_code is ReasonCode.PROTOCOL_ERROR
    assert error.statement == "MQTT-4.12.0-6"


@pytest.mark.parametrize("connack", [None, ConnAck()], ids=["before CONNACK", "after CONNACK"])
def test_no_auth_before_5(connack: ConnAck | None) -> None:
    error = Wire(MQTT_3_1_1, connack=connack).refuses_bytes(b"\xf0\0")
    assert isinstance(error, MalformedPacket)
    assert error.statement == "2.2.1"


def test_maximum_packet_size() -> None:
    message = publish(0, 0, payload=b"12345")
    limit = len(encode(message, MQTT_5))
    connect = Connect("c", properties=Properties(maximum_packet_size=limit))
    wire = Wire(connect=connect)
    assert len(wire.receive(message)) == 1
    error = wire.refuses_bytes(encode(publish(0, 0, payload=b"123456"), MQTT_5)[:2])
    assert error.reason_code is ReasonCode.PACKET_TOO_LARGE
    assert error.statement == "MQTT-3.1.2-24"


# -- the end of what we send -------------------------------------------------------------------


@pytest.mark.parametrize("protocol", Protocol)
def test_nothing_is_sent_after_disconnect(protocol: Protocol) -> None:
    wire = Wire(protocol)
    connection = wire.connection
    one, two = wire.receive(publish(1, 1), publish(2, 2))
    wire.publish(2)
    assert len(wire.sent()) == 1
    reason = Properties(reason_string="over") if protocol is MQTT_5 else NO_PROPERTIES
    farewell = Disconnect(ReasonCode.UNSPECIFIED_ERROR, reason)
    connection.disconnect(farewell)
    connection.disconnect()
    connection.ping()
    connection.receiver.settle(one)
    connection.receiver.settle(two)
    connection.sender.send(outgoing(0, protocol=protocol, payload=b"late"))
    wire.feed(PubRec(1), PubRec(77), PubRel(77))
    for waits in (wire.publish(1), wire.publish(2)):
        assert waits.packet_id == 0
    assert wire.request(subscribe()).packet.packet_id == 0
    assert wire.sent() == [farewell if protocol is MQTT_5 else Disconnect()]  # MQTT-3.14.4-1
    assert connection.output.size == 0
    assert connection.output.closed
    assert wire.session.unfinished == 4


# -- a violation behind something else ---------------------------------------------------------


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize(
    "violation", [b"\xc0\0", b"\0\0", b"\x62\x02\0\x07"], ids=["PINGREQ", "garbage", "PUBREL"]
)
def test_what_happened_before_a_violation_comes_first(protocol: Protocol, violation: bytes) -> None:
    wire = Wire(protocol)
    ours = wire.publish(1)
    before: list[Packet] = [publish(7, 2), PingResp(), PubAck(1), publish(0, 0)]
    after = encode(publish(9, 1), protocol)
    wire.connection.receive_data(b"".join(encode(packet, protocol) for packet in before))
    wire.connection.receive_data(violation + after)
    first, second, third = wire.connection.next_events()
    assert isinstance(first, IncomingMessage)
    assert second is ours
    assert isinstance(third, IncomingMessage)
    wire.connection.receiver.settle(first)
    said: set[str] = set()
    for _ in range(3):
        with pytest.raises(RemoteProtocolError) as caught:
            wire.connection.next_events()
        said.add(f"{caught.value} {caught.value.statement}")
        wire.connection.receive_data(after)
    assert len(said) == 1
