"""Getting a lost connection back: when, how often, and what the log says (contract 19)."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.moments import assert_works, received
from tests.client.outages import (
    BOTH,
    BROKEN,
    CONNECTED,
    GOODBYE,
    RESUMED,
    Attempts,
    longest_delays,
    nth_connection,
    warnings,
)
from trio_mqtt import ConnectFailed, ConnectionLost, Protocol, Reconnect
from trio_mqtt._client._reconnecting import Backoff
from trio_mqtt.packets import Connect, Publish
from trio_mqtt.testing import Close, Expect, ScriptedPeer, Server, open_network

if TYPE_CHECKING:
    from trio.testing import MockClock

open_client = trio_mqtt.open_client


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("protocol", BOTH)
async def test_a_lost_connection_is_made_again(
    server: Server, autojump_clock: MockClock, protocol: Protocol, reset: bool
) -> None:
    async with open_client(connector=server.connect, client_id="c", protocol=protocol) as client:
        for count in range(1, 4):
            server.drop("c", reset=reset)
            await nth_connection(client, count + 1)
        await assert_works(client)


async def test_without_reconnect_the_first_loss_is_the_end(
    server: Server, autojump_clock: MockClock
) -> None:
    with pytest.raises(ConnectionLost):
        async with open_client(connector=server.connect, client_id="c", reconnect=None):
            server.drop("c")
            await trio.sleep_forever()
    assert len(received(server, Connect)) == 1


class TestDelays:
    def test_a_delay_is_any_part_of_the_whole(self) -> None:
        for attempts, longest in [(0, 0.5), (1, 1), (4, 8), (6, 32), (7, 60), (5000, 60)]:
            delays: list[float] = []
            for _ in range(300):
                backoff = Backoff(Reconnect())
                backoff.attempts = attempts
                delays.append(backoff.next_delay())
            assert all(0 <= each <= longest for each in delays)
            assert min(delays) < longest * 0.1
            assert max(delays) > longest * 0.9

    async def test_they_double_up_to_the_longest(
        self, server: Server, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        longest_delays(monkeypatch)
        attempts = Attempts(server.connect)
        reconnect = Reconnect(delay=1, max_delay=10)
        async with open_client(connector=attempts.connect, client_id="c", reconnect=reconnect):
            await trio.sleep(100)
            server.accepting = False
            server.drop("c")
            await trio.sleep(60)
            server.accepting = True
        assert attempts.times[1] == pytest.approx(101)
        assert attempts.delays[1:7] == pytest.approx([2, 4, 8, 10, 10, 10])

    async def test_a_connection_soon_lost_does_not_make_them_short_again(
        self, server: Server, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        longest_delays(monkeypatch)
        attempts = Attempts(server.connect)
        reconnect = Reconnect(delay=1, max_delay=100, stable_after=30)
        async with open_client(
            connector=attempts.connect, client_id="c", reconnect=reconnect
        ) as client:
            for lasts in [1, 1, 1, 29, 31, 1]:
                await client.wait_connected()
                await trio.sleep(lasts)
                server.drop("c")
                await wait_all_tasks_blocked()
            await client.wait_connected()
        pauses = [1, 2, 4, 8, 1, 2]
        lives = [1, 1, 1, 29, 31, 1]
        expected = [life + pause for life, pause in zip(lives, pauses, strict=True)]
        assert attempts.delays == pytest.approx(expected)

    async def test_it_gives_up(
        self, server: Server, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        longest_delays(monkeypatch)
        attempts = Attempts(server.connect)
        reconnect = Reconnect(delay=1, give_up_after=100)
        start = trio.current_time()
        with pytest.raises(ConnectFailed) as caught:
            async with open_client(
                connector=attempts.connect, client_id="c", reconnect=reconnect
            ) as client:
                for _ in range(5):  # each outage is measured for itself
                    await client.wait_connected()
                    await trio.sleep(90)
                    server.drop("c")
                    await wait_all_tasks_blocked()
                await client.wait_connected()
                await trio.sleep(90)
                start = trio.current_time()
                server.accepting = False
                server.drop("c")
                await trio.sleep_forever()
        assert caught.value.__notes__ == ["it was given up after 100 s without a connection"]
        # After 1 + 2 + 4 + 8 + 16 + 32 s; a minute more would be too many.
        assert trio.current_time() - start == pytest.approx(63)

    async def test_it_gives_up_before_the_first_connection(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        server.accepting = False
        with pytest.raises(ConnectFailed, match="accepts no connections"):
            async with open_client(
                connector=server.connect,
                reconnect=Reconnect(initial="retry", give_up_after=300),
            ):
                pytest.fail("it is not connected")
        assert 200 < trio.current_time() <= 300 + 1


class Steps(trio.abc.Instrument):
    """Counts how often any task runs."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


