"""The faulty network in memory: what passes, what does not, and how each side learns of it."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, Literal

import pytest
import trio
import trio.testing

import trio_mqtt
from tests.testing.streams import Peers, WholeStream, flood, read_all, send_until_broken
from tests.testing.support import RawClient, kept
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    WillMessage,
)
from trio_mqtt.testing import (
    After,
    Before,
    Expect,
    Faults,
    MemoryStream,
    NetworkConnection,
    ScriptedPeer,
    Send,
    memory_stream_pair,
    open_network,
    open_server,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

Direction = Literal["to_server", "to_client"]
Way = tuple[MemoryStream, MemoryStream]

BUFFER: Final = 64 * 1024
DATA: Final = b"0123456789"
each_direction = pytest.mark.parametrize("direction", ["to_server", "to_client"])
each_ending = pytest.mark.parametrize("ending", ["reset", "close"])


@asynccontextmanager
async def through(
    faults: Faults, *, capacity: int = BUFFER
) -> AsyncGenerator[tuple[MemoryStream, MemoryStream, NetworkConnection]]:
    """The client's end of a connection, the server's end, and the connection."""
    peers = Peers(capacity)
    async with (
        open_network(peers.connect, [faults]) as network,
        network.connect(capacity=capacity) as client,
    ):
        yield client, peers.ends[0], network.connections[0]


def along(direction: Direction, client: MemoryStream, server: MemoryStream) -> Way:
    """The sender and the receiver of a direction."""
    return (client, server) if direction == "to_server" else (server, client)


# Without faults


async def test_without_faults_it_is_a_stream_as_trio_wants_it(autojump_clock: MockClock) -> None:
    peers = Peers()

    async def pair() -> tuple[MemoryStream, MemoryStream]:
        connecting = network.connect()
        client = await connecting.__aenter__()
        left.append(connecting)
        return client, peers.ends[-1]

    async def clogged_pair() -> tuple[MemoryStream, MemoryStream]:
        client, server = await pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood, client)
            nursery.start_soon(flood, server)
        return client, server

    left: list[Any] = []
    async with open_network(peers.connect) as network:
        await trio.testing.check_two_way_stream(pair, clogged_pair)
        await trio.testing.check_half_closeable_stream(pair, clogged_pair)
        for connecting in left:
            await connecting.__aexit__(None, None, None)


@each_direction
async def test_a_connection_that_both_sides_end_is_closed(
    direction: Direction, autojump_clock: MockClock
) -> None:
    async with through(Faults()) as (client, server, connection):
        one, other = along(direction, client, server)
        await one.send_all(DATA)
        await one.send_eof()
        assert await read_all(other) == (DATA, "close")
        await other.send_all(DATA * 2)
        assert connection.outcome is None
        await other.aclose()
        assert await read_all(one) == (DATA * 2, "close")
        assert await connection.wait_ended() == "closed"
        assert not connection.is_open
        assert {connection.to_server, connection.to_client} == {10, 20}


@each_direction
async def test_a_side_that_closes_is_heard_out(
    direction: Direction, autojump_clock: MockClock
) -> None:
    async with through(Faults()) as (client, server, connection):
        one, other = along(direction, client, server)
        await other.send_all(DATA)  # nobody will read this
        await one.send_all(DATA)
        await one.aclose()
        await other.send_all(DATA)
        await trio.testing.wait_all_tasks_blocked()
        await send_until_broken(other)
        assert await read_all(other) == (DATA, "close")
        assert await connection.wait_ended() == "closed"


@each_direction
async def test_a_reset_passes_behind_what_was_sent_before(
    direction: Direction, autojump_clock: MockClock
) -> None:
    async with through(Faults()) as (client, server, connection):
        one, other = along(direction, client, server)
        await one.send_all(DATA)
        await trio.testing.wait_all_tasks_blocked()
        one.reset()
        await trio.testing.wait_all_tasks_blocked()
        assert await read_all(other) == (DATA, "reset")
        assert await send_until_broken(other) == 0
        assert connection.outcome == "reset"


@each_direction
async def test_a_receiver_that_does_not_read_stops_the_sender(
    direction: Direction, autojump_clock: MockClock
) -> None:
    async with through(Faults()) as (client, server, connection):
        one, other = along(direction, client, server)
        sent = await flood(one)
        assert sent <= 3 * BUFFER
        received = 0
        while received < sent:
            received += len(await other.receive_some())
        assert received == connection.to_server + connection.to_client


@each_direction
async def test_one_side_that_cannot_half_close_ends_both_directions(
    direction: Direction, autojump_clock: MockClock
) -> None:
    peers = Peers()

    @asynccontextmanager
    async def connect() -> AsyncGenerator[trio.abc.Stream]:
        async with peers.connect() as stream:
            yield WholeStream(stream)

    async with open_network(connect) as network, network.connect() as client:
        one, other = along(direction, client, peers.ends[0])
        await one.send_all(DATA)
        await one.send_eof()
        assert await read_all(other) == (DATA, "close")
        await other.aclose()
        assert await network.connections[0].wait_ended() == "closed"


# Cuts


@pytest.mark.parametrize("size", [1, 3, 10])
@pytest.mark.parametrize("place", range(len(DATA) + 1))
@each_ending
@each_direction
async def test_exactly_so_many_bytes_pass_and_then_both_sides_break(
    direction: Direction, ending: Any, place: int, size: int, autojump_clock: MockClock
) -> None:
    options: Any = {f"cut_{direction}": place, "ending": ending}
    async with through(Faults(**options)) as (client, server, connection):
        one, other = along(direction, client, server)
        for start in range(0, place, size):  # the last piece may go beyond the place
            await one.send_all(DATA[start : start + size])
            await trio.testing.wait_all_tasks_blocked()
        assert await read_all(other) == (DATA[:place], ending)
        assert await read_all(one) == (b"", ending)
        assert await send_until_broken(one) == 0
        assert await send_until_broken(other) == 0
        assert connection.outcome == "cut"
        assert {connection.to_server, connection.to_client} == {place, 0}


@each_direction
async def test_a_byte_less_breaks_nothing(direction: Direction, autojump_clock: MockClock) -> None:
    options: Any = {f"cut_{direction}": len(DATA) + 1}
    async with through(Faults(**options)) as (client, server, connection):
        one, other = along(direction, client, server)
        await one.send_all(DATA)
        assert await other.receive_some() == DATA
        await trio.testing.wait_all_tasks_blocked()
        assert connection.is_open


@each_ending
@each_direction
async def test_a_side_reads_what_has_passed_and_sends_into_the_void_until_it_has(
    direction: Direction, ending: Any, autojump_clock: MockClock
) -> None:
    options: Any = {f"cut_{direction}": 4, "ending": ending}
    async with through(Faults(**options), capacity=20) as (client, server, connection):
        one, other = along(direction, client, server)
        await other.send_all(b"unread")
        await trio.testing.wait_all_tasks_blocked()
        await one.send_all(DATA)
        await connection.wait_ended()
        await one.send_all(bytes(100))  # more than any buffer holds: it is lost
        await one.wait_send_all_might_not_block()
        assert await one.receive_some(5) == b"unrea"
        await one.send_all(b"y")
        assert await one.receive_some(5) == b"d"
        with pytest.raises(trio.BrokenResourceError):
            await one.send_all(b"z")
        assert await read_all(one) == (b"", ending)
        await other.send_all(b"y")
        assert await read_all(other) == (DATA[:4], ending)
        assert await send_until_broken(other) == 0


@pytest.mark.parametrize("place", range(1, len(DATA) + 1))
@each_direction
async def test_no_answer_to_the_last_byte_comes_back(
    direction: Direction, place: int, autojump_clock: MockClock
) -> None:
    async def answer() -> None:
        with suppress(trio.BrokenResourceError):
            async for received in other:
                answered.append(bytes(received))
                await other.send_all(received)

    answered: list[bytes] = []
    options: Any = {f"cut_{direction}": place, "ending": "close"}
    async with through(Faults(**options)) as (client, server, _):
        one, other = along(direction, client, server)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            await one.send_all(DATA)
            back, _ = await read_all(one)
        assert b"".join(answered) == DATA[:place]
        assert back == DATA[: len(back)]
        assert len(back) < place


async def test_not_even_if_sending_the_last_byte_takes_its_time(autojump_clock: MockClock) -> None:
    class Slow(WholeStream):
        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            await super().send_all(data)
            if len(data) == 1:
                await peers.ends[0].send_all(b"answer")
                await trio.testing.wait_all_tasks_blocked()

    @asynccontextmanager
    async def connect() -> AsyncGenerator[trio.abc.Stream]:
        async with peers.connect() as stream:
            yield Slow(stream)

    peers = Peers()
    async with (
        open_network(connect, [Faults(cut_to_server=4)]) as network,
        network.connect() as client,
    ):
        await client.send_all(DATA)
        assert await read_all(client) == (b"", "reset")
        assert (await read_all(peers.ends[0]))[0] == DATA[:4]


@each_direction
async def test_a_cut_wakes_who_waits(direction: Direction, autojump_clock: MockClock) -> None:
    async def receive(stream: MemoryStream) -> None:
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()

    async def send(stream: MemoryStream) -> None:
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(bytes(10 * BUFFER))

    async with through(Faults()) as (client, server, connection):
        one, other = along(direction, client, server)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive, one)
            nursery.start_soon(send, one)
            await trio.testing.wait_all_tasks_blocked()
            connection.cut()
            connection.cut("close")  # which changes nothing any more
        assert (await read_all(other))[1] == "reset"


@each_direction
async def test_the_last_byte_waits_for_room_and_lets_the_other_direction_pass(
    direction: Direction, autojump_clock: MockClock
) -> None:
    options: Any = {f"cut_{direction}": 21}
    async with through(Faults(**options), capacity=20) as (client, server, connection):
        one, other = along(direction, client, server)
        await one.send_all(bytes(21))
        await other.send_all(DATA)
        assert await one.receive_some() == DATA
        await trio.testing.wait_all_tasks_blocked()
        assert connection.is_open
        assert await read_all(other) == (bytes(21), "reset")


async def test_a_receiver_that_leaves_before_the_last_byte_is_not_cut(
    autojump_clock: MockClock,
) -> None:
    class Leaving(WholeStream):
        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            if len(data) == 1:
                await peers.ends[0].send_all(b"last words")
                await trio.testing.wait_all_tasks_blocked()
                await peers.ends[0].aclose()
            await super().send_all(data)

    @asynccontextmanager
    async def connect() -> AsyncGenerator[trio.abc.Stream]:
        async with peers.connect() as stream:
            yield Leaving(stream)

    peers = Peers()
    async with (
        open_network(connect, [Faults(cut_to_server=4)]) as network,
        network.connect() as client,
    ):
        await client.send_all(DATA)
        assert await read_all(client) == (b"last words", "close")
        await client.aclose()
        assert await network.connections[0].wait_ended() == "closed"
        assert network.connections[0].to_server == 3


# Stalls


@pytest.mark.parametrize("place", [0, 4])
@each_direction
async def test_a_stalled_direction_passes_nothing_more(
    direction: Direction, place: int, autojump_clock: MockClock
) -> None:
    options: Any = {f"stall_{direction}": place}
    async with through(Faults(**options)) as (client, server, connection):
        one, other = along(direction, client, server)
        await one.send_all(DATA)
        await other.send_all(DATA)
        assert await one.receive_some() == DATA  # the other direction goes on
        sent = await flood(one)
        assert BUFFER < sent <= 3 * BUFFER
        await one.aclose()
        if place:
            assert await other.receive_some() == DATA[:place]
        with trio.move_on_after(1000) as scope:
            await other.receive_some()
        assert scope.cancelled_caught
        assert connection.is_open
        assert {connection.to_server, connection.to_client} == {place, 10}


@pytest.mark.parametrize("end", ["close", "reset"])
@each_direction
async def test_a_stalled_direction_does_not_tell_of_its_end(
    direction: Direction, end: str, autojump_clock: MockClock
) -> None:
    options: Any = {f"stall_{direction}": 4}
    async with through(Faults(**options)) as (client, server, connection):
        one, other = along(direction, client, server)
        await one.send_all(DATA)
        await trio.testing.wait_all_tasks_blocked()
        if end == "close":
            await one.aclose()
        else:
            one.reset()
        for _ in range(10):
            await other.send_all(DATA)  # nobody is there any more
            await trio.testing.wait_all_tasks_blocked()
        assert connection.is_open
        assert await other.receive_some() == DATA[:4]
        await other.aclose()
        assert await connection.wait_ended() == "closed"


# Delays and chunks


@each_direction
async def test_each_byte_is_delayed_by_the_same_time(
    direction: Direction, autojump_clock: MockClock
) -> None:
    async def send() -> None:
        for letter in (b"a", b"b", b"c"):
            await one.send_all(letter)
            await trio.sleep(0.25)
        await one.send_eof()

    async with through(Faults(delay=1.5)) as (client, server, connection):
        one, other = along(direction, client, server)
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            arrivals = [(trio.current_time() - start, data) async for data in other]
        assert arrivals == [(1.5, b"a"), (1.75, b"b"), (2.0, b"c")]
        assert trio.current_time() - start == 2.25
        await other.aclose()
        await connection.wait_ended()
        assert trio.current_time() - start == 3.75


async def test_a_delayed_reset_comes_behind_the_delayed_bytes(autojump_clock: MockClock) -> None:
    async with through(Faults(delay=1)) as (client, server, _):
        await client.send_all(DATA)
        await trio.testing.wait_all_tasks_blocked()
        client.reset()
        assert await read_all(server) == (DATA, "reset")


async def test_a_delayed_cut_is_where_the_bytes_arrive(autojump_clock: MockClock) -> None:
    async with through(Faults(delay=1, cut_to_server=4)) as (client, server, connection):
        start = trio.current_time()
        await client.send_all(DATA)
        await trio.sleep(0.5)
        assert connection.is_open
        assert await read_all(client) == (b"", "reset")
        assert trio.current_time() - start == 1
        assert await read_all(server) == (DATA[:4], "reset")


async def test_no_more_is_on_its_way_than_there_is_room_for(autojump_clock: MockClock) -> None:
    async with through(Faults(delay=1000)) as (client, _, connection):
        assert 2 * BUFFER - 1000 <= await flood(client) <= 2 * BUFFER
        assert connection.to_server == 0
    async with through(Faults(delay=1)) as (client, server, _), trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, bytes(10 * BUFFER))
        received = 0
        while received < 10 * BUFFER:
            received += len(await server.receive_some())


@pytest.mark.parametrize("chunk", [1, 3])
@each_direction
async def test_chunks_arrive_one_by_one(
    direction: Direction, chunk: int, autojump_clock: MockClock
) -> None:
    async with through(Faults(chunk=chunk)) as (client, server, _):
        one, other = along(direction, client, server)
        await one.send_all(DATA)
        await one.send_eof()
        received: list[bytes] = []
        async for data in other:
            await trio.testing.wait_all_tasks_blocked()  # time for others to come
            received.append(bytes(data))
        assert received == [DATA[at : at + chunk] for at in range(0, len(DATA), chunk)]


async def test_a_cut_falls_into_a_chunk(autojump_clock: MockClock) -> None:
    async with through(Faults(chunk=3, cut_to_server=5)) as (client, server, _):
        await client.send_all(DATA)
        assert await read_all(server) == (DATA[:5], "reset")


# Packets, with the test server


async def test_the_link_drops_between_pubrec_and_pubrel(autojump_clock: MockClock) -> None:
    faults = [Faults(cut_to_server=Before(PubRel))]
    async with open_server() as server, open_network(server.connect, faults) as network:
        with suppress(trio_mqtt.ConnectionLost):
            async with trio_mqtt.open_client(connector=network.connect) as client:
                await client.publish("a", "b", qos=2)
        packets = [type(entry.packet) for entry in server.log[:4]]
        assert packets == [Connect, ConnAck, Publish, PubRec]
        assert network.connections[0].outcome == "cut"


@pytest.mark.parametrize("place", [Before(ConnAck), 0])
async def test_the_connack_is_lost(place: Any, autojump_clock: MockClock) -> None:
    faults = [Faults(cut_to_client=place)]
    async with open_server() as server, open_network(server.connect, faults) as network:
        async with network.connect() as stream:
            if place:
                await RawClient(stream).send(kept())
            assert await read_all(stream) == (b"", "reset")
        assert ("c" in server.sessions) == bool(place)
        async with network.connect() as stream:
            client = RawClient(stream)
            await client.send(kept())
            connack = await client.receive()
            assert isinstance(connack, ConnAck)
            assert connack.session_present == bool(place)


EXCHANGES: Final[tuple[tuple[Any, list[type[Packet]], list[type[Packet]]], ...]] = (
    ({"cut_to_client": After(ConnAck)}, [], [ConnAck]),
    ({"cut_to_server": Before(Publish)}, [], [ConnAck]),
    ({"cut_to_server": After(Publish)}, [Publish], [ConnAck]),
    ({"cut_to_client": Before(PubRec)}, [Publish], [ConnAck]),
    ({"cut_to_client": After(PubRec)}, [Publish], [ConnAck, PubRec]),
    ({"cut_to_server": Before(PubRel)}, [Publish], [ConnAck, PubRec]),
    ({"cut_to_server": After(PubRel)}, [Publish, PubRel], [ConnAck, PubRec]),
    ({"cut_to_client": Before(PubComp)}, [Publish, PubRel], [ConnAck, PubRec]),
    ({"cut_to_client": After(PubComp)}, [Publish, PubRel], [ConnAck, PubRec, PubComp]),
    (
        {"cut_to_server": After(Publish, 2)},
        [Publish, PubRel, Publish],
        [ConnAck, PubRec, PubComp],
    ),
)
"""Where the link drops, what the server gets behind CONNECT, and what the client gets."""


@pytest.mark.parametrize(("options", "to_server", "to_client"), EXCHANGES)
async def test_the_link_drops_at_a_packet(
    options: Any,
    to_server: list[type[Packet]],
    to_client: list[type[Packet]],
    autojump_clock: MockClock,
) -> None:
    received: list[type[Packet | None]] = []
    async with (
        open_server() as server,
        open_network(server.connect, [Faults(**options)]) as network,
        network.connect() as stream,
    ):
        client = RawClient(stream)
        with pytest.raises(trio.BrokenResourceError):
            await client.send(Connect("c"))
            received.append(type(await client.receive()))
            for number in (1, 2):
                await client.send(Publish("a", b"b", 2, packet_id=number))
                received.append(type(await client.receive()))
                await client.send(PubRel(number))
                received.append(type(await client.receive()))
        assert received == to_client
        await server.wait_until(lambda: "c" not in server.sessions)
        arrived = [type(entry.packet) for entry in server.log if entry.direction == "received"]
        assert arrived == [Connect, *to_server]


async def test_what_a_client_sends_last_passes_at_the_end_of_the_block(
    autojump_clock: MockClock,
) -> None:
    async with open_server() as server:
        will = WillMessage("will", b"died")
        async with open_network(server.connect) as network, network.connect() as stream:
            client = RawClient(stream)
            await client.send(Connect("c", will=will))
            assert isinstance(await client.receive(), ConnAck)
            await client.send(Publish("a", b"b", 1, packet_id=1))
            assert isinstance(await client.receive(), PubAck)
            await client.send(Disconnect())
        assert type(server.log[-1].packet) is Disconnect
        assert network.connections[0].outcome == "closed"


# The network as a whole


async def test_each_connection_takes_the_next_faults(autojump_clock: MockClock) -> None:
    peers = Peers()
    faults = [Faults(cut_to_server=1), Faults(refuse=True), Faults(cut_to_server=2)]
    async with open_network(peers.connect, faults) as network:
        for expected in ("cut", "refused", "cut", "closed"):
            try:
                async with network.connect() as client:
                    await client.send_all(DATA)
            except ConnectionRefusedError:
                assert expected == "refused"
            else:
                await trio.testing.wait_all_tasks_blocked()
                await peers.ends[-1].aclose()
            await network.connections[-1].wait_ended()
            assert network.connections[-1].outcome == expected
        assert [connection.to_server for connection in network.connections] == [1, 0, 2, 10]
        assert [connection.number for connection in network.connections] == [1, 2, 3, 4]
        assert [connection.faults for connection in network.connections] == [*faults, Faults()]
    assert peers.closed == 3


async def test_faults_may_be_endless(autojump_clock: MockClock) -> None:
    async with open_network(Peers().connect, repeat(Faults(refuse=True))) as network:
        for _ in range(10):
            with pytest.raises(ConnectionRefusedError, match="refuses"):
                async with network.connect():
                    pass
        assert not network.connections[0].is_made


async def test_an_outage_breaks_and_refuses(autojump_clock: MockClock) -> None:
    peers = Peers()
    faults = [Faults(), Faults(cut_to_server=3)]
    async with open_network(peers.connect, faults) as network:
        async with network.connect() as client:
            with network.outage("close"):
                assert await read_all(client) == (b"", "close")
                with pytest.raises(ConnectionRefusedError):
                    async with network.connect():
                        pass
        async with network.connect() as client:
            await client.send_all(DATA)
            assert await read_all(peers.ends[-1]) == (DATA[:3], "reset")
        outcomes = [connection.outcome for connection in network.connections]
        assert outcomes == ["cut", "refused", "cut"]
        network.down()
        network.up()
        async with network.connect() as client:
            network.cut()
            assert await read_all(client) == (b"", "reset")


async def test_outages_that_overlap_end_with_the_last(autojump_clock: MockClock) -> None:
    async with open_network(Peers().connect) as network:
        first, second = network.outage(), network.outage()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        with pytest.raises(ConnectionRefusedError):
            await network.connect().__aenter__()
        second.__exit__(None, None, None)
        network.down()
        with network.outage():
            pass
        with pytest.raises(ConnectionRefusedError):
            await network.connect().__aenter__()
        network.up()
        async with network.connect():
            pass


async def test_waiting_for_a_connection(autojump_clock: MockClock) -> None:
    made: list[int] = []

    async def wait(number: int) -> None:
        connection = await network.wait_connection(number)
        assert connection.number == number
        assert connection.is_open or connection.outcome == "refused"
        made.append(number)

    async with (
        open_network(Peers().connect, [Faults(), Faults(refuse=True)]) as network,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(wait, 1)
        nursery.start_soon(wait, 2)
        await trio.testing.wait_all_tasks_blocked()
        assert made == []
        async with network.connect():
            await trio.testing.wait_all_tasks_blocked()
            assert made == [1]
            assert await network.wait_connection() is network.connections[0]
            with pytest.raises(ConnectionRefusedError):
                async with network.connect():
                    pass
        await trio.testing.wait_all_tasks_blocked()
        assert made == [1, 2]


async def test_waiting_for_the_end(autojump_clock: MockClock) -> None:
    async def wait() -> None:
        assert await connection.wait_ended() == "cut"
        assert await connection.wait_ended() == "cut"

    async with through(Faults()) as (_, _, connection), trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        connection.cut()


async def test_a_server_that_cannot_be_reached(autojump_clock: MockClock) -> None:
    async with open_server() as server, open_network(server.connect) as network:
        server.accepting = False
        with pytest.raises(ConnectionRefusedError, match="test server"):
            async with network.connect():
                pass
        assert network.connections[0].outcome == "refused"


@asynccontextmanager
async def connect_slowly() -> AsyncGenerator[trio.abc.Stream]:
    async with trio.open_nursery():  # so that leaving in the wrong order would show
        await trio.sleep(10)
        yield memory_stream_pair()[0]


async def test_a_cut_while_a_connection_is_made(autojump_clock: MockClock) -> None:
    async def connect() -> None:
        with pytest.raises(ConnectionRefusedError, match="while a connection was made"):
            async with network.connect():
                pass

    async with open_network(connect_slowly) as network, trio.open_nursery() as nursery:
        nursery.start_soon(connect)
        nursery.start_soon(network.wait_connection)
        await trio.sleep(1)
        assert "being made" in repr(network.connections[0])
        assert not network.connections[0].is_open
        network.cut()
        assert await network.connections[0].wait_ended() == "cut"


async def test_who_connects_may_be_cancelled(autojump_clock: MockClock) -> None:
    async with open_network(connect_slowly) as network:
        with trio.move_on_after(1) as scope:
            async with network.connect():
                pass
        assert scope.cancelled_caught
        assert network.connections[0].outcome == "refused"
        async with network.connect():
            assert "open" in repr(network.connections[1])


async def test_a_block_that_is_cancelled_leaves_nothing(autojump_clock: MockClock) -> None:
    peers = Peers()
    with trio.move_on_after(1) as scope:
        async with open_network(peers.connect) as network, network.connect() as client:
            await client.send_all(DATA)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert peers.closed == 1
    assert network.connections[0].outcome == "cut"
    assert await read_all(peers.ends[0]) == (DATA, "reset")
    with pytest.raises(ConnectionRefusedError, match="closed"):
        async with network.connect():
            pass


async def test_an_open_connection_breaks_at_the_end_of_the_block(
    autojump_clock: MockClock,
) -> None:
    peers = Peers()
    async with open_network(peers.connect) as network, network.connect() as client:
        await client.send_all(DATA)
    assert network.connections[0].outcome == "cut"
    assert await read_all(peers.ends[0]) == (DATA, "close")


async def test_what_goes_wrong_at_the_server_leaves_the_block(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer([Expect(Connect), Send(ConnAck()), Expect(Publish)])
    with pytest.raises(AssertionError, match="Disconnect"):
        async with open_network(peer.connect) as network, network.connect() as stream:
            client = RawClient(stream)
            await client.send(Connect("c"))
            await client.receive()
            await client.send(Disconnect())
            await trio.sleep_forever()


async def test_a_stream_closed_under_the_network_is_a_reset(autojump_clock: MockClock) -> None:
    inside: list[trio.abc.Stream] = []

    @asynccontextmanager
    async def connect() -> AsyncGenerator[trio.abc.Stream]:
        async with Peers().connect() as stream:
            inside.append(stream)
            yield stream

    async with open_network(connect) as network, network.connect() as client:
        await trio.aclose_forcefully(inside[0])
        assert await read_all(client) == (b"", "reset")
        assert await network.connections[0].wait_ended() == "reset"


async def test_a_cut_ends_a_stream_that_cannot_half_close(autojump_clock: MockClock) -> None:
    for ending in ("close", "reset"):
        peers = Peers()

        @asynccontextmanager
        async def connect(peers: Peers = peers) -> AsyncGenerator[trio.abc.Stream]:
            async with peers.connect() as stream:
                yield WholeStream(stream)

        faults = Faults(cut_to_server=4, ending=ending)
        async with open_network(connect, [faults]) as network, network.connect() as client:
            await client.send_all(DATA)
            assert (await read_all(peers.ends[0]))[0] == DATA[:4]
            assert await read_all(client) == (b"", ending)
