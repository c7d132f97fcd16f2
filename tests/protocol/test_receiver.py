"""Messages of the Server: repeated ones, the order of acknowledgements, limits, Topic Aliases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.protocol.support import Wire, publish
from trio_mqtt._enums import Protocol, ReasonCode
from trio_mqtt._protocol.handshakes import ReceiverState
from trio_mqtt._protocol.receiver import _MOST_OVERRUN_BYTES
from trio_mqtt._protocol.session import SessionState
from trio_mqtt.packets import Connect, Properties, PubAck, PubComp, Publish, PubRec, PubRel

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
    everything = bytes(_MOST_OVERRUN_BYTES)
    for number in range(2 * receive_maximum):
        payload = everything if number == receive_maximum else b""
        message = publish(number + 1, kinds[number % len(kinds)], payload=payload)
        assert len(wire.receive(message)) == 1
        assert receiver.unsettled == number + 1
        assert receiver.overruns == max(0, number + 1 - receive_maximum)
    error = wire.refuses(publish(60_000, kinds[0]))
    assert error.reason_code is ReasonCode.RECEIVE_MAXIMUM_EXCEEDED
    assert error.statement == "MQTT-3.3.4-9"
    assert f"{2 * receive_maximum + 1} unacknowledged" in str(error)
    assert receiver.overruns == receive_maximum
    assert wire.sent() == []  # closed with nothing acknowledged


def large(packet_id: int) -> Publish:
    return publish(packet_id, 1, payload=bytes(_MOST_OVERRUN_BYTES // 2))


def test_a_server_that_is_always_one_ahead_is_tolerated_for_long() -> None:
    wire = Wire(receive_maximum=2)
    receiver = wire.connection.receiver
    held = wire.receive(large(1), large(2))
    for number in range(3, 12):
        held += wire.receive(large(number))
        receiver.settle(held.pop(0))
        assert receiver.unsettled == 2
    assert receiver.overruns == 9


def test_the_oldest_unsettled_messages() -> None:
    wire = Wire()
    receiver = wire.connection.receiver
    assert receiver.oldest() == []
    one, two, three, four = wire.receive(publish(1, 2), publish(2, 1), publish(3, 1), publish(4, 2))
    assert receiver.oldest() == [two, one]
    receiver.settle(three)
    receiver.settle(one)
    assert receiver.oldest() == [two, four]
    assert wire.receive(publish(1, 2, dup=True)) == []
    receiver.settle(two)
    assert receiver.oldest() == [four]
    receiver.settle(four)
    assert receiver.oldest() == []


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


@pytest.mark.parametrize("protocol", [Protocol.MQTT_3_1, Protocol.MQTT_3_1_1])
def test_below_5_the_server_knows_no_receive_maximum(protocol: Protocol) -> None:
    wire = Wire(protocol, receive_maximum=1)
    assert len(wire.receive(*(publish(number, 1) for number in range(1, 30)))) == 29
    assert wire.connection.receiver.overruns == 0
    assert wire.connection.receiver.unsettled == 29


# -- the order of acknowledgements -------------------------------------------------------------


@pytest.mark.parametrize("protocol", Protocol)
def test_pubacks_and_pubrecs_each_leave_in_the_order_of_their_publishes(protocol: Protocol) -> None:
    wire = Wire(protocol)
    settle = wire.connection.receiver.settle
    one, two, three, four, five = wire.receive(
        publish(30, 1), publish(31, 2), publish(20, 1), publish(10, 2), publish(11, 1)
    )
    settle(four)
    settle(five)
    settle(three)
    assert acknowledged(wire) == []
    assert wire.connection.receiver.unsettled == 5
    settle(one)
    assert acknowledged(wire) == ["PUBACK 30", "PUBACK 20", "PUBACK 11"]
    settle(two)
    assert acknowledged(wire) == ["PUBREC 31", "PUBREC 10"]
    settle(two)
    settle(one)
    assert acknowledged(wire) == []


def test_rejected_messages_keep_their_place() -> None:
    wire = Wire()
    receiver = wire.connection.receiver
    messages = wire.receive(*(publish(number, 1 + number % 2) for number in range(1, 7)))
    reasons = {1: 0x10, 2: 0x80, 3: 0x83, 4: 0x87, 5: 0x97, 6: 0x10}
    for message in reversed(messages):
        receiver.settle(message, ReasonCode(reasons[message.packet_id]))
    sent = acknowledged(wire)
    assert [each for each in sent if "PUBACK" in each] == [
        "PUBACK 2 80",
        "PUBACK 4 87",
        "PUBACK 6 10",
    ]
    assert [each for each in sent if "PUBREC" in each] == [
        "PUBREC 1 10",
        "PUBREC 3 83",
        "PUBREC 5 97",
    ]
    # What PUBREC refused is over (MQTT-4.3.3-9), so the identifier is that of a new message.
    assert wire.session.received == {1: ReceiverState.ANSWERED}
    assert len(wire.receive(publish(3, 2), publish(5, 2))) == 2


# -- Topic Aliases -----------------------------------------------------------------------------


def aliased(topic: str, alias: int, packet_id: int = 0, qos: int = 0) -> Publish:
    return Publish(topic, b"", qos, packet_id=packet_id, properties=Properties(topic_alias=alias))


def with_aliases(maximum: int | None, session: SessionState | None = None) -> Wire:
    connect = Connect("c", properties=Properties(topic_alias_maximum=maximum))
    return Wire(connect=connect, session=session)


def test_topic_aliases_stand_for_the_last_topic_given_to_them() -> None:
    wire = with_aliases(65535)
    messages = wire.receive(
        aliased("a", 1),
        aliased("b", 65535, 7, 2),
        aliased("", 1),
        aliased("", 65535, 8, 1),
        aliased("c", 1),
        aliased("", 1),
        aliased("b", 2),
        aliased("", 2),
        publish(0, 0),
        aliased("", 65535),
    )
    assert [message.topic for message in messages] == list("abab") + list("ccbbtb")


@pytest.mark.parametrize(("maximum", "alias"), [(None, 1), (0, 1), (1, 2), (5, 6), (65534, 65535)])
@pytest.mark.parametrize("topic", ["t", ""])
def test_topic_alias_above_the_maximum(maximum: int | None, alias: int, topic: str) -> None:
    error = with_aliases(maximum).refuses(aliased(topic, alias))
    assert error.reason_code is ReasonCode.TOPIC_ALIAS_INVALID
    assert error.statement == "MQTT-3.1.2-26"
    assert str(error) == f"Topic Alias {alias}; the Topic Alias Maximum is {maximum or 0}"


def test_topic_alias_that_stands_for_nothing() -> None:
    wire = with_aliases(5)
    assert len(wire.receive(aliased("t", 1))) == 1
    error = wire.refuses(aliased("", 2))
    assert error.reason_code is ReasonCode.PROTOCOL_ERROR
    assert error.statement == "3.3.2.3.4"
    assert "Topic Alias 2" in str(error)


def test_pitfall_topic_aliases_survive_into_the_next_network_connection() -> None:
    first = with_aliases(5)
    assert len(first.receive(aliased("t", 1), aliased("", 1))) == 2
    second = with_aliases(5, first.session)
    error = second.refuses(aliased("", 1))
    assert error.statement == "3.3.2.3.4"


# -- what other clients get wrong --------------------------------------------------------------


@pytest.mark.parametrize("protocol", Protocol)
def test_pitfall_qos_2_duplicate_delivered_twice_or_missing_second_pubrec(
    protocol: Protocol,
) -> None:
    wire = Wire(protocol)
    again = publish(5, 2, dup=True)
    (message,) = wire.receive(publish(5, 2), again, again)
    assert acknowledged(wire) == []
    wire.connection.receiver.settle(message)
    assert acknowledged(wire) == ["PUBREC 5"]
    assert wire.receive(again) == []
    assert wire.receive(again) == []
    assert acknowledged(wire) == ["PUBREC 5", "PUBREC 5"]
    assert wire.receive(PubRel(5)) == []
    assert acknowledged(wire) == ["PUBCOMP 5"]
    assert len(wire.receive(again)) == 1  # MQTT-4.3.3-12: it is over, so this is a new message


@pytest.mark.parametrize("protocol", Protocol)
def test_qos_1_with_the_same_identifier_is_a_new_message(protocol: Protocol) -> None:
    wire = Wire(protocol)
    for _ in range(3):  # MQTT-4.3.2-5, irrespective of DUP
        (message,) = wire.receive(publish(5, 1, dup=True))
        wire.connection.receiver.settle(message)
        assert acknowledged(wire) == ["PUBACK 5"]


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("qos", [1, 2])
def test_pitfall_inbound_and_outbound_identifiers_share_one_map(
    protocol: Protocol, qos: int
) -> None:
    wire = Wire(protocol)
    ours = wire.publish(qos)
    assert ours.packet_id == 1
    wire.sent()
    (theirs,) = wire.receive(publish(1, qos))
    assert theirs.packet_id == 1
    wire.connection.receiver.settle(theirs)
    if qos == 1:
        assert acknowledged(wire) == ["PUBACK 1"]
        assert wire.feed(PubAck(1)) == [ours]
    else:
        assert acknowledged(wire) == ["PUBREC 1"]
        assert wire.feed(PubRec(1), PubRel(1)) == []
        assert acknowledged(wire) == ["PUBREL 1", "PUBCOMP 1"]
        assert wire.feed(PubComp(1)) == [ours]
    assert wire.session.unfinished == wire.connection.receiver.unsettled == 0


@pytest.mark.parametrize("qos", [1, 2])
def test_pitfall_late_acknowledgement_on_the_next_network_connection(qos: int) -> None:
    first = Wire()
    (late,) = first.receive(publish(1, qos))
    second = Wire(session=SessionState())
    (other,) = second.receive(publish(1, qos))
    second.connection.receiver.settle(late)
    assert acknowledged(second) == []
    second.connection.receiver.settle(other)
    assert acknowledged(second) == ["PUBACK 1" if qos == 1 else "PUBREC 1"]
