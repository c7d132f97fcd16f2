"""Topic Aliases of the client: used where the server allows them, and never in its way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
import trio

import trio_mqtt
from tests.client.moments import PATIENCE
from tests.client.outages import BROKEN, GOODBYE, longest_delays
from trio_mqtt import PacketTooLarge
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Properties,
    PubAck,
    Publish,
)
from trio_mqtt.testing import Expect, Reply, ScriptedPeer, Send, Server, ServerLimits, Step

if TYPE_CHECKING:
    from trio.testing import MockClock

    from tests.servers import RealServer

open_client = trio_mqtt.open_client
TOPIC: Final = "building/3/temperature"


def connected(maximum: int | None, *, maximum_packet_size: int | None = None) -> list[Step]:
    properties = Properties(topic_alias_maximum=maximum, maximum_packet_size=maximum_packet_size)
    return [Expect(Connect), Send(ConnAck(properties=properties))]


def published(peer: ScriptedPeer) -> list[tuple[str, int | None, bool]]:
    return [
        (packet.topic, packet.properties.topic_alias, packet.dup)
        for packet in peer.received
        if isinstance(packet, Publish)
    ]


async def publish_four(peer: ScriptedPeer, *, use_topic_aliases: bool = True) -> None:
    async with open_client(connector=peer.connect, use_topic_aliases=use_topic_aliases) as client:
        for number in range(4):
            await client.publish(TOPIC, str(number))
    peer.assert_done()


async def test_a_topic_that_comes_again_is_sent_as_a_number() -> None:
    peer = ScriptedPeer([*connected(10), *[Expect(Publish)] * 4, *GOODBYE], timeout=PATIENCE)
    await publish_four(peer)
    assert published(peer) == [
        (TOPIC, None, False),
        (TOPIC, 1, False),
        ("", 1, False),
        ("", 1, False),
    ]


@pytest.mark.parametrize(("maximum", "use"), [(None, True), (10, False)])
async def test_no_alias_without_the_servers_leave_or_our_wish(
    maximum: int | None, *, use: bool
) -> None:
    peer = ScriptedPeer([*connected(maximum), *[Expect(Publish)] * 4, *GOODBYE], timeout=PATIENCE)
    await publish_four(peer, use_topic_aliases=use)
    assert published(peer) == [(TOPIC, None, False)] * 4


async def test_aliases_end_with_their_connection(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest_delays(monkeypatch)
    answer = Reply(Publish, lambda publish: PubAck(publish.packet_id))
    resumed = [
        Expect(Connect),
        Send(ConnAck(session_present=True, properties=Properties(topic_alias_maximum=1))),
    ]
    peer = ScriptedPeer(
        [*connected(1), *[Expect(Publish)] * 3, *BROKEN],
        [*resumed, *[Expect(Publish), answer] * 3, *[Expect(Publish)] * 3, *GOODBYE],
        timeout=PATIENCE,
    )
    async with open_client(connector=peer.connect) as client:
        deliveries = [await client.enqueue(TOPIC, str(number)) for number in range(3)]
        for delivery in deliveries:
            await delivery.wait()
        for number in range(3):
            await client.publish(TOPIC, str(number))
    peer.assert_done()
    first, again, fresh = [published(peer)[start : start + 3] for start in (0, 3, 6)]
    assert first == [(TOPIC, None, False), (TOPIC, 1, False), ("", 1, False)]
    assert again == [(TOPIC, None, True)] * 3
    assert fresh == first


async def test_the_size_is_checked_with_the_full_topic() -> None:
    whole = 2 + 2 + len(TOPIC) + 1 + 20
    peer = ScriptedPeer(
        [*connected(10, maximum_packet_size=whole), *[Expect(Publish)] * 4, *GOODBYE],
        timeout=PATIENCE,
    )
    async with open_client(connector=peer.connect) as client:
        for size in (10, 10, 10, 20):
            await client.publish(TOPIC, bytes(size))
        with pytest.raises(PacketTooLarge):  # with the alias it would fit
            await client.publish(TOPIC, bytes(21))
    peer.assert_done()
    assert [alias for _, alias, _ in published(peer)] == [None, 1, 1, 1]


async def test_what_aliases_save_is_in_the_statistics(server: Server) -> None:
    server.limits = ServerLimits(topic_alias_maximum=1)
    async with open_client(connector=server.connect) as client:
        for _ in range(2):
            await client.publish(TOPIC)
        assert client.statistics().topic_alias_savings == -3
        await client.publish(TOPIC)
        assert client.statistics().topic_alias_savings == len(TOPIC) - 6
    async with open_client(connector=server.connect, use_topic_aliases=False) as client:
        assert client.statistics().topic_alias_savings == 0


async def assert_all_arrive(url: str | None, server: Server | None) -> None:
    """Many topics, at each QoS, with publishers that are cancelled in between."""
    topics = [f"{TOPIC}/{number}" for number in range(13)]
    expected: list[tuple[str, str]] = []
    connector = None if server is None else server.connect
    async with (
        open_client(url or "mqtt://localhost", connector=connector) as client,
        client.subscribe(f"{TOPIC}/#", qos=2) as messages,
    ):
        for number in range(200):
            topic = topics[number * number % 13]
            expected.append((topic, str(number)))
            with trio.CancelScope() as scope:
                if number % 3 == 2:
                    scope.cancel()
                    await client.enqueue(topic, "never")
                delivery = await client.enqueue(topic, str(number), qos=number % 3)
                await delivery.wait()
            if scope.cancelled_caught:
                await client.publish(topic, str(number), qos=1)
        seen: list[tuple[str, str]] = []
        async for message in messages:
            seen.append((message.topic, message.text()))
            if len(seen) == len(expected):
                break
        assert sorted(seen) == sorted(expected)
        assert client.statistics().topic_alias_savings > 0


async def test_all_messages_have_their_topics(server: Server) -> None:
    with trio.fail_after(PATIENCE):
        await assert_all_arrive(None, server)


async def test_all_messages_have_their_topics_with_mosquitto(mosquitto: RealServer) -> None:
    with trio.fail_after(PATIENCE):
        await assert_all_arrive(mosquitto.url, None)
