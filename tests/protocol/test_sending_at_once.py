"""Messages that go straight to the output: only where nothing is in their way, and the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.budget import examples
from tests.protocol.support import Wire, outgoing, subscribe
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, Protocol
from trio_mqtt._protocol.aliases import TopicAliases
from trio_mqtt._protocol.exchanges import OutgoingMessage, Request
from trio_mqtt._protocol.identifiers import PacketIdentifiers
from trio_mqtt._protocol.journal import Journal
from trio_mqtt._protocol.sender import MOST_QOS_2_BELOW_5, OUTPUT_HIGH_WATER, Sender
from trio_mqtt.packets import PubAck, Publish
from trio_mqtt.packets._encoder import encode_topic

Send = Callable[["Wire", int, bytes], OutgoingMessage | None]
"""Sends a message with this QoS and payload at once; None if something is in the way."""


def _as_it_is(wire: Wire, qos: int, payload: bytes = b"") -> OutgoingMessage | None:
    message = outgoing(qos, payload, wire.protocol)
    sent = wire.connection.sender.send_at_once(message)
    if not sent:
        assert message.packet_id == 0
        assert message.state == 0
    return message if sent else None


def _of_its_parts(wire: Wire, qos: int, payload: bytes = b"") -> OutgoingMessage | None:
    size = 100 + len(payload)
    publish = wire.connection.sender.publish_plain
    return publish("t", encode_topic("t"), payload, qos, size, _listener)


def _listener(_message: OutgoingMessage) -> None:
    """Nobody waits."""


WAYS: list[Send] = [_as_it_is, _of_its_parts]
ways = pytest.mark.parametrize("send", WAYS, ids=lambda each: each.__name__.strip("_"))


@ways
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("size", [0, 1, 100, 119, 120, 121, 122, 123, 124, 1024, 1025, 20_000])
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("protocol", Protocol)
def test_what_is_sent_is_the_same_as_through_the_queue(
    protocol: Protocol, qos: int, size: int, first: bool, send: Send
) -> None:
    queued, at_once = wires = [Wire(protocol), Wire(protocol)]
    for wire in wires:
        if not first:
            wire.connection.sender.send(outgoing(0, b"before", protocol))
    message = outgoing(qos, bytes(size), protocol)
    queued.session.accept(message)
    assert queued.connection.sender.pump() == 1
    sent = send(at_once, qos, bytes(size))
    assert sent is not None
    if send is _of_its_parts:
        assert sent.listener is _listener
        sent.listener = None
    assert attrs.asdict(sent) == attrs.asdict(message)
    for wire, each in ((queued, message), (at_once, sent)):
        assert wire.session.identifiers.in_use == {1: each}
    assert queued.connection.output.size == at_once.connection.output.size
    assert b"".join(queued.connection.output.take()) == b"".join(at_once.connection.output.take())
    assert queued.connection.sender.quota == at_once.connection.sender.quota
    assert queued.session.outgoing_size == at_once.session.outgoing_size == message.size
    assert queued.session.unfinished == at_once.session.unfinished == 1


@pytest.mark.parametrize("qos", [1, 2])
def test_topic_aliases_are_used(qos: int) -> None:
    """A Topic Name gets one at its second use."""
    queued, at_once = wires = [Wire(MQTT_5), Wire(MQTT_5)]
    for wire in wires:
        wire.connection.sender.aliases = TopicAliases(10, 1000)
    topic = "a/topic/that/is/long"
    for _ in range(3):
        queued.session.accept(outgoing(qos, b"1", topic=topic))
        queued.connection.sender.pump()
        publish = at_once.connection.sender.publish_plain
        assert publish(topic, encode_topic(topic), b"1", qos, 101, _listener) is not None
    packets = [wire.sent() for wire in wires]
    assert packets[0] == packets[1]
    assert [isinstance(each, Publish) and each.topic for each in packets[1]] == [topic, topic, ""]


@ways
def test_a_qos_that_is_no_number_of_this_kind_takes_nothing(send: Send) -> None:
    wire = Wire()
    qos: Any = 1.0
    before = _everything(wire)
    with pytest.raises(TypeError):
        send(wire, qos, b"")
    assert _everything(wire) == before


def _not_open(wire: Wire) -> None:
    wire.connection.sender = Sender(wire.session, wire.connection.output, wire.protocol)


def _held(wire: Wire) -> None:
    wire.connection.sender.hold()


def _repeating(wire: Wire) -> None:
    """A message of an earlier connection is still to be sent again."""
    for _ in range(2):
        wire.publish()
    again = Sender(wire.session, wire.connection.output, wire.protocol)
    again.open(1)
    again.resume()
    again.pump()  # the first of the two
    wire.feed(PubAck(1))
    again.quota = 1
    wire.connection.sender = again


def _queued(wire: Wire) -> None:
    wire.session.accept(outgoing(protocol=wire.protocol))


def _asked(wire: Wire) -> None:
    wire.session.requests.append(subscribe())


def _no_quota(wire: Wire) -> None:
    wire.connection.sender.quota = 0


def _much_output(wire: Wire) -> None:
    wire.connection.output.append(bytes(OUTPUT_HIGH_WATER))


def _closed(wire: Wire) -> None:
    wire.connection.output.closed = True


def _no_identifiers(wire: Wire) -> None:
    for _ in range(65_535):
        wire.session.identifiers.take(outgoing(protocol=wire.protocol))


def _durable(wire: Wire) -> None:
    wire.session.journal = Journal()


OBSTACLES: list[Callable[[Wire], None]] = [
    _not_open,
    _held,
    _repeating,
    _queued,
    _asked,
    _no_quota,
    _much_output,
    _closed,
    _no_identifiers,
    _durable,
]


def _everything(wire: Wire) -> tuple[object, ...]:
    session, output, sender = wire.session, wire.connection.output, wire.connection.sender
    return (
        session.outgoing_size,
        len(session.identifiers),
        list(session.queue),
        output.size,
        sender.quota,
        sender._qos_2_room,
    )


@ways
@pytest.mark.parametrize("obstacle", OBSTACLES, ids=lambda each: each.__name__.strip("_"))
@pytest.mark.parametrize("qos", [1, 2])
def test_whatever_is_in_the_way_nothing_has_happened(
    obstacle: Callable[[Wire], None], qos: int, send: Send
) -> None:
    wire = Wire()
    obstacle(wire)
    before = _everything(wire)
    assert send(wire, qos, b"") is None
    assert _everything(wire) == before


@pytest.mark.parametrize("obstacle", [_held, _repeating, _much_output, _closed])
def test_whatever_is_in_the_way_of_qos_0_nothing_has_happened(
    obstacle: Callable[[Wire], None],
) -> None:
    wire = Wire()
    obstacle(wire)
    before = _everything(wire)
    assert not wire.connection.sender.send_plain(encode_topic("t"), b"1")
    assert _everything(wire) == before


@pytest.mark.parametrize("aliases", [False, True])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("size", [0, 110, 111, 112, 113, 114, 115, 120, 1024, 1025])
@pytest.mark.parametrize("protocol", Protocol)
def test_what_is_sent_at_qos_0_is_the_same_as_what_is_made(
    protocol: Protocol, size: int, first: bool, aliases: bool
) -> None:
    topic, payload = "a/topic/name", bytes(size)
    made, plain = wires = [Wire(protocol), Wire(protocol)]
    for wire in wires:
        if aliases and protocol is MQTT_5:
            wire.connection.sender.aliases = TopicAliases(10, 10_000)
        if not first:
            wire.connection.sender.send(outgoing(0, b"before", protocol))
    for _ in range(3):
        made.connection.sender.send(outgoing(0, payload, protocol, topic))
        assert plain.connection.sender.send_plain(encode_topic(topic), payload)
    assert made.connection.output.size == plain.connection.output.size
    assert b"".join(made.connection.output.take()) == b"".join(plain.connection.output.take())


@ways
def test_qos_2_has_fewer_places_where_no_receive_maximum_says_how_many(send: Send) -> None:
    wire = Wire(MQTT_3_1_1)
    for _ in range(MOST_QOS_2_BELOW_5):
        assert send(wire, 2, b"") is not None
    before = _everything(wire)
    assert send(wire, 2, b"") is None
    assert _everything(wire) == before
    assert send(wire, 1, b"") is not None


@ways
def test_the_window_is_used_up_and_given_back(send: Send) -> None:
    wire = Wire(MQTT_5)
    sender = wire.connection.sender
    quota = sender.quota
    assert send(wire, 1, b"") is not None
    assert sender.quota == quota - 1
    wire.feed(PubAck(1))
    assert sender.quota == quota
    assert wire.session.unfinished == wire.session.outgoing_size == 0


@examples(300)
@given(
    st.sets(st.integers(1, 65535) | st.integers(65530, 65535)),
    st.integers(65525, 65535),
    st.sampled_from(WAYS),
)
def test_the_identifier_is_the_next_one_or_it_is_not_sent(
    in_use: set[int], start: int, send: Send
) -> None:
    wire = Wire()
    thorough = PacketIdentifiers[OutgoingMessage | Request]()
    for identifiers in (wire.session.identifiers, thorough):
        identifiers.last = start
        identifiers.in_use.update(dict.fromkeys(in_use, outgoing()))
    for _ in range(8):
        expected = thorough.take(outgoing())
        sent = send(wire, 1, b"")
        if sent is None:
            assert wire.session.identifiers.last + 1 in {*in_use, 65536}
            assert wire.session.identifiers.take(outgoing()) == expected
        else:
            assert sent.packet_id == expected
            assert wire.session.identifiers.holder(expected) is sent
        assert wire.session.identifiers.in_use.keys() == thorough.in_use.keys()
