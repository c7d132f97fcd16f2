"""Two peers that publish to each other at once, over bytes in any chunks, settling in any order."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.budget import examples
from tests.protocol.peers import Pair, Peer
from trio_mqtt._enums import MQTT_5, Protocol, ReasonCode
from trio_mqtt.packets import PubAck, PubComp, PubRec, PubRel

if TYPE_CHECKING:
    from random import Random

WINDOWS = [(1, 1), (1, 65535), (2, 1), (2, 2), (65535, 2), (65535, 65535)]
REFUSALS = [ReasonCode.UNSPECIFIED_ERROR, ReasonCode.NOT_AUTHORIZED, ReasonCode.QUOTA_EXCEEDED]

ends = st.sampled_from([0, 1])
actions = st.one_of(
    st.tuples(st.just("publish"), ends, st.sampled_from([0, 1, 1, 2, 2])),
    st.tuples(st.just("settle"), ends, st.integers(0, 20)),
    st.tuples(st.just("reject"), ends, st.integers(0, 20)),
    st.tuples(st.just("move"), ends, st.integers(1, 60)),
)


def act(pair: Pair, action: tuple[str, int, int], payload: bytes) -> None:
    name, end, number = action
    peer = pair.ends[end]
    if name == "publish":
        peer.publish(number, payload)
    elif name == "move":
        pair.move(end, number)
    elif peer.unsettled:
        rejected = name == "reject" and peer.protocol is MQTT_5
        if pair.stutters and peer.unsettled[number % len(peer.unsettled)].qos == 2:
            rejected = False  # a repeat on its way would rightly be a new message (MQTT-4.3.3-9)
        peer.settle(number, REFUSALS[number % 3] if rejected else ReasonCode.SUCCESS)


def finish(pair: Pair, random: Random) -> None:
    """Settle what is left, in any order, until all is quiet."""
    pair.move_all()
    while any(peer.unsettled for peer in pair.ends):
        for peer in pair.ends:
            if peer.unsettled and random.random() < 0.7:
                peer.settle(random.randrange(len(peer.unsettled)))
        pair.move_all()


def check_order(peer: Peer) -> None:
    """Acknowledgements leave in the order of what they answer, and none is made up."""
    for answer, asked in (
        (peer.ids(PubAck, sent=True), peer.published_ids(1, sent=False)),  # MQTT-4.6.0-2
        (peer.ids(PubRec, sent=True), peer.published_ids(2, sent=False)),  # MQTT-4.6.0-3
        (peer.ids(PubComp, sent=True), peer.ids(PubRel, sent=False)),
    ):
        assert answer == asked[: len(answer)]
    accepted = [
        packet.packet_id
        for packet in peer.received
        if isinstance(packet, PubRec) and not packet.reason_code.is_failure
    ]
    released = peer.ids(PubRel, sent=True)
    assert released == accepted[: len(released)]  # MQTT-4.6.0-4


def check_delivered(peer: Peer, other: Peer) -> None:
    """Everything arrived once and in order; only QoS 0 may overtake what waits for a window."""
    for wanted in ((0,), (1, 2)):
        arrived = [message.payload for message in other.delivered if message.qos in wanted]
        assert arrived == [message.payload for message in peer.published if message.qos in wanted]


def check_over(peer: Peer, other: Peer, window: int) -> None:
    """Everything arrived, and nothing is left of it."""
    check_delivered(peer, other)
    acknowledged = [message for message in peer.published if message.qos]
    assert sorted(message.payload for message in peer.finished) == [
        message.payload for message in acknowledged
    ]
    assert peer.sender.quota == min(window, 65000)
    assert peer.sender.strays == 0
    assert peer.session.unfinished == 0
    assert peer.session.outgoing_size == 0
    assert peer.session.received == {}
    assert peer.receiver.unsettled == peer.receiver.overruns == 0
    assert peer.most_in_flight <= window
    check_order(peer)
    assert len(peer.ids(PubAck, sent=True)) == len(peer.published_ids(1, sent=False))
    assert len(peer.ids(PubRec, sent=True)) == len(peer.published_ids(2, sent=False))


@pytest.mark.parametrize("windows", WINDOWS, ids=str)
@pytest.mark.parametrize("protocol", Protocol)
def test_both_ways_at_once(protocol: Protocol, windows: tuple[int, int]) -> None:
    @examples(25)
    @given(st.lists(actions, max_size=60), st.randoms(use_true_random=False))
    def check(steps: list[tuple[str, int, int]], random: Random) -> None:
        pair = Pair(protocol, windows)
        for number, step in enumerate(steps):
            act(pair, step, b"%05d" % number)
            for peer in pair.ends:
                check_order(peer)
        finish(pair, random)
        first, second = pair.ends
        check_over(first, second, windows[1])
        check_over(second, first, windows[0])

    check()


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("qos", [1, 2])
def test_settled_in_any_order(protocol: Protocol, qos: int) -> None:
    @examples(60)
    @given(st.permutations(range(8)))
    def check(order: list[int]) -> None:
        pair = Pair(protocol)
        sender, receiver = pair.ends
        for number in range(8):
            sender.publish(qos, b"%d" % number)
        pair.move_all()
        messages = list(receiver.unsettled)
        settled: set[int] = set()
        for index in order:
            receiver.receiver.settle(messages[index])
            settled.add(index)
            receiver.take_output()
            first_gap = next(number for number in range(9) if number not in settled)
            answers = receiver.ids(PubAck if qos == 1 else PubRec, sent=True)
            assert answers == list(range(1, first_gap + 1))

    check()


@pytest.mark.parametrize("protocol", Protocol)
def test_the_same_identifiers_both_ways(protocol: Protocol) -> None:
    pair = Pair(protocol)
    for number, end in itertools.product(range(6), range(2)):
        pair.ends[end].publish(1 + number % 2, b"%d" % number)
    pair.move_all()
    for peer in pair.ends:
        assert [message.packet_id for message in peer.delivered] == [1, 2, 3, 4, 5, 6]
        assert [message.packet_id for message in peer.published] == [1, 2, 3, 4, 5, 6]
        while peer.unsettled:
            peer.settle(-1)
    pair.move_all()
    for peer, other in itertools.permutations(pair.ends):
        check_over(peer, other, 65535)


@pytest.mark.parametrize("window", [1, 2, 5])
@pytest.mark.parametrize("qos", [1, 2])
def test_the_window_is_used_and_kept(window: int, qos: int) -> None:
    pair = Pair(MQTT_5, (1, window))
    sender, receiver = pair.ends
    for number in range(12):
        sender.publish(qos, b"%02d" % number)
    while len(sender.finished) < 12:
        pair.move_all()
        assert len(receiver.unsettled) == min(window, 12 - len(sender.finished))
        assert sender.sender.quota == window - len(receiver.unsettled)
        receiver.settle(0)
        pair.move_all()
    assert sender.most_in_flight == window
    check_over(sender, receiver, window)


@pytest.mark.parametrize("qos", [1, 2])
def test_a_rejected_message_ends_its_exchange_and_makes_room(qos: int) -> None:
    pair = Pair(MQTT_5, (1, 1))
    sender, receiver = pair.ends
    for number in range(3):
        sender.publish(qos, b"%d" % number)
    for reason_code in REFUSALS:
        pair.move_all()
        receiver.settle(0, reason_code)
        pair.move_all()
    for message, reason_code in zip(sender.finished, REFUSALS, strict=True):
        assert message.acknowledgement is not None
        assert message.acknowledgement.reason_code is reason_code
    assert sender.ids(PubRel, sent=True) == []
    check_over(sender, receiver, 1)


@pytest.mark.parametrize("windows", [(1, 2), (65535, 65535)], ids=str)
@pytest.mark.parametrize("stutter", [2, 3])
@pytest.mark.parametrize("protocol", Protocol)
def test_repeated_packets_do_no_harm(
    protocol: Protocol, stutter: int, windows: tuple[int, int]
) -> None:
    @examples(25)
    @given(st.lists(actions, max_size=40), st.randoms(use_true_random=False))
    def check(steps: list[tuple[str, int, int]], random: Random) -> None:
        pair = Pair(protocol, windows, stutter=stutter)
        for number, step in enumerate(steps):
            act(pair, step, b"%05d" % number)
        finish(pair, random)
        for (peer, other), window in zip(
            itertools.permutations(pair.ends), (windows[1], windows[0]), strict=True
        ):
            check_delivered(peer, other)
            assert len(peer.finished) == sum(message.qos > 0 for message in peer.published)
            assert peer.sender.quota == min(window, 65000)
            assert peer.session.unfinished == peer.session.outgoing_size == 0
            assert peer.session.received == {}
            assert peer.receiver.unsettled == peer.receiver.overruns == 0

    check()
