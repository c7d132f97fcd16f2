"""Several Topic Filters at once, each with options of its own; what goes along, and the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.moments import PATIENCE
from tests.client.outages import CONNECTED, GOODBYE, longest_delays, lose_session
from trio_mqtt import (
    MQTT_3_1_1,
    FeatureNotSupported,
    LocalProtocolError,
    PacketTooLarge,
    QoS,
    ReasonCode,
    Reconnect,
    RetainHandling,
    SubscribeRejected,
    SubscribeResult,
    TopicFilter,
    UnsubscribeRejected,
    UnsubscribeResult,
)
from trio_mqtt.packets import (
    Packet,
    Properties,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    UnsubAck,
    Unsubscribe,
)
from trio_mqtt.testing import Expect, Reply, ScriptedPeer, Server, ServerLimits

if TYPE_CHECKING:
    from trio.testing import MockClock

    from tests.servers import RealServer

open_client = trio_mqtt.open_client
NO_IDENTIFIERS: Final = ServerLimits(subscription_identifier_available=False)
PAIRS: Final = (("reason", "test"), ("reason", "again"))
MIXED: Final = (
    "a/#",
    TopicFilter("b/+", qos=2, no_local=True),
    TopicFilter("c", retain_as_published=True, retain_handling=RetainHandling.DO_NOT_SEND),
)
ON_THE_WIRE: Final = (
    SubscriptionRequest("a/#", 1),
    SubscriptionRequest("b/+", 2, no_local=True),
    SubscriptionRequest(
        "c", 1, retain_as_published=True, retain_handling=RetainHandling.DO_NOT_SEND
    ),
)


def received(server: Server, kind: type[Packet]) -> list[Any]:
    return [
        entry.packet
        for entry in server.log
        if entry.direction == "received" and isinstance(entry.packet, kind)
    ]


async def test_each_filter_has_its_options_and_its_identifier(server: Server) -> None:
    async with (
        open_client(connector=server.connect) as client,
        client.subscribe(*MIXED, qos=1) as messages,
    ):
        granted = {"a/#": QoS(1), "b/+": QoS(2), "c": QoS(1)}
        assert messages.granted == granted
        packets: list[Subscribe] = received(server, Subscribe)
        assert [each.requests for each in packets] == [(each,) for each in ON_THE_WIRE]
        identifiers = {each.properties.subscription_identifiers for each in packets}
        assert len(identifiers) == 3


async def test_without_identifiers_each_goes_alone_all_the_same(server: Server) -> None:
    """Some servers take one Topic Filter in a SUBSCRIBE, and several mean nothing else."""
    server.limits = NO_IDENTIFIERS
    async with (
        open_client(connector=server.connect) as client,
        client.subscribe(*MIXED, qos=1) as messages,
    ):
        assert messages.granted == {"a/#": QoS(1), "b/+": QoS(2), "c": QoS(1)}
        packets: list[Subscribe] = received(server, Subscribe)
        assert [each.requests for each in packets] == [(each,) for each in ON_THE_WIRE]
        for topic in ("a/1", "b/1", "c"):
            server.publish(topic)
        assert [(await messages.receive()).topic for _ in range(3)] == ["a/1", "b/1", "c"]


async def test_each_filter_gets_its_answer(server: Server) -> None:
    refused = {"b": ReasonCode.NOT_AUTHORIZED, "d": ReasonCode.QUOTA_EXCEEDED}

    def authorize(_client_id: str, request: SubscriptionRequest) -> ReasonCode:
        return refused.get(request.topic_filter, ReasonCode.SUCCESS)

    server.authorize_subscribe = authorize
    async with open_client(connector=server.connect, client_id="c") as client:
        with pytest.raises(SubscribeRejected) as caught:
            async with client.subscribe("a", TopicFilter("b", qos=2), "c", "d"):
                raise AssertionError("not reached")
        assert caught.value.reasons == refused
        await client.publish("e", qos=1)
        assert server.sessions["c"].subscriptions == {}


@pytest.mark.parametrize("has_identifiers", [True, False])
async def test_if_one_filter_is_too_large_nothing_is_sent(
    server: Server, *, has_identifiers: bool
) -> None:
    server.limits = ServerLimits(
        subscription_identifier_available=has_identifiers, maximum_packet_size=40
    )
    async with open_client(connector=server.connect, client_id="c") as client:
        with pytest.raises(PacketTooLarge):
            async with client.subscribe("a", "x" * 40, "b"):
                raise AssertionError("not reached")
        assert client.statistics().unfinished == 0
        async with client.subscribe("a", qos=1) as messages:
            server.publish("a", qos=1)
            await messages.receive()
    assert [
        [each.topic_filter for each in packet.requests] for packet in received(server, Subscribe)
    ] == [["a"]]
    assert [each.topic_filters for each in received(server, Unsubscribe)] == [("a",)]


async def test_what_was_not_sent_leaves_others_as_they_were(server: Server) -> None:
    server.limits = ServerLimits(maximum_packet_size=40)
    async with (
        open_client(connector=server.connect, client_id="c") as client,
        client.subscribe("a", qos=0) as messages,
    ):
        with pytest.raises(PacketTooLarge):
            async with client.subscribe("a", "x" * 40, qos=2):
                raise AssertionError("not reached")
        async with client.subscribe("a", qos=1) as more:
            assert more.granted == {"a": QoS(1)}
        server.publish("a", qos=0)
        await messages.receive()


async def test_what_was_not_sent_leaves_what_is_under_way(
    server: Server, autojump_clock: MockClock
) -> None:
    """Who gives up waiting for it unsubscribes, as ever: the server has it, or will."""
    server.limits = ServerLimits(maximum_packet_size=40)
    async with open_client(connector=server.connect, client_id="c") as client:

        async def subscribe() -> None:
            async with client.subscribe("a", qos=0):
                raise AssertionError("not reached")

        with server.holding(SubAck):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(subscribe)
                await server.wait_until(lambda: bool(server.sessions["c"].subscriptions))
                with pytest.raises(PacketTooLarge):
                    async with client.subscribe("a", "x" * 40, qos=2):
                        raise AssertionError("not reached")
                nursery.cancel_scope.cancel()
        with trio.fail_after(PATIENCE):
            await server.wait_until(lambda: not server.sessions["c"].subscriptions)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("lost", [True, False])
async def test_what_cannot_be_sent_any_more_leaves_others_as_they_were(
    server: Server, autojump_clock: MockClock, *, keep: bool, lost: bool
) -> None:
    """A greater QoS that the server was never asked for is not taken for granted."""
    async with (
        open_client(connector=server.connect, client_id="c") as client,
        client.subscribe("a", qos=0, keep=keep) as first,
    ):
        server.accepting = False
        server.drop("c")
        await server.wait_until(lambda: not server.sessions["c"].connected)
        if lost:
            server.forget_session("c")
        server.limits = ServerLimits(maximum_packet_size=60)

        async def subscribe() -> None:
            long = [("long", "x" * 60)]
            with pytest.raises(PacketTooLarge):
                async with client.subscribe("a", qos=2, keep=keep, user_properties=long):
                    raise AssertionError("not reached")

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(subscribe)
                await wait_all_tasks_blocked()
                server.accepting = True
            await server.wait_until(lambda: "a" in server.sessions["c"].subscriptions)
            server.publish("a", "x")
            assert (await first.receive()).text() == "x"
        remembered = client._supervisor.session._subscriptions.get("a")
        assert (remembered and remembered.request.qos) == (0 if keep else None)
        async with client.subscribe("a", qos=2) as messages:
            assert messages.granted == {"a": QoS.EXACTLY_ONCE}
        assert all(not each.properties.user_properties for each in received(server, Subscribe))


@pytest.mark.parametrize("refused", [True, False])
async def test_who_is_refused_leaves_no_user_properties_behind(
    server: Server, autojump_clock: MockClock, *, refused: bool
) -> None:
    """What is subscribed again after a lost Session says what it said before."""
    server.limits = ServerLimits(maximum_packet_size=40)
    async with (
        open_client(connector=server.connect, client_id="c") as client,
        client.subscribe("a", user_properties=[("block", "1")]),
    ):
        if refused:
            server.authorize_subscribe = lambda _client_id, _request: ReasonCode.QUOTA_EXCEEDED
        with pytest.raises(SubscribeRejected if refused else PacketTooLarge):
            async with client.subscribe(
                "a", *([] if refused else ["x" * 40]), qos=2, user_properties=[("block", "2")]
            ):
                raise AssertionError("not reached")
        server.authorize_subscribe = None
        count = len(received(server, Subscribe))
        await lose_session(server)
        await server.wait_until(lambda: len(received(server, Subscribe)) > count)
        assert received(server, Subscribe)[-1].properties.user_properties == (("block", "1"),)


@pytest.mark.parametrize(
    "other",
    [
        TopicFilter("a", qos=1),
        TopicFilter("a", no_local=True),
        TopicFilter("a", retain_as_published=True),
        TopicFilter("a", retain_handling=1),
    ],
    ids=str,
)
async def test_one_filter_cannot_have_two_sets_of_options(
    server: Server, other: TopicFilter
) -> None:
    async with open_client(connector=server.connect) as client:
        with pytest.raises(LocalProtocolError, match="twice with different options"):
            async with client.subscribe("a", other):
                raise AssertionError("not reached")
        same = TopicFilter("a", qos=0, no_local=False, retain_as_published=False)
        async with client.subscribe("a", same, "a", retain_handling=0):
            pass
    assert [packet.requests for packet in received(server, Subscribe)] == [
        (SubscriptionRequest("a"),)
    ]


async def test_another_block_on_a_filter_asks_the_server_for_nothing(server: Server) -> None:
    server.publish("a", "kept", retain=True)
    async with (
        open_client(connector=server.connect) as client,
        client.subscribe("a", user_properties=[("block", "1")]) as first,
    ):
        assert (await first.receive()).text() == "kept"
        async with client.subscribe("a", user_properties=[("block", "2")]) as second:
            assert (second.granted, second.answers) == ({"a": QoS.AT_MOST_ONCE}, {})
            server.publish("a", "new")
            assert (await second.receive()).text() == "new"
    (packet,) = received(server, Subscribe)
    assert packet.properties.user_properties == (("block", "1"),)


async def test_options_of_a_filter_must_agree_with_another_block(server: Server) -> None:
    async with (
        open_client(connector=server.connect) as client,
        client.subscribe("a", no_local=True),
    ):
        for wanted in ("a", TopicFilter("a", no_local=True, retain_as_published=True)):
            with pytest.raises(LocalProtocolError, match="is subscribed with another"):
                async with client.subscribe(wanted):
                    raise AssertionError("not reached")
        async with client.subscribe("b", TopicFilter("a", no_local=True)):
            pass
        with pytest.raises(LocalProtocolError) as caught:
            async with client.subscribe(TopicFilter("$share/g/a", no_local=True)):
                raise AssertionError("not reached")
        assert caught.value.statement == "MQTT-3.8.3-4"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"topic_filter": "a#"}, LocalProtocolError),
        ({"topic_filter": ""}, LocalProtocolError),
        ({"topic_filter": "a", "qos": 3}, ValueError),
        ({"topic_filter": "a", "retain_handling": 3}, ValueError),
        ({"topic_filter": "a", "no_local": 1}, TypeError),
        ({"topic_filter": "a", "retain_as_published": "yes"}, TypeError),
    ],
)
def test_a_topic_filter_is_checked_as_it_is_made(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        TopicFilter(**arguments)


@pytest.mark.parametrize(
    "wanted",
    [TopicFilter("a", no_local=True), TopicFilter("a", retain_handling=2)],
    ids=str,
)
async def test_below_5_a_filter_has_no_option_but_the_qos(
    server: Server, wanted: TopicFilter
) -> None:
    async with open_client(connector=server.connect, protocol=MQTT_3_1_1) as client:
        with pytest.raises(FeatureNotSupported, match="no option but the QoS"):
            async with client.subscribe("b", wanted):
                raise AssertionError("not reached")
        async with client.subscribe("b", TopicFilter("a", qos=2)) as messages:
            assert messages.granted == {"b": QoS(0), "a": QoS(2)}


async def test_mosquitto_takes_filters_with_options_of_their_own(mosquitto: RealServer) -> None:
    with trio.fail_after(PATIENCE):
        async with open_client(mosquitto.url) as client:
            await client.publish("filters/kept", "old", qos=1, retain=True)
            async with client.subscribe(
                TopicFilter("filters/own", no_local=True),
                TopicFilter("filters/kept", retain_handling=RetainHandling.DO_NOT_SEND),
                TopicFilter("filters/+/flag", qos=2, retain_as_published=True),
                qos=1,
                user_properties=PAIRS,
            ) as messages:
                assert list(messages.granted.values()) == [QoS(1), QoS(1), QoS(2)]
                await client.publish("filters/own", "never", qos=1)
                await client.publish("filters/a/flag", "flag", qos=1, retain=True)
                message = await messages.receive()
                assert (message.text(), message.retain) == ("flag", True)
            for topic in ("filters/kept", "filters/a/flag"):
                await client.publish(topic, qos=1, retain=True)
            result = await client.unsubscribe("filters/own", user_properties=PAIRS)
            assert result.reason_codes == {"filters/own": ReasonCode.NO_SUBSCRIPTION_EXISTED}


# -- what goes along, and the answers ---------------------------------------------------------


async def test_user_properties_go_along(server: Server) -> None:
    async with open_client(connector=server.connect) as client:
        async with client.subscribe("a", "b", user_properties=PAIRS):
            result = await client.unsubscribe("a", "c", user_properties=iter(PAIRS))
        assert result == UnsubscribeResult(
            reason_codes={"a": ReasonCode.SUCCESS, "c": ReasonCode.NO_SUBSCRIPTION_EXISTED}
        )
    assert [each.properties.user_properties for each in received(server, Subscribe)] == [PAIRS] * 2
    assert [each.properties.user_properties for each in received(server, Unsubscribe)] == [
        PAIRS,
        (),  # the end of the block
    ]


async def test_user_properties_go_along_again_after_the_session_was_lost(
    server: Server, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest_delays(monkeypatch)
    async with (
        open_client(connector=server.connect, client_id="c") as client,
        client.subscribe("a", user_properties=PAIRS) as messages,
    ):
        await lose_session(server)
        with trio.fail_after(PATIENCE):
            await client.publish("a", qos=1)
            await messages.receive()
        one, again = received(server, Subscribe)
        assert one.properties == again.properties
        assert again.properties.user_properties == PAIRS


@pytest.mark.parametrize("pairs", [[("a", "\0")], [("\ud800", "")]])
async def test_user_properties_that_the_standard_forbids(
    server: Server, pairs: list[tuple[str, str]]
) -> None:
    async with open_client(connector=server.connect) as client:
        with pytest.raises(LocalProtocolError):
            async with client.subscribe("a", user_properties=pairs):
                raise AssertionError("not reached")
        with pytest.raises(LocalProtocolError):
            await client.unsubscribe("a", user_properties=pairs)
        assert client.statistics().unfinished == 0
    assert received(server, Subscribe) == received(server, Unsubscribe) == []


async def test_below_5_user_properties_are_refused_or_left_out(server: Server) -> None:
    async with open_client(connector=server.connect, protocol=MQTT_3_1_1) as client:
        with pytest.raises(
            FeatureNotSupported, match=r"SUBSCRIBE cannot have User Property.*leave_out"
        ):
            async with client.subscribe("a", user_properties=PAIRS):
                raise AssertionError("not reached")
        with pytest.raises(FeatureNotSupported, match="UNSUBSCRIBE cannot have User Property"):
            await client.unsubscribe("a", user_properties=PAIRS)
        assert client.statistics().unfinished == 0
    async with (
        open_client(
            connector=server.connect, protocol=MQTT_3_1_1, unsupported_properties="leave_out"
        ) as client,
        client.subscribe("a", user_properties=PAIRS),
    ):
        result = await client.unsubscribe("a", user_properties=PAIRS)
        assert result == UnsubscribeResult(reason_codes={"a": ReasonCode.SUCCESS})


@pytest.mark.parametrize("leave_out", [True, False])
async def test_user_properties_of_an_unsubscribe_before_the_version_was_known(
    server: Server, autojump_clock: MockClock, *, leave_out: bool
) -> None:
    server.accepting = False
    server.limits = ServerLimits(protocols=[MQTT_3_1_1])
    async with (
        open_client(
            connector=server.connect,
            reconnect=Reconnect(initial="background"),
            unsupported_properties="leave_out" if leave_out else "refuse",
        ) as client,
        trio.open_nursery() as nursery,
    ):

        async def unsubscribe() -> None:
            if leave_out:
                await client.unsubscribe("a", user_properties=PAIRS)
            else:
                with pytest.raises(FeatureNotSupported):
                    await client.unsubscribe("a", user_properties=PAIRS)

        nursery.start_soon(unsubscribe)
        await wait_all_tasks_blocked()
        server.accepting = True
    assert [each.topic_filters for each in received(server, Unsubscribe)] == (
        [("a",)] if leave_out else []
    )


WORDS: Final = Properties(reason_string="as you like", user_properties=PAIRS)


def answered(codes: tuple[ReasonCode, ...]) -> ScriptedPeer:
    def suback(packet: Subscribe) -> SubAck:
        return SubAck(packet.packet_id, (ReasonCode.GRANTED_QOS_1,), WORDS)

    def unsuback(packet: Unsubscribe) -> UnsubAck:
        return UnsubAck(packet.packet_id, codes, WORDS)

    return ScriptedPeer(
        [
            *CONNECTED,
            *[Expect(Subscribe), Reply(Subscribe, suback)],
            *[Expect(Unsubscribe), Reply(Unsubscribe, unsuback)],
            *GOODBYE,
        ],
        timeout=PATIENCE,
    )


async def test_the_servers_words_can_be_read() -> None:
    peer = answered((ReasonCode.SUCCESS,))
    async with (
        open_client(connector=peer.connect) as client,
        client.subscribe("a", qos=2) as messages,
        client.subscribe("a") as more,
    ):
        assert messages.answers == {
            "a": SubscribeResult(
                reason_code=ReasonCode.GRANTED_QOS_1,
                reason_string="as you like",
                user_properties=PAIRS,
            )
        }
        assert more.granted == {"a": QoS(1)}
        assert more.answers == {}
        result = await client.unsubscribe("a")
        assert result == UnsubscribeResult(
            reason_codes={"a": ReasonCode.SUCCESS},
            reason_string="as you like",
            user_properties=PAIRS,
        )
    peer.assert_done()


async def test_the_servers_words_to_what_it_refuses_can_be_read() -> None:
    peer = answered((ReasonCode.NOT_AUTHORIZED,))
    async with (
        open_client(connector=peer.connect) as client,
        client.subscribe("a", qos=2, keep=True),
    ):
        with pytest.raises(UnsubscribeRejected, match="as you like") as caught:
            await client.unsubscribe("a")
        assert caught.value.reasons == {"a": ReasonCode.NOT_AUTHORIZED}
        assert caught.value.reason_string == "as you like"
        assert caught.value.user_properties == PAIRS
    peer.assert_done()
