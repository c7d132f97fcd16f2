"""What an exchange leaves behind: on disk, in the window, among the identifiers."""

from __future__ import annotations

import pytest

from tests.ledger.support import again, first_connection
from tests.protocol.support import Wire, outgoing, publish, subscribe
from trio_mqtt._enums import ReasonCode
from trio_mqtt._protocol.identifiers import PacketIdentifiers
from trio_mqtt._protocol.journal import Journal
from trio_mqtt._protocol.records import PROGRESS, SubscriptionState
from trio_mqtt._protocol.session import SessionState
from trio_mqtt.packets import (
    ConnAck,
    Disconnect,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
)
from trio_mqtt.packets._encoder import encode_publish_properties


def bring_to_disk(wire: Wire, disk: dict[tuple[str, int | str], bytes | None]) -> None:
    """Commit what the journal has, and send what waited for that."""
    journal = wire.session.journal
    assert journal is not None
    while True:
        wire.connection.output.commit(journal.committed)
        wire.connection.sender.pump()
        if journal.is_empty:
            return
        batch = journal.take()
        for step in batch.steps:
            assert isinstance(step, dict)
            disk.update(step)
        journal.commit(batch)


def test_a_message_that_is_over_leaves_no_record() -> None:
    disk: dict[tuple[str, int | str], bytes | None] = {}
    wire = Wire(session=SessionState(Journal()))
    wire.publish(2)
    bring_to_disk(wire, disk)
    wire.feed(PubRec(1))
    bring_to_disk(wire, disk)
    assert [key[0] for key, record in disk.items() if record is not None].count(PROGRESS) == 1
    wire.feed(PubComp(1))
    bring_to_disk(wire, disk)
    assert len(disk) == 2
    assert set(disk.values()) == {None}


def test_a_message_whose_progress_was_never_written_has_none_to_delete() -> None:
    disk: dict[tuple[str, int | str], bytes | None] = {}
    wire = Wire(session=SessionState(Journal()))
    message = wire.publish(1)
    message.accepted_in = message.stored_in = 7  # all of it in one batch
    wire.session.finish(message)
    bring_to_disk(wire, disk)
    assert [kind for kind, _ in disk if kind == PROGRESS] == []


def test_what_was_prepared_and_not_sent_takes_a_place_of_its_own() -> None:
    disk: dict[tuple[str, int | str], bytes | None] = {}
    narrow = ConnAck(properties=Properties(receive_maximum=1))
    before = Wire(session=SessionState(Journal()), connack=narrow)
    first, second = before.publish(1), before.publish(1)
    bring_to_disk(before, disk)
    assert (first.packet_id, second.packet_id) == (1, 2)
    assert len(before.sent()) == 1  # the window has no room for both
    wire = again(before, receive_maximum=5)
    bring_to_disk(wire, disk)
    assert [packet.dup for packet in wire.sent() if isinstance(packet, Publish)] == [True, False]
    assert wire.connection.sender.quota == 3
    wire.feed(PubAck(1), PubAck(2))
    assert wire.connection.sender.quota == 5


def test_while_held_only_requests_are_sent() -> None:
    wire = Wire()
    wire.connection.sender.hold()
    wire.publish(1)
    wire.request(subscribe())
    assert len(wire.sent()) == 1
    wire.connection.sender.let_go()
    wire.connection.sender.pump()
    assert len(wire.sent()) == 1


def test_identifiers_go_on_behind_those_that_a_storage_remembers() -> None:
    identifiers: PacketIdentifiers[str] = PacketIdentifiers()
    identifiers.restore(7, "remembered")
    assert identifiers.take("new") == 8


def test_properties_behind_the_message_expiry_interval_stay_as_they_are() -> None:
    message = outgoing(1)
    given = Properties(message_expiry_interval=10, content_type="c")
    message.properties = encode_publish_properties(given)
    message.expires_at, message.expiry_at = 10.0, 2
    remaining = Properties(message_expiry_interval=4, content_type="c")
    assert message.properties_at(6) == encode_publish_properties(remaining)


