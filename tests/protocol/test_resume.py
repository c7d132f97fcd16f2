"""Going on with a Session: what is sent again, what is withdrawn, given up or made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import attrs
import pytest

from tests.packets.support import drain
from tests.protocol.support import Wire, outgoing, publish, subscribe, unsubscribe
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, Protocol, ReasonCode
from trio_mqtt._errors import MQTTError
from trio_mqtt._protocol.exchanges import IncomingMessage, OutgoingMessage
from trio_mqtt._protocol.handshakes import ReceiverState, SenderState
from trio_mqtt._protocol.journal import Journal
from trio_mqtt._protocol.output import Output
from trio_mqtt._protocol.records import OUTGOING, PROGRESS, RECEIVED
from trio_mqtt._protocol.sender import OUTPUT_HIGH_WATER, Sender
from trio_mqtt._protocol.session import OnSessionLost, SessionState
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Packet,
    PacketReader,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    Subscribe,
    Unsubscribe,
)

if TYPE_CHECKING:
    from trio_mqtt._protocol.exchanges import Request

POLICIES: list[OnSessionLost] = list(get_args(OnSessionLost))
FAILURE = MQTTError("given up")


def names(packets: list[Packet]) -> list[str]:
    """Packets in short, with identifier, and `!` for DUP."""
    found: list[str] = []
    for packet in packets:
        dup = "!" if isinstance(packet, Publish) and packet.dup else ""
        found.append(f"{type(packet).__name__} {getattr(packet, 'packet_id', '')}{dup}")
    return found


def resumed(session: SessionState, window: int = 65535, protocol: Protocol = MQTT_5) -> Wire:
    """The next connection, on which the Server still has the Session."""
    wire = Wire(
        protocol,
        connect=Connect("c", clean_start=False),
        connack=None,
        session=session,
    )
    journal = session.journal
    if journal is not None:
        wire.connection.output.commit(journal.committed)
    wire.sent()
    properties = Properties(receive_maximum=window) if protocol is MQTT_5 else Properties()
    (connack,) = wire.feed(ConnAck(session_present=True, properties=properties))
    assert isinstance(connack, ConnAck)
    assert wire.connection.resumed
    return wire


def lost(session: SessionState, policy: OnSessionLost = "republish_certain") -> Wire:
    """The next connection, on which the Server has no Session."""
    wire = Wire(connack=None, session=session)
    wire.connection._on_session_lost = policy
    wire.sent()
    wire.feed(ConnAck())
    return wire


def commit(session: SessionState) -> None:
    """All that was noted comes to disk."""
    journal = session.journal
    assert journal is not None
    journal.commit(journal.take())


# -- what is sent again ------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", Protocol)
def test_the_session_goes_on_in_the_original_order(protocol: Protocol) -> None:
    wire = Wire(protocol)
    for qos in (2, 1, 2, 2, 1):
        wire.publish(qos)
    assert wire.feed(PubRec(4), PubRec(1)) == []
    wire.request(subscribe())
    wire.request(unsubscribe())
    wire.connection.end()
    again = resumed(wire.session, protocol=protocol)
    again.publish(1)
    assert names(again.sent()) == [
        "PubRel 4",  # in the order of the PUBRECs
        "PubRel 1",
        "Subscribe 8",  # made anew
        "Unsubscribe 9",
        "Publish 2!",
        "Publish 3!",
        "Publish 5!",
        "Publish 10",
    ]


def test_what_was_never_sent_has_no_dup() -> None:
    wire = Wire(connack=ConnAck(properties=Properties(receive_maximum=1)))
    one, two = wire.publish(1), wire.publish(1)
    wire.connection.end()
    again = resumed(wire.session)
    again.connection.sender.pump()
    assert names(again.sent()) == ["Publish 1!", "Publish 2"]
    assert again.feed(PubAck(2), PubAck(1)) == [two, one]


@pytest.mark.parametrize("window", [1, 2])
def test_what_is_sent_again_goes_by_the_new_window(window: int) -> None:
    wire = Wire()
    messages = [wire.publish(1) for _ in range(3)]
    wire.connection.end()
    again = resumed(wire.session, window)
    sender = again.connection.sender
    last = again.publish(1)
    assert names(again.sent()) == [f"Publish {number + 1}!" for number in range(window)]
    repeating: list[bool] = []
    for message in messages:
        repeating.append(sender.is_repeating)
        assert again.feed(PubAck(message.packet_id)) == [message]
        sender.pump()
    assert repeating == [3 - number > window for number in range(3)]
    assert not sender.is_repeating
    assert names(again.sent()) == [
        *(f"Publish {number}!" for number in range(window + 1, 4)),
        "Publish 4",
    ]
    assert again.feed(PubAck(last.packet_id)) == [last]
    assert sender.quota == window


def test_pubrels_have_no_place_in_the_window() -> None:
    wire = Wire()
    messages = [wire.publish(2) for _ in range(3)]
    wire.feed(PubRec(1), PubRec(2))
    wire.connection.end()
    again = resumed(wire.session, 1)
    sender = again.connection.sender
    sender.pump()
    assert names(again.sent()) == ["PubRel 1", "PubRel 2", "Publish 3!"]
    assert sender.quota == 0
    assert again.feed(PubComp(1), PubComp(2)) == messages[:2]
    assert sender.quota == 0
    again.feed(PubRec(3))
    assert again.feed(PubComp(3)) == messages[2:]
    assert sender.quota == 1


@pytest.mark.parametrize("answer", [PubAck(2), PubRec(2)])
def test_what_was_answered_before_its_turn_is_not_sent_again(answer: PubAck | PubRec) -> None:
    wire = Wire()
    qos = 1 if isinstance(answer, PubAck) else 2
    one, two, three = (wire.publish(qos) for _ in range(3))
    wire.connection.end()
    again = resumed(wire.session, 1)
    sender = again.connection.sender
    sender.pump()
    finished = again.feed(answer)
    if qos == 2:
        finished += again.feed(PubComp(2))
    assert finished == [two]
    assert sender.quota == 0  # it had no place to give back
    again.feed(PubAck(1) if qos == 1 else PubRec(1))
    if qos == 2:
        assert again.feed(PubComp(1)) == [one]
    sender.pump()
    assert [name for name in names(again.sent()) if "Publish" in name] == [
        "Publish 1!",
        "Publish 3!",
    ]
    assert three.state in {SenderState.AWAITING_PUBACK, SenderState.AWAITING_PUBREC}


def test_below_5_the_rest_waits_for_a_place_of_its_qos() -> None:
    wire = Wire(MQTT_3_1_1)
    session = wire.session
    for _ in range(23):
        wire.publish(2)
    wire.connection.end()
    for message in list(session.queue):  # as a Session from a storage may have them
        session.prepare(session.queue.popleft())
        message.state = SenderState.AWAITING_PUBREC
    again = resumed(session, protocol=MQTT_3_1_1)
    sender = again.connection.sender
    sender.pump()
    sent = len(again.sent())
    assert 0 < sent < 23
    assert sender.is_repeating
    sender.pump()
    assert again.sent() == []
    again.feed(PubRec(1))
    again.feed(PubComp(1))
    sender.pump()
    assert names(again.sent()) == ["PubRel 1", f"Publish {sent + 1}!"]


def test_a_full_output_holds_back_what_is_sent_again() -> None:
    wire = Wire()
    for _ in range(2):
        wire.publish(1, bytes(OUTPUT_HIGH_WATER))
        wire.sent()
    wire.connection.end()
    again = resumed(wire.session)
    sender = again.connection.sender
    found: list[list[str]] = []
    while sender.is_repeating:
        sender.pump()
        found.append(names(again.sent()))
    assert found == [["Publish 1!"], ["Publish 2!"]]


def test_the_window_never_grows() -> None:
    session = SessionState()
    session.accept(message := outgoing(1))
    session.prepare(session.queue.popleft())
    message.state = SenderState.AWAITING_PUBACK  # on a connection that this Sender knows not of
    sender = Sender(session, Output(), MQTT_5)
    sender.open(1)
    assert sender.on_acknowledgement(PubAck(1)) is message
    assert sender.quota == 1


def test_nothing_but_requests_is_sent_until_let_go() -> None:
    session = SessionState()
    output = Output()
    sender = Sender(session, output, MQTT_5)
    sender.open(10, hold=True)
    session.accept(outgoing(1))
    session.requests.append(subscribe())
    assert sender.pump() == 0
    reader = PacketReader(MQTT_5)

    def sent() -> list[str]:
        for chunk in output.take():
            reader.feed(chunk)
        return names(drain(reader))

    assert sent() == ["Subscribe 1"]
    assert sender.is_repeating
    sender.let_go()
    assert sender.pump() == 1
    assert sent() == ["Publish 2"]


@pytest.mark.parametrize("code", [ReasonCode.SUCCESS, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND])
@pytest.mark.parametrize("verdict", [ReasonCode.SUCCESS, ReasonCode.NO_MATCHING_SUBSCRIBERS])
def test_pubcomp_after_a_repeated_pubrel_is_a_success(
    code: ReasonCode, verdict: ReasonCode
) -> None:
    wire = Wire()
    message = wire.publish(2)
    wire.feed(PubRec(1, verdict))
    wire.connection.end()
    again = resumed(wire.session)
    assert again.feed(PubComp(1, code)) == [message]
    assert message.acknowledgement is not None
    assert message.acknowledgement.reason_code is verdict


def test_what_is_oldest() -> None:
    wire = Wire()
    sender = wire.connection.sender
    assert sender.oldest() is None
    one, two = wire.publish(2), wire.publish(1)
    assert sender.oldest() == (one, SenderState.AWAITING_PUBREC)
    wire.feed(PubRec(1))
    assert sender.oldest() == (one, SenderState.AWAITING_PUBCOMP)
    wire.session.give_up(one, FAILURE)
    assert sender.oldest() == (two, SenderState.AWAITING_PUBACK)
    request = wire.request(subscribe())
    wire.feed(PubAck(2))
    assert sender.oldest() == (request, 0)


# -- expiry ------------------------------------------------------------------------------------


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def expiring(expires_at: float, qos: int = 1) -> OutgoingMessage:
    message = outgoing(qos)
    return attrs.evolve(message, properties=b"\x05\x02\0\0\0\0", expiry_at=2, expires_at=expires_at)


@pytest.mark.parametrize(
    ("waited", "remaining"), [(0, 10), (0.5, 10), (1, 9), (9.5, 1), (10, 1), (1000, 1)]
)
def test_the_time_that_remains(waited: float, remaining: int) -> None:
    message = expiring(110.0)
    assert message.properties_at(100.0 + waited) == b"\x05\x02\0\0\0" + bytes((remaining,))
    assert outgoing(1).properties_at(0.0) == b"\0"
    assert SessionState().clock() == 0.0  # without a clock nothing expires


def test_a_message_expires_before_it_is_sent_and_not_after() -> None:
    session = SessionState(clock=(clock := Clock()))
    wire = Wire(session=session, connack=ConnAck(properties=Properties(receive_maximum=1)))
    first, second, third = expiring(110.0), expiring(105.0), expiring(120.0)
    for message in (first, second, third):
        session.accept(message)
    sender = wire.connection.sender
    assert sender.pump() == 1
    (packet,) = wire.sent()
    assert isinstance(packet, Publish)
    assert packet.properties.message_expiry_interval == 10
    wire.connection.end()
    clock.now = 115.0
    again = resumed(session, 1)
    assert again.connection.sender.pump() == 0
    (packet,) = again.sent()
    assert isinstance(packet, Publish)
    assert packet.dup
    assert packet.properties.message_expiry_interval == 1
    assert again.feed(PubAck(1)) == [first]
    assert again.connection.sender.pump() == 1
    assert again.connection.sender.expired == [second]
    (packet,) = again.sent()
    assert isinstance(packet, Publish)
    assert packet.properties.message_expiry_interval == 5
    assert session.outgoing_size == third.size


def test_what_was_sent_does_not_expire_when_the_session_is_lost() -> None:
    session = SessionState(clock=(clock := Clock()))
    wire = Wire(session=session)
    message = expiring(110.0)
    session.accept(message)
    wire.connection.sender.pump()
    wire.connection.end()
    clock.now = 200.0
    again = lost(session)
    assert session.withdraw_first() is None  # it may be at the Server
    assert again.connection.sender.pump() == 1
    assert names(again.sent()) == ["Publish 2"]


# -- withdrawing and giving up -----------------------------------------------------------------


@pytest.mark.parametrize("journal", [None, Journal()])
def test_withdrawing_what_was_not_sent(journal: Journal | None) -> None:
    session = SessionState(journal)
    messages = [outgoing(1) for _ in range(4)]
    for message in messages:
        session.accept(message)
    if journal is not None:
        session.prepare_ahead(10)
        session.accept(last := outgoing(1))
        messages.append(last)
        assert (len(session.prepared), len(session.queue)) == (4, 1)
    assert list(session.waiting_messages()) == messages
    assert session.waiting == len(messages)
    assert session.withdraw(lambda _: False) == []
    gone = {messages[1], messages[-1]}
    assert session.withdraw(gone.__contains__) == [messages[1], messages[-1]]
    assert session.withdraw_first() is messages[0]
    assert list(session.waiting_messages()) == messages[2:-1]
    assert session.outgoing_size == sum(message.size for message in messages[2:-1])
    assert session.unfinished == len(messages) - 3


def test_withdrawing_the_first() -> None:
    session = SessionState()
    assert session.withdraw_first() is None
    session.accept(message := outgoing(1))
    assert session.withdraw_first() is message
    assert session.unfinished == session.outgoing_size == 0


def test_withdrawing_what_is_not_on_disk() -> None:
    assert SessionState().withdraw_unstored() == []
    session = SessionState(journal := Journal())
    session.accept(stored := outgoing(1))
    commit(session)
    session.accept(one := outgoing(2))
    session.prepare_ahead(10)
    session.accept(two := outgoing(2))
    batch = journal.take()
    session.accept(three := outgoing(1))
    journal.restore(batch)
    assert session.withdraw_unstored() == [one, two, three]
    assert session.messages() == [stored]
    (step,) = journal.take().steps
    assert isinstance(step, dict)
    assert list(step) == [(PROGRESS, stored.sequence)]


def test_at_qos_2_identifiers_are_given_out_for_the_window_only() -> None:
    session = SessionState(Journal())
    for qos in (1, 2, 2, 1):
        session.accept(outgoing(qos))
    session.prepare_ahead(2)
    assert [message.packet_id for message in session.messages()] == [1, 2, 0, 0]
    session.prepare_ahead(3)
    assert [message.packet_id for message in session.messages()] == [1, 2, 3, 4]


def test_what_is_given_up_before_it_is_sent_is_gone() -> None:
    wire = Wire(connack=ConnAck(properties=Properties(receive_maximum=1)))
    wire.publish(1)
    message = wire.publish(1)
    wire.session.give_up(message, FAILURE)
    assert message.failure is FAILURE
    assert message not in wire.session.messages()
    assert wire.session.unfinished == 1


@pytest.mark.parametrize("qos", [1, 2])
def test_what_is_given_up_after_that_keeps_its_identifier(qos: int) -> None:
    wire = Wire()
    message = wire.publish(qos)
    other = wire.publish(qos)
    session = wire.session
    session.give_up(message, FAILURE)
    assert message.failure is FAILURE
    assert session.unfinished == 1
    assert session.given_up == 1
    assert session.outgoing_size == other.size
    wire.connection.end()
    again = resumed(session, 1)
    sender = again.connection.sender
    sender.pump()
    again.publish(qos)
    assert names(again.sent()) == ["Publish 2!"]
    # A late answer frees the identifier, and no place, for it has none.
    (place,) = again.feed(PubAck(1) if qos == 1 else PubRec(1, ReasonCode.QUOTA_EXCEEDED))
    assert isinstance(place, OutgoingMessage)
    assert place.failure is FAILURE
    assert place.listener is None
    assert sender.quota == 0
    assert (session.given_up, session.unfinished) == (0, 2)


def test_a_pubrel_is_sent_again_although_the_message_was_given_up() -> None:
    """PUBREC came all the same, so that the Server has it, and waits for the PUBREL."""
    wire = Wire()
    message, other = wire.publish(2), wire.publish(2)
    wire.session.give_up(message, FAILURE)
    assert wire.feed(PubRec(1), PubRec(2)) == []
    wire.connection.end()
    again = resumed(wire.session)
    assert names(again.sent()) == ["PubRel 1", "PubRel 2"]
    assert not again.connection.sender.is_repeating
    place, last = again.feed(PubComp(1), PubComp(2))
    assert isinstance(place, OutgoingMessage)
    assert (place.packet_id, place.failure) == (1, FAILURE)
    assert last is other
    assert (wire.session.given_up, wire.session.unfinished) == (0, 0)


def test_what_is_given_up_while_it_waits_to_be_sent_again_is_not() -> None:
    wire = Wire()
    wire.publish(1)
    message = wire.publish(1)
    wire.connection.end()
    again = resumed(wire.session, 1)
    again.connection.sender.pump()
    wire.session.give_up(message, FAILURE)
    again.feed(PubAck(1))
    again.connection.sender.pump()
    assert names(again.sent()) == ["Publish 1!"]
    assert not again.connection.sender.is_repeating


# -- a Session opened again --------------------------------------------------------------------


def test_a_detached_session_has_copies_of_its_own() -> None:
    wire = Wire(connack=ConnAck(properties=Properties(receive_maximum=2)))
    messages: list[OutgoingMessage | Request] = [wire.publish(2) for _ in range(3)]
    request = wire.request(subscribe())
    wire.session.requests.append(waiting := unsubscribe())
    wire.connection.end()
    session = wire.session
    assert set(session.detach()) == {*messages, request, waiting}
    assert not set(session.messages()) & set(messages)
    assert not session.requests
    assert session.unfinished == 3
    again = resumed(session)
    again.connection.sender.pump()
    assert names(again.sent()) == ["Publish 1!", "Publish 2!", "Publish 4"]


def test_what_was_prepared_is_sent_once_in_a_new_session() -> None:
    session = SessionState(Journal())
    messages = [outgoing(1) for _ in range(3)]
    for message in messages[:2]:
        session.accept(message)
    session.prepare_ahead(10)
    session.accept(messages[2])
    assert (len(session.prepared), len(session.queue)) == (2, 1)
    assert session.start_anew("republish") == []
    assert [*session.waiting_messages()] == messages
    assert session.waiting == session.unfinished == 3


def test_what_was_prepared_stays_prepared_when_detached() -> None:
    session = SessionState(Journal())
    messages = [outgoing(1) for _ in range(2)]
    for message in messages:
        session.accept(message)
    session.prepare_ahead(10)
    assert session.detach() == messages
    assert [message.packet_id for message in session.prepared] == [1, 2]
    assert session.messages() == list(session.prepared)


def test_what_an_earlier_client_held_comes_again_but_for_what_was_settled_at_qos_2() -> None:
    wire = Wire()
    settle = wire.connection.receiver.settle
    blocking, *messages = wire.receive(
        publish(9, 2), publish(1, 2), publish(2, 2), publish(3, 2), publish(4, 1)
    )
    settle(messages[0])
    settle(messages[1], ReasonCode.QUOTA_EXCEEDED)
    settle(messages[3])
    wire.connection.end()
    assert len(wire.session.held) == 5
    wire.session.detach()
    again = resumed(wire.session)
    for packet_id, comes in [(9, True), (1, False), (2, True), (3, True)]:
        delivered = again.receive(publish(packet_id, 2, dup=True))
        assert bool(delivered) == comes
        assert blocking not in delivered
    assert again.receive(publish(4, 1, dup=True))


# -- a lost Session ----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("journal", [False, True])
def test_what_becomes_of_messages_when_the_session_is_lost(
    policy: OnSessionLost, journal: bool
) -> None:
    session = SessionState(Journal() if journal else None)
    wire = Wire(session=session, connack=ConnAck(properties=Properties(receive_maximum=4)))
    one, two, released, given_up, certain = (outgoing(qos) for qos in (1, 2, 2, 1, 2))
    for message in (one, two, released, given_up, certain):
        session.accept(message)
    sender = wire.connection.sender
    sender.pump()
    if session.journal is not None:
        commit(session)
        wire.connection.output.commit(session.journal.committed)
        sender.pump()
    wire.feed(PubRec(3))
    session.give_up(given_up, FAILURE)
    request = wire.request(subscribe())
    wire.receive(publish(7, 2))
    wire.connection.end()
    assert len(session.held) == 1

    again = lost(session, policy)
    doubtful = {
        "republish_certain": [two, released],
        "republish": [],
        "fail": [one, two, released],
    }[policy]
    assert again.connection.doubtful == doubtful
    kept = [each for each in (one, two, released) if each not in doubtful]
    assert session.messages() == [*kept, certain]
    assert list(session.requests) == [request]
    assert session.outgoing_size == sum(each.size for each in session.messages())
    assert session.unfinished == len(session.messages()) + 1
    assert session.given_up == 0
    assert not session.held
    for each in kept:
        assert each.was_sent
        assert each.packet_id == 0
    if session.journal is not None:
        again.connection.sender.pump()
        commit(session)
        again.connection.output.commit(session.journal.committed)
    again.connection.sender.pump()
    first, *rest = again.sent()
    assert isinstance(first, Subscribe)
    assert all(isinstance(packet, Publish) and not packet.dup for packet in rest)
    assert len(rest) == len(kept) + 1


def test_what_was_received_is_forgotten_with_the_session() -> None:
    session = SessionState(journal := Journal())
    wire = Wire(session=session)
    settle = wire.connection.receiver.settle
    one, two = wire.receive(publish(1, 2), publish(2, 2))
    settle(one)
    settle(two)
    commit(session)
    wire.connection.end()
    assert session.received == dict.fromkeys((1, 2), ReceiverState.ANSWERED)
    again = lost(session)
    assert session.received == {}
    (step,) = journal.take().steps
    assert step == {(RECEIVED, 1): None, (RECEIVED, 2): None}
    assert len(again.receive(publish(1, 2))) == 1
    settle(one)  # says nothing about the new one
    assert journal.is_empty


def test_the_topic_filters_that_are_on_their_way_out() -> None:
    wire = Wire()
    wire.request(unsubscribe(1))
    wire.request(subscribe(3))
    wire.publish(1)
    wire.session.requests.append(unsubscribe(2))
    assert wire.session.unsubscribing() == {"t/0", "t/1"}
    assert isinstance(wire.session.requests[0].packet, Unsubscribe)


# -- what is on disk ---------------------------------------------------------------------------


def test_no_message_is_sent_before_its_identifier_is_on_disk() -> None:
    session = SessionState(journal := Journal())
    wire = Wire(session=session)
    output, sender = wire.connection.output, wire.connection.sender
    session.accept(outgoing(1))
    commit(session)
    output.commit(journal.committed)
    assert sender.pump() == 0
    assert not journal.is_empty
    commit(session)
    assert sender.pump() == 0
    output.commit(journal.committed)
    assert sender.pump() == 1
    assert names(wire.sent()) == ["Publish 1"]


def test_with_all_prepared_identifiers_in_use_messages_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trio_mqtt._protocol.session.MOST_PREPARED", 1)
    session = SessionState(journal := Journal())
    wire = Wire(session=session)
    sender = wire.connection.sender
    session.accept(first := outgoing(1))
    session.accept(outgoing(1))
    for _ in range(3):
        sender.pump()
        if not journal.is_empty:
            commit(session)
            wire.connection.output.commit(journal.committed)
    assert names(wire.sent()) == ["Publish 1"]
    assert wire.feed(PubAck(1)) == [first]
    assert sender.pump() == 0
    commit(session)
    wire.connection.output.commit(journal.committed)
    assert sender.pump() == 1
    assert names(wire.sent()) == ["Publish 2"]


def test_requests_wait_for_the_disk_when_they_are_asked_to() -> None:
    session = SessionState(journal := Journal())
    wire = Wire(session=session)
    journal.put(("subscription", "t"), b"")
    wire.request(attrs.evolve(subscribe(), stored_in=journal.open_batch))
    wire.connection.ping()
    assert [type(packet).__name__ for packet in wire.sent()] == ["PingReq"]  # that one does not
    commit(session)
    wire.connection.output.commit(journal.committed)
    assert names(wire.sent()) == ["Subscribe 1"]


def stored(session: SessionState) -> dict[tuple[str, int | str], bytes]:
    """What a storage has once all is committed."""
    assert session.journal is not None
    disk: dict[tuple[str, int | str], bytes] = {}
    for step in session.journal.take().steps:
        assert isinstance(step, dict)
        disk |= {key: record for key, record in step.items() if record is not None}
    return disk


def load(disk: dict[tuple[str, int | str], bytes]) -> SessionState:
    session = SessionState(Journal())

    def records(kind: str) -> dict[int, bytes]:
        return {key: disk[each, key] for each, key in disk if each == kind and isinstance(key, int)}

    session.load(records(OUTGOING), records(PROGRESS), list(records(RECEIVED)), 0.0)
    return session


def test_what_a_storage_remembers_goes_on() -> None:
    session = SessionState(journal := Journal())
    wire = Wire(session=session)
    output, sender = wire.connection.output, wire.connection.sender
    for qos in (2, 1, 2, 1):
        session.accept(outgoing(qos, bytes(qos)))
    sender.pump()
    disk = stored(session)
    journal.committed = 1
    output.commit(1)
    sender.pump()
    wire.feed(PubRec(3), PubRec(1))
    session.give_up(session.messages()[3], FAILURE)
    (message,) = wire.receive(publish(5, 2))
    wire.connection.receiver.settle(message)
    session.accept(outgoing(1))
    disk |= stored(session)

    loaded = load(disk)
    assert [message.packet_id for message in loaded.messages()] == [1, 2, 3, 4, 0]
    assert loaded.given_up == 1
    assert loaded.unfinished == 4
    assert loaded.received == {5: ReceiverState.ANSWERED}
    again = resumed(loaded)
    again.connection.sender.pump()
    assert names(again.sent()) == ["PubRel 3", "PubRel 1", "Publish 2!"]
    assert again.receive(publish(5, 2, dup=True)) == []
    assert names(again.sent()) == ["PubRec 5"]
    loaded.accept(last := outgoing(1))
    assert last.sequence == 6
    (released,) = (each for each in loaded.messages() if each.packet_id == 1)
    assert loaded.release(released) > 0
    assert released.released == 3  # after those of before


def test_settling_with_work_writes_the_record_once() -> None:
    session = SessionState(journal := Journal())
    wire = Wire(session=session)
    (message,) = wire.receive(publish(5, 2))
    session.begin_settling([(RECEIVED, 5), ("unclaimed", 1)])
    wire.connection.receiver.settle(message)
    assert journal.is_empty  # the work has brought it to disk
    session.cancel_settling([(RECEIVED, 5), ("unclaimed", 1)])
    session.note_settled(5)
    assert journal.after((RECEIVED, 5)) == 1


# -- what is received again --------------------------------------------------------------------


def held(qos: int) -> tuple[SessionState, IncomingMessage]:
    """A Session with a message that an earlier connection brought, and the message."""
    wire = Wire()
    (message,) = wire.receive(publish(1, qos, payload=b"payload"))
    wire.connection.end()
    return wire.session, message


@pytest.mark.parametrize("qos", [1, 2])
def test_a_message_that_comes_again_is_the_one_that_is_held(qos: int) -> None:
    session, message = held(qos)
    again = resumed(session)
    assert again.receive(publish(1, qos, payload=b"payload", dup=True)) == []
    assert again.connection.receiver.oldest() == [message]
    again.connection.receiver.settle(message)
    assert names(again.sent()) == ["PubAck 1" if qos == 1 else "PubRec 1"]


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize(
    "other",
    [
        Publish("t", b"payload", dup=False),
        Publish("t", b"other", dup=True),
        Publish("other", b"payload", dup=True),
    ],
    ids=["no DUP", "other payload", "other Topic Name"],
)
def test_what_does_not_agree_is_another_message(qos: int, other: Publish) -> None:
    session, message = held(qos)
    again = resumed(session)
    settle = again.connection.receiver.settle
    (new,) = again.receive(attrs.evolve(other, qos=qos, packet_id=1))
    assert new is not message
    settle(message)
    assert again.sent() == []
    settle(new)
    assert names(again.sent()) == ["PubAck 1" if qos == 1 else "PubRec 1"]


def test_another_message_is_not_taken_for_one_that_was_settled_meanwhile() -> None:
    session, message = held(2)
    session.journal = journal = Journal()
    again = resumed(session)
    again.connection.receiver.settle(message)
    commit(session)
    assert journal.is_empty
    assert len(again.receive(publish(1, 2, payload=b"other"))) == 1
    (step,) = journal.take().steps
    assert step == {(RECEIVED, 1): None}


@pytest.mark.parametrize("qos", [1, 2])
def test_the_other_qos_is_another_message(qos: int) -> None:
    session, _ = held(qos)
    again = resumed(session)
    assert len(again.receive(publish(1, 3 - qos, payload=b"payload", dup=True))) == 1
    assert len(session.held) == 1


@pytest.mark.parametrize("dup", [True, False])
def test_where_the_session_may_be_a_new_one_only_dup_tells(dup: bool) -> None:
    wire = Wire()
    (message,) = wire.receive(publish(1, 2))
    wire.connection.receiver.settle(message)
    wire.connection.end()
    again = resumed(wire.session)
    again.connection.receiver.resume(unsure=True)
    assert len(again.receive(publish(1, 2, dup=dup))) == (not dup)
    assert again.receive(publish(1, 2, dup=True)) == []


def test_after_the_end_nothing_is_sent() -> None:
    wire = Wire()
    messages = wire.receive(publish(1, 1), publish(2, 2), publish(3, 2))
    receiver = wire.connection.receiver
    receiver.settle(messages[1])
    assert wire.receive(publish(2, 2, dup=True)) == []
    wire.connection.end()
    assert receiver.unsettled == 0
    assert receiver.oldest() == []
    for message in messages:
        receiver.settle(message)
    wire.publish(1)
    assert wire.sent() == []
    assert wire.session.received == {2: ReceiverState.ANSWERED}


# -- the output --------------------------------------------------------------------------------


def test_output_holds_back_what_is_not_on_disk_and_what_comes_after() -> None:
    output = Output()
    one, two = IncomingMessage("t"), IncomingMessage("t")
    output.append(b"a", 0)
    output.append(b"bb", 2)
    output.append(b"c", 0, one)
    output.append(b"d", 1)
    output.append(b"e", 3, two)
    output.append_ahead(b"!")
    assert (output.size, output.ready) == (7, 2)
    assert output.take() == [b"a", b"!"]
    assert (output.size, output.ready) == (5, 0)
    output.commit(1)
    assert output.take() == []
    output.commit(2)
    assert output.ready == 4
    assert output.take() == [b"bb", b"c", b"d"]
    output.append(b"f", 2)
    assert output.take_unwritten() == [two]
    output.append(b"g")
    output.append_ahead(b"!")
    assert (output.size, output.ready, output.take()) == (0, 0, [])


def test_output_knows_whose_acknowledgements_nobody_took() -> None:
    output = Output()
    one, two, three = (IncomingMessage("t") for _ in range(3))
    output.append(b"1", 0, one)
    output.take()
    output.append(b"2", 0, two)
    output.append(b"3", 1, three)
    assert output.take_unwritten() == [two, three]
    assert output.take_unwritten() == []


def test_messages_in_short() -> None:
    assert "payload=<3 bytes>" in repr(outgoing(1, b"abc"))


def test_an_identifier_that_had_no_place_has_one_when_it_is_used_again() -> None:
    wire = Wire()
    wire.publish(2)
    wire.feed(PubRec(1))
    again = resumed(wire.session, window=1)
    sender = again.connection.sender
    assert sender.quota == 1
    again.feed(PubComp(1))
    assert sender.quota == 1  # it had no place to give back
    again.session.identifiers.last = 0  # as after 65,535 more
    assert again.publish().packet_id == 1
    assert sender.quota == 0
    again.feed(PubAck(1))
    assert sender.quota == 1
