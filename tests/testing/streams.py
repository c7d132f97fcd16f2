"""Servers that are only a stream, for tests of what stands between."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import trio

from trio_mqtt.testing import MemoryStream, memory_stream_pair

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Peers:
    """A connector that keeps the servers' ends within reach."""

    def __init__(self, capacity: int = 64 * 1024) -> None:
        self.capacity = capacity
        self.ends: list[MemoryStream] = []
        self.closed = 0

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[trio.abc.Stream]:
        near, far = memory_stream_pair(capacity=self.capacity)
        self.ends.append(far)
        try:
            yield near
        finally:
            self.closed += 1
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(near)


class WholeStream(trio.abc.Stream):
    """A stream that cannot be closed in one direction only."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.stream.aclose()


async def read_all(stream: trio.abc.ReceiveStream) -> tuple[bytes, str]:
    """All that comes, and what stands behind it: "reset" or "close"."""
    data = b""
    try:
        while received := await stream.receive_some():
            data += received
    except trio.BrokenResourceError:
        return data, "reset"
    return data, "close"


async def send_until_broken(stream: trio.abc.SendStream, limit: int = 10) -> int:
    """How many sends it takes to learn that nobody is there."""
    for count in range(limit):
        try:
            await stream.send_all(b"x")
        except trio.BrokenResourceError:
            return count
    raise AssertionError("it never broke")


async def flood(stream: trio.abc.SendStream) -> int:
    """Send until it waits for more than a minute; how many bytes it took."""
    sent = 0
    with trio.move_on_after(60), suppress(trio.BrokenResourceError):
        while True:
            await stream.send_all(bytes(1000))
            sent += 1000
    return sent
