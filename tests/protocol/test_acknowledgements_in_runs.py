"""Acknowledgements that are taken together: the same happens as if each came alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.budget import examples
from tests.protocol.support import Wire, subscribe
from trio_mqtt._enums import MQTT_3_1, MQTT_5, Protocol, ReasonCode
from trio_mqtt._errors import PacketTooLarge, RemoteProtocolError
from trio_mqtt._protocol.exchanges import OutgoingMessage
from trio_mqtt._protocol.handshakes import SenderState
from trio_mqtt._protocol.journal import Journal
from trio_mqtt._protocol.session import SessionState
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Packet,
    PingResp,
    Properties,
    PubAck,
    PubComp,
    PubRec,
    encode,
)
from trio_mqtt.packets._runs import AcknowledgementRun

if TYPE_CHECKING:
    from collections.abc import Sequence

_ANSWERS: Final[dict[SenderState, type[PubAck | PubRec | PubComp]]] = {
    SenderState.IDLE: PubAck,
    SenderState.AWAITING_PUBACK: PubAck,
    SenderState.AWAITING_PUBREC: PubRec,
    SenderState.AWAITING_PUBCOMP: PubComp,
}
_CODES: Final[dict[type, tuple[ReasonCode, ...]]] = {
    PubAck: (ReasonCode.NO_MATCHING_SUBSCRIBERS, ReasonCode.QUOTA_EXCEEDED),
    PubRec: (ReasonCode.NO_MATCHING_SUBSCRIBERS, ReasonCode.QUOTA_EXCEEDED),
    PubComp: (ReasonCode.PACKET_IDENTIFIER_NOT_FOUND,),
}
_RELEASED: Final = 3
"""Beside 1 and 2: a message of QoS 2 of which PUBREC has come."""
_CONNECT: Final = Connect("c", clean_start=False)
_WORDS: Final = Properties(reason_string="words")

steps = st.lists(
    st.tuples(
        st.integers(0, 9),  # which of the messages, or none
        st.integers(0, 15),  # what is unusual about its answer
    ),
    max_size=40,
)


class _End:
    """A connection with messages under way, and what happens there."""

    def __init__(self, protocol: Protocol, before: Sequence[int], now: Sequence[int]) -> None:
        session = SessionState()
        if before:
            earlier = Wire(protocol, session=session, connect=_CONNECT)
            self.messages = [earlier.publish(min(kind, 2)) for kind in before]
            for message, kind in zip(self.messages, before, strict=True):
                if kind == _RELEASED:
                    earlier.feed(PubRec(message.packet_id))
            earlier.connection.end()
        else:
            self.messages = []
        # A window with room for fewer messages than there are at times.
        granted = Properties(receive_maximum=20) if protocol is MQTT_5 else Properties()
        connack = ConnAck(bool(before) and protocol is not MQTT_3_1, properties=granted)
        self.wire = Wire(protocol, session=session, connect=_CONNECT, connack=connack)
        self.messages += [self.wire.publish(qos) for qos in now]
        self.wire.request(subscribe())
        self.wire.connection.sender.pump()
        self.wire.sent()

    def give_up(self, number: int) -> None:
        self.wire.session.give_up(self.messages[number], PacketTooLarge("x", size=1, limit=0))

    def feed(self, packets: Sequence[Packet]) -> list[object]:
        """What happens, and the words of the error that ends it."""
        wire = self.wire
        wire.connection.receive_data(b"".join(encode(each, wire.protocol) for each in packets))
        found: list[object] = []
        try:
            while events := wire.connection.next_events():
                found += map(self.describe, events)
        except RemoteProtocolError as error:
            found.append(str(error))
        return found

    def describe(self, event: object) -> object:
        assert isinstance(event, OutgoingMessage)
        answer = event.acknowledgement  # which may be that of another, if it says the same
        told = answer and (type(answer), answer.reason_code, answer.properties)
        return event.packet_id, event.state, told, event.verdict

    def state(self) -> object:
        session, sender = self.wire.session, self.wire.connection.sender
        return (
            [self.describe(message) for message in self.messages],
            [message.released for message in self.messages],
            list(session.identifiers.in_use),
            session.outgoing_size,
            session.unfinished,
            session.given_up,
            sender.quota,
            sender._qos_2_room,
            sender.strays,
            sender.oldest() is None,
        )


def _answer(end: _End, number: int, what: int) -> Packet:
    if number >= len(end.messages):
        return PingResp() if what % 2 else PubAck(60_000 + what)
    message = end.messages[number]
    packet_id = message.packet_id or 1
    kind = _ANSWERS[message.state]
    if what == 0:
        return PubComp(packet_id)
    if what == 1:
        return PubRec(packet_id)
    if end.wire.protocol is MQTT_5 and what in {2, 3}:
        return kind(packet_id, _CODES[kind][what % len(_CODES[kind])])
    if end.wire.protocol is MQTT_5 and what in {4, 5}:
        return kind(packet_id, properties=_WORDS)
    return kind(packet_id)


@pytest.mark.parametrize("protocol", Protocol)
@examples(300)
@given(
    before=st.lists(st.sampled_from([1, 2, _RELEASED]), max_size=3),
    now=st.lists(st.integers(1, 2), max_size=8),
    given_up=st.sets(st.integers(0, 7), max_size=1),
    steps=steps,
)
def test_the_same_happens_as_if_each_came_alone(
    protocol: Protocol,
    before: list[int],
    now: list[int],
    given_up: set[int],
    steps: list[tuple[int, int]],
) -> None:
    alone, together = [_End(protocol, before, now) for _ in range(2)]
    for number in given_up:
        if number < len(before) + len(now):
            alone.give_up(number)
            together.give_up(number)
    packets: list[Packet] = []
    expected: list[object] = []
    for number, what in steps:
        packets.append(_answer(alone, number, what))
        expected += alone.feed(packets[-1:])
        if expected and isinstance(expected[-1], str):
            break
    assert together.feed(packets) == expected
    assert together.state() == alone.state()
    assert together.wire.sent() == alone.wire.sent()


@pytest.mark.parametrize(("qos", "kind"), [(1, PubAck), (2, PubRec)])
def test_they_are_taken_together(qos: int, kind: type[PubAck | PubRec]) -> None:
    wire = Wire()
    messages = [wire.publish(qos) for _ in range(5)]
    run = AcknowledgementRun(kind(1), [message.packet_id for message in messages])
    taken, over = wire.connection.sender.on_acknowledgements(run)
    assert taken == 5
    assert list(over) == (messages if qos == 1 else [])
    taken, over = wire.connection.sender.on_acknowledgements(run)
    assert (taken, list(over)) == (0, [])


@pytest.mark.parametrize("code", [ReasonCode.SUCCESS, *_CODES[PubAck]])
def test_a_run_says_whether_its_messages_were_accepted(code: ReasonCode) -> None:
    wire = Wire()
    messages = [wire.publish(1) for _ in range(3)]
    run = AcknowledgementRun(PubAck(1, code), [message.packet_id for message in messages])
    _, over = wire.connection.sender.on_acknowledgements(run)
    assert over.is_accepted is (not code.is_failure)


def test_where_none_is_taken_there_is_nothing_to_send() -> None:
    wire = Wire()
    wire.publish(2)
    wire.sent()
    run = AcknowledgementRun(PubRec(1, ReasonCode.NO_MATCHING_SUBSCRIBERS), [1])
    assert wire.connection.sender.on_acknowledgements(run) == (0, [])
    assert wire.connection.output.take() == []


def test_a_pubcomp_that_says_more_than_success_counts_not_the_pubrec_before() -> None:
    wire = Wire()
    messages = [wire.publish(2) for _ in range(3)]
    assert wire.feed(*(PubRec(each, properties=_WORDS) for each in (1, 2, 3))) == []
    not_found = PubComp(2, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
    assert wire.feed(PubComp(1), not_found, PubComp(3)) == messages
    told = [message.acknowledgement for message in messages]
    assert told == [PubRec(1, properties=_WORDS), not_found, PubRec(3, properties=_WORDS)]


def test_where_a_storage_has_to_know_of_each_none_is() -> None:
    session = SessionState(Journal())
    wire = Wire(session=session)
    message = wire.publish()
    assert session.journal is not None
    batch = session.journal.take()
    session.journal.commit(batch)
    wire.connection.output.commit(session.journal.committed)
    wire.connection.sender.pump()
    run = AcknowledgementRun(PubAck(message.packet_id), [message.packet_id])
    assert wire.connection.sender.on_acknowledgements(run) == (0, [])
