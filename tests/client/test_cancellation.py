"""Every await, cancelled at every point: what then holds (contract 5).

Each test runs one operation again and again, cancelled a moment later each time, and looks at what
is left: the client works, nothing is lost, doubled, torn or kept for good.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.client.authenticators import METHOD, Riddles, Sphinx
from tests.client.moments import (
    PATIENCE,
    Alarm,
    all_tasks,
    assert_clean_end,
    assert_idle,
    assert_works,
    at_every_moment,
    cancelled_at,
    received,
    sent,
)
from tests.client.storages import DictStorage
from tests.client.support import open_once
from trio_mqtt import (
    MQTT_3_1_1,
    MQTT_5,
    Client,
    Message,
    Protocol,
    ReasonCode,
    Reconnect,
    Session,
    SQLiteStorage,
    open_client,
)
from trio_mqtt.events import MessageReleased
from trio_mqtt.packets import (
    Auth,
    ConnAck,
    Disconnect,
    Properties,
    PubAck,
    Publish,
    Subscribe,
    Unsubscribe,
)
from trio_mqtt.testing import Server, open_server

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from trio.testing import MockClock


ALL_THAT_FITS = bytes(16 * 1024 * 1024)
"""A payload that fills the outgoing queue until it is acknowledged."""


@asynccontextmanager
async def a_client(
    protocol: Protocol = MQTT_5,
) -> AsyncGenerator[tuple[Server, Client]]:
    """A client for one run of a scenario, which still works afterwards and ends in good order."""
    tasks = all_tasks()
    async with open_server() as server:
        async with open_once(
            connector=server.connect, client_id="c", protocol=protocol, keep_alive=0
        ) as client:
            yield server, client
            await assert_works(client)
        await wait_all_tasks_blocked()
        assert_clean_end(server)
        assert server.sessions.get("c") is None
    assert all_tasks() == tasks


@asynccontextmanager
async def a_client_without_a_connection() -> AsyncGenerator[tuple[Server, Client]]:
    """A client that has not reached its server yet, for one run of a scenario.

    The network comes back when nothing goes on without it.
    """

    async def come_back() -> None:
        await wait_all_tasks_blocked()
        server.accepting = True

    tasks = all_tasks()
    async with open_server() as server:
        server.accepting = False
        async with (
            open_client(
                connector=server.connect,
                client_id="c",
                keep_alive=0,
                reconnect=Reconnect(initial="background"),
            ) as client,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(come_back)
            yield server, client
            await client.wait_connected()
            await assert_works(client)
        await wait_all_tasks_blocked()
        assert_clean_end(server)
        assert server.sessions.get("c") is None
    assert all_tasks() == tasks


def payloads(server: Server, topic: str) -> list[bytes]:
    """What the server received for a topic."""
    return [packet.payload for packet in received(server, Publish) if packet.topic == topic]


def was_cancelled(alarm: Alarm) -> bool:
    """Whether the operation ended by the cancellation."""
    return alarm.scope.cancelled_caught


both_versions = pytest.mark.parametrize("protocol", [MQTT_5, MQTT_3_1_1], ids=["5", "3.1.1"])


# -- publishing -------------------------------------------------------------------------------


@pytest.mark.parametrize("qos", [0, 1, 2])
@both_versions
async def test_publish(autojump_clock: MockClock, qos: int, protocol: Protocol) -> None:
    async def scenario(moment: int) -> bool:
        async with a_client(protocol) as (server, client):
            with cancelled_at(moment) as alarm:
                await client.publish("a", b"x", qos=qos)
            accepted = client.statistics().published
            assert accepted or was_cancelled(alarm)
            await assert_idle(client)
            assert payloads(server, "a") == [b"x"] * accepted
        return alarm.rang

    await at_every_moment(scenario, at_least=2 if qos == 0 else 8)


async def test_a_cancelled_publish_of_qos_0_was_not_sent(autojump_clock: MockClock) -> None:
    async def scenario(moment: int) -> bool:
        async with a_client() as (server, client):
            with cancelled_at(moment) as alarm:
                await client.publish("a", b"x")
            await assert_idle(client)
            assert payloads(server, "a") == ([] if was_cancelled(alarm) else [b"x"])
        return alarm.rang

    await at_every_moment(scenario, at_least=2)


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_enqueue(autojump_clock: MockClock, qos: int) -> None:
    async def scenario(moment: int) -> bool:
        async with a_client() as (server, client):
            with cancelled_at(moment) as alarm:
                await client.enqueue("a", b"x", qos=qos)
            await assert_idle(client)
            assert payloads(server, "a") == ([] if was_cancelled(alarm) else [b"x"])
        return alarm.rang

    await at_every_moment(scenario, at_least=2)


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_publish_without_a_connection(autojump_clock: MockClock, qos: int) -> None:
    async def scenario(moment: int) -> bool:
        async with a_client_without_a_connection() as (server, client):
            with cancelled_at(moment) as alarm:
                await client.publish("a", b"x", qos=qos)
            accepted = client.statistics().published
            assert accepted or was_cancelled(alarm)
            assert qos or accepted != was_cancelled(alarm)
            await client.wait_connected()
            await assert_idle(client)
            assert payloads(server, "a") == [b"x"] * accepted
        return alarm.rang

    await at_every_moment(scenario, at_least=8)


@pytest.mark.parametrize("qos", [1, 2])
async def test_enqueue_with_durable_storage(qos: int) -> None:
    # Without a clock that jumps: it would, while a thread commits.
    async def scenario(moment: int) -> bool:
        storage = DictStorage()
        session = Session("c", expiry=100, storage=storage)
        async with open_server() as server:
            async with open_client(connector=server.connect, session=session) as client:
                with cancelled_at(moment) as alarm:
                    await client.enqueue("a", b"x", qos=qos)
                    assert ("outgoing", 1) in storage.records or received(server, Publish)
                accepted = client.statistics().published
                assert accepted or was_cancelled(alarm)
                async with client.open_publisher(qos=qos) as publisher:
                    await publisher.send("last")  # it is over after all before it
                assert payloads(server, "a") == [b"x"] * accepted
            assert [kind for kind, _ in storage.records] == ["session"]
        return alarm.rang

    await at_every_moment(scenario, at_least=4)


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_waiting_for_a_delivery(autojump_clock: MockClock, qos: int) -> None:
    async def scenario(moment: int) -> bool:
        async with a_client() as (server, client):
            delivery = await client.enqueue("a", b"x", qos=qos)
            with cancelled_at(moment) as alarm:
                await delivery.wait()
            await delivery.wait()
            await assert_idle(client)
            assert payloads(server, "a") == [b"x"]
        return alarm.rang

    await at_every_moment(scenario, at_least=1 if qos == 0 else 8)


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_publisher(autojump_clock: MockClock, qos: int) -> None:
    async def scenario(moment: int) -> bool:
        async with a_client() as (server, client):
            sent: list[bytes] = []
            with cancelled_at(moment) as alarm:
                async with client.open_publisher(qos=qos) as publisher:
                    for number in range(3):
                        await publisher.send("a", b"%d" % number)
                        sent.append(b"%d" % number)
            await assert_idle(client)
            # Cancelled in `send`, it has sent nothing; later, everything goes its way.
            assert payloads(server, "a") == sent
            assert len(sent) == 3 or was_cancelled(alarm)
        return alarm.rang

    await at_every_moment(scenario, at_least=1 if qos == 0 else 10)


@pytest.mark.parametrize("how", ["publish", "enqueue", "send"])
async def test_publishing_with_a_full_queue(autojump_clock: MockClock, how: str) -> None:
    async def scenario(moment: int) -> bool:
        alarms: list[Alarm] = []

        async def first() -> None:
            async with client.open_publisher() as publisher:
                with cancelled_at(moment) as alarm:
                    alarms.append(alarm)
                    if how == "publish":
                        await client.publish("first", qos=1)
                    elif how == "enqueue":
                        await client.enqueue("first", qos=1)
                    else:
                        await publisher.send("first")

        async def second() -> None:
            await client.publish("second", qos=1)

        async with a_client() as (server, client), trio.open_nursery() as nursery:
            with server.holding(PubAck):
                client.publish_nowait("fill", ALL_THAT_FITS, qos=1)
                with pytest.raises(trio.WouldBlock):
                    client.publish_nowait("fill", qos=1)
                filled = client.statistics().published
                nursery.start_soon(first)
                await wait_all_tasks_blocked()
                nursery.start_soon(second)  # stands in line behind it, and must get its turn
                await wait_all_tasks_blocked()
            await assert_idle(client)
            assert payloads(server, "second") == [b""]
            (alarm,) = alarms
            accepted = client.statistics().published - filled - 1
            assert len(payloads(server, "first")) == accepted
            if how != "publish":  # for which it may be cancelled in its wait for the PUBACK
                assert accepted == (not was_cancelled(alarm))
        return alarm.rang

    await at_every_moment(scenario, at_least=10, at_most=40)


# -- subscribing ------------------------------------------------------------------------------


@pytest.mark.parametrize("qos", [0, 1, 2])
@both_versions
async def test_the_block_of_a_subscription(
    autojump_clock: MockClock, qos: int, protocol: Protocol
) -> None:
    async def scenario(moment: int) -> bool:
        async with a_client(protocol) as (server, client):
            with cancelled_at(moment) as alarm:
                async with client.subscribe("s/#", "t/+", qos=qos) as messages:
                    await client.publish("s/1", b"x", qos=qos)
                    assert (await messages.receive()).payload == b"x"
            await wait_all_tasks_blocked()
            assert dict(server.sessions["c"].subscriptions) == {}
            if qos:
                # Received and not settled: it waits for the next, and comes once.
                got = len(payloads(server, "s/1")) == 1 and client.statistics().unclaimed
                async with client.subscribe("s/1", qos=qos) as messages:
                    if got:
                        again = messages.receive_nowait()
                        assert (again.payload, again.attempt) == (b"x", 2)
                        again.ack()
                    with pytest.raises(trio.WouldBlock):
                        messages.receive_nowait()
        return alarm.rang

    await at_every_moment(scenario, at_least=20)


async def test_subscribe_before_the_first_connection(autojump_clock: MockClock) -> None:
    async def scenario(moment: int) -> bool:
        async with a_client_without_a_connection() as (server, client):
            with cancelled_at(moment) as alarm:
                async with client.subscribe("s/#", qos=1):
                    assert alarm.rang or "s/#" in server.sessions["c"].subscriptions
            if not client.statistics().connections:
                assert client.statistics().unfinished == 0  # nothing is left to be sent
            await client.wait_connected()
            await assert_idle(client)
            assert dict(server.sessions["c"].subscriptions) == {}
            assert len(received(server, Subscribe)) == len(received(server, Unsubscribe))
        return alarm.rang

    await at_every_moment(scenario, at_least=12)


@both_versions
async def test_unsubscribe(autojump_clock: MockClock, protocol: Protocol) -> None:
    async def scenario(moment: int) -> bool:
        async with a_client(protocol) as (server, client):
            async with client.subscribe("a", "b", qos=1) as messages:
                with cancelled_at(moment) as alarm:
                    await client.unsubscribe("a", "b")
                if not received(server, Unsubscribe):
                    await wait_all_tasks_blocked()
                sent = bool(received(server, Unsubscribe))
                assert sent or was_cancelled(alarm)
                await client.publish("a", b"x", qos=1)
                await wait_all_tasks_blocked()
                assert messages.statistics().received == (not sent)
                assert bool(server.sessions["c"].subscriptions) is not sent
                if not sent:
                    messages.receive_nowait().ack()
            await wait_all_tasks_blocked()
            assert dict(server.sessions["c"].subscriptions) == {}
        return alarm.rang

    await at_every_moment(scenario, at_least=8)


# -- request and response ---------------------------------------------------------------------


async def echo(request: Message) -> bytes:
    return request.payload


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_request(autojump_clock: MockClock, qos: int) -> None:
    async def scenario(moment: int) -> bool:
        async with (
            a_client() as (server, client),
            open_once(connector=server.connect) as responder,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(responder.serve, "ask", echo)
            replies: list[bytes] = []
            with cancelled_at(moment) as alarm:
                replies.append((await client.request("ask", b"x", qos=qos)).payload)
            assert replies == ([] if was_cancelled(alarm) else [b"x"])
            await assert_idle(client)
            statistics = client.statistics()
            assert payloads(server, "ask") == [b"x"] * statistics.published
            assert statistics.requests == 0
            assert statistics.stray_replies <= statistics.published - len(replies)
            assert (await client.request("ask", b"again")).payload == b"again"
            assert len(server.sessions["c"].subscriptions) == 1
            nursery.cancel_scope.cancel()
        return alarm.rang

    await at_every_moment(scenario, at_least=15)


async def test_serve(autojump_clock: MockClock) -> None:
    """Cancelled is the only way in which it ends, so the moments have none."""
    begun: list[str] = []

    async def scenario(moment: int) -> bool:
        async with a_client() as (server, client), trio.open_nursery() as nursery:

            async def ask() -> None:
                await server.wait_until(lambda: bool(server.sessions["c"].subscriptions))
                properties = Properties(response_topic="to")
                server.publish("ask", "x", 1, properties=properties)

            async def handler(request: Message) -> bytes:
                begun.append("handled")
                return request.payload

            nursery.start_soon(ask)
            with cancelled_at(moment) as alarm, trio.move_on_after(1):
                await client.serve("ask", handler)
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await wait_all_tasks_blocked()
                assert dict(server.sessions["c"].subscriptions) == {}
                async with client.subscribe("ask") as left:
                    assert client.statistics().unclaimed == 0  # it is here
                    for _ in range(left.statistics().buffered):
                        (await left.receive()).ack()
                await assert_idle(client)
        return alarm.rang

    await at_every_moment(scenario, at_least=30)
    assert begun


# -- receiving --------------------------------------------------------------------------------


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_receive(autojump_clock: MockClock, qos: int) -> None:
    wanted = [b"0", b"1", b"2", b"3", b"4", b"5"]

    async def scenario(moment: int) -> bool:
        async with a_client() as (server, client):
            got: list[bytes] = []
            async with client.subscribe("a", qos=qos) as messages:
                for payload in wanted[:3]:
                    server.publish("a", payload, qos)
                with cancelled_at(moment) as alarm:
                    while len(got) < len(wanted):
                        got.append((await messages.receive()).payload)
                        if len(got) == 3:
                            for payload in wanted[3:]:
                                server.publish("a", payload, qos)
                if len(got) < 3:
                    for payload in wanted[3:]:
                        server.publish("a", payload, qos)
                with trio.fail_after(PATIENCE):
                    while len(got) < len(wanted):
                        got.append((await messages.receive()).payload)
                assert got == wanted
            # None was settled, and the block is left: they are for the next subscription.
            assert client.statistics().unclaimed == (len(wanted) if qos else 0)
            async with client.subscribe("a", qos=qos) as messages:
                again = [messages.receive_nowait() for _ in wanted] if qos else []
                for message in again:
                    message.ack()
            assert [message.payload for message in again] == (wanted if qos else [])
        return alarm.rang

    await at_every_moment(scenario, at_least=8)


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_loop_in_its_block(autojump_clock: MockClock, qos: int) -> None:
    wanted = [b"0", b"1", b"2", b"3"]

    async def scenario(moment: int) -> bool:
        done: list[bytes] = []
        begun: list[bytes] = []

        async def work() -> None:
            async with client.subscribe("a", qos=qos, keep=True) as messages:
                async for message in messages:
                    again = message.payload in begun
                    assert message.attempt == (2 if again else 1)
                    begun.append(message.payload)
                    await trio.lowlevel.checkpoint()
                    done.append(message.payload)
                    if len(done) == len(wanted):
                        message.ack()
                        return

        async with a_client() as (server, client):
            async with client.subscribe("a", qos=qos, keep=True):
                pass
            for payload in wanted:
                server.publish("a", payload, qos)
            with cancelled_at(moment) as alarm:
                await work()
            if len(done) < len(wanted):
                with trio.fail_after(PATIENCE):
                    await work()
            assert done == wanted
            assert len(begun) <= len(wanted) + 1
            assert client.statistics().unclaimed_released == 0
        return alarm.rang

    await at_every_moment(scenario, at_least=12)


async def test_a_timed_out_wait_takes_nothing(autojump_clock: MockClock) -> None:
    async with a_client() as (server, client), client.subscribe("a") as messages:
        for number in range(50):
            with trio.move_on_after(1) as scope:
                await messages.receive()
            assert scope.cancelled_caught
            server.publish("a", str(number))
            with trio.fail_after(PATIENCE):
                assert (await messages.receive()).text() == str(number)


async def test_reauthenticate(autojump_clock: MockClock) -> None:
    async def scenario(moment: int) -> bool:
        sphinx, auth = Sphinx(), Riddles()
        async with open_server() as server:
            server.authentication_methods[METHOD] = sphinx.begin
            async with open_once(
                connector=server.connect, client_id="c", keep_alive=0, auth=auth
            ) as client:
                with cancelled_at(moment) as alarm:
                    await client.reauthenticate()
                await wait_all_tasks_blocked()
                begun = len(sphinx.asked) == 2
                assert begun or was_cancelled(alarm)
                # What was begun has come to its end.
                assert sent(server, Auth)[1:] == [
                    Auth(code, Properties(authentication_method=METHOD, authentication_data=data))
                    for code, data in (
                        (ReasonCode.CONTINUE_AUTHENTICATION, b"riddle 1"),
                        (ReasonCode.SUCCESS, b"well done"),
                    )
                    if begun
                ]
                with trio.fail_after(PATIENCE):
                    await client.reauthenticate()
                await assert_works(client)
            await wait_all_tasks_blocked()
            assert_clean_end(server)
        return alarm.rang

    await at_every_moment(scenario, at_least=12)


async def test_a_loop_over_events(autojump_clock: MockClock) -> None:
    async def scenario(moment: int) -> bool:
        async with a_client() as (server, client), client.events() as events:
            got: list[bytes] = []
            async with client.subscribe("a", qos=1, keep=True):
                for payload in ("1", "2"):
                    server.publish("a", payload, 1)
                await wait_all_tasks_blocked()
            with cancelled_at(moment) as alarm:
                async for event in events:
                    assert isinstance(event, MessageReleased)
                    got.append(event.message.payload)
                    if len(got) == 2:
                        break
            if was_cancelled(alarm):
                with trio.fail_after(PATIENCE):
                    while len(got) < 2:
                        event = await anext(events)
                        assert isinstance(event, MessageReleased)
                        got.append(event.message.payload)
            assert got == [b"1", b"2"]
        return alarm.rang

    await at_every_moment(scenario, at_least=8)


async def test_settle(tmp_path: Path) -> None:
    def effect(database: sqlite3.Connection) -> int:
        database.execute("CREATE TABLE IF NOT EXISTS done (text TEXT)")
        database.execute("INSERT INTO done VALUES ('x')")
        [count] = database.execute("SELECT count(*) FROM done").fetchone()
        assert isinstance(count, int)
        return count

    # Without a clock that jumps: it would, while a thread commits.
    async def scenario(moment: int) -> bool:
        session = Session("c", expiry=100, storage=SQLiteStorage(tmp_path / f"{moment}.db"))
        async with (
            open_server() as server,
            open_client(connector=server.connect, session=session) as client,
            client.subscribe("a", qos=2) as messages,
        ):
            for number in range(2):
                server.publish("a", str(number), 2)
            message = await messages.receive()
            counts: list[int] = []
            with cancelled_at(moment) as alarm:
                counts.append(await session.settle(message, effect))
            assert counts == [1]  # whenever it is cancelled, it has done its work
            assert message.settled is not None
            assert await session.settle(await messages.receive(), effect) == 2
        return alarm.rang

    await at_every_moment(scenario, at_least=4)


# -- the client -------------------------------------------------------------------------------


@both_versions
async def test_the_whole_block_of_a_client(autojump_clock: MockClock, protocol: Protocol) -> None:
    async def scenario(moment: int) -> bool:
        entered = False
        tasks = all_tasks()
        async with open_server() as server:
            with cancelled_at(moment) as alarm:
                async with open_once(
                    connector=server.connect, client_id="c", protocol=protocol
                ) as client:
                    entered = True
                    async with client.subscribe("a", qos=2) as messages:
                        await client.publish("a", b"x", qos=2)
                        async for message in messages:
                            message.ack()
                            break
            await wait_all_tasks_blocked()
            assert_clean_end(server)
            assert entered <= (received(server, Disconnect) == [Disconnect()])
            assert "c" not in server.sessions
            async with open_once(connector=server.connect, client_id="c") as client:
                await assert_works(client)
        assert all_tasks() == tasks
        return alarm.rang

    await at_every_moment(scenario, at_least=30)


async def test_entry_while_the_server_does_not_answer(autojump_clock: MockClock) -> None:
    async def scenario(moment: int) -> bool:
        tasks = all_tasks()
        async with open_server() as server:
            with server.holding(ConnAck) as held, cancelled_at(moment) as alarm:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_release_when_idle, held.release)
                    async with open_once(connector=server.connect, client_id="c"):
                        pass
            await wait_all_tasks_blocked()
            assert_clean_end(server)
            assert "c" not in server.sessions
        assert all_tasks() == tasks
        return alarm.rang

    await at_every_moment(scenario, at_least=12)


@pytest.mark.parametrize("kept", [False, True], ids=["ephemeral", "kept"])
async def test_entry_while_it_tries_again(autojump_clock: MockClock, *, kept: bool) -> None:
    async def scenario(moment: int) -> bool:
        session = Session("c", expiry=100) if kept else None
        client_id = None if kept else "c"
        reconnect = Reconnect(initial="retry")
        tasks = all_tasks()
        async with open_server() as server:

            async def come_back() -> None:
                await wait_all_tasks_blocked()
                server.accepting = True

            server.accepting = False
            with cancelled_at(moment) as alarm:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(come_back)
                    async with open_client(
                        connector=server.connect,
                        session=session,
                        client_id=client_id,
                        reconnect=reconnect,
                    ):
                        pass
            await wait_all_tasks_blocked()
            assert_clean_end(server)
            # Cancelled before CONNACK there is no DISCONNECT: the Server keeps what it has begun.
            left = server.sessions.get("c")
            assert left is None or not (left.connected or left.subscriptions)
            server.accepting = True
            async with open_client(
                connector=server.connect, session=session, client_id=client_id, keep_alive=0
            ) as client:
                await assert_works(client)
        assert all_tasks() == tasks
        return alarm.rang

    await at_every_moment(scenario, at_least=12)


async def test_wait_connected(autojump_clock: MockClock) -> None:
    async def scenario(moment: int) -> bool:
        async with a_client_without_a_connection() as (_, client):
            with cancelled_at(moment) as alarm:
                assert (await client.wait_connected()).client_id == "c"
                assert client.statistics().connected
        return alarm.rang

    await at_every_moment(scenario, at_least=8)


async def _release_when_idle(release: Callable[[], None]) -> None:
    await wait_all_tasks_blocked()
    release()


@pytest.mark.parametrize("qos", [1, 2])
async def test_exit_with_messages_under_way(autojump_clock: MockClock, qos: int) -> None:
    async def scenario(moment: int) -> bool:
        accepted = 0
        async with open_server() as server:
            with cancelled_at(moment) as alarm:
                async with open_once(connector=server.connect, client_id="c") as client:
                    for _ in range(3):
                        client.publish_nowait("a", qos=qos)
                        accepted += 1
            await wait_all_tasks_blocked()
            assert len(payloads(server, "a")) == accepted
            assert_clean_end(server)
        return alarm.rang

    await at_every_moment(scenario, at_least=20)
