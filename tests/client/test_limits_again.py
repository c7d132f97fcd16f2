"""What a server granted once and does not grant any more (contract 15)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.moments import PATIENCE, assert_works, received
from tests.client.outages import (
    BROKEN,
    CONNECTED,
    GOODBYE,
    longest_delays,
    lose_session,
    lost,
    nth_connection,
    until,
    watching,
)
from trio_mqtt import (
    MQTT_3_1_1,
    FeatureNotSupported,
    MQTTError,
    PacketTooLarge,
    Reconnect,
    Session,
)
from trio_mqtt.events import PublishFailed, SubscriptionLost
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
)
from trio_mqtt.testing import (
    Expect,
    ExpectSilence,
    ScriptedPeer,
    Send,
    Server,
    ServerLimits,
    Step,
    open_server,
)

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

open_client = trio_mqtt.open_client
QUIET: Final = ExpectSilence(1)
LESS: Final[list[tuple[dict[str, Any], dict[str, Any], type[MQTTError]]]] = [
    ({"maximum_qos": 0}, {"qos": 1}, FeatureNotSupported),
    ({"maximum_qos": 1}, {"qos": 2}, FeatureNotSupported),
    ({"retain_available": 0}, {"qos": 1, "retain": True}, FeatureNotSupported),
    ({"maximum_packet_size": 100}, {"qos": 1, "payload": bytes(100)}, PacketTooLarge),
    ({"maximum_packet_size": 100}, {"qos": 2, "payload": bytes(100)}, PacketTooLarge),
]
less = pytest.mark.parametrize(("limits", "message", "error"), LESS)


@pytest.fixture(autouse=True)
def half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is how long it takes to connect again, so that tests can do something meanwhile."""
    longest_delays(monkeypatch)


def resumed(**limits: Any) -> list[Step]:
    properties = Properties(**limits)
    return [
        Expect(Connect, clean_start=False),
        Send(ConnAck(session_present=True, properties=properties)),
    ]


@less
async def test_a_message_on_the_wire_is_given_up_and_keeps_its_identifier(
    autojump_clock: MockClock,
    limits: dict[str, Any],
    message: dict[str, Any],
    error: type[MQTTError],
) -> None:
    small = Publish("b", qos=0)
    peer = ScriptedPeer(
        [*CONNECTED, Expect(Publish, packet_id=1), *BROKEN],
        [*resumed(**limits), QUIET, Expect(small), *GOODBYE],
        timeout=PATIENCE,
    )
    async with open_client(connector=peer.connect) as client, watching(client) as seen:
        with pytest.raises(error) as caught:
            await client.publish("a", **message)
        assert client.statistics().unfinished == 0
        assert client.statistics().unfinished_bytes == 0
        await trio.sleep(2)
        await client.publish("b")
        assert list(client._supervisor.state.identifiers.in_use) == [1]
        await wait_all_tasks_blocked()
    failed = [event for event in seen.events if isinstance(event, PublishFailed)]
    assert [(each.message.topic, type(each.error)) for each in failed] == [("a", error)]
    assert type(caught.value) is error
    peer.assert_done()


@less
async def test_a_message_that_waits_is_given_up_and_never_sent(
    server: Server,
    autojump_clock: MockClock,
    limits: dict[str, Any],
    message: dict[str, Any],
    error: type[MQTTError],
) -> None:
    async with (
        open_client(connector=server.connect, client_id="c") as client,
        watching(client) as seen,
    ):
        server.drop("c")
        await lost(client)
        delivery = await client.enqueue("a", **message)
        server.limits = ServerLimits(**limits)
        with pytest.raises(error):
            await delivery.wait()
        await trio.sleep(10)
        with pytest.raises(error):  # now at admission
            await client.publish("a", **message)
        assert client.statistics().unfinished_bytes == 0
    assert [type(event.error) for event in seen.events if isinstance(event, PublishFailed)] == [
        error
    ]
    assert received(server, Publish) == []


