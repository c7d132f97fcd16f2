"""The outgoing queue of a Session: its bounds, and message expiry (contracts 17, 18, 22)."""

from __future__ import annotations

import gc
import logging
import tracemalloc
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.moments import PATIENCE, received
from tests.client.outages import (
    BROKEN,
    CONNECTED,
    GOODBYE,
    RESUMED,
    Attempts,
    longest_delays,
    until,
    warnings,
    watching,
)
from trio_mqtt import MessageDropped, QueueFull, Reconnect, Session
from trio_mqtt.events import PublishFailed
from trio_mqtt.packets import ConnAck, Connect, Properties, PubAck, Publish
from trio_mqtt.testing import Expect, ExpectSilence, Pause, ScriptedPeer, Send, Server

if TYPE_CHECKING:
    from trio.testing import MockClock

open_client = trio_mqtt.open_client
BACKGROUND: Final = Reconnect(initial="background")
OVERHEAD: Final = 256
WEEK: Final = 7 * 24 * 3600


@pytest.fixture
def offline(server: Server) -> dict[str, Any]:
    """What opens a client that has no connection yet."""
    server.accepting = False
    return {"connector": server.connect, "reconnect": BACKGROUND}


def queue_of(overflow: Any, **bounds: Any) -> Session:
    return Session("c", expiry=1000, overflow=overflow, **bounds)


BOUNDS: Final = [{"queue": 3}, {"queue_bytes": 3 * (100 + OVERHEAD)}]
bounds = pytest.mark.parametrize("bounds", BOUNDS, ids=["count", "bytes"])


@bounds
async def test_wait(
    server: Server, autojump_clock: MockClock, offline: dict[str, Any], bounds: dict[str, int]
) -> None:
    async with (
        open_client(**offline, session=queue_of("wait", **bounds)) as client,
        trio.open_nursery() as nursery,
    ):
        for number in range(3):
            await client.enqueue("a", bytes([number]) * 100)
        for number in range(3, 6):
            nursery.start_soon(client.enqueue, "a", bytes([number]) * 100)
            await wait_all_tasks_blocked()
        assert client.statistics().queued == 3
        with trio.move_on_after(10) as scope:  # cancelled, nothing has happened
            await client.enqueue("a", b"cancelled")
        assert scope.cancelled_caught
        with pytest.raises(trio.WouldBlock):
            client.publish_nowait("a", qos=1)
        server.accepting = True
    payloads = [packet.payload for packet in received(server, Publish)]
    assert payloads == [bytes([number]) * 100 for number in range(6)]


@bounds
async def test_error(
    server: Server, autojump_clock: MockClock, offline: dict[str, Any], bounds: dict[str, int]
) -> None:
    async with open_client(**offline, session=queue_of("error", **bounds)) as client:
        deliveries = [await client.enqueue("a", bytes(100)) for _ in range(3)]
        with pytest.raises(QueueFull, match="3 messages wait"):
            await client.enqueue("a", bytes(100))
        with pytest.raises(QueueFull):
            await client.publish("a", qos=2)
        with pytest.raises(QueueFull):
            client.publish_nowait("a", qos=1)
        async with client.open_publisher() as publisher:
            with pytest.raises(QueueFull):
                await publisher.send("a")
        assert client.statistics().queued == 3
        server.accepting = True
        for delivery in deliveries:
            await delivery.wait()
        await client.publish("a", qos=1)
    assert len(received(server, Publish)) == 4


async def test_who_tries_again_and_again_lets_others_run(
    server: Server, autojump_clock: MockClock, offline: dict[str, Any]
) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with (
        open_client(**offline, session=queue_of("error", queue=1)) as client,
        client.open_publisher() as publisher,
        trio.open_nursery() as nursery,
    ):
        await client.enqueue("a")
        nursery.start_soon(others)
        for send in (
            partial(client.publish, "a", qos=1),
            partial(client.enqueue, "a", qos=1),
            partial(publisher.send, "a"),
        ):
            turns = 0
            for _ in range(200):
                with pytest.raises(QueueFull):
                    await send()
            assert turns > 1
        nursery.cancel_scope.cancel()
        server.accepting = True


