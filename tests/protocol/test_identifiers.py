"""Packet Identifiers: ascending, round and round, never one in use."""

from __future__ import annotations

import itertools
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from tests.budget import examples
from tests.protocol.support import Wire, outgoing, subscribe, unsubscribe
from trio_mqtt._enums import ReasonCode
from trio_mqtt._protocol.identifiers import MOST_IDENTIFIERS, PacketIdentifiers
from trio_mqtt.packets import PubAck, PubComp, Publish, PubRec, PubRel, SubAck

MOST_IN_FLIGHT: Final = 65_000


def test_ascending_from_1_and_round() -> None:
    identifiers = PacketIdentifiers[str]()
    for expected in range(1, 65536):
        assert identifiers.take("x") == expected
        identifiers.release(expected)
    assert [identifiers.take("y") for _ in range(3)] == [1, 2, 3]
    assert len(identifiers) == 3


def test_those_in_use_are_skipped() -> None:
    identifiers = PacketIdentifiers[int]()
    for number in range(1, 65536):
        assert identifiers.take(number) == number
    exhausted = [identifiers.exhausted]
    assert len(identifiers) == 65535
    assert identifiers.holders() == list(range(1, 65536))
    for free in (60000, 2, 65535, 7):
        identifiers.release(free)
    exhausted.append(identifiers.exhausted)
    assert [identifiers.take(-1) for _ in range(4)] == [2, 7, 60000, 65535]
    exhausted.append(identifiers.exhausted)
    assert exhausted == [True, False, True]
    assert identifiers.holders()[-4:] == [-1] * 4


@examples(300)
@given(
    st.sets(st.integers(1, 65535), max_size=40),
    st.integers(1, 65535),
    st.lists(st.integers(0, 1000), max_size=60),
)
def test_model(in_use: set[int], start: int, steps: list[int]) -> None:
    """A step of 0 to 499 takes one, others release one of those in use."""
    identifiers = PacketIdentifiers[object]()
    model: dict[int, object] = {}
    last = identifiers.last = start
    for packet_id in in_use:  # as if they had been taken long before
        model[packet_id] = identifiers.in_use[packet_id] = object()
    for step in steps:
        if step < 500:
            free = itertools.chain(range(last + 1, 65536), range(1, 65536))
            expected = next(number for number in free if number not in model)
            holder = object()
            assert identifiers.take(holder) == expected
            last = expected
            model[expected] = holder
        elif model:
            packet_id = list(model)[step % len(model)]
            assert identifiers.holder(packet_id) is model.pop(packet_id)
            identifiers.release(packet_id)
            assert identifiers.holder(packet_id) is None
        assert identifiers.holders() == list(model.values())
        assert len(identifiers) == len(model)
        assert not identifiers.exhausted


def test_most_identifiers_is_what_two_bytes_hold() -> None:
    assert MOST_IDENTIFIERS == 2**16 - 1


def test_publish_subscribe_and_unsubscribe_share_one_set() -> None:
    wire = Wire()
    first = wire.publish(1)
    requests = [wire.request(subscribe()), wire.request(unsubscribe())]
    last = wire.publish(2)
    taken = [first.packet_id, *(request.packet.packet_id for request in requests), last.packet_id]
    assert taken == [1, 2, 3, 4]


def test_requests_go_out_before_messages_that_wait_with_them() -> None:
    wire = Wire()
    wire.session.accept(outgoing(1))
    wire.session.accept(outgoing(2))
    wire.session.requests.append(subscribe())
    assert wire.connection.sender.pump() == 2
    assert [type(packet).__name__ for packet in wire.sent()] == ["Subscribe", "Publish", "Publish"]


def test_pitfall_identifier_used_again_while_in_flight_or_immediately_after_release() -> None:
    wire = Wire()
    slow = wire.publish(2)
    assert wire.feed(PubRec(1)) == []
    seen: list[int] = []
    for _ in range(65534):
        message = wire.publish(1)
        seen.append(message.packet_id)
        wire.connection.output.take()
        assert wire.feed(PubAck(message.packet_id)) == [message]
    assert seen == list(range(2, 65536))
    # 1 is in flight still, so 2 is next: of those released the one that was longest ago.
    assert wire.publish(1).packet_id == 2
    assert wire.feed(PubComp(1)) == [slow]
    assert wire.publish(1).packet_id == 3


def test_pubrel_and_pubcomp_keep_the_identifier_until_the_end() -> None:
    wire = Wire()
    message = wire.publish(2)
    identifiers = wire.session.identifiers
    for packet in (PubRec(1), PubRec(1)):
        assert wire.feed(packet) == []
        assert identifiers.holder(1) is message
    assert [type(packet) for packet in wire.sent()] == [Publish, PubRel, PubRel]
    assert wire.feed(PubComp(1)) == [message]
    assert identifiers.holder(1) is None


def test_exhausted_identifiers_leave_requests_and_messages_waiting() -> None:
    wire = Wire()
    sender, session = wire.connection.sender, wire.session
    for _ in range(MOST_IN_FLIGHT + 1):
        session.accept(outgoing(1))
    moved = 0
    while more := sender.pump():  # as much at a time as the output takes
        moved += more
        wire.connection.output.take()
    assert moved == MOST_IN_FLIGHT
    assert sender.quota == 0
    # The window leaves room for requests.
    waiting = [wire.request(subscribe()) for _ in range(65535 - MOST_IN_FLIGHT)]
    assert [request.packet.packet_id for request in waiting] == list(range(65001, 65536))
    assert session.identifiers.exhausted
    late = [wire.request(unsubscribe()), wire.request(subscribe())]
    assert session.requests[0] is late[0]
    assert session.requests[1] is late[1]
    # One is released, the first request gets it; the message waits for the other requests.
    assert len(wire.feed(PubAck(40))) == 1
    assert sender.quota == 1
    assert sender.pump() == 0
    assert [request.packet.packet_id for request in late] == [40, 0]
    # Now there is one for each request, and then there is one for the message.
    assert wire.feed(SubAck(65001, (ReasonCode.SUCCESS,))) == [waiting[0]]
    assert sender.pump() == 0
    assert late[1].packet.packet_id == 65001
    assert len(session.queue) == 1
    assert wire.feed(SubAck(65535, (ReasonCode.SUCCESS,))) == [waiting[-1]]
    assert sender.pump() == 1
    assert session.identifiers.exhausted
    assert session.unfinished == 65535
