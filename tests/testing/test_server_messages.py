from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
import trio

from tests.testing.support import RawClient, connected, kept
from trio_mqtt._enums import MQTT_3_1, MQTT_3_1_1, MQTT_5, Protocol, QoS, ReasonCode, RetainHandling
from trio_mqtt.packets import (
    Connect,
    Disconnect,
    Packet,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    UnsubAck,
    Unsubscribe,
    encode,
)
from trio_mqtt.testing import ServerLimits, open_server

if TYPE_CHECKING:
    from trio.testing import MockClock

R = ReasonCode
NOBODY = R.NO_MATCHING_SUBSCRIBERS
each_protocol = pytest.mark.parametrize("protocol", list(Protocol), ids=lambda p: p.name)
below_5 = pytest.mark.parametrize("protocol", [MQTT_3_1, MQTT_3_1_1], ids=lambda p: p.name)


def published(packet: Packet | None) -> Publish:
    assert isinstance(packet, Publish), packet
    return packet


def again(payload: bytes, qos: int, packet_id: int) -> Publish:
    return Publish("t", payload, qos, dup=True, packet_id=packet_id)


async def payloads(client: RawClient, count: int) -> list[bytes]:
    return [published(await client.receive()).payload for _ in range(count)]


async def disconnected(client: RawClient) -> ReasonCode:
    packet = await client.receive()
    assert isinstance(packet, Disconnect)
    assert await client.receive() is None
    return packet.reason_code


# QoS


@each_protocol
async def test_delivers_at_each_qos(protocol: Protocol, autojump_clock: MockClock) -> None:
    async with (
        open_server() as server,
        connected(server, "sub", protocol) as subscriber,
        connected(server, "pub", protocol) as publisher,
    ):
        suback = await subscriber.subscribe("t", qos=2)
        assert suback == SubAck(65_000, (R.GRANTED_QOS_2,))
        await publisher.send(
            Publish("t", b"0"),
            Publish("t", b"1", 1, packet_id=1),
            Publish("t", b"2", 2, packet_id=2),
        )
        assert await publisher.receive_many(2) == [PubAck(1), PubRec(2)]
        await publisher.send(PubRel(2))
        assert await publisher.receive() == PubComp(2)
        assert await subscriber.receive_many(3) == [
            Publish("t", b"0"),
            Publish("t", b"1", 1, packet_id=1),
            Publish("t", b"2", 2, packet_id=2),
        ]
        await subscriber.send(PubAck(1), PubRec(2))
        assert await subscriber.receive() == PubRel(2)
        assert server.sessions["sub"].inflight == 1
        await subscriber.send(PubComp(2))
        await server.wait_until(lambda: server.sessions["sub"].inflight == 0)


@pytest.mark.parametrize("published_qos", list(QoS))
@pytest.mark.parametrize("granted", list(QoS))
async def test_delivers_at_the_lower_qos(
    published_qos: int, granted: int, autojump_clock: MockClock
) -> None:
    async with open_server() as server, connected(server) as client:
        await client.subscribe("t", qos=granted)
        server.publish("t", b"x", published_qos)
        assert published(await client.receive()).qos == min(published_qos, granted)


async def test_a_repeated_qos_2_publish_is_acknowledged_and_not_delivered(
    autojump_clock: MockClock,
) -> None:
    async with open_server() as server, connected(server, kept()) as client:
        await client.subscribe("t")
        await client.send(Publish("t", b"x", 2, packet_id=5), again(b"x", 2, 5))
        assert await client.receive_many(3) == [PubRec(5), PubRec(5), Publish("t", b"x")]
        async with connected(server, kept()) as later:
            await later.send(again(b"x", 2, 5), PubRel(5), PubRel(5))
            assert await later.receive_many(3) == [
                PubRec(5),
                PubComp(5),
                PubComp(5, R.PACKET_IDENTIFIER_NOT_FOUND),
            ]
            await later.send(Publish("t", b"y", 2, packet_id=5))  # MQTT-4.3.3-12
            assert await later.receive_many(2) == [PubRec(5), Publish("t", b"y")]


