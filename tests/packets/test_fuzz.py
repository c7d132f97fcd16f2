"""Broken packets raise what is documented and nothing else; what is accepted makes sense.

How many are tried: see `tests.budget`.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.budget import WANTED, examples
from tests.packets import strategies
from tests.packets.support import VERSIONS, frame, read_one
from tests.packets.test_examples import ROWS, SHORT_FORMS
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_5, Protocol
from trio_mqtt._errors import MalformedPacket, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NUMBER = int(WANTED or 10_000)


def seeded(what: str, protocol: Protocol | None) -> random.Random:
    """The same for each run that tries the same number."""
    return random.Random(f"{what} {protocol} {WANTED}")  # noqa: S311 - no secrets here


class Outcome(NamedTuple):
    """What came of some bytes."""

    packets: list[p.Packet]
    error: RemoteProtocolError | None
    waiting: bool


def feed_all(reader: p.PacketReader, data: bytes, sizes: Iterable[int]) -> Outcome:
    """Read `data` cut into these sizes; what is not documented escapes and fails the test."""
    found: list[p.Packet] = []
    start = 0
    try:
        for size in (*sizes, len(data)):
            reader.feed(data[start : start + size])
            start += size
            while packets := reader.read_packets():
                found += packets
    except RemoteProtocolError as error:
        return Outcome(found, error, waiting=False)
    return Outcome(found, None, waiting=reader.buffered > 0)


def check(data: bytes, protocol: Protocol | None, sizes: Iterable[int] = ()) -> str:
    """Read `data`, and see to it that an error or packets are as they should be."""
    reader = p.PacketReader(protocol)
    outcome = feed_all(reader, data, sizes)
    for packet in outcome.packets:
        if packet != p.Auth():  # which may be received (3.15.2.1) and not sent (3.15.2.2.2)
            version = reader.protocol or MQTT_5
            assert read_one(p.encode(packet, version), version) == packet
    error = outcome.error
    if error is None:
        return "waiting" if outcome.waiting else "read"
    assert type(error) in {MalformedPacket, RemoteProtocolError}
    assert error.reason_code.is_failure
    assert str(error)
    with pytest.raises(RemoteProtocolError) as again:
        reader.read_packets()
    assert again.value is error
    assert reader.buffered == 0
    return "refused"


def flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def replace(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] = rng.choice((0, 1, 2, 127, 128, 255, rng.randrange(256)))


def insert(data: bytearray, rng: random.Random) -> None:
    place = rng.randrange(len(data) + 1)
    data[place:place] = rng.randbytes(rng.randrange(1, 4))


def delete(data: bytearray, rng: random.Random) -> None:
    place = rng.randrange(len(data))
    del data[place : place + rng.randrange(1, 4)]


def repeat(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start:start] = data[start : start + rng.randrange(1, 12)]


def resize(data: bytearray, rng: random.Random) -> None:
    """Change a byte by a little, as a length that is off by a few."""
    place = rng.randrange(len(data))
    data[place] = (data[place] + rng.choice((-3, -2, -1, 1, 2, 3))) % 256


EDITS: list[Callable[[bytearray, random.Random], None]] = [
    flip,
    replace,
    insert,
    delete,
    repeat,
    resize,
]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A broken packet; half of the time with a Remaining Length that is right all the same."""
    head_size = 2 + sum(byte > 127 for byte in data[1:3])
    if rng.random() < 0.5:
        body = bytearray(data[head_size:]) or bytearray(1)
        for _ in range(rng.randrange(1, 5)):
            rng.choice(EDITS)(body, rng)
            body = body or bytearray(1)
        return frame(data[0], bytes(body))
    whole = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        rng.choice(EDITS)(whole, rng)
        whole = whole or bytearray(1)
    return bytes(whole)


@pytest.mark.parametrize("protocol", VERSIONS)
def test_mutated_packets(protocol: Protocol) -> None:
    rng = seeded("mutated", protocol)
    rows = [row[1] for row in ROWS[protocol]]
    if protocol is MQTT_5:
        rows += [row[1] for row in SHORT_FORMS]
    valid = [bytes.fromhex(row) for row in rows]
    outcomes = {"read": 0, "waiting": 0, "refused": 0}
    for _ in range(NUMBER):
        data = mutate(rng.choice(valid), rng)
        outcomes[check(data + rng.choice((b"", rng.choice(valid))), protocol)] += 1
    assert min(outcomes.values()) > NUMBER // 50, outcomes  # each sort was really tried


@pytest.mark.parametrize("protocol", [None, *VERSIONS])
def test_random_bytes(protocol: Protocol | None) -> None:
    rng = seeded("random", protocol)
    refused = 0
    for _ in range(NUMBER // 4):
        body = rng.randbytes(rng.randrange(60))
        framed = frame(rng.randrange(256), body) if rng.random() < 0.7 else body
        refused += check(framed, protocol) == "refused"
    assert refused > NUMBER // 20


@pytest.mark.parametrize("protocol", VERSIONS)
def test_mutated_packets_of_every_shape(protocol: Protocol) -> None:
    """Here Hypothesis makes the packets, and shrinks what it finds."""

    @examples(200)
    @given(
        st.lists(strategies.packets(protocol), min_size=1, max_size=3),
        st.randoms(use_true_random=False),
        st.lists(st.integers(0, 20), max_size=5),
    )
    def check_one(sent: list[p.Packet], rng: random.Random, sizes: list[int]) -> None:
        data = b"".join(mutate(p.encode(packet, protocol), rng) for packet in sent)
        assert check(data, protocol, sizes) in {"read", "waiting", "refused"}

    check_one()


@pytest.mark.parametrize("protocol", VERSIONS)
def test_how_bytes_are_cut_changes_nothing(protocol: Protocol) -> None:
    """Broken or not: the same packets, then the same error, whatever the chunks."""

    rng = seeded("cut", protocol)
    valid = [bytes.fromhex(row[1]) for row in ROWS[protocol]]
    compared = 0
    for _ in range(NUMBER // 10):
        data = mutate(rng.choice(valid), rng) + rng.choice(valid)
        whole = feed_all(p.PacketReader(protocol, maximum_packet_size=200), data, ())
        for size in (1, 2, 3, 7):
            reader = p.PacketReader(protocol, maximum_packet_size=200)
            pieces = feed_all(reader, data, [size] * (len(data) // size))
            assert pieces.packets == whole.packets
            assert pieces.waiting == whole.waiting
            assert (pieces.error is None) == (whole.error is None)
            compared += whole.error is not None
    assert compared > NUMBER // 50
