"""A Server that exceeds our Receive Maximum is tolerated up to a number of bytes, too (3.3.4)."""

from __future__ import annotations

import pytest

from trio_mqtt import MQTT_5, ReasonCode, RemoteProtocolError
from trio_mqtt._protocol.exchanges import IncomingMessage
from trio_mqtt._protocol.output import Output
from trio_mqtt._protocol.receiver import Receiver
from trio_mqtt._protocol.session import SessionState

MEBIBYTE = bytes(1024 * 1024)


def make_receiver() -> Receiver:
    return Receiver(SessionState(), Output(), MQTT_5, receive_maximum=100, topic_alias_maximum=0)


def message(packet_id: int, payload: bytes = b"") -> IncomingMessage:
    return IncomingMessage("a", payload, 1, packet_id=packet_id)


def test_sixteen_mebibytes_beyond_the_receive_maximum_are_too_much() -> None:
    receiver = make_receiver()
    for packet_id in range(1, 101):
        receiver.on_publish(message(packet_id))
    for packet_id in range(101, 117):
        receiver.on_publish(message(packet_id, MEBIBYTE))
    assert receiver.overruns == 16
    with pytest.raises(RemoteProtocolError) as caught:
        receiver.on_publish(message(117, b"x"))
    assert caught.value.reason_code is ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


def test_bytes_are_counted_anew_once_the_receive_maximum_was_kept_again() -> None:
    receiver = make_receiver()
    held = [message(packet_id) for packet_id in range(1, 101)]
    for each in held:
        receiver.on_publish(each)
    for packet_id in range(101, 111):
        over = message(packet_id, MEBIBYTE)
        receiver.on_publish(over)
        held.append(over)
    for each in held:
        receiver.settle(each)
    for packet_id in range(1, 101):
        receiver.on_publish(message(packet_id))
    for packet_id in range(101, 111):
        receiver.on_publish(message(packet_id, MEBIBYTE))
    assert receiver.overruns == 20
