"""The faulty network as a TCP proxy, in front of the test server, Mosquitto and plain sockets."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
import trio.testing

from tests.testing.streams import Peers, read_all, send_until_broken
from tests.testing.support import RawClient
from trio_mqtt import MQTT_5
from trio_mqtt.packets import ConnAck, Connect, Publish, PubRec, PubRel, encode
from trio_mqtt.testing import (
    Before,
    Faults,
    FaultyNetwork,
    open_network,
    open_proxy,
    open_server,
)
from trio_mqtt.testing._network_connection import _part

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.servers import RealServer

PATIENCE: Final = 30
"""How long a test may take, in seconds."""
DATA: Final = b"0123456789"
each_ending = pytest.mark.parametrize("ending", ["reset", "close"])


@pytest.fixture(autouse=True)
async def limit() -> AsyncGenerator[None]:
    with trio.fail_after(PATIENCE):
        yield


@pytest.fixture(params=["test server", "mosquitto"])
async def url(request: pytest.FixtureRequest, mosquitto: RealServer) -> AsyncGenerator[str]:
    if request.param == "mosquitto":
        yield mosquitto.url
    else:
        async with open_server(port=0) as server:
            assert server.url is not None
            yield server.url


async def connect(proxy: FaultyNetwork) -> trio.SocketStream:
    assert proxy.port is not None
    return await trio.open_tcp_stream("127.0.0.1", proxy.port)


@asynccontextmanager
async def between_sockets(
    *faults: Faults,
) -> AsyncGenerator[tuple[FaultyNetwork, trio.SocketStream, trio.SocketStream]]:
    """A proxy, and the client's and the server's end of one connection through it."""

    async def keep(stream: trio.SocketStream) -> None:
        await send.send(stream)
        await trio.sleep_forever()

    send, receive = trio.open_memory_channel[trio.SocketStream](1)
    async with trio.open_nursery() as nursery:
        (listener, *_) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(partial(trio.serve_listeners, keep, [listener]))
        port = listener.socket.getsockname()[1]
        async with (
            open_proxy(f"mqtt://127.0.0.1:{port}", faults) as proxy,
            await connect(proxy) as client,
            await receive.receive() as server,
        ):
            yield proxy, client, server
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("place", range(1, len(DATA) + 1))
@pytest.mark.parametrize("direction", ["to_server", "to_client"])
@each_ending
async def test_exactly_so_many_bytes_pass_and_then_both_sides_break(
    ending: Any, direction: str, place: int
) -> None:
    options: Any = {f"cut_{direction}": place, "ending": ending}
    async with between_sockets(Faults(**options)) as (proxy, client, server):
        one, other = (client, server) if direction == "to_server" else (server, client)
        await one.send_all(DATA)
        assert await read_all(other) == (DATA[:place], ending)
        await other.aclose()
        assert await read_all(one) == (b"", ending)
        connection = proxy.connections[0]
        assert await connection.wait_ended() == "cut"
        assert {connection.to_server, connection.to_client} == {place, 0}


@pytest.mark.parametrize("size", [1, 2_000_000])
@each_ending
async def test_a_break_does_not_overtake_what_has_passed(ending: Any, size: int) -> None:
    faults = Faults(cut_to_client=size, ending=ending)
    async with between_sockets(faults) as (proxy, client, server):

        async def send() -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await server.send_all(bytes(2 * size))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await client.send_all(bytes(100_000))  # nobody reads it
            received = 0
            while received < size - 1:
                received += len(await client.receive_some(min(100_000, size - 1 - received)))
            await proxy.connections[0].wait_ended()
            assert await read_all(client) == (b"\0", ending)
            await client.aclose()
            await server.aclose()


@each_ending
async def test_a_break_waits_until_the_system_has_sent_all(ending: Any) -> None:
    sent = 0

    async def fill() -> None:
        nonlocal sent
        while True:
            sent += await server.socket.send(bytes(10_000))

    async def part() -> None:
        await _part(server, ending)
        await server.aclose()

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, trio.open_nursery() as nursery:
        client = await trio.open_tcp_stream(*listener.socket.getsockname())
        server = await listener.accept()
        async with trio.open_nursery() as filling:
            filling.start_soon(fill)
            await trio.testing.wait_all_tasks_blocked(0.01)
            filling.cancel_scope.cancel()
        await client.send_all(DATA)  # a socket closed with bytes unread is reset
        nursery.start_soon(part)
        await trio.testing.wait_all_tasks_blocked()
        data, seen = await read_all(client)
        await client.aclose()
    assert (len(data), seen) == (sent, ending)


async def test_no_answer_to_the_last_byte_comes_back() -> None:
    for _ in range(50):
        async with between_sockets(Faults(cut_to_server=4, ending="close")) as (_, client, server):

            async def answer(server: trio.SocketStream = server) -> None:
                with suppress(trio.BrokenResourceError):
                    async for data in server:
                        await server.send_all(data)
                await server.aclose()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer)
                await client.send_all(DATA)
                data, ending = await read_all(client)
                assert ending == "close"
                assert len(data) < 4


async def test_closing_passes() -> None:
    async with between_sockets() as (proxy, client, server):
        await client.send_all(DATA)
        await client.send_eof()
        assert await read_all(server) == (DATA, "close")
        await server.send_all(DATA)
        await server.aclose()
        assert await read_all(client) == (DATA, "close")
        assert await proxy.connections[0].wait_ended() == "closed"


async def test_a_client_that_is_gone_is_seen_by_the_server() -> None:
    async with between_sockets() as (proxy, client, server):
        await client.send_all(DATA)
        await client.aclose()
        assert await read_all(server) == (DATA, "close")
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await server.send_all(DATA)
                await trio.lowlevel.checkpoint()
        assert await proxy.connections[0].wait_ended() in {"closed", "reset"}


async def test_chunks_and_a_stall() -> None:
    faults = Faults(chunk=3, stall_to_client=5)
    async with between_sockets(faults) as (proxy, client, server):
        await client.send_all(DATA)
        await client.send_eof()
        assert await read_all(server) == (DATA, "close")
        await server.send_all(DATA)
        data = b""
        while len(data) < 5:
            data += await client.receive_some()
        assert data == DATA[:5]
        with trio.move_on_after(0.05):
            await client.receive_some()
            raise AssertionError("it was not stalled")
        assert proxy.connections[0].is_open


async def test_refusing_is_a_reset(mosquitto: RealServer) -> None:
    async with open_proxy(mosquitto.url, [Faults(refuse=True)]) as proxy:
        async with await connect(proxy) as stream:
            assert await read_all(stream) == (b"", "reset")
        with proxy.outage():
            async with await connect(proxy) as stream:
                assert await read_all(stream) == (b"", "reset")
        async with await connect(proxy) as stream:
            await RawClient(stream).send(Connect("c"))
            connection = await proxy.wait_connection(3)
            with proxy.outage():
                assert (await read_all(stream))[1] == "reset"
            assert await send_until_broken(stream) <= 1
        assert [connection.outcome for connection in proxy.connections] == [
            "refused",
            "refused",
            "cut",
        ]
        assert connection is proxy.connections[2]


async def test_a_server_that_is_not_there() -> None:
    (listener, *others) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    for one in (listener, *others):
        await one.aclose()
    async with open_proxy(f"mqtt://127.0.0.1:{port}") as proxy, await connect(proxy) as stream:
        assert await read_all(stream) == (b"", "reset")
        assert proxy.connections[0].outcome == "refused"


async def test_an_error_when_the_server_is_left_is_not_lost() -> None:
    @asynccontextmanager
    async def connect_badly() -> AsyncGenerator[trio.abc.Stream]:
        async with Peers().connect() as stream:
            yield stream
        raise OSError("cannot leave")

    with pytest.raises(OSError, match="cannot leave"):
        async with open_network(connect_badly, port=0) as proxy, await connect(proxy):
            await proxy.wait_connection()
            proxy.cut()
            await trio.sleep_forever()


async def test_a_memory_server_behind_a_port() -> None:
    async with open_server() as server, open_network(server.connect, port=0) as proxy:
        assert proxy.url == f"mqtt://127.0.0.1:{proxy.port}"
        async with await connect(proxy) as stream:
            client = RawClient(stream)
            await client.send(Connect("c"))
            assert isinstance(await client.receive(), ConnAck)


async def exchange(stream: trio.abc.Stream, number: int) -> None:
    """Publish at QoS 2."""
    client = RawClient(stream)
    await client.send(Connect(f"c{number}"))
    assert isinstance(await client.receive(), ConnAck)
    await client.send(Publish("a", b"b", 2, packet_id=1))
    assert isinstance(await client.receive(), PubRec)
    await client.send(PubRel(1))
    assert await client.receive() is not None


async def test_every_cut_in_front_of_a_server(url: str) -> None:
    """Each byte of an exchange, on one proxy; what has passed is told exactly."""
    size = sum(
        len(encode(packet, MQTT_5))
        for packet in (Connect("c00"), Publish("a", b"b", 2, packet_id=1), PubRel(1))
    )
    faults = [Faults(cut_to_server=place) for place in range(size)]
    async with open_proxy(url, faults) as proxy:
        for place in range(size):
            with pytest.raises((trio.BrokenResourceError, AssertionError)):
                async with await connect(proxy) as stream:
                    await exchange(stream, 10 + place % 90)
            connection = await proxy.wait_connection(place + 1)
            assert await connection.wait_ended() == "cut"
            assert connection.to_server == place
        async with await connect(proxy) as stream:
            await exchange(stream, 10)


async def test_packets_in_front_of_a_server(url: str) -> None:
    async with open_proxy(url, [Faults(cut_to_server=Before(PubRel))]) as proxy:
        async with await connect(proxy) as stream:
            with pytest.raises(trio.BrokenResourceError):
                await exchange(stream, 1)
        connection = proxy.connections[0]
        assert await connection.wait_ended() == "cut"
        sent = sum(
            len(encode(packet, MQTT_5))
            for packet in (Connect("c1"), Publish("a", b"b", 2, packet_id=1))
        )
        assert connection.to_server == sent


async def test_a_block_that_is_cancelled_closes_all() -> None:
    with trio.CancelScope() as scope:
        async with between_sockets() as (proxy, client, server):
            client_end, server_end = client, server
            await proxy.wait_connection()
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert proxy.connections[0].outcome == "cut"
    assert client_end.socket.fileno() == server_end.socket.fileno() == -1
