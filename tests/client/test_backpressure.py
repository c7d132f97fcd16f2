"""Bounds, drops, and when the reader may pause (contract 3)."""

from __future__ import annotations

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.moments import PATIENCE
from tests.client.support import open_once
from trio_mqtt import MQTT_3_1_1, MQTT_5
from trio_mqtt._protocol.sender import OUTPUT_HIGH_WATER
from trio_mqtt.packets import ConnAck, PingReq, PubAck, Publish, encode
from trio_mqtt.testing import open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

    from trio_mqtt.testing import Server


def flood(server: Server, count: int, *, first: int = 0, qos: int = 0, topic: str = "a") -> None:
    for number in range(first, first + count):
        server.publish(topic, str(number), qos=qos)


def taken(subscription: trio_mqtt.Subscription) -> list[int]:
    found: list[int] = []
    try:
        while True:
            found.append(int(subscription.receive_nowait().text()))
    except trio.WouldBlock:
        return found


async def test_a_full_buffer_stops_the_reader_and_loses_nothing(
    autojump_clock: MockClock, server: Server, client: trio_mqtt.Client
) -> None:
    async with client.subscribe("a", buffer=10) as messages:
        flood(server, 500)
        await wait_all_tasks_blocked()
        assert messages.statistics().buffered == 10
        await trio.sleep(5)
        assert messages.statistics().buffered == 10
        assert client.statistics().reading_paused == pytest.approx(5)
        got: list[int] = []
        while len(got) < 500:
            got.append(int((await messages.receive()).text()))
            assert messages.statistics().buffered <= 10
        assert got == list(range(500))
        assert messages.statistics().dropped == 0
        await trio.sleep(5)  # reading, now
        assert client.statistics().reading_paused == pytest.approx(5)


async def test_the_figures_can_be_had_in_another_thread(
    autojump_clock: MockClock, server: Server, client: trio_mqtt.Client
) -> None:
    # As an exporter of metrics has one, which knows nothing of Trio.
    with ThreadPoolExecutor(1) as pool:
        async with client.subscribe("a", buffer=10) as messages:
            flood(server, 500)
            await wait_all_tasks_blocked()
            await trio.sleep(5)
            while_paused = pool.submit(client.statistics).result(PATIENCE)
            assert while_paused == client.statistics()
            assert while_paused.reading_paused == pytest.approx(5)
            buffered = pool.submit(messages.statistics).result(PATIENCE)
            assert buffered == messages.statistics()


@pytest.mark.parametrize("qos", [1, 2])
async def test_another_thread_changes_nothing_by_looking(
    server: Server, client: trio_mqtt.Client, qos: int
) -> None:
    with ThreadPoolExecutor(1) as pool:
        async with client.subscribe("a", qos=qos) as messages:
            flood(server, 2, qos=qos)
            await wait_all_tasks_blocked()
            messages.receive_nowait().reject(trio_mqtt.ReasonCode.QUOTA_EXCEEDED)
            seen = [pool.submit(client.statistics).result(PATIENCE) for _ in range(2)]
            assert seen[0] == seen[1]  # else it had made the acknowledgement, and woken a task
            assert (seen[0].unsettled, seen[0].output_bytes) == (1, 0)


async def test_the_bytes_are_bounded_too(server: Server, client: trio_mqtt.Client) -> None:
    async with client.subscribe("a", buffer=1000) as messages:
        for _ in range(30):
            server.publish("a", b"x" * 100_000)
        await wait_all_tasks_blocked()
        assert messages.statistics().buffered_bytes <= 1024 * 1024 + 100_000 + 256
        for _ in range(30):
            assert len((await messages.receive()).payload) == 100_000


async def test_drop_oldest(
    server: Server, client: trio_mqtt.Client, caplog: pytest.LogCaptureFixture
) -> None:
    async with client.subscribe("a", buffer=10, overflow="drop_oldest") as messages:
        flood(server, 100)
        await client.publish("end", qos=1)
        await wait_all_tasks_blocked()
        assert messages.statistics().dropped == 90
        assert taken(messages) == list(range(90, 100))
        assert caplog.text.count("drops messages") == 1
        flood(server, 11)
        await wait_all_tasks_blocked()
        assert caplog.text.count("drops messages") == 2
        assert client.statistics().reading_paused == 0


