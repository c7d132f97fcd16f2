"""Network Connections (4.2): the byte streams that MQTT runs on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

import trio_mqtt
from tests.ledger.support import PATIENCE, by_version
from trio_mqtt.testing import open_server

if TYPE_CHECKING:
    from pathlib import Path

    from trio_mqtt import Protocol


async def round_trips(url: str, protocol: Protocol) -> None:
    """Messages of many sizes, there and back, in order and unchanged."""
    payloads = [bytes([size % 256]) * size for size in (0, 1, 127, 128, 10_000, 200_000)]
    with trio.fail_after(PATIENCE):
        async with (
            trio_mqtt.open_client(url, protocol=protocol, reconnect=None) as client,
            client.subscribe("t", qos=1) as messages,
        ):
            for payload in payloads:
                await client.publish("t", payload, qos=1)
            for payload in payloads:
                message = await messages.receive()
                assert message.payload == payload
                message.ack()


@by_version("MQTT-4.2-1", "MQTT-7.1.2-1")
async def test_tcp(protocol: Protocol) -> None:
    async with open_server(port=0) as server:
        assert server.url is not None
        await round_trips(server.url, protocol)


@by_version("MQTT-4.2-1", "MQTT-7.1.2-1")
async def test_unix_sockets(tmp_path: Path, protocol: Protocol) -> None:
    path = tmp_path / "socket"
    async with open_server() as server, trio.open_nursery() as nursery:
        with trio.socket.socket(trio.socket.AF_UNIX) as socket:
            await socket.bind(str(path))
            socket.listen()
            listener = trio.SocketListener(socket)
            serve = partial(trio.serve_listeners, server.serve, [listener])
            nursery.start_soon(serve)
            await round_trips(f"mqtt+unix://{path}", protocol)
            nursery.cancel_scope.cancel()
