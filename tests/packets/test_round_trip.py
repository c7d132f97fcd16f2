"""Whatever `encode` writes the reader gives back, however the bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.budget import examples
from tests.packets import strategies
from tests.packets.support import VERSIONS, drain, read_one
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_5, Protocol
from trio_mqtt._errors import LocalProtocolError
from trio_mqtt.packets._encoder import (
    encode_publish_properties,
    encode_topic,
    publish_first_byte,
    publish_header,
)

SORTS = [
    pytest.param(packet_class, protocol, id=f"{packet_class.__name__} of {protocol.title}")
    for protocol in VERSIONS
    for packet_class in strategies.classes(protocol)
]


@pytest.mark.parametrize(("packet_class", "protocol"), SORTS)
def test_round_trip(packet_class: type, protocol: Protocol) -> None:
    @examples(40)
    @given(strategies.of_type(packet_class, protocol))
    def check(packet: p.Packet) -> None:
        data = p.encode(packet, protocol)
        assert type(packet) is packet_class
        assert read_one(data, protocol) == packet
        assert p.encode(read_one(data, protocol), protocol) == data

    check()


@pytest.mark.parametrize(("packet_class", "protocol"), SORTS)
def test_every_prefix_waits_for_the_rest(packet_class: type, protocol: Protocol) -> None:
    @examples(15)
    @given(strategies.of_type(packet_class, protocol))
    def check(packet: p.Packet) -> None:
        data = p.encode(packet, protocol)
        for size in range(len(data)):
            reader = p.PacketReader(protocol)
            reader.feed(data[:size])
            assert reader.read_packets() == []
            assert reader.buffered == size
            reader.feed(data[size:])
            assert reader.read_packets() == [packet]
            assert reader.buffered == 0

    check()


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` in pieces, cut at these places; some are empty."""
    edges = [0, *sorted(place % (len(data) + 1) for place in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@pytest.mark.parametrize("protocol", VERSIONS)
def test_streams_of_packets_in_chunks(protocol: Protocol) -> None:
    @examples(100)
    @given(
        st.lists(strategies.packets(protocol), max_size=8),
        st.lists(st.integers(0, 10_000), max_size=12),
        st.sampled_from([bytes, bytearray, memoryview]),
        st.integers(1, 5),
    )
    def check(
        sent: list[p.Packet],
        cuts: list[int],
        container: type[bytes | bytearray | memoryview],
        limit: int,
    ) -> None:
        data = b"".join(p.encode(packet, protocol) for packet in sent)
        reader = p.PacketReader(protocol)
        found: list[p.Packet] = []
        fed = 0
        for piece in cut(data, cuts):
            reader.feed(container(piece))
            fed += len(piece)
            while packets := reader.read_packets(limit):
                assert len(packets) <= limit
                found += packets
        assert found == sent
        assert reader.buffered == 0
        assert fed == len(data)

    check()


@pytest.mark.parametrize("protocol", VERSIONS)
def test_byte_by_byte(protocol: Protocol) -> None:
    @examples(100)
    @given(st.lists(strategies.packets(protocol), min_size=1, max_size=4))
    def check(sent: list[p.Packet]) -> None:
        reader = p.PacketReader(protocol)
        for packet in sent:
            data = p.encode(packet, protocol)
            for place, byte in enumerate(data):
                assert reader.read_packets() == []
                assert reader.buffered == place
                reader.feed(bytes((byte,)))
            assert reader.read_packets() == [packet]

    check()


@pytest.mark.parametrize("protocol", VERSIONS)
def test_a_connect_tells_the_version(protocol: Protocol) -> None:
    @examples(50)
    @given(
        strategies.of_type(p.Connect, protocol),
        st.lists(strategies.packets(protocol), max_size=4),
    )
    def check(connect: p.Packet, others: list[p.Packet]) -> None:
        reader = p.PacketReader(None)
        reader.feed(b"".join(p.encode(packet, protocol) for packet in (connect, *others)))
        assert drain(reader) == [connect, *others]
        assert reader.protocol is protocol

    check()


@given(st.lists(strategies.packets(MQTT_5), max_size=5))
def test_packets_are_written_alike_whether_properties_are_shared_or_not(
    packets: list[p.Packet],
) -> None:
    """The reader remembers topics and properties; nothing it hands out changes for that."""
    data = b"".join(p.encode(packet, MQTT_5) for packet in packets)
    reader = p.PacketReader(MQTT_5)
    for _ in range(3):
        reader.feed(data)
        assert drain(reader) == packets


@given(strategies.of_type(p.Publish, MQTT_5))
def test_a_publish_from_its_parts_is_the_same(packet: p.Packet) -> None:
    """What a client puts together itself, with parts that it keeps, is what `encode` writes."""
    assert isinstance(packet, p.Publish)
    packet.topic = packet.topic or "t"
    header = publish_header(
        publish_first_byte(packet.qos, retain=packet.retain, dup=packet.dup),
        encode_topic(packet.topic),
        packet.qos,
        packet.packet_id,
        encode_publish_properties(packet.properties),
        len(packet.payload),
    )
    assert header + packet.payload == p.encode(packet, MQTT_5)


def test_parts_of_a_publish_are_checked() -> None:
    with pytest.raises(LocalProtocolError) as caught:
        encode_topic("a/+")
    assert caught.value.statement == "MQTT-3.3.2-2"
    with pytest.raises(LocalProtocolError) as caught:
        encode_publish_properties(p.Properties(receive_maximum=1))
    assert caught.value.statement == "2.2.2.2"


@pytest.mark.parametrize("remaining", [126, 127, 128, 129, 16_383, 16_384, 16_385])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_publish_whose_length_takes_a_byte_more_or_less(qos: int, remaining: int) -> None:
    size = remaining - len(b"\0\1t") - (2 if qos else 0) - len(b"\0")
    packet = p.Publish("t", bytes(size), qos, packet_id=7 if qos else 0)
    data = p.encode(packet, MQTT_5)
    assert len(data) == remaining + 2 + (remaining > 127) + (remaining > 16_383)
    reader = p.PacketReader(MQTT_5)
    reader.feed(data)
    assert drain(reader) == [packet]
    assert reader.buffered == 0
