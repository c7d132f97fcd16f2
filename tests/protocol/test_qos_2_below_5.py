"""Below MQTT 5.0 there is no Receive Maximum; QoS 2 messages under way are limited all the same."""

from __future__ import annotations

import pytest

from trio_mqtt import MQTT_3_1, MQTT_3_1_1, MQTT_5, Protocol
from trio_mqtt._protocol.exchanges import OutgoingMessage
from trio_mqtt._protocol.output import Output
from trio_mqtt._protocol.sender import MOST_QOS_2_BELOW_5, Sender
from trio_mqtt._protocol.session import SessionState
from trio_mqtt.packets import PubAck, PubComp, PubRec


def make(protocol: Protocol, *levels: int) -> tuple[Sender, SessionState]:
    session = SessionState()
    sender = Sender(session, Output(), protocol)
    sender.open(65_535)
    for qos in levels:
        session.accept(
            OutgoingMessage("a", b"\x00\x01a", b"", qos, retain=False, properties=b"", size=1)
        )
    return sender, session


@pytest.mark.parametrize("protocol", [MQTT_3_1, MQTT_3_1_1])
def test_nineteen_are_under_way_at_most(protocol: Protocol) -> None:
    assert MOST_QOS_2_BELOW_5 == 19
    sender, session = make(protocol, *[2] * 50)
    assert sender.pump() == 19
    assert sender.pump() == 0
    sender.on_acknowledgement(PubRec(1))
    assert sender.pump() == 0  # it is under way until PUBCOMP
    sender.on_acknowledgement(PubComp(1))
    assert sender.pump() == 1
    assert len(session.queue) == 30


def test_what_comes_behind_keeps_its_place() -> None:
    sender, session = make(MQTT_3_1_1, *[2] * 20, 1)
    assert sender.pump() == 19
    assert [message.qos for message in session.queue] == [2, 1]
    sender.on_acknowledgement(PubRec(5))
    sender.on_acknowledgement(PubComp(5))
    assert sender.pump() == 2


def test_qos_1_is_not_limited_and_takes_no_room() -> None:
    sender, _ = make(MQTT_3_1_1, *[1] * 100, *[2] * 19)
    assert sender.pump() == 119
    for packet_id in range(1, 101):
        sender.on_acknowledgement(PubAck(packet_id))
    assert sender.pump() == 0


def test_with_mqtt_5_the_receive_maximum_is_the_limit() -> None:
    sender, _ = make(MQTT_5, *[2] * 500)
    assert sender.pump() == 500
