"""Messages that go straight to the output: only where nothing is in their way, and the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.protocol.support import Wire, outgoing, subscribe
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, Protocol
from trio_mqtt._protocol.journal import Journal
from trio_mqtt._protocol.sender import MOST_QOS_2_BELOW_5, OUTPUT_HIGH_WATER, Sender
from trio_mqtt.packets import PubAck

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("size", [0, 1, 100, 119, 120, 121, 122, 123, 124, 1024, 1025, 20_000])
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("protocol", Protocol)
def test_what_is_sent_is_the_same_as_through_the_queue(
    protocol: Protocol, qos: int, size: int
) -> None:
    wires = [Wire(protocol), Wire(protocol)]
    messages = [outgoing(qos, bytes(size), protocol) for _ in wires]
    wires[0].session.accept(messages[0])
    assert wires[0].connection.sender.pump() == 1
    assert wires[1].connection.sender.send_at_once(messages[1])
    queued, at_once = wires
    assert queued.connection.output.take() == at_once.connection.output.take()
    assert messages[0].packet_id == messages[1].packet_id == 1
    assert messages[0].state is messages[1].state
    assert queued.connection.sender.quota == at_once.connection.sender.quota
    assert queued.session.outgoing_size == at_once.session.outgoing_size == messages[0].size
    assert queued.session.unfinished == at_once.session.unfinished == 1


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


@pytest.mark.parametrize("obstacle", OBSTACLES, ids=lambda each: each.__name__.strip("_"))
@pytest.mark.parametrize("qos", [1, 2])
def test_whatever_is_in_the_way_nothing_has_happened(
    obstacle: Callable[[Wire], None], qos: int
) -> None:
    wire = Wire()
    obstacle(wire)
    before = _everything(wire)
    message = outgoing(qos)
    assert not wire.connection.sender.send_at_once(message)
    assert _everything(wire) == before
    assert message.packet_id == 0
    assert message.state == 0


def test_qos_2_has_fewer_places_where_no_receive_maximum_says_how_many() -> None:
    wire = Wire(MQTT_3_1_1)
    sender = wire.connection.sender
    for _ in range(MOST_QOS_2_BELOW_5):
        assert sender.send_at_once(outgoing(2, protocol=MQTT_3_1_1))
    before = _everything(wire)
    assert not sender.send_at_once(outgoing(2, protocol=MQTT_3_1_1))
    assert _everything(wire) == before
    assert sender.send_at_once(outgoing(1, protocol=MQTT_3_1_1))


def test_the_window_is_used_up_and_given_back() -> None:
    wire = Wire(MQTT_5)
    sender = wire.connection.sender
    quota = sender.quota
    assert sender.send_at_once(outgoing())
    assert sender.quota == quota - 1
    wire.feed(PubAck(1))
    assert sender.quota == quota
    assert wire.session.unfinished == wire.session.outgoing_size == 0