async def test_the_others_are_not_held_up(server: Server, autojump_clock: MockClock) -> None:
    async with open_client(connector=server.connect, client_id="c") as client:
        server.drop("c")
        await lost(client)
        deliveries = [
            await client.enqueue("a", bytes(size), qos=qos)
            for size in (10, 1000, 20)
            for qos in (1, 2)
        ]
        server.limits = ServerLimits(maximum_packet_size=100)
        for number, delivery in enumerate(deliveries):
            if number in (2, 3):
                with pytest.raises(PacketTooLarge):
                    await delivery.wait()
            else:
                await delivery.wait()
    assert [len(packet.payload) for packet in received(server, Publish)] == [10, 10, 20, 20]


async def test_what_the_server_has_already_needs_no_room(autojump_clock: MockClock) -> None:
    """After PUBREC only PUBREL is left to send: the message was not lost, and is not told so."""
    peer = ScriptedPeer(
        [*CONNECTED, Expect(Publish), Send(PubRec(1)), Expect(PubRel(1)), *BROKEN],
        [*resumed(maximum_packet_size=50), Expect(PubRel(1)), Send(PubComp(1)), *GOODBYE],
    )
    async with open_client(connector=peer.connect) as client, watching(client) as seen:
        await client.publish("a", bytes(100), qos=2)
        assert client.statistics().unfinished == 0
    assert seen.of(PublishFailed) == []
    peer.assert_done()


