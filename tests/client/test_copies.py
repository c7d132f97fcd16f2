"""Of a large payload at most two copies are in memory at once, on its way in and out."""

from __future__ import annotations

import tracemalloc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Self

import pytest
import trio

from tests.client.support import open_once
from trio_mqtt import MQTT_5, ReasonCode
from trio_mqtt.packets import ConnAck, PubAck, SubAck, UnsubAck, encode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_SIZE: Final = 20 * 1024 * 1024
_PART: Final = 64 * 1024
_REST: Final = 0.2
"""What there may be beside the copies, in copies: an eighth, by which a growing buffer is ahead."""
# PUBLISH at QoS 1, Packet Identifier 9, to the Topic Name "a"; the payload is missing.
_LENGTH: Final = 6 + _SIZE
_HEADER: Final = bytes(
    (
        *(0x32, _LENGTH & 127 | 128, _LENGTH >> 7 & 127 | 128),
        *(_LENGTH >> 14 & 127 | 128, _LENGTH >> 21),
        *(0, 1, ord("a"), 0, 9, 0),
    )
)


class HugeStream(trio.abc.Stream):
    """A Server that sends a huge message, or takes one, and keeps nothing of it."""

    def __init__(self) -> None:
        self.largest = 0
        self._answers = b""
        self._to_send = 0
        self._to_take = 0
        self._arrived = trio.Event()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.largest = max(self.largest, len(data))
        if self._to_take:
            self._to_take -= len(data)
            if not self._to_take:
                self._answers += encode(PubAck(1), MQTT_5)
        else:
            packets = bytes(data[:_PART])
            while packets and not self._to_take:  # all but PUBLISH are short
                self._answers += self._answer(packets)
                packets = packets[2 + packets[1] :]
        self._arrived.set()

    def _answer(self, start: bytes) -> bytes:
        packet_id = int.from_bytes(start[2:4], "big")
        match start[0] >> 4:
            case 1:
                return encode(ConnAck(), MQTT_5)
            case 3:
                self._to_take = _SIZE
            case 8:
                self._to_send = _SIZE
                granted = (ReasonCode.GRANTED_QOS_1,)
                return encode(SubAck(packet_id, granted), MQTT_5) + _HEADER
            case 10:
                return encode(UnsubAck(packet_id, (ReasonCode.SUCCESS,)), MQTT_5)
            case _:
                pass
        return b""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        while True:
            if self._answers:
                answers, self._answers = self._answers, b""
                return answers
            if self._to_send:
                size = min(_PART, self._to_send)
                self._to_send -= size
                return bytes(size)
            self._arrived = trio.Event()
            await self._arrived.wait()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[trio.abc.Stream]:
        yield self


class Peak:
    """How many copies there are at the most, in a block."""

    copies = 0.0

    def __enter__(self) -> Self:
        tracemalloc.start(1)
        return self

    def __exit__(self, *_: object) -> None:
        self.copies = tracemalloc.get_traced_memory()[1] / _SIZE
        tracemalloc.stop()


async def test_a_large_message_received_is_there_twice_for_a_moment() -> None:
    with trio.fail_after(60), Peak() as peak:
        async with (
            open_once(connector=HugeStream().connect) as client,
            client.subscribe("a", qos=1) as messages,
        ):
            message = await messages.receive()
            assert len(message.payload) == _SIZE
            message.ack()
    assert 1 < peak.copies < 2 + _REST


@pytest.mark.parametrize(
    ("kind", "most"), [(bytes, 1), (bytearray, 2), (memoryview, 2), (str, 2)], ids=str
)
async def test_a_large_message_published_is_copied_only_if_it_can_change(
    kind: type, most: int
) -> None:
    stream = HugeStream()
    with trio.fail_after(60), Peak() as peak:
        async with open_once(connector=stream.connect) as client:
            payload = "x" * _SIZE if kind is str else kind(bytes(_SIZE))
            await client.publish("a", payload, qos=1)
    assert 1 <= peak.copies < most + _REST
    # What TLS and WebSocket are given at once, they copy.
    assert stream.largest <= 1024 * 1024