async def test_drop_newest(server: Server, client: trio_mqtt.Client) -> None:
    async with client.subscribe("a", buffer=10, overflow="drop_newest") as messages:
        flood(server, 100)
        await client.publish("end", qos=1)
        await wait_all_tasks_blocked()
        assert messages.statistics().dropped == 90
        assert taken(messages) == list(range(10))


@pytest.mark.parametrize("overflow", ["wait", "drop_oldest", "drop_newest"])
async def test_qos_1_is_never_dropped(
    server: Server, client: trio_mqtt.Client, overflow: Any
) -> None:
    async with client.subscribe("a", qos=1, buffer=1, overflow=overflow) as messages:
        flood(server, 50, qos=1)
        seen: list[int] = []
        async for message in messages:
            seen.append(int(message.text()))
            if len(seen) == 50:
                message.ack()
                break
        assert seen == list(range(50))
        assert messages.statistics().dropped == 0


async def test_qos_1_is_bounded_by_receive_maximum(server: Server) -> None:
    async with (
        open_once(connector=server.connect, receive_maximum=7) as client,
        client.subscribe("a", qos=2) as messages,
    ):
        flood(server, 100, qos=1)
        await wait_all_tasks_blocked()
        assert messages.statistics().buffered == 7
        assert client.statistics().unsettled == 7


@pytest.mark.parametrize("protocol", [trio_mqtt.MQTT_5, trio_mqtt.MQTT_3_1_1])
@pytest.mark.parametrize("qos", [1, 2])
async def test_a_loop_that_publishes_does_not_lock_up(
    server: Server, qos: int, protocol: trio_mqtt.Protocol
) -> None:
    """With a buffer of 1 that is always full, at every QoS of what arrives."""
    async with open_once(connector=server.connect, protocol=protocol, receive_maximum=2) as client:
        for incoming in (0, 1, 2):
            async with client.subscribe("a", qos=incoming, buffer=1) as messages:
                flood(server, 50, qos=incoming)
                count = 0
                with trio.fail_after(10):
                    async for message in messages:
                        await client.publish("b", message.payload, qos=qos)
                        count += 1
                        if count == 50:
                            message.ack()
                            break
    forwarded = [
        int(entry.packet.payload)
        for entry in server.log
        if entry.direction == "received" and isinstance(entry.packet, Publish)
    ]
    assert forwarded == list(range(50)) * 3


async def test_a_loop_may_wait_for_another_subscription(
    server: Server, client: trio_mqtt.Client
) -> None:
    async with client.subscribe("a", buffer=1) as messages:
        flood(server, 20)
        count = 0
        with trio.fail_after(10):
            async for _ in messages:
                async with client.subscribe("b", buffer=1) as others:
                    server.publish("b", "x")
                    await others.receive()
                count += 1
                if count == 20:
                    break


async def test_while_an_answer_is_awaited_the_buffer_may_grow_and_then_drops(
    server: Server, client: trio_mqtt.Client
) -> None:
    async with client.subscribe("a", buffer=10) as messages, trio.open_nursery() as nursery:
        with server.holding(PubAck) as held:
            nursery.start_soon(lambda: client.publish("b", qos=1))
            await wait_all_tasks_blocked()
            payload = b"x" * 1000
            for _ in range(3000):
                server.publish("a", payload)
            await wait_all_tasks_blocked()
            statistics = messages.statistics()
            assert statistics.buffered > 500
            assert statistics.buffered_bytes <= 1024 * 1024 + 2000
            assert statistics.dropped > 0
            assert statistics.dropped + statistics.buffered == 3000
            held.release()
        await wait_all_tasks_blocked()
        # Nobody awaits an answer any more: the reader holds back what comes on top.
        before = messages.statistics().received
        for _ in range(3000):
            server.publish("a", payload)
        await wait_all_tasks_blocked()
        assert messages.statistics().received <= before + 1


