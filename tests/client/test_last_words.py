"""Why the Server ended a connection is heard, though writing fails before it is read."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

import trio_mqtt
from tests.client.support import open_once
from trio_mqtt import MQTT_5, ReasonCode
from trio_mqtt.packets import ConnAck, Disconnect, encode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock


class BreakingStream(trio.abc.Stream):
    """Takes CONNECT and no more; what it still says is said then."""

    def __init__(self, last_words: bytes | None) -> None:
        self._answers = [encode(ConnAck(), MQTT_5)]
        self._last_words = last_words
        self._broken = trio.Event()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        if data[0] != 0x10:
            self._broken.set()
            raise trio.BrokenResourceError("no more")

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        if self._answers:
            return self._answers.pop()
        await self._broken.wait()
        await trio.sleep(0.5)
        if self._last_words is None:
            await trio.sleep_forever()
        return self._last_words

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def provoke_breaking(last_words: bytes | None) -> trio_mqtt.ConnectionLost:
    @asynccontextmanager
    async def connect() -> AsyncGenerator[trio.abc.Stream]:
        yield BreakingStream(last_words)

    with pytest.raises(trio_mqtt.ConnectionLost) as caught:
        async with open_once(connector=connect) as client:
            await client.publish("a", qos=1)
    return caught.value


async def test_what_the_server_said_last_is_read_though_writing_fails(
    autojump_clock: MockClock,
) -> None:
    packet = Disconnect(ReasonCode.SESSION_TAKEN_OVER)
    error = await provoke_breaking(encode(packet, MQTT_5))
    assert error.reason_code is ReasonCode.SESSION_TAKEN_OVER


@pytest.mark.parametrize("last_words", [b"", None])
async def test_if_it_says_nothing_that_writing_failed_is_told(
    autojump_clock: MockClock, last_words: bytes | None
) -> None:
    start = trio.current_time()
    error = await provoke_breaking(last_words)
    assert "broke while writing: no more" in str(error)
    assert trio.current_time() - start < 2
