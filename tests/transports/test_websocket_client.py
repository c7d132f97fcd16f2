"""A client over WebSocket: the server in memory, cuts in the middle of frames, Mosquitto."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

import trio_mqtt
from tests.client.support import open_once
from tests.transports.websockets import ADDRESS, accept_websocket, answer
from trio_mqtt._transports.websocket import open_websocket
from trio_mqtt.packets import Disconnect
from trio_mqtt.testing import Faults, Server, memory_stream_pair, open_network, open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

    from trio_mqtt.abc import Connector


@asynccontextmanager
async def open_websocket_server() -> AsyncGenerator[tuple[Server, Connector]]:
    """A server behind WebSocket, and what connects to its byte stream."""
    async with open_server() as server, trio.open_nursery() as nursery:

        async def serve(wire: trio.abc.Stream) -> None:
            async with accept_websocket(wire) as stream:
                await server.serve(stream)

        @asynccontextmanager
        async def connect() -> AsyncGenerator[trio.abc.Stream]:
            client, wire = memory_stream_pair()
            nursery.start_soon(serve, wire)
            try:
                yield client
            finally:
                await trio.aclose_forcefully(client)

        yield server, connect
        nursery.cancel_scope.cancel()


def over_websocket(connect: Connector) -> Connector:
    @asynccontextmanager
    async def connect_websocket() -> AsyncGenerator[trio.abc.Stream]:
        async with connect() as wire, open_websocket(wire, ADDRESS) as stream:
            yield stream

    return connect_websocket


@pytest.mark.parametrize("protocol", [trio_mqtt.MQTT_5, trio_mqtt.MQTT_3_1_1])
@pytest.mark.parametrize("size", [0, 1, 70_000, 1_000_000])
async def test_a_client_publishes_and_receives(
    protocol: trio_mqtt.Protocol, size: int, autojump_clock: MockClock
) -> None:
    payload = bytes(size)
    async with open_websocket_server() as (server, connect):
        async with (
            trio_mqtt.open_client(connector=over_websocket(connect), protocol=protocol) as client,
            client.subscribe("a/#", qos=2) as messages,
        ):
            for qos in (0, 1, 2):
                await client.publish("a/b", payload, qos=qos)
                assert (await messages.receive()).payload == payload
        assert isinstance(server.log[-1].packet, Disconnect)


async def test_a_connection_cut_at_any_byte_is_made_again(autojump_clock: MockClock) -> None:
    cuts = [Faults(cut_to_server=place) for place in range(185, 340, 7)]
    cuts += [Faults(cut_to_client=place, ending="close") for place in range(125, 250, 7)]
    async with (
        open_websocket_server() as (_server, connect),
        open_network(connect, cuts) as network,
    ):
        connector = over_websocket(network.connect)
        session = trio_mqtt.Session("cut", expiry=3600)
        reconnect = trio_mqtt.Reconnect(initial="retry")
        with trio.fail_after(3600):
            async with (
                trio_mqtt.open_client(
                    connector=connector, session=session, reconnect=reconnect
                ) as client,
                client.subscribe("a", qos=2) as messages,
            ):
                for number in range(20):
                    await client.publish("a", str(number), qos=2)
                assert [(await messages.receive()).text() for _ in range(20)] == [
                    str(number) for number in range(20)
                ]
        assert len(network.connections) > 10


async def test_a_refused_websocket_is_a_refused_connection(autojump_clock: MockClock) -> None:
    @asynccontextmanager
    async def connect() -> AsyncGenerator[trio.abc.Stream]:
        client, server = memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, server, b"HTTP/1.1 403 No\r\n\r\n")
            yield client

    with pytest.raises(trio_mqtt.ConnectFailed, match="HTTP status 403") as caught:
        async with open_once(connector=over_websocket(connect)):
            raise AssertionError
    assert caught.value.stage == "WebSocket"
