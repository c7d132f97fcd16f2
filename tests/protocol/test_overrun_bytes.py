"""A Server that exceeds our Receive Maximum is tolerated up to a bound (3.3.4).

That is twice the Receive Maximum or 16 MiB, whichever is more.
"""

from __future__ import annotations

import pytest

from trio_mqtt import MQTT_5, ReasonCode, RemoteProtocolError
from trio_mqtt._protocol.exchanges import IncomingMessage
from trio_mqtt._protocol.output import Output
from trio_mqtt._protocol.receiver import Receiver
from trio_mqtt._protocol.session import SessionState

MEBIBYTE = bytes(1024 * 1024)


def make_receiver(receive_maximum: int) -> Receiver:
    return Receiver(
        SessionState(), Output(), MQTT_5, receive_maximum=receive_maximum, topic_alias_maximum=0
    )


def message(packet_id: int, payload: bytes = b"") -> IncomingMessage:
    return IncomingMessage("a", payload, 1, packet_id=packet_id)


def receive(receiver: Receiver, first: int, last: int, payload: bytes) -> list[IncomingMessage]:
    received = [message(packet_id, payload) for packet_id in range(first, last + 1)]
    for each in received:
        assert receiver.on_publish(each)
    return received


def test_twice_as_many_are_absorbed_whatever_their_size() -> None:
    receiver = make_receiver(20)
    receive(receiver, 1, 20, b"")
    receive(receiver, 21, 40, MEBIBYTE)
    assert receiver.overruns == 20
    with pytest.raises(RemoteProtocolError) as caught:
        receiver.on_publish(message(41))
    assert caught.value.reason_code is ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


def test_sixteen_mebibytes_are_absorbed_however_many_messages() -> None:
    receiver = make_receiver(2)
    receive(receiver, 1, 60_000, b"")
    assert receiver.overruns == 59_998
    with pytest.raises(RemoteProtocolError) as caught:
        receive(receiver, 60_001, 65_535, bytes(1000))
    assert caught.value.reason_code is ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


def test_what_was_settled_counts_no_more() -> None:
    receiver = make_receiver(2)
    for _ in range(5):
        for each in receive(receiver, 1, 14, MEBIBYTE):
            receiver.settle(each)
    assert receiver.overruns == 5 * 12