@below_5
async def test_unknown_identifiers_have_no_code_below_5(
    protocol: Protocol, autojump_clock: MockClock
) -> None:
    async with open_server() as server, connected(server, "c", protocol) as client:
        await client.send(PubRel(5), PubRec(6))
        assert await client.receive_many(2) == [PubComp(5), PubRel(6)]


async def test_unknown_identifiers_of_acknowledgements(autojump_clock: MockClock) -> None:
    unknown = R.PACKET_IDENTIFIER_NOT_FOUND
    async with open_server() as server, connected(server) as client:
        await client.send(PubRec(6), PubRec(7, R.UNSPECIFIED_ERROR), PubComp(8))
        assert await client.receive() == PubRel(6, unknown)
        await client.send(PubAck(9))
        assert await disconnected(client) is R.PROTOCOL_ERROR


async def test_puback_for_a_qos_2_message_is_a_protocol_error(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server) as client:
        await client.subscribe("t", qos=2)
        server.publish("t", "x", 2)
        assert published(await client.receive()).packet_id == 1
        await client.send(PubAck(1))
        assert await disconnected(client) is R.PROTOCOL_ERROR


async def test_a_refusing_pubrec_ends_the_exchange(autojump_clock: MockClock) -> None:
    connect = Connect("c", keep_alive=0, properties=Properties(receive_maximum=1))
    async with open_server() as server, connected(server, connect) as client:
        await client.subscribe("t", qos=2)
        server.publish("t", "1", 2)
        server.publish("t", "2", 2)
        assert await payloads(client, 1) == [b"1"]
        await client.send(PubRec(1, R.QUOTA_EXCEEDED))
        assert await payloads(client, 1) == [b"2"]
        await client.send(PubRec(2), PubRec(2))
        assert await client.receive_many(2) == [PubRel(2), PubRel(2)]


async def test_tells_where_nobody_subscribes(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server) as client:
        assert not server.publish("t")
        await client.send(Publish("t", qos=1, packet_id=1), Publish("t", qos=2, packet_id=2))
        assert await client.receive_many(2) == [PubAck(1, NOBODY), PubRec(2, NOBODY)]


async def test_packet_identifiers_go_round(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server) as client:
        await client.subscribe("t", qos=1)
        session = server._broker.sessions["c"]
        session._last_packet_id = 65_533
        for _ in range(3):
            server.publish("t", "x", 1)
        packets = [published(await client.receive()) for _ in range(3)]
        assert [packet.packet_id for packet in packets] == [65_534, 65_535, 1]
        session._last_packet_id = 65_533
        server.publish("t", "x", 1)
        assert published(await client.receive()).packet_id == 2  # the others are in use


async def test_waits_while_all_packet_identifiers_are_in_use(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server) as client:
        await client.subscribe("t", qos=1)
        session = server._broker.sessions["c"]
        session.released.update(dict.fromkeys(range(1, 65_536)))
        server.publish("t", "x", 1)
        server.publish("t", "y")
        assert await payloads(client, 1) == [b"y"]
        await client.send(PubComp(9))
        assert published(await client.receive()).packet_id == 9


# Resuming


