"""A Server within the process of the client: a stream that answers at once, at next to no cost."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from benchmarks.jobs import MOST_IN_FLIGHT, Job
from benchmarks.wire import (
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    UNSUBSCRIBE,
    Run,
    Splitter,
    publish_stream,
)
from trio_mqtt import MQTT_5, ReasonCode
from trio_mqtt.packets import (
    ConnAck,
    Packet,
    PacketReader,
    PingResp,
    Properties,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

_CONNECT: Final = 1
_SUBSCRIBE: Final = 8
_PINGREQ: Final = 12
_ANSWERS: Final = {PUBREC: PUBREL, PUBREL: PUBCOMP}
_PUBLISH_ANSWERS: Final = {1: PUBACK, 2: PUBREC}
_CONNACK: Final = encode(ConnAck(properties=Properties(receive_maximum=MOST_IN_FLIGHT)), MQTT_5)
_PINGRESP: Final = encode(PingResp(), MQTT_5)


def _read(run: Run) -> list[Packet]:
    reader = PacketReader(MQTT_5)
    reader.feed(run.data)
    packets: list[Packet] = []
    while more := reader.read_packets():
        packets += more
    return packets


def _grant(packet: Packet) -> bytes:
    if isinstance(packet, Subscribe):
        granted = (ReasonCode.GRANTED_QOS_2,) * len(packet.requests)
        return encode(SubAck(packet.packet_id, granted), MQTT_5)
    if isinstance(packet, Unsubscribe):
        done = (ReasonCode.SUCCESS,) * len(packet.topic_filters)
        return encode(UnsubAck(packet.packet_id, done), MQTT_5)
    raise TypeError(packet)


class ScriptedStream(trio.abc.Stream):
    """The Server of one connection.

    Args:
        chunks: what it sends when told to, one at a time.
    """

    def __init__(self, chunks: Sequence[bytes] = ()) -> None:
        self._chunks = chunks
        self._answers = bytearray()
        self._splitter = Splitter()
        self._next = self._released = 0
        self._arrived = trio.Event()

    def release(self, count: int) -> None:
        """Send so many more chunks; after the last comes the first again."""
        self._released += count
        self._arrived.set()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Take what the client sends, and have the answers ready."""
        await trio.lowlevel.checkpoint()
        for run in self._splitter.feed(bytes(data)):
            self._answers += self._answer(run)
        if self._answers:
            self._arrived.set()

    def _answer(self, run: Run) -> bytes:
        kind = _PUBLISH_ANSWERS.get(run.qos) if run.kind == PUBLISH else _ANSWERS.get(run.kind)
        if kind is not None:
            return run.answer(kind)
        if run.kind == _CONNECT:
            return _CONNACK
        if run.kind == _PINGREQ:
            return _PINGRESP
        if run.kind in {_SUBSCRIBE, UNSUBSCRIBE}:
            return b"".join(map(_grant, _read(run)))
        return b""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:  # noqa: ARG002
        """Answers, as many as there are, or the next chunk."""
        await trio.lowlevel.checkpoint()
        while True:
            if self._answers:
                answers, self._answers = bytes(self._answers), bytearray()
                return answers
            if self._next < self._released:
                self._next += 1
                return self._chunks[(self._next - 1) % len(self._chunks)]
            self._arrived = trio.Event()
            await self._arrived.wait()

    async def wait_send_all_might_not_block(self) -> None:
        """It never blocks."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """There is nothing to close."""
        await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[trio.abc.Stream]:
        """A connector for `open_client`."""
        yield self


def chunks_of(job: Job, batch: int) -> list[bytes]:
    """The messages of a job, so many in each chunk."""
    stream, size = publish_stream(job, MQTT_5)
    step = batch * size
    return [stream[start : start + step] for start in range(0, len(stream), step)]
