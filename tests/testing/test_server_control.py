from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.testing.support import RawClient, connected, kept
from trio_mqtt import _errors
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, ReasonCode
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Properties,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    encode,
)
from trio_mqtt.testing import LogEntry, MemoryStream, Server, ServerLimits, open_server

if TYPE_CHECKING:
    from trio.testing import MockClock


# Opening and closing


async def test_leaving_closes_all_connections(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        connection = server.connect()
        stream = await connection.__aenter__()
        client = RawClient(stream)
        await client.send(Connect("c"))
        assert await client.receive()
    with pytest.raises(trio.BrokenResourceError):
        await client.send(PingReq())
    await connection.__aexit__(None, None, None)
    with pytest.raises(ConnectionRefusedError):
        await server.connect().__aenter__()


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, AssertionError])
async def test_what_the_block_raises_leaves_it_as_it_is(
    kind: type[BaseException], autojump_clock: MockClock
) -> None:
    error = kind("of the block")
    with pytest.raises(kind) as caught:
        async with open_server() as server, connected(server):
            raise error
    assert caught.value is error
    with pytest.raises(kind) as caught, trio.CancelScope() as scope:
        async with open_server() as server, connected(server):
            scope.cancel()
            raise error
    assert caught.value is error


async def test_a_group_that_the_block_raises_leaves_it_as_it_is(autojump_clock: MockClock) -> None:
    error = ExceptionGroup("of the block", [ValueError()])
    with pytest.raises(ExceptionGroup) as caught:
        async with open_server():
            raise error
    assert caught.value is error


async def test_cancellation_goes_through(autojump_clock: MockClock) -> None:
    with trio.move_on_after(5) as scope:
        async with open_server() as server, connected(server, Connect("c", keep_alive=60)):
            await trio.sleep_forever()
    assert scope.cancelled_caught


def fail(_connect: Connect) -> ReasonCode:
    raise ZeroDivisionError


async def test_an_error_of_a_hook_leaves_the_block(autojump_clock: MockClock) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_server() as server:
            server.authenticate = fail
            async with connected(server):
                await trio.sleep_forever()
    with pytest.raises(ZeroDivisionError):
        async with open_server() as server, trio.open_nursery() as nursery:
            server.authenticate = fail
            nursery.start_soon(trio.sleep_forever)
            async with connected(server):
                await trio.sleep_forever()


async def test_an_error_of_a_hook_joins_that_of_the_block(autojump_clock: MockClock) -> None:
    with pytest.raises(BaseExceptionGroup, match="errors in the test server") as caught:
        async with open_server() as server:
            server.authenticate = fail
            try:
                async with connected(server):
                    await trio.sleep_forever()
            finally:
                raise KeyError
    assert {type(error) for error in caught.value.exceptions} == {ZeroDivisionError, KeyError}


