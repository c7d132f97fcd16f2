"""Messages of the Server: repeated ones, the order of acknowledgements, limits, Topic Aliases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.protocol.support import Wire, publish
from trio_mqtt._enums import Protocol, ReasonCode
from trio_mqtt.packets import PubAck, PubComp, PubRec, PubRel

if TYPE_CHECKING:
    from trio_mqtt.packets import Packet


def acknowledged(wire: Wire) -> list[str]:
    """What was sent, in short."""
    return [describe(packet) for packet in wire.sent()]


def describe(packet: Packet) -> str:
    assert isinstance(packet, PubAck | PubRec | PubRel | PubComp)
    code = f" {packet.reason_code:02X}" if packet.reason_code else ""
    return f"{type(packet).__name__.upper()} {packet.packet_id}{code}"


# -- repeated messages -------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", Protocol)
def test_the_pubrec_of_a_repeated_publish_waits_its_turn(protocol: Protocol) -> None:
    wire = Wire(protocol)
    settle = wire.connection.receiver.settle
    (answered,) = wire.receive(publish(5, 2))
    settle(answered)
    (earlier,) = wire.receive(publish(7, 2))
    assert acknowledged(wire) == ["PUBREC 5"]
    assert wire.receive(publish(5, 2, dup=True)) == []
    assert acknowledged(wire) == []
    settle(earlier)
    assert acknowledged(wire) == ["PUBREC 7", "PUBREC 5"]


@pytest.mark.parametrize("protocol", Protocol)
def test_pubrel_overtakes_the_pubrec_of_a_repeated_publish(protocol: Protocol) -> None:
    wire = Wire(protocol)
    settle = wire.connection.receiver.settle
    (answered,) = wire.receive(publish(5, 2, payload=b"old"))
    settle(answered)
    (earlier,) = wire.receive(publish(7, 2), publish(5, 2, payload=b"old", dup=True), PubRel(5))
    assert acknowledged(wire) == ["PUBREC 5", "PUBCOMP 5"]
    (new,) = wire.receive(publish(5, 2, payload=b"new"))
    settle(earlier)
    # Not yet that of the new message, which has only the identifier of the old one.
    assert acknowledged(wire) == ["PUBREC 7"]
    settle(new)
    assert acknowledged(wire) == ["PUBREC 5"]
    assert wire.receive(PubRel(7), PubRel(5)) == []
    assert acknowledged(wire) == ["PUBCOMP 7", "PUBCOMP 5"]
    assert wire.connection.receiver.unsettled == 0


@pytest.mark.parametrize("protocol", Protocol)
def test_many_repeats_take_no_room(protocol: Protocol) -> None:
    wire = Wire(protocol)
    settle = wire.connection.receiver.settle
    (answered,) = wire.receive(publish(5, 2))
    settle(answered)
    (earlier,) = wire.receive(publish(7, 2))
    assert acknowledged(wire) == ["PUBREC 5"]
    for _ in range(1000):
        assert wire.receive(publish(5, 2, dup=True), publish(7, 2, dup=True)) == []
    assert len(wire.connection.receiver._before_pubrec) == 2
    settle(earlier)
    assert acknowledged(wire) == ["PUBREC 7", "PUBREC 5"]
    assert wire.receive(publish(5, 2, dup=True)) == []
    assert acknowledged(wire) == ["PUBREC 5"]


# -- our Receive Maximum -----------------------------------------------------------------------


@pytest.mark.parametrize("receive_maximum", [1, 2, 7])
@pytest.mark.parametrize("kinds", [[1], [2], [1, 2], [2, 1, 1]])
def test_receive_maximum_exceeded_is_tolerated_up_to_twice(
    receive_maximum: int, kinds: list[int]
) -> None:
    wire = Wire(receive_maximum=receive_maximum)
    receiver = wire.connection.receiver
    for number in range(2 * receive_maximum):
        message = publish(number + 1, kinds[number % len(kinds)])
        assert len(wire.receive(message)) == 1
        assert receiver.unsettled == number + 1
        assert receiver.overruns == max(0, number + 1 - receive_maximum)
    error = wire.refuses(publish(60_000, kinds[0]))
    assert error.reason_code is ReasonCode.RECEIVE_MAXIMUM_EXCEEDED
    assert error.statement == "MQTT-3.3.4-9"
    assert f"{2 * receive_maximum + 1} unacknowledged" in str(error)
    assert receiver.overruns == receive_maximum
    assert wire.sent() == []  # closed with nothing acknowledged


def test_what_is_acknowledged_makes_room() -> None:
    wire = Wire(receive_maximum=1)
    receiver = wire.connection.receiver
    for number in range(1, 9):
        (message,) = wire.receive(publish(number, 1 + number % 2))
        receiver.settle(message)
        if message.qos == 2:
            assert receiver.unsettled == 1
            wire.feed(PubRel(number))
        assert receiver.unsettled == 0
    assert receiver.overruns == 0


def test_qos_0_and_repeats_of_qos_2_do_not_count() -> None:
    wire = Wire(receive_maximum=1)
    receiver = wire.connection.receiver
    (message,) = wire.receive(publish(1, 2))
    assert len(wire.receive(*[publish(0, 0)] * 5)) == 5
    assert wire.receive(*[publish(1, 2, dup=True)] * 5) == []
    receiver.settle(message)
    assert wire.receive(*[publish(1, 2, dup=True)] * 5) == []
    assert receiver.unsettled == 1
    assert receiver.overruns == 0


def test_qos_1_with_the_identifier_of_qos_2_counts() -> None:
    wire = Wire(receive_maximum=1)
    assert len(wire.receive(publish(1, 2), publish(1, 1))) == 2
    assert wire.connection.receiver.overruns == 1
    error = wire.refuses(publish(1, 1))
    assert error.reason_code is ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


@pytest.mark.parametrize("protocol", [Protocol.MQTT_3_1, Protocol.MQTT_3_1_1])
def test_below_5_the_server_knows_no_receive_maximum(protocol: Protocol) -> None:
    wire = Wire(protocol, receive_maximum=1)
    assert len(wire.receive(*(publish(number, 1) for number in range(1, 30)))) == 29
    assert wire.connection.receiver.overruns == 0
    assert wire.connection.receiver.unsettled == 29
