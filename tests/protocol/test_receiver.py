"""Messages of the Server: repeated ones, the order of acknowledgements, limits, Topic Aliases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.protocol.support import Wire, publish
from trio_mqtt._enums import Protocol
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
