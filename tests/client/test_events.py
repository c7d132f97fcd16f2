"""`Client.events`, `wait_connected` and `statistics` through losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.outages import longest_delays, nth_connection, until, watching
from trio_mqtt import ConnectFailed, ConnectionLost, PublishRejected, ReasonCode, Reconnect
from trio_mqtt._client._event_stream import MOST_EVENTS
from trio_mqtt.events import Connected, Disconnected, PublishFailed
from trio_mqtt.packets import PubAck, PubRec
from trio_mqtt.testing import Server, ServerLimits, open_network

if TYPE_CHECKING:
    from trio.testing import MockClock

open_client = trio_mqtt.open_client


@pytest.fixture(autouse=True)
def half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is how long it takes to connect again, so that tests can do something meanwhile."""
    longest_delays(monkeypatch)


class TestEvents:
    async def test_losses_and_connections(self, server: Server, autojump_clock: MockClock) -> None:
        async with (
            open_client(
                "mqtt://user:secret@host", connector=server.connect, client_id="c"
            ) as client,
            watching(client) as seen,
        ):
            await server.disconnect("c", ReasonCode.SERVER_SHUTTING_DOWN)
            server.accepting = False
            await until(lambda: not client.statistics().connected)
            await trio.sleep(3)  # attempts after 0.5, 1.5, 3.5 s
            server.accepting = True
            await nth_connection(client, 2)
            server.drop("c")
            await nth_connection(client, 3)
        loss, again, second_loss, third = seen.events
        assert isinstance(loss, Disconnected)
        assert isinstance(loss.error, ConnectionLost)
        assert loss.error.reason_code is ReasonCode.SERVER_SHUTTING_DOWN
        assert loss.server == "mqtt://host:1883"
        assert again == Connected(server="mqtt://host:1883", session_present=True, attempts=3)
        assert isinstance(second_loss, Disconnected)
        assert third == Connected(server="mqtt://host:1883", session_present=True, attempts=1)
        assert "secret" not in repr(seen.events)

    async def test_the_first_connection_in_the_background(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        server.accepting = False
        async with (
            open_client(
                connector=server.connect, reconnect=Reconnect(initial="background")
            ) as client,
            watching(client) as seen,
        ):
            await trio.sleep(1)
            server.accepting = True
            await client.wait_connected()
            await wait_all_tasks_blocked()
        (event,) = seen.events
        assert isinstance(event, Connected)
        assert not event.session_present
        assert event.attempts > 1

    async def test_every_watcher_gets_each_event(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        async with (
            open_client(connector=server.connect, client_id="c") as client,
            watching(client) as one,
            watching(client) as two,
        ):
            server.drop("c")
            await nth_connection(client, 2)
            async with watching(client) as late:
                server.drop("c")
                await nth_connection(client, 3)
        assert len(one.events) == 4
        assert one.events == two.events
        assert one.events[2:] == late.events

    async def test_a_watcher_that_takes_nothing_holds_nobody_up(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        session = trio_mqtt.Session("c", expiry=1000, queue=1, overflow="drop_oldest")
        server.accepting = False
        async with (
            open_client(
                connector=server.connect,
                session=session,
                reconnect=Reconnect(initial="background"),
            ) as client,
            client.events() as events,
        ):
            for number in range(MOST_EVENTS + 11):
                client.publish_nowait("a", str(number), qos=1)
            assert events.dropped == 10
            first = await anext(aiter(events))
            assert isinstance(first, PublishFailed)
            assert first.message.payload == b"10"

    @pytest.mark.parametrize("qos", [1, 2])
    async def test_a_refusal_is_told_to_who_watches_also_if_nobody_waits(
        self, server: Server, qos: int
    ) -> None:
        server.authorize_publish = lambda _client_id, packet: (
            ReasonCode.SUCCESS if packet.topic == "good" else ReasonCode.QUOTA_EXCEEDED
        )
        async with (
            open_client(connector=server.connect) as client,
            client.events() as events,
        ):
            await client.enqueue("bad", "1", qos=qos)
            await client.publish("good", "2", qos=qos)
            with pytest.raises(PublishRejected):
                await client.publish("bad", "3", qos=qos)
            found = [await anext(aiter(events)) for _ in range(2)]
        for event, payload in zip(found, (b"1", b"3"), strict=True):
            assert isinstance(event, PublishFailed)
            assert event.message.payload == payload
            assert isinstance(event.error, PublishRejected)
            assert event.error.reason_code is ReasonCode.QUOTA_EXCEEDED

    async def test_they_end_with_the_client(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        ended: list[str] = []

        async def watch(client: trio_mqtt.Client, events: trio_mqtt.EventStream) -> None:
            async for _ in events:
                pass
            ended.append("quietly")

        async with trio.open_nursery() as nursery:
            async with open_client(connector=server.connect) as client:
                stream = await nursery.start(hold_open, client)
                nursery.start_soon(watch, client, stream)
                await wait_all_tasks_blocked()
            await wait_all_tasks_blocked()
            assert ended == ["quietly"]
            nursery.cancel_scope.cancel()

    async def test_they_raise_when_the_client_fails(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        async with trio.open_nursery() as nursery:

            async def watch(stream: trio_mqtt.EventStream) -> None:
                seen: list[object] = []
                with pytest.raises(ConnectionLost):
                    async for event in stream:
                        seen.append(event)  # noqa: PERF401 - it ends with an error
                assert [type(each) for each in seen] == [Disconnected]

            with pytest.raises(ConnectionLost):
                async with open_client(connector=server.connect, client_id="c") as client:
                    stream = await nursery.start(hold_open, client)
                    nursery.start_soon(watch, stream)
                    await wait_all_tasks_blocked()
                    await server.disconnect("c", ReasonCode.SESSION_TAKEN_OVER)
                    await trio.sleep_forever()
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    async def test_a_cancelled_wait_takes_no_event(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        async with (
            open_client(connector=server.connect, client_id="c") as client,
            client.events() as events,
        ):
            for _ in range(3):
                with trio.move_on_after(1):
                    await anext(aiter(events))
            server.drop("c")
            with trio.CancelScope() as scope:
                scope.cancel()
                await anext(aiter(events))
            await nth_connection(client, 2)
            assert isinstance(await anext(aiter(events)), Disconnected)
            assert isinstance(await anext(aiter(events)), Connected)


async def hold_open(
    client: trio_mqtt.Client, task_status: trio.TaskStatus[trio_mqtt.EventStream]
) -> None:
    """A stream of events outside the block of the client."""
    async with client.events() as stream:
        task_status.started(stream)
        await trio.sleep_forever()


class TestWaitConnected:
    async def test_at_once_and_after_each_loss(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        async with open_client(connector=server.connect, client_id="c") as client:
            assert (await client.wait_connected()) is client.server
            for _ in range(3):
                server.drop("c")
                await until(lambda: not client.statistics().connected)
                start = trio.current_time()
                await client.wait_connected()
                assert client.statistics().connected
                assert trio.current_time() > start

    async def test_it_returns_what_is_granted_now(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        async with open_client(connector=server.connect, client_id="c") as client:
            server.limits = ServerLimits(receive_maximum=7)
            server.drop("c")
            await until(lambda: not client.statistics().connected)
            assert (await client.wait_connected()).receive_maximum == 7
            assert client.server.receive_maximum == 7

    async def test_it_raises_when_the_client_fails_or_is_closed(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        errors: list[BaseException] = []

        async def wait(client: trio_mqtt.Client) -> None:
            try:
                await client.wait_connected()
            except (trio_mqtt.MQTTError, trio.ClosedResourceError) as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            with pytest.raises(ConnectFailed):
                async with open_client(
                    connector=server.connect,
                    client_id="c",
                    reconnect=Reconnect(give_up_after=100),
                ) as client:
                    server.accepting = False
                    server.drop("c")
                    await until(lambda: not client.statistics().connected)
                    for _ in range(2):
                        nursery.start_soon(wait, client)
                    await trio.sleep_forever()
            await wait_all_tasks_blocked()
            assert [type(error) for error in errors] == [ConnectFailed] * 2
            assert errors[0] is not errors[1]
            errors.clear()
            async with open_client(
                connector=server.connect, reconnect=Reconnect(initial="background")
            ) as client:
                nursery.start_soon(wait, client)
                await wait_all_tasks_blocked()
        assert [type(error) for error in errors] == [trio.ClosedResourceError]


async def test_statistics_through_a_loss(server: Server, autojump_clock: MockClock) -> None:
    async with (
        open_network(server.connect) as network,
        open_client(connector=network.connect) as client,
        client.subscribe("b", qos=1) as messages,
    ):
        before = client.statistics()
        assert (before.connected, before.connections) == (True, 1)
        assert (before.published, before.queued, before.unfinished) == (0, 0, 0)
        server.publish("b", qos=1)
        message = await messages.receive()
        assert client.statistics().unsettled == 1
        with server.holding(PubAck, PubRec):
            sent = [client.publish_nowait("a", bytes(100), qos=qos) for qos in (1, 2)]
            await wait_all_tasks_blocked()
            under_way = client.statistics()
            assert (under_way.published, under_way.queued, under_way.unfinished) == (2, 0, 2)
            assert under_way.window == before.window - 2
            assert under_way.unfinished_bytes >= 200
            network.down()
            await wait_all_tasks_blocked()
        queued = client.publish_nowait("a", qos=1)
        offline = client.statistics()
        assert (offline.connected, offline.connections) == (False, 1)
        assert (offline.published, offline.queued, offline.unfinished) == (3, 1, 3)
        assert (offline.window, offline.output_bytes) == (0, 0)
        assert (offline.unsettled, offline.held) == (0, 1)
        network.up()
        for delivery in (*sent, queued):
            await delivery.wait()
        await until(lambda: client.statistics().unsettled == 1)
        message.ack()
        await until(lambda: client.statistics().unsettled == 0)
        after = client.statistics()
        assert (after.connected, after.connections) == (True, 2)
        assert (after.queued, after.unfinished, after.unfinished_bytes) == (0, 0, 0)
        assert (after.held, after.window) == (0, before.window)
