"""Session State: what is accepted, finished and abandoned, and what it weighs."""

from __future__ import annotations

from tests.protocol.support import Wire, outgoing, publish, subscribe, unsubscribe
from trio_mqtt._protocol.exchanges import OutgoingMessage, Request
from trio_mqtt._protocol.output import Output
from trio_mqtt._protocol.sender import OUTPUT_HIGH_WATER
from trio_mqtt._protocol.session import SessionState
from trio_mqtt.packets import ConnAck, Properties, PubAck, PubRec, Subscribe


def test_abandon_gives_back_everything_in_order() -> None:
    wire = Wire(connack=ConnAck(properties=Properties(receive_maximum=3)))
    session = wire.session
    done, one, request, two = (
        wire.publish(1),
        wire.publish(2, b"22"),
        wire.request(subscribe()),
        wire.publish(1),
    )
    assert wire.feed(PubAck(done.packet_id), PubRec(one.packet_id)) == [done]
    later = wire.publish(1, b"333")
    waiting = wire.publish(2, b"4444")
    session.requests.append(last := unsubscribe())
    assert session.unfinished == 6
    assert session.outgoing_size == one.size + two.size + later.size + waiting.size
    assert session.abandon() == [one, request, two, later, last, waiting]
    assert session.unfinished == 0
    assert session.outgoing_size == 0
    assert session.abandon() == []


def test_after_abandon_the_old_answers_are_stale() -> None:
    wire = Wire()
    message = wire.publish(1)
    assert wire.session.abandon() == [message]
    assert wire.feed(PubAck(1)) == []
    assert wire.connection.sender.strays == 1
    assert message.acknowledgement is None
    assert wire.session.outgoing_size == 0


def test_accepted_messages_wait_for_the_connection() -> None:
    session = SessionState()
    messages = [outgoing(1), outgoing(2)]
    for message in messages:
        session.accept(message)
    session.requests.append(subscribe())
    assert [message.sequence for message in messages] == [0, 0]  # nothing keeps a journal
    wire = Wire(connack=None, session=session)
    assert wire.connection.sender.quota == 0
    assert wire.connection.sender.pump() == 0
    assert [type(packet).__name__ for packet in wire.sent()] == ["Connect"]
    assert wire.feed(ConnAck()) == [ConnAck()]
    assert wire.connection.sender.pump() == 2
    assert [type(packet).__name__ for packet in wire.sent()] == ["Subscribe", "Publish", "Publish"]


def test_messages_wait_in_the_session_while_the_output_is_full() -> None:
    wire = Wire()
    large = OUTPUT_HIGH_WATER // 2
    messages = [wire.publish(1, bytes(large)) for _ in range(5)]
    assert [message.packet_id for message in messages] == [1, 2, 0, 0, 0]
    assert len(wire.session.queue) == 3
    assert wire.connection.output.size >= OUTPUT_HIGH_WATER
    request = wire.request(subscribe())
    assert request.packet.packet_id == 3  # it does not
    wire.sent()
    assert wire.connection.sender.pump() == 2
    assert len(wire.sent()) == 2
    assert wire.connection.sender.pump() == 1


def test_listeners_are_told() -> None:
    told: list[object] = []
    message = outgoing()
    request = Request(Subscribe(0, ()), 0)
    message.tell()
    request.tell()
    message.listener = told.append
    request.listener = told.append
    message.tell()
    request.tell()
    assert told == [message, request]


def test_messages_that_look_alike_are_two() -> None:
    one, two = outgoing(), outgoing()
    assert one != two
    assert subscribe() != subscribe()
    assert isinstance(one, OutgoingMessage)
    wire = Wire()
    first, second = wire.receive(*[publish(0, 0)] * 2)
    assert first != second
    assert len({first, second}) == 2


def test_output_gives_everything_once_and_takes_nothing_when_closed() -> None:
    output = Output()
    output.append(b"ab")
    output.append(b"c")
    assert output.size == 3
    output.closed = True
    output.append(b"d")
    assert output.size == 3
    assert output.take() == [b"ab", b"c"]
    assert output.take() == []
    assert output.size == 0