async def test_a_consumer_that_takes_nothing_costs_the_stall_timeout_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        open_server() as server,
        open_once(connector=server.connect) as client,
        client.subscribe("a", buffer=5) as stalled,
        client.subscribe("b", buffer=5) as busy,
    ):
        flood(server, 20)
        server.publish("b", "1")
        start = trio.current_time()
        assert (await busy.receive()).text() == "1"
        assert trio.current_time() - start == pytest.approx(10)
        assert caplog.text.count("reading is paused") == 1
        assert "subscription to 'a'" in caplog.text
        for number in range(10):
            flood(server, 200)
            server.publish("b", str(number))
            assert (await busy.receive()).text() == str(number)
        assert trio.current_time() - start == pytest.approx(10)
        assert client.statistics().reading_paused == pytest.approx(10)
        assert stalled.statistics().dropped == 0  # there is room up to 1 MiB
        for _ in range(4):
            for _ in range(1000):
                server.publish("a", b"x" * 1000)
            await client.publish("b", "0", qos=1)
        assert stalled.statistics().dropped > 0
        assert stalled.statistics().buffered_bytes <= 1024 * 1024 + 2000
        # It takes again: from now on it is waited for.
        taken_again = 0
        while stalled.statistics().buffered:
            await stalled.receive()
            taken_again += 1
        dropped = stalled.statistics().dropped
        flood(server, 20)
        await wait_all_tasks_blocked()
        assert stalled.statistics().buffered == 5
        assert stalled.statistics().dropped == dropped
        assert taken_again > 5


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
async def test_a_stalled_subscription_that_drops_does_not_hold_up_another(
    server: Server, client: trio_mqtt.Client, overflow: Any
) -> None:
    async with (
        client.subscribe("stalled", buffer=5, overflow=overflow) as stalled,
        client.subscribe("a", buffer=5) as messages,
    ):
        for number in range(1000):
            server.publish("stalled", "x")
            flood(server, 1, first=number)
            with trio.fail_after(5):
                assert int((await messages.receive()).text()) == number
        assert stalled.statistics().dropped == 995
        assert messages.statistics().dropped == 0
        assert client.statistics().reading_paused == 0


async def test_a_slow_consumer_is_not_a_stalled_one(autojump_clock: MockClock) -> None:
    """One pause lasts longer than the stall timeout, and something is taken meanwhile."""
    async with (
        open_server() as server,
        open_once(connector=server.connect) as client,
        client.subscribe("a", buffer=10) as messages,
    ):
        flood(server, 60)
        got: list[int] = []
        for _ in range(60):
            await trio.sleep(4)
            assert messages.statistics().buffered <= 10
            got.append(int((await messages.receive()).text()))
        assert got == list(range(60))
        assert messages.statistics().dropped == 0
        assert client.statistics().reading_paused > 100


async def test_a_pause_ends_as_a_task_begins_to_await_an_answer(
    server: Server, client: trio_mqtt.Client
) -> None:
    async with client.subscribe("a", buffer=1) as messages:
        flood(server, 20)
        await wait_all_tasks_blocked()
        assert messages.statistics().received == 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(client.publish, "b", qos=1))
            await wait_all_tasks_blocked()  # so at once, not when the pause is looked at again
            assert messages.statistics().received == 20


async def test_pings_go_on_while_reading_is_paused_and_nothing_is_overdue(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_server() as server,
        open_once(connector=server.connect, keep_alive=5, ping_timeout=2) as client,
        client.subscribe("a", buffer=2) as messages,
    ):
        flood(server, 20)
        for _ in range(20):
            await trio.sleep(9)
            await messages.receive()
        pings = [entry for entry in server.log if isinstance(entry.packet, PingReq)]
        assert len(pings) > 20
        assert client.statistics().reading_paused > 50


async def test_dead_after_a_pause_is_still_noticed(autojump_clock: MockClock) -> None:
    with pytest.raises(trio_mqtt.ConnectionLost, match="has sent nothing for 2 s"):
        async with (
            open_server() as server,
            open_once(connector=server.connect, keep_alive=5, ping_timeout=2) as client,
            client.subscribe("a", buffer=2) as messages,
        ):
            flood(server, 3)
            await trio.sleep(4)
            server.pause_reading(client.server.client_id)
            await trio.sleep(4)
            for _ in range(3):
                await messages.receive()
            await trio.sleep(10)


