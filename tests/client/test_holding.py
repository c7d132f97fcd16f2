"""Messages held for long, and servers that send more than they may."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.support import open_once
from trio_mqtt import ReasonCode
from trio_mqtt.packets import ConnAck, Connect, Disconnect, PubAck, Publish, SubAck, Subscribe
from trio_mqtt.testing import Expect, ExpectEnd, Reply, ScriptedPeer, Send, WaitFor, open_server

if TYPE_CHECKING:
    from trio.testing import MockClock

SUBSCRIBED = [
    Expect(Connect),
    Send(ConnAck()),
    Expect(Subscribe),
    Reply(Subscribe, lambda packet: SubAck(packet.packet_id, (ReasonCode.GRANTED_QOS_1,))),
]


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_holder_of_the_oldest_is_named_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, qos: int
) -> None:
    async with (
        open_server() as server,
        open_once(connector=server.connect) as client,
        client.subscribe("slow/+", qos=2) as slow,
        client.subscribe("quick", qos=2) as quick,
    ):
        server.publish("slow/1", "x", qos=qos)
        held = await slow.receive()
        server.publish("quick", "x", qos=qos)
        (await quick.receive()).ack()
        await trio.sleep(29)
        assert caplog.text == ""
        await trio.sleep(100)
        assert caplog.text.count("has been unsettled") == 1
        assert f"a QoS {qos} message to 'slow/1'" in caplog.text
        assert "held by subscription to 'slow/+'" in caplog.text
        held.ack()
        await trio.sleep(100)
        server.publish("slow/2", "x", qos=qos)
        (await slow.receive()).ack()
        await trio.sleep(100)
        assert caplog.text.count("has been unsettled") == 1


async def test_several_holders_and_none(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        open_server() as server,
        open_once(connector=server.connect, unclaimed_timeout=500) as client,
    ):
        async with client.subscribe("a", qos=1) as one, client.subscribe("+", qos=1) as other:
            server.publish("a", "x", qos=1)
            first, second = await one.receive(), await other.receive()
            await trio.sleep(100)
            assert "held by subscription to '+', subscription to 'a';" in caplog.text
            first.ack()
            second.ack()
            server.publish("a", "y", qos=1)
            (await one.receive()).ack()
            await trio.sleep(100)
            assert "held by subscription to '+';" in caplog.text
            (await other.receive()).ack()
        async with client.subscribe("a", qos=1) as one:
            server.publish("a", "x", qos=1)
            await one.receive()
        await trio.sleep(100)
        assert "held by nobody" in caplog.text


async def test_who_has_claimed_it_is_named(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        open_server() as server,
        trio_mqtt.open_client(connector=server.connect) as client,
    ):
        async with client.subscribe("a", qos=1) as first:
            server.publish("a", "x", qos=1)
            await first.receive()
        async with client.subscribe("+", qos=1) as second:
            await second.receive()
            await trio.sleep(100)
            assert "held by subscription to '+';" in caplog.text


async def test_a_slight_overrun_is_absorbed_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = trio.Event()
    publishes = [Send(Publish("a", str(n).encode(), 1, packet_id=n)) for n in range(1, 9)]
    acknowledged = [Expect(PubAck(n)) for n in range(1, 9)]
    peer = ScriptedPeer(
        [*SUBSCRIBED, *publishes, *acknowledged, WaitFor(done), Expect(Disconnect), ExpectEnd()]
    )
    async with open_once(connector=peer.connect, receive_maximum=5) as client:
        async with client.subscribe("a", qos=1, keep=True) as messages:
            await wait_all_tasks_blocked()
            assert client.statistics().receive_maximum_exceeded == 3
            for number in range(1, 9):
                message = await messages.receive()
                assert message.text() == str(number)
                message.ack()
        done.set()
    peer.assert_done()
    assert caplog.text.count("exceeds our receive_maximum of 5") == 1


async def test_too_many_messages_end_the_connection_with_nothing_acknowledged() -> None:
    payload = bytes(4 * 1024 * 1024)
    publishes = [Send(Publish("a", payload, 1, packet_id=n)) for n in range(1, 12)]
    end = Expect(Disconnect, reason_code=ReasonCode.RECEIVE_MAXIMUM_EXCEEDED)
    peer = ScriptedPeer([*SUBSCRIBED, *publishes, end])
    with pytest.raises(trio_mqtt.RemoteProtocolError, match="Receive Maximum is 5") as caught:
        async with (
            open_once(connector=peer.connect, receive_maximum=5) as client,
            client.subscribe("a", qos=1, keep=True),
        ):
            await trio.sleep_forever()
    assert caught.value.reason_code is ReasonCode.RECEIVE_MAXIMUM_EXCEEDED
    assert not [packet for packet in peer.received if isinstance(packet, PubAck)]


async def test_what_is_in_doubt_is_told_when_a_publisher_fails() -> None:
    cut = trio.Event()
    peer = ScriptedPeer(
        [
            Expect(Connect),
            Send(ConnAck()),
            Expect(Publish),
            Reply(Publish, lambda packet: PubAck(packet.packet_id)),
            Expect(Publish),
            Expect(Publish),
            WaitFor(cut),
            Send(Disconnect(ReasonCode.SERVER_SHUTTING_DOWN)),
        ]
    )
    notes: list[str] = []

    async def publish(client: trio_mqtt.Client) -> None:
        with pytest.raises(trio_mqtt.ConnectionLost) as caught:
            async with client.open_publisher() as publisher:
                for _ in range(3):
                    await publisher.send("a")
        assert publisher.in_doubt == 2
        notes.extend(caught.value.__notes__)

    async with trio.open_nursery() as outer:
        with pytest.raises(trio_mqtt.ConnectionLost):
            async with open_once(connector=peer.connect) as client:
                outer.start_soon(publish, client)
                await wait_all_tasks_blocked()
                cut.set()
                await trio.sleep_forever()
    assert notes == ["2 of 3 messages are in doubt: the server may have them"]