def test_a_repeated_message_of_an_earlier_connection_counts_until_its_pubrel() -> None:
    before = first_connection()
    (message,) = before.receive(publish(7, 2))
    before.connection.receiver.settle(message)
    wire = again(before)
    assert wire.receive(publish(7, 2, dup=True)) == []
    assert wire.connection.receiver.unsettled == 1
    wire.feed(PubRel(7))
    assert wire.connection.receiver.unsettled == 0


def test_the_numbers_in_records_keep_their_meaning() -> None:
    """They stand in files that other versions of the library have written."""
    states = (SubscriptionState.KEPT, SubscriptionState.ASKED, SubscriptionState.LEAVING)
    assert [int(each) for each in states] == [0, 1, 2]


def test_a_session_given_up_has_nothing_prepared() -> None:
    wire = Wire(
        session=SessionState(Journal()), connack=ConnAck(properties=Properties(receive_maximum=1))
    )
    wire.publish(1)
    wire.publish(1)
    bring_to_disk(wire, {})
    assert wire.session.waiting == 1
    assert len(wire.session.abandon()) == 2
    assert wire.session.waiting == 0


def test_packets_that_nobody_took_are_no_acknowledgements() -> None:
    wire = Wire(session=SessionState(Journal()))
    wire.publish(2)
    bring_to_disk(wire, {})
    wire.feed(PubRec(1))  # PUBREL waits for the disk
    bring_to_disk(wire, {})
    wire.connection.end()
    assert wire.session.held == {}


@pytest.mark.parametrize("code", [ReasonCode.SUCCESS, ReasonCode.QUOTA_EXCEEDED])
@pytest.mark.parametrize("qos", [1, 2])
def test_what_is_settled_behind_the_last_packet_is_not_delivered_again(
    qos: int, code: ReasonCode
) -> None:
    before = first_connection()
    (message,) = before.receive(publish(7, qos))
    before.connection.disconnect()
    before.connection.receiver.settle(message, code)
    assert [type(packet) for packet in before.sent()] == [Disconnect]
    wire = again(before)
    assert wire.receive(publish(7, qos, dup=True)) == []
    acknowledgement = PubAck if qos == 1 else PubRec
    assert wire.sent() == [acknowledgement(7, code)]


def test_what_waits_in_a_new_session_is_new_when_that_goes_on() -> None:
    before = first_connection()
    for payload in (b"1", b"2"):
        before.publish(1, payload)
    lost = again(before, present=False, receive_maximum=1)
    assert lost.sent() == [Publish("t", b"1", 1, packet_id=3)]
    wire = again(lost)
    assert wire.sent() == [
        Publish("t", b"1", 1, dup=True, packet_id=3),
        Publish("t", b"2", 1, packet_id=4),
    ]


def test_a_message_is_settled_once() -> None:
    wire = Wire()
    first, second = wire.receive(publish(1, 1), publish(2, 1))
    wire.connection.receiver.settle(second)
    wire.connection.receiver.settle(second, ReasonCode.QUOTA_EXCEEDED)
    wire.connection.receiver.settle(first)
    assert wire.sent() == [PubAck(1), PubAck(2)]


def test_another_message_of_qos_1_leaves_qos_2_identifiers_alone() -> None:
    before = first_connection()
    _unsettled, settled = before.receive(publish(7, 1, payload=b"one"), publish(7, 2))
    before.connection.receiver.settle(settled)
    wire = again(before)
    assert len(wire.receive(publish(7, 1, payload=b"another"))) == 1
    assert wire.receive(publish(7, 2, dup=True)) == []


def test_a_repeated_pubrec_changes_no_order() -> None:
    before = first_connection()
    before.publish(2)
    before.publish(2)
    before.feed(PubRec(1), PubRec(2), PubRec(1))
    assert again(before).sent() == [PubRel(1), PubRel(2)]


def test_an_acknowledgement_that_nobody_took_is_still_to_come() -> None:
    wire = first_connection()
    (message,) = wire.receive(publish(7, 1))
    message.stored_in = 3  # it is acknowledged once that is on disk
    wire.connection.receiver.settle(message)
    assert wire.sent() == []
    wire.connection.output.commit(3)
    wire.connection.end()
    assert list(wire.session.held.values()) == [message]