async def test_sends_again_in_order_with_dup(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        async with connected(server, kept()) as client:
            await client.subscribe("t", qos=2)
            for payload, qos in (("a", 1), ("b", 2), ("c", 2), ("d", 2), ("e", 1)):
                server.publish("t", payload, qos)
            await client.receive_many(5)
            await client.send(PubRec(3), PubRec(2))  # not in order: PUBRELs follow the PUBRECs
            assert await client.receive_many(2) == [PubRel(3), PubRel(2)]
        await server.wait_until(lambda: not server.sessions["c"].connected)
        server.publish("t", "later", 1)
        server.publish("t", "dropped", 0)
        assert server.sessions["c"].queued == 1
        async with connected(server, kept()) as client:
            assert client.connack.session_present
            assert await client.receive_many(6) == [
                PubRel(3),
                PubRel(2),
                again(b"a", 1, 1),
                again(b"d", 2, 4),
                again(b"e", 1, 5),
                Publish("t", b"later", 1, packet_id=6),
            ]


async def test_sends_again_within_the_new_window(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        async with connected(server, kept()) as client:
            await client.subscribe("t", qos=1)
            for payload in ("a", "b", "c"):
                server.publish("t", payload, 1)
            await client.receive_many(3)
        connect = kept(properties=Properties(receive_maximum=1))
        async with connected(server, connect) as client:
            server.publish("t", "new", 1)
            server.publish("t", "qos 0")
            assert await payloads(client, 2) == [b"a", b"qos 0"]
            await client.send(PubAck(2))  # acknowledged before it was sent again
            assert await client.silent()
            await client.send(PubAck(1))
            assert await payloads(client, 1) == [b"c"]
            await client.send(PubAck(3))
            assert await payloads(client, 1) == [b"new"]


async def test_a_message_that_has_become_too_large_counts_as_sent(
    autojump_clock: MockClock,
) -> None:
    async with open_server() as server:
        async with connected(server, kept()) as client:
            await client.subscribe("t", qos=1)
            server.publish("t", bytes(100), 1)
            await client.receive()
        connect = kept(properties=Properties(maximum_packet_size=50))
        async with connected(server, connect) as client:
            server.publish("t", "small", 1)
            assert await payloads(client, 1) == [b"small"]
            assert server.sessions["c"].inflight == 1


async def test_qos_0_may_wait_for_who_is_away(autojump_clock: MockClock) -> None:
    limits = ServerLimits(queue_qos_0_offline=True)
    async with open_server(limits=limits) as server:
        async with connected(server, kept()) as client:
            await client.subscribe("t", qos=0)
        await server.wait_until(lambda: not server.sessions["c"].connected)
        server.publish("t", "x")
        async with connected(server, kept()) as client:
            assert await payloads(client, 1) == [b"x"]


# Flow control and limits


async def test_obeys_receive_maximum(autojump_clock: MockClock) -> None:
    connect = Connect("c", keep_alive=0, properties=Properties(receive_maximum=2))
    async with open_server() as server, connected(server, connect) as client:
        await client.subscribe("t", qos=2)
        for number, qos in enumerate((1, 2, 1, 0, 2)):
            server.publish("t", str(number), qos)
        assert await payloads(client, 3) == [b"0", b"1", b"3"]
        assert await client.silent()
        await client.send(PubRec(2))
        assert await client.receive() == PubRel(2)
        assert await client.silent()
        await client.send(PubComp(2))
        assert await payloads(client, 1) == [b"2"]
        await client.send(PubAck(1))
        assert await payloads(client, 1) == [b"4"]


async def test_clients_must_obey_receive_maximum(autojump_clock: MockClock) -> None:
    limits = ServerLimits(receive_maximum=2)
    packets = [Publish("t", qos=2, packet_id=number) for number in (1, 2, 3)]
    async with open_server(limits=limits) as server:
        async with connected(server) as client:
            await client.send(*packets)
            assert await client.receive_many(2) == [PubRec(1, NOBODY), PubRec(2, NOBODY)]
            assert await disconnected(client) is R.RECEIVE_MAXIMUM_EXCEEDED
        async with connected(server) as client:
            await client.send(*packets[:2], PubRel(1), packets[2])
            await client.receive_many(3)
            assert await client.receive() == PubRec(3, NOBODY)
        async with connected(server, "c", MQTT_3_1_1) as client:
            await client.send(*packets)
            assert await client.receive_many(3) == [PubRec(1), PubRec(2), PubRec(3)]


async def test_drops_what_the_client_has_no_room_for(autojump_clock: MockClock) -> None:
    connect = Connect("c", keep_alive=0, properties=Properties(maximum_packet_size=20))
    async with open_server() as server, connected(server, connect) as client:
        await client.subscribe("t", qos=1)
        server.publish("t", bytes(20), 1)
        server.publish("t", "small", 1)
        assert await client.receive() == Publish("t", b"small", 1, packet_id=1)
        await client.stream.send_all(b"\xc0\x01\x00")
        assert await client.receive() == Disconnect(R.MALFORMED_PACKET)  # with no Reason String


async def test_says_nothing_that_is_too_large(autojump_clock: MockClock) -> None:
    connect = Connect("c", keep_alive=0, properties=Properties(maximum_packet_size=8))
    async with open_server() as server, connected(server, connect) as client:
        await client.send(Subscribe(1, tuple(SubscriptionRequest(str(i)) for i in range(20))))
        assert await client.silent()
        assert len(server.sessions["c"].subscriptions) == 20


LIMITS = [
    (ServerLimits(maximum_qos=1), Publish("t", qos=2, packet_id=1), R.QOS_NOT_SUPPORTED),
    (ServerLimits(retain_available=False), Publish("t", retain=True), R.RETAIN_NOT_SUPPORTED),
    (
        ServerLimits(topic_alias_maximum=2),
        Publish("t", properties=Properties(topic_alias=3)),
        R.TOPIC_ALIAS_INVALID,
    ),
    (ServerLimits(), Publish("", properties=Properties(topic_alias=1)), R.PROTOCOL_ERROR),
    (
        ServerLimits(),
        Publish("t", properties=Properties(subscription_identifiers=(1,))),
        R.PROTOCOL_ERROR,
    ),
    (
        ServerLimits(wildcard_subscription_available=False),
        Subscribe(1, (SubscriptionRequest("a/+"),)),
        R.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
    ),
    (
        ServerLimits(shared_subscription_available=False),
        Subscribe(1, (SubscriptionRequest("$share/g/a"),)),
        R.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
    ),
    (
        ServerLimits(subscription_identifier_available=False),
        Subscribe(1, (SubscriptionRequest("a"),), Properties(subscription_identifiers=(1,))),
        R.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
    ),
    (ServerLimits(maximum_packet_size=20), Publish("t", bytes(20)), R.PACKET_TOO_LARGE),
]


@pytest.mark.parametrize(("limits", "packet", "reason_code"), LIMITS)
async def test_ends_the_connection_where_a_limit_is_ignored(
    limits: ServerLimits, packet: Packet, reason_code: ReasonCode, autojump_clock: MockClock
) -> None:
    async with open_server(limits=limits) as server, connected(server) as client:
        await client.send(packet)
        assert await disconnected(client) is reason_code


async def test_a_subscription_above_maximum_qos_is_granted_less(autojump_clock: MockClock) -> None:
    limits = ServerLimits(maximum_qos=0)
    async with open_server(limits=limits) as server, connected(server) as client:
        suback = await client.subscribe("t", qos=2)
        assert suback.reason_codes == (R.GRANTED_QOS_0,)


@below_5
async def test_what_is_not_available_is_refused_below_5(
    protocol: Protocol, autojump_clock: MockClock
) -> None:
    limits = ServerLimits(
        wildcard_subscription_available=False, shared_subscription_available=False
    )
    async with open_server(limits=limits) as server, connected(server, "c", protocol) as client:
        suback = await client.subscribe("#", "a", "$share/g/a")
        assert suback.reason_codes == (R.UNSPECIFIED_ERROR, R.SUCCESS, R.UNSPECIFIED_ERROR)


async def test_a_packet_identifier_in_use_is_refused(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server) as client:
        await client.send(
            Publish("t", qos=2, packet_id=1), Subscribe(1, (SubscriptionRequest("t"),))
        )
        assert await client.receive() == PubRec(1, NOBODY)
        assert await client.receive() == SubAck(1, (R.PACKET_IDENTIFIER_IN_USE,))
        with server.holding(PubAck) as held:
            await client.send(Publish("t", qos=1, packet_id=2), Publish("t", qos=1, packet_id=2))
            await server.wait_until(lambda: len(held.packets) == 2)
        assert await client.receive_many(2) == [
            PubAck(2, NOBODY),
            PubAck(2, R.PACKET_IDENTIFIER_IN_USE),
        ]


async def test_a_full_queue_drops_what_comes_on_top(autojump_clock: MockClock) -> None:
    limits = ServerLimits(maximum_queued=2)
    async with open_server(limits=limits) as server:
        async with connected(server, kept()) as client:
            await client.subscribe("t", qos=1)
        await server.wait_until(lambda: not server.sessions["c"].connected)
        for payload in "abc":
            server.publish("t", payload, 1)
        assert (server.sessions["c"].queued, server.sessions["c"].dropped) == (2, 1)
        async with connected(server, kept()) as client:
            assert await payloads(client, 2) == [b"a", b"b"]


# Subscriptions


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matches"),
    [
        ("a/+", "a/b", True),
        ("a/#", "a", True),
        ("a/+", "a/b/c", False),
        ("#", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
    ],
)
async def test_matches_wildcards(
    topic_filter: str, topic: str, *, matches: bool, autojump_clock: MockClock
) -> None:
    async with open_server() as server, connected(server) as client:
        await client.subscribe(topic_filter)
        assert server.publish(topic) is matches
        assert await client.silent() is not matches


async def test_unsubscribing(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server) as client:
        await client.subscribe("a", "b", "$share/g/c")
        await client.send(Unsubscribe(7, ("b", "x", "$share/g/c")))
        codes = (R.SUCCESS, R.NO_SUBSCRIPTION_EXISTED, R.SUCCESS)
        assert await client.receive() == UnsubAck(7, codes)
        assert [server.publish(topic) for topic in "abc"] == [True, False, False]
        assert list(server.sessions["c"].subscriptions) == ["a"]
        async with connected(server, "d", MQTT_3_1_1) as old:
            await old.send(Unsubscribe(7, ("b",)))
            assert await old.receive() == UnsubAck(7)


async def test_two_sessions_and_two_groups_on_one_filter(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server, "a") as a, connected(server, "b") as b:
        await a.subscribe("t", "$share/g/t", "$share/h/t")
        await b.subscribe("t", "$share/g/t")
        server.publish("t", "x")
        assert [*await payloads(a, 3), *await payloads(b, 1)] == [b"x"] * 4
        await a.send(Unsubscribe(1, ("t", "$share/g/t")))
        await a.receive()
        server.publish("t", "y")
        assert [*await payloads(a, 1), *await payloads(b, 2)] == [b"y"] * 3


async def test_a_new_subscription_replaces_the_old_one(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server) as client:
        await client.subscribe("t", qos=2, identifier=1)
        await client.subscribe("t", qos=1, identifier=2)
        server.publish("t", "x", 2)
        packet = published(await client.receive())
        assert packet.qos == 1
        assert packet.properties.subscription_identifiers == (2,)
        assert await client.silent()


@pytest.mark.parametrize(
    ("overlapping", "copies"),
    [("merge", [(2, (1, 2))]), ("copies", [(1, (1,)), (2, (2,)), (0, ())])],
)
async def test_overlapping_subscriptions(
    overlapping: Literal["merge", "copies"],
    copies: list[tuple[int, tuple[int, ...]]],
    autojump_clock: MockClock,
) -> None:
    limits = ServerLimits(overlapping=overlapping)
    async with open_server(limits=limits) as server, connected(server) as client:
        await client.subscribe("t", qos=1, identifier=1)
        await client.subscribe("+", qos=2, identifier=2)
        await client.subscribe("#", qos=0)
        server.publish("t", "x", 2)
        packets = [published(await client.receive()) for _ in copies]
        assert sorted(
            (packet.qos, packet.properties.subscription_identifiers) for packet in packets
        ) == sorted(copies)
        assert await client.silent()


async def test_no_local(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server) as client:
        await client.subscribe(SubscriptionRequest("t", no_local=True), SubscriptionRequest("+"))
        await client.send(Publish("t", b"mine", retain=True))
        assert await payloads(client, 1) == [b"mine"]  # by the other one
        await client.send(Unsubscribe(1, ("+",)))
        await client.receive()
        await client.send(Publish("t", b"mine", 1, packet_id=1))
        assert await client.receive() == PubAck(1, NOBODY)
        await client.subscribe(SubscriptionRequest("t", no_local=True))  # nor the retained one
        server.publish("t", "another's")
        assert await payloads(client, 1) == [b"another's"]


async def test_shared_subscriptions_take_turns(autojump_clock: MockClock) -> None:
    async with (
        open_server() as server,
        connected(server, kept("a")) as a,
        connected(server, kept("b")) as b,
    ):
        await a.subscribe("$share/g/t", qos=1)
        await b.subscribe("$share/g/t", qos=1)
        for payload in "1234":
            server.publish("t", payload)
        assert await payloads(a, 2) == [b"1", b"3"]
        assert await payloads(b, 2) == [b"2", b"4"]
        server.drop("a")
        server.publish("t", "5", 1)
        server.publish("t", "6", 1)
        assert await payloads(b, 2) == [b"5", b"6"]
        server.drop("b")
        server.publish("t", "7", 1)
        server.publish("t", "8", 1)
        assert [session.queued for session in server.sessions.values()] == [1, 1]


async def test_a_hook_refuses_subscriptions(autojump_clock: MockClock) -> None:
    def authorize(client_id: str, request: SubscriptionRequest) -> ReasonCode:
        allowed = request.topic_filter.startswith(client_id)
        return R.SUCCESS if allowed else R.NOT_AUTHORIZED

    async with open_server() as server, connected(server) as client:
        server.authorize_subscribe = authorize
        suback = await client.subscribe("c/t", "d/t", qos=1)
        assert suback.reason_codes == (R.GRANTED_QOS_1, R.NOT_AUTHORIZED)
        async with connected(server, "o", MQTT_3_1_1) as old:
            assert (await old.subscribe("c")).reason_codes == (R.UNSPECIFIED_ERROR,)


async def test_a_hook_refuses_messages(autojump_clock: MockClock) -> None:
    def authorize(client_id: str, packet: Publish) -> ReasonCode:
        return R.SUCCESS if packet.topic.startswith(client_id) else R.NOT_AUTHORIZED

    bad = Publish("d", b"bad", 1, packet_id=1)
    worse = Publish("d", b"bad", 2, packet_id=2)
    async with open_server() as server, connected(server) as client:
        server.authorize_publish = authorize
        await client.subscribe("#")
        await client.send(bad, worse, Publish("d"), Publish("c", b"good"))
        assert await client.receive_many(3) == [
            PubAck(1, R.NOT_AUTHORIZED),
            PubRec(2, R.NOT_AUTHORIZED),
            Publish("c", b"good"),
        ]
        assert server.sessions["c"].received == 0  # MQTT-4.3.3-9
        async with connected(server, "o", MQTT_3_1_1) as old:
            await old.send(bad, worse, PubRel(2))
            assert await old.receive_many(3) == [PubAck(1), PubRec(2), PubComp(2)]
        server.publish("d", "injected")
        assert await payloads(client, 1) == [b"injected"]


# Retained messages


async def test_keeps_the_last_retained_message(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server) as client:
        server.publish("t", "old", retain=True)
        server.publish("t", "new", 2, retain=True)
        server.publish("t", "not kept")
        assert server.retained == {"t": b"new"}
        await client.subscribe("t", qos=1)
        assert await client.receive() == Publish("t", b"new", 1, retain=True, packet_id=1)
        server.publish("t", b"", retain=True)
        assert await client.receive() == Publish("t", b"")
        assert not server.retained


HANDLING: list[tuple[RetainHandling, list[bytes]]] = [
    (RetainHandling.SEND_ON_SUBSCRIBE, [b"x", b"x"]),
    (RetainHandling.SEND_IF_NEW, [b"x"]),
    (RetainHandling.DO_NOT_SEND, []),
]


@pytest.mark.parametrize(("handling", "got"), HANDLING)
async def test_retain_handling(
    handling: RetainHandling, got: list[bytes], autojump_clock: MockClock
) -> None:
    request = SubscriptionRequest("+", retain_handling=handling)
    subscribe = Subscribe(1, (request,))
    async with open_server() as server, connected(server) as client:
        server.publish("t", "x", retain=True)
        server.publish("t/u", "not matched", retain=True)
        await client.send(subscribe, subscribe)
        await client.receive_many(2)
        assert await payloads(client, len(got)) == got
        assert await client.silent()


async def test_shared_subscriptions_get_no_retained_messages(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server) as client:
        server.publish("t", "x", retain=True)
        await client.subscribe("$share/g/t")
        assert await client.silent()


@pytest.mark.parametrize("as_published", [False, True])
async def test_retain_as_published(*, as_published: bool, autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server) as client:
        await client.subscribe(SubscriptionRequest("t", retain_as_published=as_published))
        server.publish("t", "x", retain=True)
        server.publish("t", "y")
        packets = [published(await client.receive()) for _ in range(2)]
        assert [packet.retain for packet in packets] == [as_published, False]


# Properties


async def test_forwards_properties_unaltered(autojump_clock: MockClock) -> None:
    properties = Properties(
        payload_format_indicator=1,
        content_type="text/plain",
        response_topic="reply",
        correlation_data=b"\0\1",
        user_properties=(("b", "1"), ("a", "2"), ("b", "3")),
    )
    async with open_server() as server, connected(server) as client:
        await client.subscribe("t")
        await client.send(Publish("t", b"x", properties=properties))
        assert await client.receive() == Publish("t", b"x", properties=properties)
        async with connected(server, "old", MQTT_3_1_1) as old:
            await old.subscribe("t")
            server.publish("t", "x", properties=properties)
            assert await old.receive() == Publish("t", b"x")


async def test_counts_message_expiry_down(autojump_clock: MockClock) -> None:
    expiring_soon = Properties(message_expiry_interval=10)
    async with open_server() as server:
        async with connected(server, kept()) as client:
            await client.subscribe("t", qos=1)
            server.publish("t", "sent", 1, properties=expiring_soon)
            await client.receive()
        await server.wait_until(lambda: not server.sessions["c"].connected)
        server.publish("t", "queued", 1, properties=expiring_soon)
        server.publish("t", "short", 1, properties=Properties(message_expiry_interval=4))
        await trio.sleep(4)
        async with connected(server, kept()) as client:
            intervals = [
                published(await client.receive()).properties.message_expiry_interval
                for _ in range(2)
            ]
            assert intervals == [6, 6]
        await trio.sleep(100)
        async with connected(server, kept()) as client:  # what was sent does not expire
            packets = [published(await client.receive()) for _ in range(2)]
            assert [packet.properties.message_expiry_interval for packet in packets] == [1, 1]
            assert [packet.payload for packet in packets] == [b"sent", b"queued"]


async def test_retained_messages_expire(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server) as client:
        server.publish("t", "x", retain=True, properties=Properties(message_expiry_interval=10))
        await trio.sleep(3)
        await client.subscribe("t")
        assert published(await client.receive()).properties.message_expiry_interval == 7
        await trio.sleep(7)
        await client.subscribe("t")
        assert await client.silent()
        assert not server.retained


async def test_resolves_topic_aliases_of_the_client(autojump_clock: MockClock) -> None:
    alias = Properties(topic_alias=1)
    async with open_server() as server:
        async with connected(server) as client:
            await client.subscribe("#")
            await client.send(
                Publish("a", b"1", properties=alias),
                Publish("", b"2", properties=alias),
                Publish("b", b"3", properties=alias),
                Publish("", b"4", properties=alias),
            )
            assert await client.receive_many(4) == [
                Publish("a", b"1"),
                Publish("a", b"2"),
                Publish("b", b"3"),
                Publish("b", b"4"),
            ]
        async with connected(server) as client:  # MQTT-3.3.2-7
            await client.send(Publish("", properties=alias))
            assert await disconnected(client) is R.PROTOCOL_ERROR


async def test_uses_topic_aliases_if_told(autojump_clock: MockClock) -> None:
    limits = ServerLimits(outbound_topic_aliases=True)
    connect = Connect("c", keep_alive=0, properties=Properties(topic_alias_maximum=1))
    async with open_server(limits=limits) as server, connected(server, connect) as client:
        await client.subscribe("#")
        for topic in ("a", "b", "a", "b"):
            server.publish(topic)
        alias = Properties(topic_alias=1)
        assert await client.receive_many(4) == [
            Publish("a", properties=alias),
            Publish("b"),
            Publish("", properties=alias),
            Publish("b"),
        ]


@pytest.mark.parametrize("chunk", [1, 3])
async def test_takes_everything_byte_by_byte(chunk: int, autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server, chunk=chunk) as client:
        await client.subscribe("t", qos=2)
        data = encode(Publish("t", bytes(300), 1, packet_id=1), MQTT_5)
        for start in range(0, len(data), chunk):
            await client.stream.send_all(data[start : start + chunk])
        assert await client.receive_many(2) == [PubAck(1), Publish("t", bytes(300), 1, packet_id=1)]