async def hang_up(server: Server) -> None:
    def connected() -> bool:
        return "c" in server.sessions and server.sessions["c"].connected

    while True:
        await server.wait_until(connected)
        server.drop("c")
        await server.wait_until(lambda: not connected())


@pytest.mark.parametrize("kind", ["refused", "hangs up", "accepts and hangs up", "not authorized"])
async def test_no_busy_loop_while_a_server_is_of_no_use(
    server: Server, autojump_clock: MockClock, kind: str
) -> None:
    async def no_credentials() -> tuple[str | None, str | None]:
        return "user", "old"

    hours = 6
    peer = ScriptedPeer(*([Expect(Connect), Close()] for _ in range(10_000)))
    attempts = Attempts(peer.connect if kind == "hangs up" else server.connect)
    if kind == "not authorized":
        server.authenticate = lambda _connect: trio_mqtt.ReasonCode.NOT_AUTHORIZED
    server.accepting = kind != "refused"
    counter = Steps()
    async with (
        trio.open_nursery() as nursery,
        open_client(
            connector=attempts.connect,
            client_id="c",
            protocol=trio_mqtt.MQTT_5,
            credentials=no_credentials,
            reconnect=Reconnect(initial="background"),
        ),
    ):
        trio.lowlevel.add_instrument(counter)
        if kind == "accepts and hangs up":
            nursery.start_soon(hang_up, server)
        await trio.sleep(hours * 3600)
        trio.lowlevel.remove_instrument(counter)
        nursery.cancel_scope.cancel()
    # Half a minute between two attempts, on average.
    assert hours * 3600 / 60 < len(attempts) < hours * 3600 / 25
    assert counter.count < 100 * len(attempts)