@bounds
async def test_drop_oldest(
    server: Server,
    autojump_clock: MockClock,
    offline: dict[str, Any],
    bounds: dict[str, int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        open_client(**offline, session=queue_of("drop_oldest", **bounds)) as client,
        watching(client) as seen,
    ):
        deliveries = [
            await client.enqueue("a", bytes([number]) * 100, qos=1 + number % 2)
            for number in range(10)
        ]
        for delivery in deliveries[:7]:
            with pytest.raises(MessageDropped, match="had waited longest") as caught:
                await delivery.wait()
            assert caught.value.topic == "a"
        assert client.statistics().displaced == 7
        assert client.statistics().queued == 3
        server.accepting = True
        for delivery in deliveries[7:]:
            await delivery.wait()
    failed = [event for event in seen.events if isinstance(event, PublishFailed)]
    assert [event.message.payload[0] for event in failed] == list(range(7))
    assert all(isinstance(event.error, MessageDropped) for event in failed)
    assert [packet.payload[0] for packet in received(server, Publish)] == [7, 8, 9]
    assert len([each for each in warnings(caplog) if "drops messages" in each]) == 1


async def test_a_message_larger_than_the_queue_is_taken_when_it_is_empty(
    server: Server, autojump_clock: MockClock
) -> None:
    session = queue_of("wait", queue_bytes=1000)
    async with open_client(connector=server.connect, session=session) as client:
        with trio.fail_after(PATIENCE):
            await client.publish("a", bytes(100_000), qos=1)
            await client.publish("a", bytes(100_000), qos=2)


async def test_what_is_under_way_is_not_dropped(autojump_clock: MockClock) -> None:
    granted = ConnAck(properties=Properties(receive_maximum=1))
    peer = ScriptedPeer(
        [
            Expect(Connect),
            Send(granted),
            Expect(Publish, payload=b"0"),
            Pause(5),
            Send(PubAck(1)),
            Expect(Publish, payload=b"3"),
            Send(PubAck(2)),
            *GOODBYE,
        ]
    )
    session = queue_of("drop_oldest", queue=1)
    async with open_client(connector=peer.connect, session=session) as client:
        deliveries = [await client.enqueue("a", str(number)) for number in range(4)]
        for number in (1, 2):
            with pytest.raises(MessageDropped):
                await deliveries[number].wait()
        await deliveries[0].wait()
        await deliveries[3].wait()
    peer.assert_done()


class TestExpiry:
    async def test_it_counts_down_while_the_message_waits(
        self, server: Server, autojump_clock: MockClock, offline: dict[str, Any]
    ) -> None:
        async with (
            open_client(**offline) as client,
            watching(client) as seen,
        ):
            short = await client.enqueue("a", "short", message_expiry=10)
            long = await client.enqueue("a", "long", message_expiry=1000)
            never = await client.enqueue("a", "never")
            with pytest.raises(MessageDropped, match="expired") as caught:
                await short.wait()
            assert caught.value.topic == "a"
            assert trio.current_time() == pytest.approx(10, abs=1)
            assert client.statistics().queued == 2
            assert client.statistics().expired == 1
            await trio.sleep(100 - trio.current_time())
            server.accepting = True
            await long.wait()
            await never.wait()
            passed = trio.current_time()
        expiries = {
            packet.payload: packet.properties.message_expiry_interval
            for packet in received(server, Publish)
        }
        assert expiries == {b"long": pytest.approx(1000 - passed, abs=1), b"never": None}
        assert len(seen.of(PublishFailed)) == 1

    async def test_at_qos_0_too(
        self, server: Server, autojump_clock: MockClock, offline: dict[str, Any]
    ) -> None:
        async with open_client(**offline) as client, trio.open_nursery() as nursery:

            async def publish(text: str, expiry: int, *, late: bool) -> None:
                if late:
                    with pytest.raises(MessageDropped):
                        await client.publish("a", text, message_expiry=expiry)
                else:
                    await client.publish("a", text, message_expiry=expiry)

            async def later() -> None:
                await trio.sleep(100)
                server.accepting = True

            nursery.start_soon(later)
            nursery.start_soon(lambda: publish("short", 10, late=True))
            nursery.start_soon(lambda: publish("long", 1000, late=False))
        (packet,) = received(server, Publish)
        assert packet.payload == b"long"
        assert 800 <= (packet.properties.message_expiry_interval or 0) <= 900

    async def test_of_a_publisher_it_is_in_doubt_no_longer(
        self, server: Server, autojump_clock: MockClock, offline: dict[str, Any]
    ) -> None:
        async with open_client(**offline) as client:
            with pytest.raises(MessageDropped):
                async with client.open_publisher() as publisher:
                    await publisher.send("a", message_expiry=5)
            assert trio.current_time() == pytest.approx(5, abs=1)

    @pytest.mark.parametrize("qos", [1, 2])
    async def test_closing_does_not_wait_for_it_any_longer(
        self, autojump_clock: MockClock, offline: dict[str, Any], qos: int
    ) -> None:
        with trio.fail_after(PATIENCE):
            async with open_client(**offline, close_timeout=PATIENCE) as client:
                await client.enqueue("a", qos=qos, message_expiry=5)
                last = await client.enqueue("a", qos=qos, message_expiry=10)
        assert trio.current_time() == pytest.approx(10, abs=1)
        with pytest.raises(MessageDropped):
            await last.wait()

    async def test_it_makes_room_for_others(
        self, server: Server, autojump_clock: MockClock, offline: dict[str, Any]
    ) -> None:
        async with open_client(**offline, session=queue_of("wait", queue=3)) as client:
            for _ in range(3):
                await client.enqueue("a", message_expiry=10)
            await client.enqueue("a", "next")
            assert trio.current_time() == pytest.approx(10, abs=1)
            assert client.statistics().queued == 1
            server.accepting = True

    async def test_also_those_of_an_earlier_block(
        self, server: Server, autojump_clock: MockClock, offline: dict[str, Any]
    ) -> None:
        session = queue_of("wait", queue=3)
        async with open_client(**offline, session=session) as client:
            for _ in range(3):
                await client.enqueue("a", message_expiry=100)
        async with open_client(**offline, session=session) as client:
            assert client.statistics().queued == 3
            with trio.fail_after(PATIENCE):
                await client.enqueue("a", "next")
            assert client.statistics().expired == 3
            server.accepting = True
            await until(lambda: not client.statistics().unfinished)
        assert [packet.payload for packet in received(server, Publish)] == [b"next"]

    async def test_sent_again_it_says_what_remains_and_at_least_1(
        self, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        longest_delays(monkeypatch)

        def left(seconds: int) -> Properties:
            return Properties(message_expiry_interval=seconds)

        peer = ScriptedPeer(
            [*CONNECTED, Expect(Publish, dup=False, properties=left(30)), Pause(9.4), *BROKEN],
            [*RESUMED, Expect(Publish, dup=True, properties=left(20)), Pause(100), *BROKEN],
            # Long expired; but it was sent, so that its exchange must go on.
            [*RESUMED, Expect(Publish, dup=True, properties=left(1)), Send(PubAck(1)), *GOODBYE],
            timeout=PATIENCE,
        )
        async with open_client(connector=peer.connect, keep_alive=0) as client:
            await client.publish("a", qos=1, message_expiry=30)
            assert client.statistics().expired == 0
        peer.assert_done()

    async def test_it_drops_only_before_the_first_transmission(
        self, autojump_clock: MockClock
    ) -> None:
        granted = ConnAck(properties=Properties(receive_maximum=1))
        peer = ScriptedPeer(
            [
                Expect(Connect),
                Send(granted),
                Expect(Publish, payload=b"sent"),
                ExpectSilence(50),
                Send(PubAck(1)),
                *GOODBYE,
            ],
            timeout=PATIENCE,
        )
        async with open_client(connector=peer.connect, keep_alive=0) as client:
            sent = await client.enqueue("a", "sent", message_expiry=10)
            waits = await client.enqueue("a", "waits", message_expiry=10)
            with pytest.raises(MessageDropped):
                await waits.wait()
            await sent.wait()
            assert trio.current_time() >= 50
        peer.assert_done()


class Steps(trio.abc.Instrument):
    """Counts how often any task runs."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


async def test_offline_for_a_week(
    server: Server, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A message in three minutes, of which every third expires after a day, in a bounded queue."""
    caplog.set_level(logging.CRITICAL, "trio_mqtt")  # the log of this test would grow, too
    count = WEEK // 180
    day = 24 * 3600
    room = 600
    counter = Steps()
    attempts = Attempts(server.connect)
    failures = {"expired": 0, "displaced": 0}
    server.accepting = False
    session = Session("c", expiry=WEEK * 2, queue=room, overflow="drop_oldest")
    patient = Reconnect(initial="background", max_delay=600)
    async with (
        open_client(connector=attempts.connect, session=session, reconnect=patient) as client,
        client.events() as events,
        trio.open_nursery() as nursery,
    ):

        async def count_failures() -> None:
            async for event in events:
                if not isinstance(event, PublishFailed):
                    continue
                assert isinstance(event.error, MessageDropped)
                failures["expired" if "expired" in str(event.error) else "displaced"] += 1

        nursery.start_soon(count_failures)
        trio.lowlevel.add_instrument(counter)
        for number in range(count):
            expiry = day if number % 3 == 0 else None
            payload = b"%d" % number + bytes(1000)
            await client.enqueue("a", payload, qos=1 + number % 2, message_expiry=expiry)
            await trio.sleep(180)
            if number == room:
                gc.collect()
                tracemalloc.start()
            assert client.statistics().queued <= room
        gc.collect()
        taken, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        trio.lowlevel.remove_instrument(counter)
        await wait_all_tasks_blocked()
        statistics = client.statistics()
        # Every message is there, or was reported.
        assert failures == {"expired": statistics.expired, "displaced": statistics.displaced}
        assert sum(failures.values()) == count - statistics.queued
        assert failures["expired"] > 300
        assert failures["displaced"] > 300
        server.accepting = True
        await until(lambda: not client.statistics().unfinished)
        nursery.cancel_scope.cancel()
    sent = [int(packet.payload.rstrip(b"\0")) for packet in received(server, Publish)]
    assert len(sent) == statistics.queued
    assert sent == sorted(sent)
    assert min(each for each in sent if each % 3 == 0) > count - day / 180 - 2
    assert taken < room * 3000
    assert peak < room * 15_000  # with what waits for the collector of garbage
    # Neither attempts nor wake-ups without need: one attempt in five minutes.
    assert len(attempts) < WEEK / 250
    assert counter.count < 20 * (count + len(attempts))