async def test_below_mqtt_5_unsettled_messages_hold_the_reader(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with (
        open_server() as server,
        open_once(
            connector=server.connect, protocol=trio_mqtt.MQTT_3_1_1, receive_maximum=5
        ) as client,
        client.subscribe("a", qos=1, ack="manual") as messages,
    ):
        flood(server, 30, qos=1)
        await trio.sleep(2)
        assert messages.statistics().buffered == 5
        assert "receive_maximum of unsettled messages is full" in caplog.text
        for _ in range(5):
            (await messages.receive()).ack()
        await trio.sleep(1)
        assert messages.statistics().buffered == 5
        # Held for longer than the stall timeout, they cannot be dropped: reading goes on.
        await trio.sleep(11)
        assert messages.statistics().buffered == 25
        for _ in range(25):
            (await messages.receive()).ack()
        flood(server, 30, qos=1)
        await trio.sleep(1)
        assert messages.statistics().buffered == 5
        for _ in range(30):
            (await messages.receive()).ack()


async def test_ten_thousand_through_a_buffer_of_one(
    server: Server, client: trio_mqtt.Client
) -> None:
    async with client.subscribe("a", buffer=1) as messages, trio.open_nursery() as nursery:

        async def produce() -> None:
            async with (
                open_once(connector=server.connect) as other,
                other.open_publisher(qos=0) as publisher,
            ):
                for number in range(10_000):
                    await publisher.send("a", str(number))

        nursery.start_soon(produce)
        for number in range(10_000):
            assert (await messages.receive()).payload == str(number).encode()


async def test_many_tasks_wait_and_each_gets_one(server: Server, client: trio_mqtt.Client) -> None:
    got: list[int] = []

    async def take(messages: trio_mqtt.Subscription) -> None:
        got.append(int((await messages.receive()).text()))

    async with client.subscribe("a") as messages, trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(take, messages)
        await wait_all_tasks_blocked()
        flood(server, 50)
    assert sorted(got) == list(range(50))


async def test_below_5_a_flood_while_an_answer_is_awaited_ends_the_connection(
    autojump_clock: MockClock,
) -> None:
    async with open_server() as server:
        with pytest.raises(trio_mqtt.ConnectionLost, match="unsettled"):
            async with (
                open_once(
                    connector=server.connect,
                    client_id="c",
                    protocol=MQTT_3_1_1,
                    receive_maximum=10,
                ) as client,
                client.subscribe("a", qos=1),
                trio.open_nursery() as nursery,
            ):
                with server.holding(PubAck):
                    nursery.start_soon(partial(client.publish, "b", qos=1))
                    await flood_slowly(server)
        sent = [entry for entry in server.log if isinstance(entry.packet, Publish)]
        assert 170 < len(sent) < 250


async def flood_slowly(server: Server) -> None:
    for _ in range(300):
        server.publish("a", bytes(100_000), 1)
        await trio.sleep(0.01)


async def test_no_more_is_read_while_the_answers_are_not_taken(
    server: Server, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_mqtt._client._link._MOST_OUTPUT", 1000)
    async with (
        open_once(connector=lambda: server.connect(capacity=100), receive_maximum=10_000) as client,
        client.subscribe("a", qos=1, ack="on_receipt") as messages,
    ):
        client_id = client.server.client_id
        server.pause_reading(client_id)
        for _ in range(5000):
            server.publish("a", qos=1)
        await wait_all_tasks_blocked()
        batch = 256 * 4
        assert 1000 < client.statistics().output_bytes < 1000 + 2 * batch
        assert messages.statistics().received < 1000
        server.resume_reading(client_id)
        with trio.fail_after(PATIENCE):
            await server.wait_until(lambda: not server.sessions[client_id].inflight)
        assert messages.statistics().received == 5000


class TirelessStream(trio.abc.Stream):
    """A Server that takes whatever comes at once, as a socket does whose other end is fast."""

    def __init__(self) -> None:
        self.tick = 0
        self.sent: Counter[int] = Counter()  # bytes, by the tick at which they came
        self._answers = [encode(ConnAck(), MQTT_5)]

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sent[self.tick] += len(data)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self._answers:
            await trio.sleep_forever()
        return self._answers.pop()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_others_have_their_turn_while_much_is_written(autojump_clock: MockClock) -> None:
    stream = TirelessStream()

    @asynccontextmanager
    async def connect() -> AsyncGenerator[trio.abc.Stream]:
        yield stream

    session = trio_mqtt.Session("c", expiry=9, queue=5000)
    async with open_once(connector=connect, session=session, close_timeout=1) as client:
        for _ in range(5000):
            client.publish_nowait("a", bytes(1000), qos=1)
        for stream.tick in range(1000):
            await trio.lowlevel.checkpoint()
    assert sum(stream.sent.values()) > 5_000_000
    assert max(stream.sent.values()) < 3 * OUTPUT_HIGH_WATER
