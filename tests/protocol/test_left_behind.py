"""What an exchange leaves behind: on disk, in the window, among the identifiers."""

from __future__ import annotations

from tests.ledger.support import again, first_connection
from tests.protocol.support import Wire, outgoing, publish, subscribe
from trio_mqtt._protocol.identifiers import PacketIdentifiers
from trio_mqtt._protocol.journal import Journal
from trio_mqtt._protocol.records import PROGRESS, SubscriptionState
from trio_mqtt._protocol.session import SessionState
from trio_mqtt.packets import ConnAck, Properties, PubAck, PubComp, Publish, PubRec, PubRel
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
