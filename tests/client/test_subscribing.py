"""Subscribing: entry and exit, routing, overlaps, refusals."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.support import open_once
from trio_mqtt import MQTT_3_1_1, MQTT_5, Protocol, QoS, ReasonCode, RetainHandling
from trio_mqtt._client._routes import Route
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Properties,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    UnsubAck,
    Unsubscribe,
)
from trio_mqtt.testing import (
    Expect,
    ExpectEnd,
    Reply,
    ScriptedPeer,
    Send,
    ServerLimits,
    WaitFor,
    open_server,
)

if TYPE_CHECKING:
    from trio_mqtt.packets import Packet
    from trio_mqtt.testing import Server

ACCEPT = [Expect(Connect), Send(ConnAck())]
GOODBYE = [Expect(Disconnect), ExpectEnd()]
GRANT = Reply(Subscribe, lambda packet: SubAck(packet.packet_id, (ReasonCode.GRANTED_QOS_2,)))


def received(server: Server, *kinds: type[Packet]) -> list[Any]:
    """What the server received of these kinds, in order."""
    return [
        entry.packet
        for entry in server.log
        if entry.direction == "received" and isinstance(entry.packet, kinds)
    ]


def texts(subscription: trio_mqtt.Subscription) -> list[str]:
    found: list[str] = []
    try:
        while True:
            message = subscription.receive_nowait()
            found.append(message.text())
            message.ack()
    except trio.WouldBlock:
        return found


async def test_options_reach_the_server_and_the_grant_comes_back(
    server: Server, client: trio_mqtt.Client
) -> None:
    async with client.subscribe(
        "a/+",
        "b",
        qos=1,
        no_local=True,
        retain_as_published=True,
        retain_handling=RetainHandling.DO_NOT_SEND,
    ) as subscription:
        assert subscription.granted == {"a/+": QoS.AT_LEAST_ONCE, "b": QoS.AT_LEAST_ONCE}
    first, second = received(server, Subscribe)
    options = (True, True, RetainHandling.DO_NOT_SEND)
    assert first.requests == (SubscriptionRequest("a/+", 1, *options),)
    assert second.requests == (SubscriptionRequest("b", 1, *options),)
    identifiers = [packet.properties.subscription_identifiers for packet in (first, second)]
    assert identifiers == [(1,), (2,)]
    unsubscribed = [packet.topic_filters for packet in received(server, Unsubscribe)]
    assert unsubscribed == [("a/+",), ("b",)]


async def test_a_lower_grant_is_told() -> None:
    low = Reply(Subscribe, lambda packet: SubAck(packet.packet_id, (ReasonCode.GRANTED_QOS_0,)))
    peer = ScriptedPeer(
        [
            *ACCEPT,
            Expect(Subscribe),
            low,
            Expect(Unsubscribe),
            Reply(Unsubscribe, lambda packet: UnsubAck(packet.packet_id, (ReasonCode.SUCCESS,))),
            *GOODBYE,
        ]
    )
    async with (
        open_once(connector=peer.connect) as client,
        client.subscribe("a", qos=2) as subscription,
    ):
        assert subscription.granted == {"a": QoS.AT_MOST_ONCE}


async def test_messages_before_suback_are_received() -> None:
    peer = ScriptedPeer(
        [
            *ACCEPT,
            Expect(Subscribe),
            Send(Publish("a", b"early")),
            GRANT,
            Send(Publish("a", b"late")),
            Expect(Unsubscribe),
            Reply(Unsubscribe, lambda packet: UnsubAck(packet.packet_id, (ReasonCode.SUCCESS,))),
            *GOODBYE,
        ]
    )
    async with (
        open_once(connector=peer.connect) as client,
        client.subscribe("a") as subscription,
    ):
        assert [(await subscription.receive()).payload for _ in range(2)] == [b"early", b"late"]


class TestRefusals:
    """SUBACK with 0x80 or above."""

    @staticmethod
    def forbid(server: Server) -> None:
        server.authorize_subscribe = lambda _client, request: (
            ReasonCode.NOT_AUTHORIZED
            if request.topic_filter.startswith("secret")
            else ReasonCode(request.qos)
        )

    async def test_a_refused_filter_is_named_with_its_reason(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        self.forbid(server)
        with pytest.raises(trio_mqtt.SubscribeRejected, match="'secret/1' 0x87") as caught:
            async with client.subscribe("open", "secret/1", "secret/2"):
                raise AssertionError("not reached")
        assert caught.value.reasons == {
            "secret/1": ReasonCode.NOT_AUTHORIZED,
            "secret/2": ReasonCode.NOT_AUTHORIZED,
        }
        await client.publish("other", qos=1)
        # What was granted is given back, what was refused need not be.
        unsubscribed = [packet.topic_filters for packet in received(server, Unsubscribe)]
        assert unsubscribed == [("open",)]
        assert client.statistics().unfinished == 0

    async def test_another_attempt_asks_again(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        self.forbid(server)
        for _ in range(2):
            with pytest.raises(trio_mqtt.SubscribeRejected):
                async with client.subscribe("secret"):
                    raise AssertionError("not reached")
        server.authorize_subscribe = None
        async with client.subscribe("secret") as subscription:
            assert subscription.granted == {"secret": QoS.AT_MOST_ONCE}

    async def test_two_that_wait_for_one_suback_are_both_refused(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        self.forbid(server)
        refused: list[str] = []

        async def subscribe() -> None:
            with pytest.raises(trio_mqtt.SubscribeRejected):
                async with client.subscribe("secret"):
                    raise AssertionError("not reached")
            refused.append("yes")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(subscribe)
            nursery.start_soon(subscribe)
        assert refused == ["yes", "yes"]
        assert len(received(server, Subscribe)) == 1


@pytest.mark.parametrize(
    ("filters", "arguments", "error", "words"),
    [
        ((), {}, trio_mqtt.LocalProtocolError, "at least one"),
        (("",), {}, trio_mqtt.LocalProtocolError, "empty"),
        (("a/#/b",), {}, trio_mqtt.LocalProtocolError, "'#'"),
        (("a", "b+"), {}, trio_mqtt.LocalProtocolError, r"'\+'"),
        (("$share/g",), {}, trio_mqtt.LocalProtocolError, "share name"),
        (("$share/g/a",), {"no_local": True}, trio_mqtt.LocalProtocolError, "no_local"),
        (("a",), {"qos": 3}, trio_mqtt.LocalProtocolError, "qos is 3"),
        (("a",), {"buffer": 0}, ValueError, "buffer"),
        (("a",), {"overflow": "explode"}, ValueError, "overflow"),
        (("a",), {"ack": "never"}, ValueError, "ack"),
        (("a",), {"retain_handling": 3}, ValueError, "retain_handling is 3"),
    ],
)
async def test_what_is_refused_before_a_byte_is_sent(
    server: Server,
    client: trio_mqtt.Client,
    filters: tuple[str, ...],
    arguments: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        async with client.subscribe(*filters, **arguments):
            raise AssertionError("not reached")
    await client.publish("a", qos=1)
    assert received(server, Subscribe, Unsubscribe) == []


async def test_what_the_server_does_not_have_is_refused() -> None:
    limits = ServerLimits(
        wildcard_subscription_available=False,
        shared_subscription_available=False,
        subscription_identifier_available=False,
    )
    async with (
        open_server(limits=limits) as server,
        open_once(connector=server.connect) as client,
    ):
        for topic_filter in ("a/+", "#", "$share/g/a"):
            with pytest.raises(trio_mqtt.FeatureNotSupported, match="cannot subscribe"):
                async with client.subscribe(topic_filter):
                    raise AssertionError("not reached")
        async with client.subscribe("a") as subscription:
            await client.publish("a", "x")
            assert (await subscription.receive()).text() == "x"
        (packet,) = received(server, Subscribe)
        assert packet.properties == Properties()


async def test_what_mqtt_3_1_1_does_not_have_is_refused(server: Server) -> None:
    async with open_once(connector=server.connect, protocol=trio_mqtt.MQTT_3_1_1) as client:
        options: list[dict[str, Any]] = [
            {"no_local": True},
            {"retain_as_published": True},
            {"retain_handling": 2},
        ]
        for option in options:
            with pytest.raises(trio_mqtt.FeatureNotSupported, match="no option but the QoS"):
                async with client.subscribe("a", **option):
                    raise AssertionError("not reached")


async def test_wrong_use_says_what_to_write(client: trio_mqtt.Client) -> None:
    wrong: Any = client.subscribe("a")
    with pytest.raises(TypeError, match=r"async with client\.subscribe"):
        await wrong
    with pytest.raises(TypeError, match=r"async with client\.subscribe"):
        async for _ in wrong:
            raise AssertionError("not reached")
    async with wrong:
        pass
    with pytest.raises(RuntimeError, match="entered before"):
        async with wrong:
            raise AssertionError("not reached")


class TestOverlaps:
    """Several subscriptions that match one message (contract 12)."""

    @pytest.mark.parametrize("overlapping", ["merge", "copies"])
    async def test_each_matching_block_gets_a_message_once(self, overlapping: Any) -> None:
        async with (
            open_server(limits=ServerLimits(overlapping=overlapping)) as server,
            open_once(connector=server.connect) as client,
            client.subscribe("ov/#", qos=1) as all_of_it,
            client.subscribe("ov/t", qos=1) as one,
            client.subscribe("ov/t", "ov/+", qos=1) as both,
        ):
            for number in range(5):
                server.publish("ov/t", str(number), qos=1)
            server.publish("ov/u", "u", qos=1)
            await client.publish("end", qos=1)
            await wait_all_tasks_blocked()
            assert texts(all_of_it) == ["0", "1", "2", "3", "4", "u"]
            assert texts(one) == ["0", "1", "2", "3", "4"]
            if overlapping == "merge":
                assert texts(both) == ["0", "1", "2", "3", "4", "u"]
            await client.publish("end", qos=1)
            await wait_all_tasks_blocked()

    async def test_a_message_with_several_holders_is_settled_when_all_have(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        async with client.subscribe("a", qos=1) as first, client.subscribe("a", qos=1) as second:
            server.publish("a", "x", qos=1)
            one, other = await first.receive(), await second.receive()
            one.ack()
            await wait_all_tasks_blocked()
            assert client.statistics().unsettled == 1
            other.ack()
            assert client.statistics().unsettled == 0

    async def test_it_is_rejected_only_if_all_reject(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        codes: list[ReasonCode] = []
        async with client.subscribe("a", qos=1) as first, client.subscribe("a", qos=1) as second:
            for reject_both in (False, True):
                server.publish("a", "x", qos=1)
                one, other = await first.receive(), await second.receive()
                if reject_both:
                    other.reject(ReasonCode.QUOTA_EXCEEDED)
                else:
                    other.ack()
                one.reject(ReasonCode.QUOTA_EXCEEDED)
                entry = await server.wait_for(
                    lambda entry: type(entry.packet).__name__ == "PubAck",
                    after=server.log[-1],
                )
                codes.append(getattr(entry.packet, "reason_code"))  # noqa: B009
        assert codes == [ReasonCode.SUCCESS, ReasonCode.QUOTA_EXCEEDED]

    async def test_the_same_filter_is_subscribed_and_unsubscribed_once(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        async with client.subscribe("a"):
            async with client.subscribe("a") as second:
                server.publish("a", "x")
                assert (await second.receive()).text() == "x"
            await client.publish("end", qos=1)
            assert received(server, Unsubscribe) == []
        assert len(received(server, Subscribe)) == 1
        assert len(received(server, Unsubscribe)) == 1

    async def test_a_higher_qos_subscribes_again(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        async with client.subscribe("a", qos=0) as first, client.subscribe("a", qos=2) as second:
            server.publish("a", "x", qos=2)
            messages = [await first.receive(), await second.receive()]
            assert [message.qos for message in messages] == [2, 2]
            assert second.granted == {"a": QoS.EXACTLY_ONCE}
            for message in messages:
                message.ack()
        requests = [packet.requests[0].qos for packet in received(server, Subscribe)]
        assert requests == [0, 2]
        identifiers = {
            packet.properties.subscription_identifiers for packet in received(server, Subscribe)
        }
        assert identifiers == {(1,)}

    async def test_different_options_on_one_filter_are_refused(
        self, client: trio_mqtt.Client
    ) -> None:
        async with client.subscribe("a"):
            conflicts: list[dict[str, Any]] = [{"no_local": True}, {"retain_as_published": True}]
            for options in conflicts:
                with pytest.raises(trio_mqtt.LocalProtocolError, match="both must agree"):
                    async with client.subscribe("a", **options):
                        raise AssertionError("not reached")

    async def test_blocks_on_a_shared_filter_compete(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        async with (
            client.subscribe("$share/g/a") as first,
            client.subscribe("$share/g/a") as second,
        ):
            for number in range(6):
                server.publish("a", str(number))
            await client.publish("end", qos=1)
            await wait_all_tasks_blocked()
            mine, yours = texts(first), texts(second)
        assert sorted(mine + yours) == ["0", "1", "2", "3", "4", "5"]
        assert len(mine) == len(yours) == 3

    async def test_what_a_competitor_has_already_is_not_left_to_it(self) -> None:
        """Without identifiers a copy for the shared filter looks like one for the other."""
        limits = ServerLimits(subscription_identifier_available=False)
        async with (
            open_server(limits=limits) as server,
            open_once(connector=server.connect) as client,
            client.subscribe("$share/g/#", "a", qos=1) as stays,
        ):
            async with client.subscribe("$share/g/#", "a", qos=1) as leaves:
                server.publish("a", "x", qos=1)
                await wait_all_tasks_blocked()
                assert leaves.statistics().buffered == 2  # the server sent two copies
                assert stays.statistics().buffered == 2
            assert stays.statistics().buffered == 2
            assert texts(stays) == ["x", "x"]
            assert client.statistics().unsettled == 0

    async def test_what_a_block_on_a_shared_filter_leaves_goes_to_its_competitor(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        async with client.subscribe("$share/g/a", qos=1) as stays:
            async with client.subscribe("$share/g/a", qos=1) as leaves:
                for number in range(6):
                    server.publish("a", str(number), qos=1)
                await wait_all_tasks_blocked()
                held = await leaves.receive()
                assert leaves.statistics().buffered == 2
            assert leaves.statistics().released == 0
            got = [await stays.receive() for _ in range(6)]
            assert [message.text() for message in got] == ["0", "1", "2", "3", "4", "5"]
            attempts = {message.text(): message.attempt for message in got}
            assert attempts.pop(held.text()) == 2
            assert set(attempts.values()) == {1}
            assert client.statistics().unsettled == 6
            for message in got:
                message.ack()
            assert client.statistics().unsettled == 0


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matches"),
    [
        ("#", "a/b", True),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
        ("a/#", "a", True),
        ("+", "/", False),
        ("+/+", "/", True),
        ("a/+/c", "a//c", True),
        ("$share/g/a/#", "a/b", True),
        ("$share/g/#", "$SYS/x", False),
    ],
)
async def test_wildcards(
    server: Server, client: trio_mqtt.Client, topic_filter: str, topic: str, matches: bool
) -> None:
    async with client.subscribe(topic_filter) as subscription:
        server.publish(topic, "x")
        await client.publish("/", qos=1)
        await wait_all_tasks_blocked()
        found = [text for text in texts(subscription) if text]
    assert bool(found) == matches


class TestLeaving:
    """The end of a block (contract 14)."""

    async def test_unsuback_is_awaited_after_a_normal_end(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        async def subscribe() -> None:
            async with client.subscribe("a"):
                pass
            left.set()

        left = trio.Event()
        async with trio.open_nursery() as nursery:
            with server.holding(UnsubAck) as held:
                nursery.start_soon(subscribe)
                await wait_all_tasks_blocked()
                assert held.packets
                assert not left.is_set()
            await left.wait()

    async def test_unsuback_is_not_awaited_after_an_error(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        with server.holding(UnsubAck):
            with pytest.raises(ZeroDivisionError):
                async with client.subscribe("a"):
                    raise ZeroDivisionError
            assert client.statistics().unfinished == 1
        await server.wait_for(UnsubAck)

    async def test_a_kept_filter_stays(self, server: Server, client: trio_mqtt.Client) -> None:
        async with client.subscribe("a", qos=1, keep=True):
            pass
        assert received(server, Unsubscribe) == []
        server.publish("a", "meanwhile", qos=1)
        server.publish("a", "gone", qos=0)
        await client.publish("end", qos=1)
        assert client.statistics().unclaimed == 1
        assert client.statistics().dropped == 1
        async with client.subscribe("a", qos=1) as subscription:
            message = await subscription.receive()
            assert (message.text(), message.attempt) == ("meanwhile", 1)
            message.ack()
        assert client.statistics().unclaimed == 0

    async def test_what_still_arrives_is_acknowledged_and_counted(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        client_id = client.server.client_id
        with server.holding(UnsubAck):
            with pytest.raises(ZeroDivisionError):
                async with client.subscribe("a", qos=1):
                    server.publish("a", "in the buffer", qos=1)
                    await wait_all_tasks_blocked()
                    server.pause_reading(client_id)
                    raise ZeroDivisionError
            server.publish("a", "too late", qos=1)
            await wait_all_tasks_blocked()
            assert client.statistics().strays == 1
            server.resume_reading(client_id)
        await server.wait_until(lambda: server.sessions[client_id].inflight == 0)
        assert client.statistics().unsettled == 0

    @pytest.mark.parametrize("left", ["a/#", "$share/g/a/+", "a/b"])
    async def test_what_still_arrives_for_it_is_for_no_other_block(self, left: str) -> None:
        """The identifier tells, though a Topic Filter of another block matches, too."""

        def publish(payload: str, packet_id: int, *identifiers: int) -> Send:
            properties = Properties(subscription_identifiers=identifiers)
            return Send(
                Publish("a/b", payload.encode(), 1, packet_id=packet_id, properties=properties)
            )

        meanwhile, done = trio.Event(), trio.Event()
        peer = ScriptedPeer(
            [
                *ACCEPT,
                *(Expect(Subscribe), GRANT),
                Expect(Unsubscribe),
                *(Expect(Subscribe), GRANT),
                publish("first", 1, 2),
                WaitFor(meanwhile),
                publish("copy", 2, 1),
                publish("copy", 3, 2),
                publish("of both", 4, 1, 2),
                publish("of one of another time", 5, 99),
                Expect(PubAck(1)),
                Expect(PubAck(2)),
                WaitFor(done),
                *(Expect(PubAck(number)) for number in (3, 4, 5)),
                *GOODBYE,
            ]
        )
        async with trio_mqtt.open_client(connector=peer.connect) as client:
            with pytest.raises(ZeroDivisionError):  # then UNSUBACK is not awaited
                async with client.subscribe(left, qos=1):
                    raise ZeroDivisionError
            async with client.subscribe("a/b", qos=1, keep=True) as messages:
                (await messages.receive()).ack()
                meanwhile.set()
                await wait_all_tasks_blocked()
                assert client.statistics().strays == 1
                done.set()
                assert texts(messages) == ["copy", "of both", "of one of another time"]
        peer.assert_done()

    @pytest.mark.parametrize("protocol", [MQTT_5, MQTT_3_1_1])
    async def test_only_identifiers_call_for_a_closer_look_at_what_comes_after(
        self, server: Server, protocol: Protocol
    ) -> None:
        async with open_once(connector=server.connect, protocol=protocol) as client:
            async with client.subscribe("a/+"):
                pass
            async with client.subscribe("a/b") as messages:
                await client.publish("a/b", qos=1)
                await messages.receive()
                short_cut = client._deliveries.routes.only("a/b")
                assert short_cut is (None if protocol is MQTT_5 else messages)

    async def test_identifiers_out_of_use_are_remembered_in_bounds(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        routes = client._deliveries.routes
        for number in range(4100):
            request = SubscriptionRequest(f"t/{number}/+")
            route = Route(
                request.topic_filter,
                shared=False,
                identifier=number + 1,
                options=request,
                subscriptions=[],
            )
            routes.add(route)
            routes.remove(route)
        assert len(routes._left) == len(routes._left_tree) == 4096
        assert not routes._left_tree.match("t/3/x")
        assert routes._left_tree.match("t/4/x")

    async def test_a_refused_unsubscribe_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        refusal = (ReasonCode.NOT_AUTHORIZED,)
        peer = ScriptedPeer(
            [
                *ACCEPT,
                Expect(Subscribe),
                GRANT,
                Expect(Unsubscribe),
                Reply(Unsubscribe, lambda packet: UnsubAck(packet.packet_id, refusal)),
                Expect(Unsubscribe),
                Reply(Unsubscribe, lambda packet: UnsubAck(packet.packet_id, refusal)),
                *GOODBYE,
            ]
        )
        async with open_once(connector=peer.connect) as client:
            async with client.subscribe("a"):
                pass
            assert "refused to unsubscribe 'a': 0x87" in caplog.text
            with pytest.raises(trio_mqtt.UnsubscribeRejected, match="'a' 0x87") as caught:
                await client.unsubscribe("a")
            assert caught.value.reasons == {"a": ReasonCode.NOT_AUTHORIZED}

    async def test_leaving_after_the_loss_sends_nothing(self, server: Server) -> None:
        with pytest.raises(trio_mqtt.ConnectionLost):
            async with (
                open_once(connector=server.connect) as client,
                client.subscribe("a"),
            ):
                with trio.CancelScope(shield=True):
                    server.drop(client.server.client_id)
                    await wait_all_tasks_blocked()
        assert received(server, Unsubscribe) == []


class TestUnsubscribe:
    """`Client.unsubscribe`."""

    async def test_it_ends_a_kept_filter(self, server: Server, client: trio_mqtt.Client) -> None:
        async with client.subscribe("a", keep=True):
            pass
        await client.unsubscribe("a", "b")
        (packet,) = received(server, Unsubscribe)
        assert packet.topic_filters == ("a", "b")
        server.publish("a", "x")
        await client.publish("end", qos=1)
        assert client.statistics().dropped == 0

    async def test_a_block_gets_nothing_more_and_leaves_in_peace(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        async with client.subscribe("a") as subscription:
            await client.unsubscribe("a")
            server.publish("a", "x")
            await client.publish("end", qos=1)
            with pytest.raises(trio.WouldBlock):
                subscription.receive_nowait()
        assert len(received(server, Unsubscribe)) == 1

    async def test_bad_filters(self, client: trio_mqtt.Client) -> None:
        with pytest.raises(trio_mqtt.LocalProtocolError, match="'#'"):
            await client.unsubscribe("a#")
        with pytest.raises(trio_mqtt.LocalProtocolError, match="at least one"):
            await client.unsubscribe()

    async def test_below_mqtt_5_there_are_no_reasons(self, server: Server) -> None:
        async with open_once(connector=server.connect, protocol=trio_mqtt.MQTT_3_1_1) as client:
            await client.unsubscribe("a")


@pytest.mark.parametrize("topic_filters", [("t/#",), ("t/#", "t/+")])
async def test_routes_are_remembered_and_forgotten_in_bounds(
    server: Server, client: trio_mqtt.Client, topic_filters: tuple[str, ...]
) -> None:
    async with client.subscribe(*topic_filters) as subscription:
        for start in range(0, 17_000, 500):
            for number in range(start, start + 500):
                server.publish(f"t/{number}", "x")
            for number in range(start, start + 500):
                assert (await subscription.receive()).topic == f"t/{number}"
        routes = client._deliveries.routes
        assert 100 < len(routes._only) + len(routes._found) <= 16_384
    assert len(client._deliveries.routes) == 0
    assert client.statistics().strays == 0


async def test_what_was_received_last_is_not_kept_while_nothing_comes() -> None:
    async with (
        open_server() as server,
        trio_mqtt.open_client(connector=server.connect) as client,
        client.subscribe("a") as subscription,
    ):
        await client.publish("a", b"large")
        received = weakref.ref(await subscription.receive())
        await wait_all_tasks_blocked()
        gc.collect()
        assert received() is None
