"""Subscriptions that come to nothing, are raised to another QoS or unsubscribed by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.client.moments import received
from tests.client.outages import CONNECTED, GOODBYE, grant, lose_session, nth_connection
from tests.client.support import open_once
from trio_mqtt import (
    MQTT_5,
    PacketTooLarge,
    ReasonCode,
    Session,
    SubscribeRejected,
    UnsubscribeRejected,
    open_client,
)
from trio_mqtt.packets import (
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    UnsubAck,
    Unsubscribe,
)
from trio_mqtt.testing import Expect, Reply, ScriptedPeer, Send, Server, ServerLimits, open_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

    from trio_mqtt.testing import Step


class TestKeptEntry:
    """An entry with keep=True that does not succeed leaves no subscription behind."""

    async def test_refused(self, server: Server, autojump_clock: MockClock) -> None:
        session = Session("c", expiry=1000)
        server.authorize_subscribe = refusing("b")
        async with open_once(connector=server.connect, session=session) as client:
            with pytest.raises(SubscribeRejected):
                async with client.subscribe("a", "b", qos=1, keep=True):
                    pytest.fail("it is refused")
            await server.wait_for(Unsubscribe)
            await wait_all_tasks_blocked()
            assert not server.sessions["c"].subscriptions
            assert not session._subscriptions

    async def test_cancelled(self, server: Server, autojump_clock: MockClock) -> None:
        session = Session("c", expiry=1000)
        async with open_once(connector=server.connect, session=session) as client:
            with server.holding(SubAck), trio.move_on_after(1) as scope:
                async with client.subscribe("a", qos=1, keep=True):
                    pytest.fail("it is not answered")
            assert scope.cancelled_caught
            await wait_all_tasks_blocked()
            assert not server.sessions["c"].subscriptions
            assert not session._subscriptions


def refusing(topic_filter: str) -> Callable[[str, SubscriptionRequest], ReasonCode]:
    return lambda _client_id, request: (
        ReasonCode.NOT_AUTHORIZED if request.topic_filter == topic_filter else ReasonCode.SUCCESS
    )


async def test_an_unsubscribe_that_is_refused_leaves_the_subscription_alive(
    autojump_clock: MockClock,
) -> None:
    refuse: list[Step] = [
        Expect(Unsubscribe),
        Reply(Unsubscribe, lambda each: UnsubAck(each.packet_id, (ReasonCode.NOT_AUTHORIZED,))),
    ]
    message = Publish("a", b"still", 1, packet_id=1)
    peer = ScriptedPeer(
        [
            *CONNECTED,
            *grant(1),
            *refuse,
            Send(message),
            Expect(PubAck(1)),
            *GOODBYE,
        ]
    )
    async with (
        open_once(connector=peer.connect) as client,
        client.subscribe("a", qos=1, keep=True) as messages,
    ):
        with pytest.raises(UnsubscribeRejected):
            await client.unsubscribe("a")
        received_message = await messages.receive()
        assert received_message.payload == b"still"
        received_message.ack()
        await wait_all_tasks_blocked()
    peer.assert_done()


async def test_an_unsubscribe_that_is_too_large_leaves_the_subscription_alive(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_server(limits=ServerLimits(maximum_packet_size=100)) as server,
        open_once(connector=server.connect) as client,
        client.subscribe("a", qos=1) as messages,
    ):
        with pytest.raises(PacketTooLarge):
            await client.unsubscribe("a", "b/" + "x" * 100)
        server.publish("a", "still", qos=1)
        assert (await messages.receive()).text() == "still"


async def test_what_was_unsubscribed_by_hand_is_not_subscribed_again(
    server: Server, autojump_clock: MockClock
) -> None:
    async with (
        open_client(connector=server.connect, client_id="c") as client,
        client.subscribe("a", qos=1),
        client.subscribe("b", qos=1) as others,
        trio.open_nursery() as nursery,
    ):
        with server.holding(UnsubAck):
            nursery.start_soon(client.unsubscribe, "a")
            await wait_all_tasks_blocked()
            await lose_session(server)
        await nth_connection(client, 2)
        await server.wait_until(lambda: "b" in server.sessions["c"].subscriptions)
        await wait_all_tasks_blocked()
        assert server.sessions["c"].subscriptions.keys() == {"b"}
        server.publish("b", "goes on", qos=1)
        assert (await others.receive()).text() == "goes on"


class TestRaisedQoS:
    async def test_what_was_refused_is_not_remembered_as_granted(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        async with (
            open_once(connector=server.connect, client_id="c") as client,
            client.subscribe("a", qos=0) as first,
        ):
            server.authorize_subscribe = refusing("a")
            with pytest.raises(SubscribeRejected):
                async with client.subscribe("a", qos=2):
                    pytest.fail("it is refused")
            server.authorize_subscribe = None
            async with client.subscribe("a", qos=1) as third:  # asked for, not taken for granted
                assert third.granted == {"a": 1}
                server.publish("a", "x", qos=2)
                assert (await third.receive()).qos == 1
                assert (await first.receive()).qos == 1
        assert [packet.requests[0].qos for packet in received(server, Subscribe)] == [0, 2, 1]

    async def test_it_brings_no_retained_message_again(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        server.publish("a", "retained", qos=1, retain=True)
        async with (
            open_once(connector=server.connect, protocol=MQTT_5) as client,
            client.subscribe("a", qos=0) as first,
        ):
            assert (await first.receive()).retain
            async with client.subscribe("a", qos=1):
                await wait_all_tasks_blocked()
                with pytest.raises(trio.WouldBlock):
                    first.receive_nowait()
