"""How much is read from a socket at once."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import trio

from tests.client.support import open_once
from trio_mqtt._transports.plain_socket import PlainSocket
from trio_mqtt.testing import open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import pytest

LARGE = 256 * 1024


Asked = set[int | None]
T = TypeVar("T", trio.abc.ReceiveStream, PlainSocket)


def note_asked(monkeypatch: pytest.MonkeyPatch, kind: type[T]) -> Asked:
    """What streams of a kind are asked for."""
    found: Asked = set()
    plain = kind.receive_some

    async def receive_some(stream: T, max_bytes: int | None = None) -> bytes:
        found.add(max_bytes)
        return bytes(await plain(stream, max_bytes))

    monkeypatch.setattr(kind, "receive_some", receive_some)
    return found


async def test_more_is_read_while_a_large_packet_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = note_asked(monkeypatch, PlainSocket)
    async with open_server(port=0) as server:
        assert server.url is not None
        async with open_once(server.url) as client, client.subscribe("a") as messages:
            for size in (10, 5_000_000, 10):
                await client.publish("b", qos=1)  # whose answer comes in a read of its own
                asked.clear()
                server.publish("a", bytes(size))
                assert len((await messages.receive()).payload) == size
                assert (LARGE in asked) == (size > LARGE)


async def test_a_stream_that_is_no_socket_decides_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def connect() -> AsyncGenerator[trio.abc.Stream]:
        async with server.connect() as stream:
            yield trio.StapledStream(stream, stream)

    asked = note_asked(monkeypatch, trio.StapledStream)
    async with (
        open_server() as server,
        open_once(connector=connect) as client,
        client.subscribe("a") as messages,
    ):
        server.publish("a", bytes(5_000_000))
        assert len((await messages.receive()).payload) == 5_000_000
    assert asked == {None}
