"""Where in a stream of bytes a fault lies."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import pytest

from trio_mqtt import MQTT_5
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    Publish,
    PubRec,
    PubRel,
    encode,
)
from trio_mqtt.testing import After, Before, Faults
from trio_mqtt.testing._faults import Trap

if TYPE_CHECKING:
    from trio_mqtt.testing._faults import Place

PACKETS: Final[tuple[Packet, ...]] = (
    Connect("c"),
    PingReq(),
    Publish("a", b"0" * 10),
    Publish("a", b"1" * 300, 1, packet_id=1),
    PubRel(7),
    Publish("b", b"2" * 20_000),
    PingReq(),
    Disconnect(),
)
ENCODED: Final = [encode(packet, MQTT_5) for packet in PACKETS]
STARTS: Final = [sum(map(len, ENCODED[:index])) for index in range(len(ENCODED) + 1)]
DATA: Final = b"".join(ENCODED)


def spring(trap: Trap, data: bytes, size: int) -> tuple[int, str] | None:
    """Where and how a trap springs if the data come in pieces of this size."""
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        position, action = trap.spring(piece)
        if action is not None:
            return start + position, action
        assert position == len(piece)
    return None


def nth_of(index: int) -> int:
    return sum(type(packet) is type(PACKETS[index]) for packet in PACKETS[: index + 1])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, 16_384, 65_536])
@pytest.mark.parametrize("index", range(len(PACKETS)))
def test_packets_are_found_however_they_arrive(index: int, size: int) -> None:
    packet_type, nth = type(PACKETS[index]), nth_of(index)
    before = Trap(cut=Before(packet_type, nth), stall=None)
    assert spring(before, DATA, size) == (STARTS[index], "cut")
    after = Trap(cut=After(packet_type, nth), stall=None)
    found = spring(after, DATA, size)
    assert found == (STARTS[index + 1], "cut")


def test_behind_a_packet_is_where_its_last_byte_passes() -> None:
    trap = Trap(cut=After(Connect), stall=None)
    assert trap.spring(ENCODED[0][:-1]) == (len(ENCODED[0]) - 1, None)
    assert trap.spring(ENCODED[0][-1:]) == (1, "cut")


@pytest.mark.parametrize("size", [1, 5, 100])
def test_a_packet_that_does_not_come_springs_nothing(size: int) -> None:
    assert spring(Trap(cut=Before(PubRec), stall=After(PingReq, 3)), DATA, size) is None


def test_what_looks_like_a_packet_inside_another_is_none() -> None:
    data = encode(Publish("a", encode(PubRel(1), MQTT_5)), MQTT_5) + encode(PubRel(1), MQTT_5)
    start = len(data) - len(encode(PubRel(1), MQTT_5))
    assert spring(Trap(cut=Before(PubRel), stall=None), data, 1) == (start, "cut")


@pytest.mark.parametrize("size", [1, 100])
def test_bytes_that_are_no_mqtt_spring_nothing(size: int) -> None:
    data = b"\x30\xff\xff\xff\xff\x7f" + encode(PubRel(1), MQTT_5) * 100
    assert spring(Trap(cut=Before(PubRel), stall=None), data, size) is None


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("place", [0, 1, 9, 50])
def test_bytes_are_counted(place: int, size: int) -> None:
    trap = Trap(cut=None, stall=place)
    assert spring(trap, bytes(50), size) == (place, "stall")


def test_nothing_lies_beyond_the_last_byte() -> None:
    assert spring(Trap(cut=51, stall=None), bytes(50), 1) is None
    assert Trap(cut=None, stall=None).spring(b"abc") == (3, None)


def test_the_first_place_counts_and_a_cut_before_a_stall() -> None:
    assert Trap(cut=3, stall=2).spring(b"abcd") == (2, "stall")
    assert Trap(cut=2, stall=3).spring(b"abcd") == (2, "cut")
    assert Trap(cut=2, stall=2).spring(b"abcd") == (2, "cut")
    assert Trap(cut=0, stall=2).spring(b"") == (0, "cut")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"cut_to_server": -1}, ValueError),
        ({"cut_to_client": 1.5}, TypeError),
        ({"stall_to_server": True}, TypeError),
        ({"stall_to_client": ConnAck}, TypeError),
        ({"ending": "explosion"}, ValueError),
        ({"delay": -1}, ValueError),
        ({"delay": float("inf")}, ValueError),
        ({"delay": float("nan")}, ValueError),
        ({"chunk": 0}, ValueError),
    ],
)
def test_faults_that_make_no_sense_are_refused(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=next(iter(options))):
        Faults(**options)


def places(place: Any) -> list[Place]:
    return [place(PubRel), place(PubRel, nth=2), place(PubRec)]


@pytest.mark.parametrize("place", [Before, After])
def test_places_are_values(place: Any) -> None:
    assert places(place) == places(place)
    assert all(one != other for one, other in pairwise(places(place)))
    with pytest.raises(ValueError, match="nth"):
        place(PubRel, 0)
    for wrong in (PubRel(1), int, "PUBREL"):
        with pytest.raises(TypeError, match="Control Packet"):
            place(wrong)