class TestLog:
    async def test_an_outage_is_one_warning(
        self, server: Server, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "trio_mqtt")
        async with open_client(connector=server.connect, client_id="c") as client:
            for outage in range(1, 4):
                await trio.sleep(100)
                server.accepting = False
                server.drop("c")
                await trio.sleep(200)
                server.accepting = True
                await client.wait_connected()
                assert len(warnings(caplog)) == outage
        assert all("the client tries to connect again" in each for each in warnings(caplog))
        retries = [each.getMessage() for each in caplog.records if "next attempt" in each.message]
        assert len(retries) > 3 * 5

    async def test_short_lives_are_one_more_warning(
        self, server: Server, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with open_client(connector=server.connect, client_id="c") as client:
            for count in range(1, 11):
                server.drop("c")
                await nth_connection(client, count + 1)
        fights = [each for each in warnings(caplog) if "another client uses" in each]
        assert len(fights) == 1
        assert "'c'" in fights[0]

    @pytest.mark.parametrize("initial", ["retry", "background"])
    async def test_a_server_that_was_never_there_is_one_warning(
        self,
        server: Server,
        autojump_clock: MockClock,
        caplog: pytest.LogCaptureFixture,
        initial: Any,
    ) -> None:
        server.accepting = False
        with trio.move_on_after(1000):
            async with open_client(connector=server.connect, reconnect=Reconnect(initial=initial)):
                await trio.sleep_forever()
        assert len(warnings(caplog)) == 1
        assert "accepts no connections" in warnings(caplog)[0]

    async def test_no_payload_and_no_password_is_logged(
        self, server: Server, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        async with (
            open_network(server.connect) as network,
            open_client(
                "mqtt://user:secret@broker.example",
                connector=network.connect,
                reconnect=Reconnect(max_delay=1),
            ) as client,
        ):
            with network.outage():
                delivery = await client.enqueue("a", "hidden", qos=1)
                await trio.sleep(10)
            await delivery.wait()
        assert "broker.example" in caplog.text
        assert "secret" not in caplog.text
        assert "hidden" not in caplog.text


class TestFirstConnection:
    async def test_it_fails_at_once(self, server: Server, autojump_clock: MockClock) -> None:
        server.accepting = False
        attempts = Attempts(server.connect)
        with pytest.raises(ConnectFailed, match="accepts no connections"):
            async with open_client(connector=attempts.connect):
                pytest.fail("it is not connected")
        assert attempts.times == [0]

    async def test_it_is_tried_again_if_that_is_wanted(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        server.accepting = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_later, server)
            async with open_client(
                connector=server.connect, reconnect=Reconnect(initial="retry")
            ) as client:
                assert trio.current_time() >= 100
                await assert_works(client)

    async def test_in_the_background_the_block_begins_offline(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        server.accepting = False
        entered: list[float] = []

        async def subscribe() -> None:
            async with client.subscribe("a", qos=1):
                entered.append(trio.current_time())

        async with open_client(
            connector=server.connect, reconnect=Reconnect(initial="background")
        ) as client:
            assert trio.current_time() == 0
            assert not client.statistics().connected
            with trio.move_on_after(10) as scope:  # QoS 0 is not queued, and can be cancelled
                await client.publish("a", "gone")
            assert scope.cancelled_caught
            with pytest.raises(trio.WouldBlock):
                client.publish_nowait("a", qos=0)
            delivery = await client.enqueue("a", "queued", qos=1)
            assert client.statistics().queued == 1
            async with trio.open_nursery() as nursery:
                nursery.start_soon(subscribe)
                nursery.start_soon(client.publish, "a", "waits")
                nursery.start_soon(accept_later, server)
                with trio.move_on_after(10) as scope:
                    await client.wait_connected()
                assert scope.cancelled_caught
                assert entered == []
                assert (await client.wait_connected()).protocol is trio_mqtt.MQTT_5
            await delivery.wait()
            assert entered[0] >= 100
        payloads = [packet.payload for packet in received(server, Publish)]
        assert sorted(payloads) == [b"queued", b"waits"]

    async def test_in_the_background_too_it_can_fail_for_good(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        server.authenticate = lambda _connect: trio_mqtt.ReasonCode.BANNED
        with pytest.raises(trio_mqtt.ConnectRejected):
            async with open_client(
                connector=server.connect, reconnect=Reconnect(initial="background")
            ) as client:
                await client.wait_connected()


async def accept_later(server: Server) -> None:
    await trio.sleep(100)
    server.accepting = True


async def test_a_publish_just_takes_longer_and_a_subscription_goes_on(
    server: Server, autojump_clock: MockClock
) -> None:
    async with (
        open_network(server.connect) as network,
        open_client(connector=network.connect) as client,
        client.subscribe("a", qos=2) as messages,
        trio.open_nursery() as nursery,
    ):
        for number in range(5):
            with network.outage():
                nursery.start_soon(partial(client.publish, "a", str(number), qos=2))
                await trio.sleep(100)
            message = await messages.receive()
            message.ack()
            assert message.text() == str(number)
        assert messages.granted == {"a": 2}


async def test_the_new_connection_has_the_will_and_the_keep_alive_of_the_old_one(
    autojump_clock: MockClock,
) -> None:
    first = Expect(Connect, clean_start=True, client_id="c", keep_alive=17)
    second = Expect(Connect, lambda packet: packet.will is not None, client_id="c", keep_alive=17)
    peer = ScriptedPeer([first, *CONNECTED[1:], *BROKEN], [second, *RESUMED[1:], *GOODBYE])
    async with open_client(
        connector=peer.connect, client_id="c", keep_alive=17, will=trio_mqtt.Will(topic="w")
    ) as client:
        await nth_connection(client, 2)
    peer.assert_done()