async def test_what_was_given_up_leaves_its_room_to_others(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer(
        [*CONNECTED, Expect(Publish, packet_id=1), *BROKEN],
        [*resumed(maximum_packet_size=100), Expect(Publish), Send(PubAck(2)), *GOODBYE],
        timeout=PATIENCE,
    )
    session = Session("c", expiry=1000, queue_bytes=1000)
    async with open_client(connector=peer.connect, session=session) as client:
        with pytest.raises(PacketTooLarge):
            await client.publish("a", bytes(1000), qos=1)
        with trio.fail_after(PATIENCE):
            await client.publish("b", qos=1)
    peer.assert_done()


async def test_what_was_given_up_stays_so_when_the_session_is_opened_again(
    autojump_clock: MockClock,
) -> None:
    peer = ScriptedPeer(
        [*CONNECTED, Expect(Publish, packet_id=1), *BROKEN],
        [*resumed(maximum_packet_size=100), *GOODBYE],
        [*resumed(), QUIET, Expect(Publish, packet_id=2), Send(PubAck(2)), *GOODBYE],
        timeout=PATIENCE,
    )
    session = Session("c", expiry=1000)
    async with open_client(connector=peer.connect, session=session) as client:
        with pytest.raises(PacketTooLarge):
            await client.publish("a", bytes(1000), qos=1)
    async with open_client(connector=peer.connect, session=session) as client:
        assert client.statistics().unfinished == 0
        await trio.sleep(2)
        await client.publish("b", qos=1)
        assert client.statistics().unfinished == 0
        assert client.statistics().unfinished_bytes == 0
    peer.assert_done()


async def test_what_was_given_up_stays_so_in_the_next_run(
    tmp_path: Path,
) -> None:
    peer = ScriptedPeer(
        [*CONNECTED, Expect(Publish, packet_id=1), *BROKEN],
        [*resumed(maximum_packet_size=100), *GOODBYE],
        [*resumed(), Expect(Publish, packet_id=2), Send(PubAck(2)), *GOODBYE],
        timeout=PATIENCE,
    )

    def session() -> Session:
        return Session("c", expiry=1000, storage=trio_mqtt.SQLiteStorage(tmp_path / "session.db"))

    soon = Reconnect(delay=0.01)
    async with open_client(connector=peer.connect, session=session(), reconnect=soon) as client:
        with pytest.raises(PacketTooLarge):
            await client.publish("a", bytes(1000), qos=1)
    async with open_client(connector=peer.connect, session=session()) as client:
        assert client.statistics().unfinished == 0
        assert client.statistics().unfinished_bytes == 0
        await client.publish("b", qos=1)
        assert client.statistics().unfinished == 0
    peer.assert_done()


async def test_properties_queued_before_a_server_of_3_1_1_was_found(
    autojump_clock: MockClock,
) -> None:
    async with open_server(limits=ServerLimits(protocols=[MQTT_3_1_1])) as server:
        server.accepting = False
        async with (
            open_client(
                connector=server.connect, reconnect=Reconnect(initial="background")
            ) as client,
            watching(client) as seen,
        ):
            await wait_all_tasks_blocked()
            plain = await client.enqueue("a", b"plain", qos=1)
            text = await client.enqueue("a", "text", qos=2)
            rich = [
                await client.enqueue("a", qos=1, message_expiry=10_000),
                await client.enqueue("a", qos=1, user_properties=[("a", "b")]),
                await client.enqueue("a", "text", qos=1, content_type="text/plain"),
            ]
            server.accepting = True
            await plain.wait()
            await text.wait()
            for delivery in rich:
                with pytest.raises(FeatureNotSupported, match=r"MQTT 3\.1\.1"):
                    await delivery.wait()
            assert len(seen.of(PublishFailed)) == 3
            assert client.server.protocol is MQTT_3_1_1
            await assert_works(client)
    assert {packet.payload for packet in received(server, Publish)} >= {b"plain", b"text"}


async def test_messages_made_for_3_1_1_can_be_sent_with_5(
    server: Server, autojump_clock: MockClock
) -> None:
    session = Session("c", expiry=1000)
    async with open_client(
        connector=server.connect, session=session, protocol=MQTT_3_1_1
    ) as client:
        server.accepting = False
        server.drop("c")
        await lost(client)
        await client.enqueue("a", "first", qos=1)
        await client.enqueue("a", "second", qos=2)
    server.accepting = True
    async with (
        open_client(connector=server.connect) as watcher,
        watcher.subscribe("a", qos=2) as messages,
        open_client(connector=server.connect, session=session, protocol=trio_mqtt.MQTT_5) as client,
    ):
        assert (await messages.receive()).text() == "first"
        assert (await messages.receive()).text() == "second"
        await until(lambda: not client.statistics().unfinished)
        assert client.statistics().connections == 1


NO_MORE: Final = pytest.mark.parametrize(
    ("topic_filter", "limits", "words"),
    [
        ("a/" + "x" * 200, {"maximum_packet_size": 100}, "Maximum Packet Size"),
        ("a/#", {"wildcard_subscription_available": False}, "no wildcards"),
        ("$share/g/a", {"shared_subscription_available": False}, "no shared subscriptions"),
    ],
)


@NO_MORE
async def test_a_subscription_that_needs_what_is_not_there_any_more_is_lost(
    server: Server,
    autojump_clock: MockClock,
    topic_filter: str,
    limits: dict[str, Any],
    words: str,
) -> None:
    async with (
        open_client(connector=server.connect, client_id="c") as client,
        client.subscribe(topic_filter, qos=1) as messages,
        client.subscribe("b", qos=1) as others,
    ):
        server.limits = ServerLimits(**limits)
        await lose_session(server)
        with trio.fail_after(PATIENCE), pytest.raises(trio_mqtt.SubscribeRejected, match=words):
            await messages.receive()
        await until(lambda: "b" in server.sessions["c"].subscriptions)
        server.publish("b", "x", qos=1)
        assert (await others.receive()).text() == "x"
        assert client.statistics().connections == 2


@NO_MORE
async def test_also_one_that_is_just_being_made_again(
    server: Server,
    autojump_clock: MockClock,
    topic_filter: str,
    limits: dict[str, Any],
    words: str,
) -> None:
    async with (
        open_client(connector=server.connect, client_id="c") as client,
        watching(client) as seen,
        client.subscribe(topic_filter, qos=1) as messages,
    ):
        with server.holding(SubAck):
            await lose_session(server)
            await nth_connection(client, 2)
            await server.wait_until(lambda: bool(server.sessions["c"].subscriptions))
            server.limits = ServerLimits(**limits)
            server.drop("c")
            await server.wait_until(lambda: not server.sessions["c"].connected)
        with trio.fail_after(PATIENCE), pytest.raises(trio_mqtt.SubscribeRejected, match=words):
            await messages.receive()
        assert client.statistics().connections == 3
        await wait_all_tasks_blocked()
    lost = [event for event in seen.events if isinstance(event, SubscriptionLost)]
    assert [each.topic_filter for each in lost] == [topic_filter]