async def test_refuses_while_not_accepting(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        server.accepting = False
        with pytest.raises(ConnectionRefusedError):
            await server.connect().__aenter__()
        one, other = trio.testing.memory_stream_pair()
        await server.serve(one)
        assert await other.receive_some() == b""


async def test_serves_any_stream(autojump_clock: MockClock) -> None:
    async with open_server() as server, trio.open_nursery() as nursery:
        one, other = trio.testing.memory_stream_pair()
        nursery.start_soon(server.serve, one)
        client = RawClient(other)
        await client.send(Connect("c"), PingReq())
        assert (await client.receive_many(2))[1] == PingResp()
        server.drop("c", reset=True)  # this kind of stream can only be closed
        assert await client.receive() is None


async def test_listens_on_a_loopback_port() -> None:
    async with open_server(port=0) as server:
        assert server.url is not None
        host, port = server.url.removeprefix("mqtt://").split(":")
        stream = await trio.open_tcp_stream(host, int(port))
        async with stream:
            client = RawClient(stream)
            await client.send(Connect("c", keep_alive=0), PingReq())
            assert (await client.receive_many(2))[1] == PingResp()
            await client.stream.send_all(b"\xc0\x01" * 50_000)
            packet = await client.receive()  # although much was left unread
            assert isinstance(packet, Disconnect)
            assert await client.receive() is None
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            client = RawClient(stream)
            await client.send(Connect("d", keep_alive=0))
            await client.receive()
            server.drop("d", reset=True)
            with pytest.raises(trio.BrokenResourceError):
                await client.receive()


async def test_memory_only_has_no_url(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        assert server.url is None


# Watching


async def test_logs_packets_in_order(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        async with connected(server) as client:
            await client.send(PingReq())
            await client.receive()
        entries = server.log
        assert [(entry.number, entry.direction, entry.client_id) for entry in entries] == [
            (1, "received", "c"),
            (2, "sent", "c"),
            (3, "received", "c"),
            (4, "sent", "c"),
        ]
        assert [type(entry.packet) for entry in entries] == [Connect, ConnAck, PingReq, PingResp]


async def test_the_log_is_bounded(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server) as client:
        for _ in range(51):
            await client.send(*[Publish("t")] * 200)
        await server.wait_until(lambda: server.log[-1].number == 10_202)
        assert len(server.log) == 10_000
        assert server.log[0].number == 203


async def test_waits_for_a_packet(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server) as client:
        first = await server.wait_for(Connect)
        found: list[LogEntry] = []

        async def wait() -> None:
            found.append(await server.wait_for(PingReq))
            found.append(await server.wait_for(_is_received, after=found[0]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await client.send(PingReq())
            await client.receive()
            await client.send(Publish("t"))
        assert first.number == 1
        assert [type(entry.packet) for entry in found] == [PingReq, Publish]


def _is_received(entry: LogEntry) -> bool:
    return entry.direction == "received"


# Acting


async def test_publishes_what_the_standard_allows(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        for topic, qos, properties in (
            ("#", 0, Properties()),
            ("t", 3, Properties()),
            ("t", 1, Properties(response_topic="+")),
        ):
            with pytest.raises(_errors.LocalProtocolError):
                server.publish(topic, qos=qos, properties=properties)


async def test_disconnects_a_client(autojump_clock: MockClock) -> None:
    moved = Properties(server_reference="elsewhere", reason_string="why")
    async with open_server() as server, connected(server) as client:
        await server.disconnect("c", ReasonCode.SERVER_MOVED, properties=moved)
        assert "c" not in server.sessions
        assert await client.receive() == Disconnect(ReasonCode.SERVER_MOVED, moved)
        assert await client.receive() is None
        with pytest.raises(KeyError, match="no client 'c' is connected"):
            await server.disconnect("c")
        async with connected(server, "o", MQTT_3_1_1) as old:
            await server.disconnect("o")
            assert await old.receive() is None


async def test_disconnects_a_client_that_reads_nothing(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server, capacity=10) as client:
        await client.subscribe("t")
        server.publish("t", bytes(1000))
        await trio.testing.wait_all_tasks_blocked()
        started = trio.current_time()
        await server.disconnect("c")
        assert trio.current_time() - started == pytest.approx(5)


async def test_drops_a_client(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        async with connected(server) as client:
            server.drop("c")
            assert await client.receive() is None
        async with connected(server) as client:
            server.drop("c", reset=True)
            with pytest.raises(trio.BrokenResourceError):
                await client.receive()


async def test_forgets_a_session(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        async with connected(server, kept()) as client:
            await client.subscribe("t")
            with pytest.raises(KeyError, match="connected"):
                server.forget_session("c")
        await server.wait_until(lambda: not server.sessions["c"].connected)
        server.forget_session("c")
        assert not server.publish("t")
        async with connected(server, kept()) as client:
            assert not client.connack.session_present


async def test_pauses_reading(autojump_clock: MockClock) -> None:
    connect = Connect("c", keep_alive=10)
    async with open_server() as server, connected(server, connect) as client:
        server.pause_reading("c")
        await trio.testing.wait_all_tasks_blocked()
        await client.send(PingReq())
        await client.receive()  # it was in receive_some already
        await client.send(PingReq())
        assert await client.silent(100)
        server.resume_reading("c")
        assert await client.receive() == PingResp()
        assert await client.silent(14.9)
        assert await client.receive() == Disconnect(ReasonCode.KEEP_ALIVE_TIMEOUT)


async def test_resuming_gives_keep_alive_its_whole_time(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server, Connect("c", keep_alive=10)) as client:
        await trio.sleep(5)
        server.resume_reading("c")
        assert await client.receive() == Disconnect(ReasonCode.KEEP_ALIVE_TIMEOUT)
        assert trio.current_time() == pytest.approx(20)


async def test_holds_answers_back(autojump_clock: MockClock) -> None:
    async with (
        open_server() as server,
        connected(server) as client,
        connected(server, "d") as other,
    ):
        with server.holding(PubAck, SubAck, client_id="c") as held:
            await client.send(
                Publish("t", qos=1, packet_id=1),
                Subscribe(2, (SubscriptionRequest("t"),)),
                PingReq(),
                Publish("t", qos=1, packet_id=3),
            )
            await other.send(Publish("x", qos=1, packet_id=1))
            assert await client.receive_many(2) == [PingResp(), Publish("t")]
            assert isinstance(await other.receive(), PubAck)
            assert [type(packet) for packet in held.packets] == [PubAck, SubAck, PubAck]
            held.release(1)
            assert await client.receive() == PubAck(1, ReasonCode.NO_MATCHING_SUBSCRIBERS)
            assert await client.silent()
        assert await client.receive_many(2) == [SubAck(2, (ReasonCode.SUCCESS,)), PubAck(3)]


async def test_holding_connack_holds_everything(autojump_clock: MockClock) -> None:
    async with open_server() as server, server.connect() as stream:
        client = RawClient(stream)
        with server.holding(ConnAck):
            await client.send(Connect("c"), PingReq())
            assert await client.silent()
        first, second = await client.receive_many(2)
        assert isinstance(first, ConnAck)
        assert second == PingResp()


async def test_answers_held_for_a_closed_connection_go_nowhere(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        with server.holding(ConnAck, PingResp) as held:
            async with server.connect() as stream:
                client = RawClient(stream)
                await client.send(Connect("c"))
                await server.wait_until(lambda: "c" in server.sessions)
                await server.disconnect("c")  # with no DISCONNECT, MQTT-3.14.0-1
                assert await client.receive() is None
            held.release()
        assert not [entry for entry in server.log if entry.direction == "sent"]


# Load


async def test_a_slow_client_delays_nobody(autojump_clock: MockClock) -> None:
    limits = ServerLimits(maximum_queued=50)
    async with (
        open_server(limits=limits) as server,
        connected(server, "slow", capacity=100),
        connected(server, "fast") as fast,
        connected(server, kept("s2"), capacity=100) as slow,
    ):
        await slow.subscribe("t")
        await fast.subscribe("t")
        for _ in range(200):
            await fast.send(Publish("t", bytes(2000)))
            assert await fast.receive() == Publish("t", bytes(2000))
        assert server.sessions["s2"].queued == 50
        assert server.sessions["s2"].dropped > 0


async def test_stops_reading_from_who_takes_no_answers(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server, capacity=1000) as client:
        pings = encode(PingReq(), MQTT_5) * 1000
        sent = 0
        with trio.move_on_after(1):
            while sent < 1000:
                await client.stream.send_all(pings)
                sent += 1
        assert 30 < sent < 1000  # about 64 KiB of answers are in the server
        received: list[Packet | None] = []
        with trio.move_on_after(1):
            while True:
                received.append(await client.receive())
        assert len(received) >= sent * 1000
        assert set(map(type, received)) == {PingResp}


async def test_a_client_that_vanishes_while_it_is_written_to(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        async with connected(server, kept(), capacity=100) as client:
            await client.subscribe("t", qos=1)
            server.publish("t", bytes(5000), 1)
            await trio.testing.wait_all_tasks_blocked()
            assert isinstance(client.stream, MemoryStream)
            client.stream.reset()
        await server.wait_until(lambda: not server.sessions["c"].connected)
        assert server.sessions["c"].inflight == 1


async def test_a_request_not_to_explain_problems(autojump_clock: MockClock) -> None:
    plain = Connect("c", keep_alive=0, properties=Properties(request_problem_information=0))
    explained = PubAck(1, properties=Properties(reason_string="x", user_properties=(("a", "b"),)))
    async with open_server() as server, connected(server, plain) as client:
        connection = server._link("c").connection
        connection.outbox.answer_now(explained)
        assert await client.receive() == PubAck(1)
        await client.send(Connect("c"))
        packet = await client.receive()
        assert isinstance(packet, Disconnect)
        assert packet.properties.reason_string  # MQTT-3.1.2-29 allows it here


async def test_many_connections_at_once(autojump_clock: MockClock) -> None:
    async def client(server: Server, number: int) -> None:
        async with connected(server, f"c{number}", chunk=7) as raw:
            await raw.subscribe(f"t/{number}", qos=1)
            await raw.send(Publish(f"t/{number}", b"x", 1, packet_id=1))
            assert await raw.receive_many(2) == [
                PubAck(1),
                Publish(f"t/{number}", b"x", 1, packet_id=1),
            ]

    async with open_server() as server:
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(client, server, number)
        await server.wait_until(lambda: not server.sessions)
        assert server._broker.next_timer() == math.inf
        assert len(server._broker._index._tree) == 0
