"""What bytes cost: a length reserves nothing, and no chunk is copied once for each that follows."""

from __future__ import annotations

import random
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from tests.packets.support import VERSIONS, drain, length_bytes
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_5, Protocol
from trio_mqtt._errors import RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

KIB = 1024
INPUT = 64 * KIB
LARGEST = length_bytes(268_435_455)
NOISE = random.Random(64).randbytes(INPUT)  # noqa: S311 - no secrets here
GARBAGE = {
    "random bytes": NOISE,
    "zeros": bytes(INPUT),
    "ones": b"\xff" * INPUT,
    "spaces": b" " * INPUT,
    "HTTP": (b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n" * 2000)[:INPUT],
    "TLS": (b"\x16\x03\x01\x02\x00\x01" * 12000)[:INPUT],
    "PUBLISH of 256 MB": (b"\x30" + LARGEST + b"\0\1t\0" + NOISE)[:INPUT],
    "PUBLISH of 2 MB": (b"\x32" + length_bytes(2_000_000) + b"\0\1t\0\1\0" + NOISE)[:INPUT],
    "CONNECT of 256 MB": (b"\x10" + LARGEST + b"\0\4MQTT\5" + NOISE)[:INPUT],
    "SUBACK of 256 MB": (b"\x90" + LARGEST + NOISE)[:INPUT],
    "strings that say 65535": b"\x30" + length_bytes(INPUT - 4) + b"\xff" * (INPUT - 4),
    "properties that say 256 MB": (b"\x30\x09\0\1t" + LARGEST + NOISE)[:INPUT],
    "the same error after packets": (b"\xd0\0" * 100 + b"\xff" + NOISE)[:INPUT],
}


def peak_of(work: Callable[[], None]) -> int:
    """The most memory that `work` held at once, in bytes."""
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [1, 100, INPUT])
@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_takes_no_more_than_itself_and_64_kib(kind: str, size: int) -> None:
    garbage = GARBAGE[kind]
    assert len(garbage) == INPUT
    outcomes: set[str] = set()

    def feed() -> None:
        reader = p.PacketReader(MQTT_5)
        for start in range(0, INPUT, size):
            reader.feed(garbage[start : start + size])
            try:
                drain(reader)
            except RemoteProtocolError:
                outcomes.add("refused")
        if not outcomes:
            outcomes.add("waiting")
            assert reader.buffered == INPUT

    assert peak_of(feed) < INPUT + 64 * KIB
    assert len(outcomes) == 1


@pytest.mark.parametrize("protocol", VERSIONS)
@pytest.mark.parametrize("first", [0x10, 0x30, 0x82, 0x90, 0xC0])
def test_a_fixed_header_alone_reserves_nothing(first: int, protocol: Protocol) -> None:
    readers: list[p.PacketReader] = []

    def feed() -> None:
        for _ in range(20):
            reader = p.PacketReader(protocol)
            reader.feed(bytes((first,)) + LARGEST)
            assert reader.read_packets() == []
            readers.append(reader)

    assert peak_of(feed) < 20 * 2 * KIB
    assert {reader.buffered for reader in readers} == {5}


def test_what_is_above_the_limit_is_never_buffered() -> None:
    reader = p.PacketReader(MQTT_5, maximum_packet_size=1000)

    def feed() -> None:
        reader.feed(b"\x30" + LARGEST)
        with pytest.raises(RemoteProtocolError):
            reader.read_packets()
        for _ in range(1000):
            reader.feed(bytes(64 * KIB))

    assert peak_of(feed) < 64 * KIB + 32 * KIB
    assert reader.buffered == 0


@pytest.mark.parametrize("container", [bytes, bytearray])
def test_a_large_payload_is_held_twice_at_most(container: type[bytes | bytearray]) -> None:
    size = 16 * KIB * KIB
    head = p.encode(p.Publish("large", bytes(size)), MQTT_5)[:-size]
    reader = p.PacketReader(MQTT_5)
    found: list[p.Packet] = []

    def feed() -> None:
        reader.feed(head)
        for _ in range(size // (64 * KIB)):
            assert reader.read_packets() == []
            reader.feed(container(64 * KIB))
        found.extend(reader.read_packets())

    assert peak_of(feed) < 2 * size + 512 * KIB
    assert found == [p.Publish("large", bytes(size))]
    assert len(reader._data) == 0


def copies(reader: p.PacketReader, data: bytes, size: int) -> tuple[int, list[p.Packet]]:
    """Feed in chunks; how often everything that waited was copied, and what was read."""
    found: list[p.Packet] = []
    changes = 0
    seen = reader._data
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
        found += reader.read_packets()
        changes += reader._data is not seen
        seen = reader._data
    return changes, found


@pytest.mark.parametrize("size", [1, 2, 7, 100, 5000])
def test_tiny_chunks_are_joined_once(size: int) -> None:
    """A copy for each chunk would make the time grow with the square of the packet's size."""
    packet = p.Publish("t", bytes(200_000), 1, packet_id=3)
    data = p.encode(packet, MQTT_5)
    reader = p.PacketReader(MQTT_5)
    changes, found = copies(reader, data, size)
    assert found == [packet]
    assert changes <= 5  # for each byte of the fixed header, and for the packet


def test_tiny_chunks_take_no_more_than_their_bytes() -> None:
    reader = p.PacketReader(MQTT_5)

    def feed() -> None:
        reader.feed(b"\x30" + LARGEST)
        for _ in range(20_000):
            reader.feed(b"xy")
            assert reader.read_packets() == []

    assert peak_of(feed) < 1.2 * 40_000
    assert reader.buffered == 40_005


def test_many_packets_in_one_chunk_are_not_copied_again_for_each_read() -> None:
    packet = p.Publish("t", b"x" * 30)
    data = p.encode(packet, MQTT_5) * 5000
    reader = p.PacketReader(MQTT_5)
    reader.feed(data)
    buffers: list[bytes] = []
    count = 0
    while packets := reader.read_packets():
        count += len(packets)
        buffers.append(reader._data)
    assert count == 5000
    assert all(buffer is data for buffer in buffers[:-1])
    assert buffers[-1] == b""
