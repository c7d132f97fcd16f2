"""Packets in a row are taken as one: the same comes of it as if each had been taken by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.budget import examples
from tests.protocol.support import Wire, publish
from trio_mqtt._enums import Protocol, ReasonCode
from trio_mqtt._errors import RemoteProtocolError
from trio_mqtt._protocol.handshakes import ReceiverState
from trio_mqtt._protocol.journal import Journal
from trio_mqtt._protocol.session import SessionState
from trio_mqtt.packets import (
    NO_PROPERTIES,
    ConnAck,
    Connect,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
)
from trio_mqtt.packets._runs import PublishRun

if TYPE_CHECKING:
    from trio_mqtt._protocol.exchanges import IncomingMessage
    from trio_mqtt.packets import Packet

WINDOW: Final = 5
CODES: Final = (ReasonCode.SUCCESS, ReasonCode.SUCCESS, ReasonCode.QUOTA_EXCEEDED)

Step = tuple[str, Any]

identifiers = st.integers(1, 4)
publishes = st.builds(
    publish, packet_id=identifiers, qos=st.sampled_from((1, 1, 2, 2)), dup=st.booleans()
)
packets = st.one_of(publishes, st.builds(publish, qos=st.just(0)), st.builds(PubRel, identifiers))
batches = st.lists(
    st.tuples(packets, st.integers(1, 3)).map(lambda pair: [pair[0]] * pair[1]), max_size=3
).map(lambda lists: [packet for each in lists for packet in each])
runs = st.tuples(st.sampled_from((1, 2)), st.lists(identifiers, min_size=1, max_size=4)).map(
    lambda pair: [publish(packet_id, pair[0]) for packet_id in pair[1]]
)
releases = st.lists(identifiers, min_size=1, max_size=4)
steps = st.one_of(
    st.tuples(st.just("arrive"), runs),
    st.tuples(st.just("arrive"), runs),
    st.tuples(st.just("arrive"), batches),
    st.tuples(st.just("release"), releases),
    st.tuples(st.just("release_known"), st.none()),
    st.tuples(st.just("repeat"), st.integers(0, 9)),
    st.tuples(st.just("settle_one"), st.tuples(st.integers(0, 9), st.sampled_from(CODES))),
    st.tuples(st.just("settle_all"), st.sampled_from(CODES)),
    st.tuples(st.just("explain"), st.integers(0, 9)),
    st.tuples(st.just("write"), st.none()),
    st.tuples(st.just("commit"), st.none()),
    st.tuples(st.just("reconnect"), st.booleans()),
)


def take_none(_run: object) -> bool:
    return False


class Side:
    """A Connection, with or without the shorter ways, and all that comes of what happens to it.

    Args:
        protocol: the version of MQTT spoken.
        qos: that of all messages with acknowledgements, or 0 if it is as they come.
        durable: whether the Session has a journal.
        at_once: whether what comes in a row is taken as one.
    """

    def __init__(self, protocol: Protocol, qos: int, *, durable: bool, at_once: bool) -> None:
        self.protocol = protocol
        self.qos = qos
        self.session = SessionState(Journal() if durable else None)
        self.at_once = at_once
        self.messages: list[IncomingMessage] = []
        self.found: list[object] = []
        self.open(ConnAck())

    def open(self, connack: ConnAck) -> None:
        connect = Connect("c", clean_start=False, properties=Properties(topic_alias_maximum=1))
        self.wire = Wire(
            self.protocol,
            connect=connect
            if self.protocol is Protocol.MQTT_5
            else Connect("c", clean_start=False),
            connack=connack,
            receive_maximum=WINDOW,
            session=self.session,
        )
        self.commit()
        if not self.at_once:
            receiver: Any = self.wire.connection.receiver
            receiver.takes_run = receiver.takes_pubrels = take_none
            settle = receiver.settle

            def settle_and_acknowledge(*arguments: Any) -> None:
                settle(*arguments)
                receiver._acknowledge()

            receiver.settle = settle_and_acknowledge

    def do(self, what: str, which: Any) -> None:
        getattr(self, what)(which)
        connection = self.wire.connection
        receiver = connection.receiver
        self.found.append(receiver.count_unsettled())  # before anything makes acknowledgements
        self.found += [receiver.unsettled, receiver.overruns, receiver.is_overrun]
        self.found += [list(self.session.received.items()), set(self.session.held)]
        self.found += [len(receiver.oldest()), connection.output.ready]
        self.found.append([self.session.settled_stored_in(number) for number in range(1, 5)])

    def release(self, packet_ids: list[int]) -> None:
        self.arrive([PubRel(packet_id) for packet_id in packet_ids])

    def release_known(self, _: None) -> None:
        states = self.session.received.items()
        self.release([number for number, state in states if state is ReceiverState.ANSWERED])

    def repeat(self, index: int) -> None:
        if self.messages:
            message = self.messages[index % len(self.messages)]
            self.arrive([publish(message.packet_id, message.qos, dup=True)])

    def settle_one(self, which: tuple[int, ReasonCode]) -> None:
        if self.messages:
            index, code = which
            self.settle(self.messages[index % len(self.messages)], code)

    def settle_all(self, code: ReasonCode) -> None:
        for message in self.messages:
            self.settle(message, code)

    def explain(self, index: int) -> None:
        if self.messages and self.protocol is Protocol.MQTT_5:
            message = self.messages[index % len(self.messages)]
            if message.settled is None:
                properties = Properties(reason_string="why")
                self.session.explain(message, ReasonCode.SUCCESS, properties)

    def write(self, _: None) -> None:
        # PUBACKs and PUBRECs are in order each for themselves: MQTT-4.6.0-2, MQTT-4.6.0-3
        sent = self.wire.sent()
        self.found.append(sorted(sent, key=lambda packet: isinstance(packet, PubAck)))

    def commit(self, _: None = None) -> None:
        journal = self.session.journal
        if journal is not None:
            batch = journal.take()
            journal.commit(batch)
            self.wire.connection.output.commit(batch.number)

    def reconnect(self, unsure: bool) -> None:
        self.wire.connection.end()
        self.open(ConnAck(session_present=True))
        self.wire.connection.receiver.resume(unsure=unsure)

    def settle(self, message: IncomingMessage, code: ReasonCode) -> None:
        code = code if self.protocol is Protocol.MQTT_5 else ReasonCode.SUCCESS
        self.wire.connection.receiver.settle(message, code)

    def arrive(self, arriving: list[Packet]) -> None:
        if self.qos == 1:
            arriving = [each for each in arriving if not isinstance(each, PubRel)]
        if self.qos:
            arriving = [
                attrs.evolve(each, qos=self.qos) if isinstance(each, Publish) and each.qos else each
                for each in arriving
            ]
        try:
            messages = self.wire.receive(*arriving)
        except RemoteProtocolError as error:
            self.found.append(str(error))
            self.reconnect(False)  # noqa: FBT003 - without what came before that, on both sides
            return
        self.found.append([(each.qos, each.packet_id, each.dup) for each in messages])
        self.messages += [each for each in messages if each.qos]


# What waits for a disk holds up what comes behind it, so that PUBACKs could leave earlier or later.
@pytest.mark.parametrize(
    ("durable", "qos"),
    [(False, 0), (True, 1), (True, 2)],
    ids=["in memory", "durable, QoS 1", "durable, QoS 2"],
)
@pytest.mark.parametrize("protocol", [Protocol.MQTT_5, Protocol.MQTT_3_1_1])
def test_it_makes_no_difference(protocol: Protocol, qos: int, *, durable: bool) -> None:
    @examples(300)
    @given(st.lists(steps, max_size=30))
    def check(happenings: list[Step]) -> None:
        together = Side(protocol, qos, durable=durable, at_once=True)
        apart = Side(protocol, qos, durable=durable, at_once=False)
        for what, which in happenings:
            together.do(what, which)
            apart.do(what, which)
            assert together.found == apart.found

    check()


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_run_is_one_event(qos: int) -> None:
    """Or nothing would be gained."""
    wire = Wire()
    connection = wire.connection
    sent = [publish(number if qos else 0, qos) for number in range(1, 9)]
    connection.receive_data(b"".join(map(wire.encoded, sent)))
    found = connection.next_runs()
    assert found is not None
    (run,) = found
    assert isinstance(run, PublishRun)
    assert [message.packet_id for message in run] == [each.packet_id for each in sent]


@pytest.mark.parametrize("qos", [1, 2])
def test_acknowledgements_are_written_as_one(qos: int) -> None:
    wire = Wire()
    messages = wire.receive(*[publish(number, qos) for number in range(1, 9)])
    ready: list[None] = []
    wire.connection.output.on_ready = lambda: ready.append(None)
    for message in messages:
        wire.connection.receiver.settle(message)
    assert len(ready) == 1
    assert [len(chunk) for chunk in wire.connection.output.take()] == [32]
    if qos == 2:
        assert wire.feed(*[PubRel(number) for number in range(1, 9)]) == []
        assert [len(chunk) for chunk in wire.connection.output.take()] == [32]


@pytest.mark.parametrize(("qos", "kind"), [(1, PubAck), (2, PubRec)])
def test_acknowledgements_in_front_of_one_that_refuses(
    qos: int, kind: type[PubAck | PubRec]
) -> None:
    """All are due at once, as the first was settled last."""
    wire = Wire()
    codes = dict.fromkeys(range(1, 6), ReasonCode.SUCCESS) | {3: ReasonCode.QUOTA_EXCEEDED}
    for message in reversed(wire.receive(*[publish(number, qos) for number in codes])):
        wire.connection.receiver.settle(message, codes[message.packet_id])
    assert wire.sent() == [kind(number, code) for number, code in codes.items()]


def test_what_cannot_leave_wakes_nobody() -> None:
    wire = Wire()
    ready: list[None] = []
    first, second = wire.receive(publish(1), publish(2))
    wire.connection.output.on_ready = lambda: ready.append(None)
    wire.connection.receiver.settle(second)
    assert not ready
    wire.connection.receiver.settle(first)
    assert len(ready) == 1
    assert wire.sent() == [PubAck(1), PubAck(2)]


def test_aliases_are_resolved_in_a_run() -> None:
    aliased = attrs.evolve(publish(1), properties=Properties(topic_alias=1))
    bare = attrs.evolve(publish(2), topic="", properties=Properties(topic_alias=1))
    wire = Wire(connect=None)
    wire.connection.receiver._alias_maximum = 1
    first, second, third = wire.receive(aliased, bare, publish(3))
    assert first.topic == second.topic == third.topic == "t"
    assert third.properties is NO_PROPERTIES


def test_a_repeat_in_line_is_no_message() -> None:
    """Its PUBREL has overtaken it, and its identifier is that of another message since."""
    wire = Wire()
    (first,) = wire.receive(publish(1, 2))
    wire.connection.receiver.settle(first)
    assert wire.sent() == [PubRec(1)]
    (second,) = wire.receive(publish(2, 2), publish(1, 2, dup=True))
    assert wire.feed(PubRel(1)) == []
    assert wire.sent() == [PubComp(1)]
    (third,) = wire.receive(publish(1, 2))
    wire.connection.receiver.settle(second)
    assert wire.sent() == [PubRec(2)]
    wire.connection.receiver.settle(third)
    assert wire.sent() == [PubRec(1)]


def test_a_second_pubrel_is_for_nothing() -> None:
    wire = Wire()
    (message,) = wire.receive(publish(1, 2))
    wire.connection.receiver.settle(message)
    assert wire.sent() == [PubRec(1)]
    assert wire.feed(PubRel(1), PubRel(1)) == []
    not_found = ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
    assert wire.sent() == [PubComp(1), PubComp(1, not_found)]


def test_a_repeat_that_is_due_is_answered_before_its_pubrel() -> None:
    """As if it had been answered at once, although what is due is made late."""
    wire = Wire()
    first, second = wire.receive(publish(1, 2), publish(2, 2))
    wire.connection.receiver.settle(first)
    wire.connection.receiver.settle(second)
    assert wire.sent() == [PubRec(1), PubRec(2)]
    (third,) = wire.receive(publish(3, 2), publish(1, 2, dup=True))
    wire.connection.receiver.settle(third)
    assert wire.feed(PubRel(1), PubRel(2)) == []
    assert wire.sent() == [PubRec(3), PubRec(1), PubComp(1), PubComp(2)]


def test_pubacks_wait_behind_what_waits_for_the_disk() -> None:
    """What is in line for a commit keeps its order, and what never left is held by the Session."""
    session = SessionState(Journal())
    wire = Wire(session=session)
    exact, one, two = wire.receive(publish(1, 2), publish(1), publish(2))
    receiver = wire.connection.receiver
    receiver.settle(exact)
    assert wire.connection.output.ready == 0
    receiver.settle(one)
    receiver.settle(two)
    assert wire.sent() == []
    assert wire.connection.output.take_unwritten() == [one, two]


def test_pubacks_behind_a_commit_leave_with_it() -> None:
    session = SessionState(Journal())
    wire = Wire(session=session)
    exact, one, two = wire.receive(publish(1, 2), publish(1), publish(2))
    wire.connection.receiver.settle(exact)
    assert wire.connection.output.ready == 0
    wire.connection.receiver.settle(one)
    wire.connection.receiver.settle(two)
    assert session.journal is not None
    batch = session.journal.take()
    session.journal.commit(batch)
    wire.connection.output.commit(batch.number)
    assert wire.sent() == [PubRec(1), PubAck(1), PubAck(2)]
    assert wire.connection.output.take_unwritten() == []
