"""The same bytes in other pieces are the same events."""

from __future__ import annotations

import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.budget import examples
from tests.packets import strategies
from tests.protocol.support import Wire, outgoing, publish, subscribe, unsubscribe
from trio_mqtt._enums import Protocol, ReasonCode
from trio_mqtt._errors import RemoteProtocolError
from trio_mqtt._protocol.exchanges import OutgoingMessage, Request
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Packet,
    PingReq,
    PingResp,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    UnsubAck,
    encode,
)
from trio_mqtt.packets._classes import Acknowledgement


def with_small_id(packet: Packet, packet_id: int) -> Packet:
    """The packet with one of the few identifiers that are in use."""
    if isinstance(packet, Publish):
        packet.packet_id = packet_id if packet.qos else 0
    elif isinstance(packet, Acknowledgement | SubAck | UnsubAck):
        packet.packet_id = packet_id
    return packet


def answers(protocol: Protocol) -> list[Packet]:
    """What fits the exchanges of `outcome`, in whatever order and however often it comes."""
    is_5 = protocol is Protocol.MQTT_5
    return [
        SubAck(1, (ReasonCode.SUCCESS,)),
        UnsubAck(2, (ReasonCode.SUCCESS,) if is_5 else ()),
        SubAck(3, (ReasonCode.GRANTED_QOS_2, ReasonCode.UNSPECIFIED_ERROR)),
        PubAck(4, ReasonCode.QUOTA_EXCEEDED if is_5 else ReasonCode.SUCCESS),
        PubRec(5),
        PubAck(6),
        PubRec(7),
        PubRec(8),
        PubAck(99),
        PubRec(99),
        PubRel(99),
        PubComp(99),
        PingResp(),
    ]


def streams(protocol: Protocol) -> st.SearchStrategy[bytes]:
    """CONNACK, then what a Server may send, what it may not, and perhaps no packet at all."""
    payloads = st.binary(max_size=200)
    publishes = st.builds(publish, st.integers(1, 5), strategies.QOS, payload=payloads)
    right = publishes.map(lambda packet: with_small_id(packet, packet.packet_id))
    proper = st.lists(st.one_of(right, st.sampled_from(answers(protocol))), max_size=15)
    wild = st.one_of(*(strategies.of_type(one, protocol) for one in strategies.classes(protocol)))
    wrong = st.lists(st.builds(with_small_id, wild, st.integers(1, 8)), max_size=3)
    connack = st.one_of(st.just(ConnAck()), strategies.of_type(ConnAck, protocol))
    garbage = st.binary(max_size=6)

    def joined(first: Packet, rest: list[Packet], others: list[Packet], tail: bytes) -> bytes:
        packets = [first, *rest, *others]
        return b"".join(encode(packet, protocol) for packet in packets) + tail

    return st.builds(joined, connack, proper, wrong, garbage)


def outcome(protocol: Protocol, pieces: list[bytes]) -> tuple[list[object], bytes]:
    """What happens, in the end with an error, and what is sent."""
    properties = Properties(topic_alias_maximum=40_000)
    connect = Connect("c", clean_start=False)
    if protocol is Protocol.MQTT_5:
        connect.properties = properties
    wire = Wire(protocol, connect=connect, connack=None)
    session = wire.session
    for qos in (1, 2, 1, 2, 2):
        session.accept(outgoing(qos, protocol=protocol))
    session.requests += [subscribe(), unsubscribe(), subscribe(2)]
    happened: list[object] = []
    try:
        for piece in pieces:
            wire.connection.receive_data(piece)
            while events := wire.connection.next_events():
                happened += [seen(event) for event in events]
                wire.connection.sender.pump()
    except RemoteProtocolError as error:
        happened.append((type(error), str(error), error.reason_code, error.statement))
    return happened, b"".join(wire.connection.output.take())


def seen(event: object) -> object:
    if isinstance(event, OutgoingMessage):
        answer = event.acknowledgement  # which may be that of another, if it says the same
        assert answer is not None
        return event.packet_id, type(answer), answer.reason_code, answer.properties
    if isinstance(event, Request):
        return event.packet, event.answer
    assert attrs.has(type(event))
    return type(event), attrs.astuple(event, recurse=False)  # type: ignore[arg-type, unused-ignore]


@pytest.mark.parametrize("protocol", Protocol)
def test_bytes_in_any_pieces(protocol: Protocol) -> None:
    @examples(150)
    @given(streams(protocol), st.lists(st.integers(0, 500), max_size=9))
    def check(data: bytes, cuts: list[int]) -> None:
        whole = outcome(protocol, [data])
        assert outcome(protocol, [data[at : at + 1] for at in range(len(data))]) == whole
        edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
        pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
        assert outcome(protocol, pieces) == whole

    check()


@pytest.mark.parametrize("protocol", Protocol)
def test_what_fits_makes_an_event_each(protocol: Protocol) -> None:
    """So that the comparison above compares something."""
    packets = [ConnAck(), *answers(protocol), PubComp(5), publish(1, 2)]
    data = b"".join(encode(packet, protocol) for packet in packets)
    happened, sent = outcome(protocol, [data + encode(PingReq(), protocol)])
    assert len(happened) == 9
    assert sent.count(b"\x62\x02\0") == 3 + (protocol is not Protocol.MQTT_5)
