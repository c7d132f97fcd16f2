"""PINGREQ, and noticing that nothing comes back (contract 21)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

import trio_mqtt
from tests.client.support import open_once
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    Properties,
    PubAck,
    Publish,
    SubAck,
)
from trio_mqtt.testing import (
    After,
    Expect,
    ExpectEnd,
    ExpectSilence,
    Faults,
    Reset,
    ScriptedPeer,
    Send,
    Step,
    open_network,
    open_server,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

ACCEPT = [Expect(Connect), Send(ConnAck())]
GOODBYE = [Expect(Disconnect), ExpectEnd()]


async def test_pingreq_goes_out_in_time_and_again(autojump_clock: MockClock) -> None:
    in_time = [ExpectSilence(8.9), Expect(PingReq), Send(PingResp())]
    peer = ScriptedPeer([*ACCEPT, *in_time * 5, *GOODBYE])
    start = trio.current_time()
    async with open_once(connector=peer.connect, keep_alive=10):
        await trio.sleep(46)
    assert trio.current_time() - start == 46
    peer.assert_done()


async def test_no_pingreq_while_something_is_sent_and_answered(autojump_clock: MockClock) -> None:
    async with (
        open_server() as server,
        open_once(connector=server.connect, keep_alive=10) as client,
    ):
        for _ in range(20):
            await trio.sleep(5)
            await client.publish("a", qos=1)
        assert not [entry for entry in server.log if isinstance(entry.packet, PingReq)]


@pytest.mark.parametrize("qos", [0, 1])
async def test_who_publishes_to_a_dead_connection_notices(
    qos: int, autojump_clock: MockClock
) -> None:
    async with open_server() as server:
        with pytest.raises(trio_mqtt.ConnectionLost, match="PINGREQ"):
            async with open_once(connector=server.connect, client_id="c", keep_alive=10) as client:
                server.pause_reading("c")
                start = trio.current_time()
                while trio.current_time() < start + 60:
                    await client.enqueue("a", qos=qos)
                    await trio.sleep(1)
        assert trio.current_time() - start == pytest.approx(19, abs=1)  # 9 until PINGREQ, and 10


async def test_keep_alive_0_sends_none(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer([*ACCEPT, ExpectSilence(50_000), *GOODBYE])
    async with open_once(connector=peer.connect, keep_alive=0):
        await trio.sleep(50_001)
    peer.assert_done()


async def test_the_server_s_keep_alive_replaces_ours(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer(
        [
            Expect(Connect, keep_alive=60),
            Send(ConnAck(properties=Properties(server_keep_alive=20))),
            ExpectSilence(17.9),
            Expect(PingReq),
            Send(PingResp()),
            *GOODBYE,
        ]
    )
    async with open_once(connector=peer.connect, keep_alive=60) as client:
        assert client.server.keep_alive == 20
        await trio.sleep(19)
    peer.assert_done()


async def test_no_answer_to_pingreq_is_a_loss(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer([*ACCEPT, Expect(PingReq), ExpectEnd()], timeout=1000)
    start = trio.current_time()
    with pytest.raises(trio_mqtt.ConnectionLost, match="has sent nothing for 7 s"):
        async with open_once(connector=peer.connect, keep_alive=10, ping_timeout=7):
            await trio.sleep_forever()
    assert trio.current_time() - start == pytest.approx(9 + 7)


async def test_pings_go_on_while_an_answer_is_awaited(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer([*ACCEPT, *[Expect(PingReq)] * 4, ExpectEnd()], timeout=1000)
    start = trio.current_time()
    with pytest.raises(trio_mqtt.ConnectionLost):
        async with open_once(connector=peer.connect, keep_alive=10, ping_timeout=30):
            await trio.sleep_forever()
    assert trio.current_time() - start == pytest.approx(9 + 30)


async def test_any_byte_is_a_sign_of_life(autojump_clock: MockClock) -> None:
    # The Server publishes and never answers PINGREQ.
    beat = Send(Publish("a"))
    peer = ScriptedPeer(
        [*ACCEPT, *([Expect(PingReq), beat] * 10), Expect(PingReq), ExpectEnd()], timeout=1000
    )
    start = trio.current_time()
    with pytest.raises(trio_mqtt.ConnectionLost):
        async with open_once(connector=peer.connect, keep_alive=10, ping_timeout=7):
            await trio.sleep_forever()
    assert trio.current_time() - start == pytest.approx(11 * 9 + 7)


async def test_a_server_that_stops_reading_is_noticed(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        start = trio.current_time()
        with pytest.raises(trio_mqtt.ConnectionLost, match="has sent nothing"):
            async with open_once(
                connector=lambda: server.connect(capacity=100), keep_alive=10, ping_timeout=5
            ) as client:
                server.pause_reading(client.server.client_id)
                await client.publish("a", b"x" * 10_000)
                await trio.sleep_forever()
    assert trio.current_time() - start == pytest.approx(9 + 5)


class TestConnectingAgain:
    @pytest.mark.parametrize("what", ["publish", "subscribe", "unsubscribe"])
    async def test_an_overdue_acknowledgement_is_a_loss_and_then_it_comes(
        self, autojump_clock: MockClock, what: str
    ) -> None:
        async with open_server() as server:
            silent = Faults(stall_to_client=After(ConnAck))
            faults = [Faults(stall_to_client=After(SubAck))] if what == "unsubscribe" else [silent]
            async with (
                open_network(server.connect, faults) as network,
                trio_mqtt.open_client(
                    connector=network.connect, keep_alive=0, ack_timeout=20
                ) as client,
            ):
                if what == "publish":
                    await client.publish("a", qos=2)
                else:
                    async with client.subscribe("a", qos=1):
                        pass
                await client.wait_connected()  # leaving a block does not wait for that
                assert client.statistics().connections == 2
                assert 20 <= trio.current_time() <= 27

    async def test_without_ack_timeout_pings_that_are_answered_are_enough(
        self, autojump_clock: MockClock
    ) -> None:
        async with (
            open_server() as server,
            trio_mqtt.open_client(connector=server.connect, keep_alive=10) as client,
        ):
            with server.holding(PubAck), trio.move_on_after(1000):
                await client.publish("a", qos=1)
            assert client.statistics().connections == 1

    async def test_a_half_open_connection_is_replaced(self, autojump_clock: MockClock) -> None:
        silent = Faults(stall_to_client=After(ConnAck), stall_to_server=After(Connect))
        async with (
            open_server() as server,
            open_network(server.connect, [silent]) as network,
            trio_mqtt.open_client(connector=network.connect, keep_alive=10) as client,
        ):
            await client.publish("a", qos=1)
            assert client.statistics().connections == 2
            assert trio.current_time() == pytest.approx(9 + 10, abs=1)

    async def test_each_connection_has_its_server_keep_alive(
        self, autojump_clock: MockClock
    ) -> None:
        def accept(keep_alive: int | None, *, again: bool) -> list[Step]:
            properties = Properties(server_keep_alive=keep_alive)
            return [
                Expect(Connect, keep_alive=60),
                Send(ConnAck(session_present=again, properties=properties)),
            ]

        peer = ScriptedPeer(
            # At the last tick of a common clock before 18, 90 and 54 s have passed.
            [*accept(20, again=False), ExpectSilence(17.7), Expect(PingReq), Reset()],
            [*accept(100, again=True), ExpectSilence(88.9), Expect(PingReq), Reset()],
            [
                *accept(None, again=True),
                ExpectSilence(53.4),
                Expect(PingReq),
                Send(PingResp()),
                *GOODBYE,
            ],
            timeout=200,
        )
        async with trio_mqtt.open_client(connector=peer.connect, keep_alive=60):
            await trio.sleep(18 + 90 + 54 + 2)
        peer.assert_done()

    async def test_the_timeouts_stand_still_while_the_reader_pauses(
        self, autojump_clock: MockClock
    ) -> None:
        async with (
            open_server() as server,
            trio_mqtt.open_client(
                connector=server.connect, keep_alive=4, ping_timeout=3, ack_timeout=5
            ) as client,
            client.subscribe("a", buffer=1) as messages,
        ):
            for _ in range(5):
                server.publish("a")
            await trio.sleep(1)
            delivery = await client.enqueue("b", qos=1)
            await trio.sleep(8.5)  # the reader pauses for 10 s, and PUBACK stands behind that
            assert client.statistics().reading_paused > 9
            assert client.statistics().unfinished == 1
            assert client.statistics().connections == 1
            await messages.receive()
            await delivery.wait()
            assert client.statistics().connections == 1
