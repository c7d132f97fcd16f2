"""A byte stream that the caller makes, and what becomes of the client when it goes away."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trio_mqtt
from tests.client.support import open_once
from trio_mqtt.testing import Server, open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Tunnel:
    """A connector that keeps its stream within reach."""

    def __init__(self, server: Server) -> None:
        assert server.url is not None
        self.server = server
        self._address = "127.0.0.1", int(server.url.rpartition(":")[2])
        self.streams: list[trio.SocketStream] = []

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[trio.abc.Stream]:
        async with await trio.open_tcp_stream(*self._address) as stream:
            self.streams.append(stream)
            yield stream


@asynccontextmanager
async def open_tunnel() -> AsyncGenerator[Tunnel]:
    async with open_server(port=0) as server:
        yield Tunnel(server)


async def test_a_stream_closed_under_the_reader_is_a_lost_connection() -> None:
    async with open_tunnel() as tunnel:
        with pytest.raises(trio_mqtt.ConnectionLost, match="while reading"):
            async with open_once(connector=tunnel.connect):
                await trio.aclose_forcefully(tunnel.streams[0])
                await trio.sleep_forever()


async def test_a_stream_closed_under_the_writer_is_a_lost_connection() -> None:
    async with open_tunnel() as tunnel:
        with pytest.raises(trio_mqtt.ConnectionLost):
            async with open_once(connector=tunnel.connect) as client:
                tunnel.server.pause_reading(client.server.client_id)
                client.publish_nowait("a", bytes(50_000_000))
                await trio.testing.wait_all_tasks_blocked()  # the writer, since nobody reads
                await trio.aclose_forcefully(tunnel.streams[0])
                await trio.sleep_forever()


async def test_a_stream_that_comes_closed_is_a_failed_connection() -> None:
    async with open_tunnel() as tunnel:

        @asynccontextmanager
        async def connect() -> AsyncGenerator[trio.abc.Stream]:
            async with tunnel.connect() as stream:
                await trio.aclose_forcefully(stream)
                yield stream

        with pytest.raises(trio_mqtt.ConnectFailed, match="broke the connection"):
            async with open_once(connector=connect):
                pass


async def test_a_connector_that_cannot_close_is_heard_of(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    @asynccontextmanager
    async def connect() -> AsyncGenerator[trio.abc.Stream]:
        async with server.connect() as stream:
            yield stream
        raise ZeroDivisionError

    async with trio_mqtt.open_client(connector=connect, client_id="c") as client:
        server.drop("c")
        await client.publish("a", qos=1)
    assert caplog.text.count("ZeroDivisionError") == 4  # each twice in its traceback
    assert caplog.text.count("closing the byte stream to the server failed") == 2
