"""EMQX 5, played from its documentation and its public source.

Sources: "MQTT Configuration" of the EMQX documentation (defaults: max_packet_size 1MB,
max_topic_alias 65535, max_qos_allowed 2, retain, wildcard and shared subscriptions on, max_inflight
32, server_keepalive disabled, max_awaiting_rel 100), "Access Control" there (deny_action: ignore or
disconnect), and apps/emqx/src of emqx/emqx for what stands in CONNACK and which Reason Codes are
sent: emqx_channel.erl, emqx_reason_codes.erl.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.profiles.support import (
    GOODBYE,
    SOON,
    accept,
    acknowledge,
    assert_disconnect,
    assert_refusal,
)
from trio_mqtt import MQTT_3_1_1, MQTT_5, QoS, ReasonCode, ServerInfo, Session
from trio_mqtt.events import Connected
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    PingReq,
    PingResp,
    Properties,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)
from trio_mqtt.testing import Expect, ExpectSilence, Pause, Reply, Reset, ScriptedPeer, Send

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_mqtt.testing import Step

WINDOW: Final = 32
LARGEST: Final = 1024 * 1024
GRANTED: Final = Properties(
    retain_available=1,
    maximum_packet_size=LARGEST,
    topic_alias_maximum=65_535,
    wildcard_subscription_available=1,
    subscription_identifier_available=1,
    shared_subscription_available=1,
    receive_maximum=WINDOW,
)
ACCEPTED: Final = accept(GRANTED)


async def test_what_connack_grants(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer([*ACCEPTED, *GOODBYE])
    async with trio_mqtt.open_client(connector=peer.connect, client_id="c") as client:
        assert client.server == ServerInfo(
            protocol=MQTT_5,
            client_id="c",
            keep_alive=60,
            session_expiry_interval=300,
            receive_maximum=WINDOW,
            maximum_qos=QoS.EXACTLY_ONCE,
            maximum_packet_size=LARGEST,
            topic_alias_maximum=65_535,
        )
    peer.assert_done()


async def test_an_assigned_client_identifier_is_kept(autojump_clock: MockClock) -> None:
    assigned = attrs.evolve(GRANTED, assigned_client_identifier="emqx_MTI")
    peer = ScriptedPeer(
        [*accept(assigned), Pause(1), Reset()],
        [
            Expect(Connect, client_id="emqx_MTI", clean_start=False),
            Send(ConnAck(session_present=True, properties=GRANTED)),
            *GOODBYE,
        ],
    )
    client = trio_mqtt.open_client(connector=peer.connect, client_id="", reconnect=SOON)
    async with client as connected:
        assert connected.server.client_id == "emqx_MTI"
        async with connected.events() as events:
            async for event in events:
                if isinstance(event, Connected):
                    break
    peer.assert_done()


async def test_a_server_keep_alive_is_obeyed(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer(
        [
            *accept(attrs.evolve(GRANTED, server_keep_alive=15)),
            ExpectSilence(7),
            Expect(PingReq),
            Send(PingResp()),
            *GOODBYE,
        ]
    )
    async with trio_mqtt.open_client(connector=peer.connect, keep_alive=300) as client:
        assert client.server.keep_alive == 15
        await trio.sleep(20)
    peer.assert_done()


class TestLimits:
    async def test_a_packet_too_large_is_not_sent(self, autojump_clock: MockClock) -> None:
        fits = LARGEST - 11  # fixed header, topic "a", Packet Identifier, no properties
        peer = ScriptedPeer(
            [
                *ACCEPTED,
                Expect(Publish, lambda publish: len(publish.payload) == fits, topic="a", qos=1),
                acknowledge(),
                *GOODBYE,
            ]
        )
        async with trio_mqtt.open_client(connector=peer.connect) as client:
            with pytest.raises(trio_mqtt.PacketTooLarge, match="Maximum Packet Size") as caught:
                await client.publish("a", bytes(LARGEST), qos=1)
            assert caught.value.limit == LARGEST
            with pytest.raises(trio_mqtt.PacketTooLarge):
                await client.publish("a", bytes(fits + 2), qos=1)
            await client.publish("a", bytes(fits), qos=1)
        peer.assert_done()

    async def test_the_receive_maximum_is_kept(self, autojump_clock: MockClock) -> None:
        publishes: list[Step] = [Expect(Publish, qos=1) for _ in range(WINDOW)]
        later: list[Step] = []
        for number in range(1, 2 * WINDOW + 1):
            later.append(Send(PubAck(number)))
            if number <= WINDOW:
                later.append(Expect(Publish, qos=1))
        peer = ScriptedPeer([*ACCEPTED, *publishes, ExpectSilence(5), *later, *GOODBYE])
        async with (
            trio_mqtt.open_client(connector=peer.connect) as client,
            client.open_publisher(qos=1) as publisher,
        ):
            for number in range(2 * WINDOW):
                await publisher.send("a", str(number))
            await wait_all_tasks_blocked()
            assert client.statistics().window == 0
        peer.assert_done()

    async def test_topic_aliases_of_the_server(self, autojump_clock: MockClock) -> None:
        alias = Properties(topic_alias=1)
        peer = ScriptedPeer(
            [
                Expect(Connect, lambda connect: connect.properties.topic_alias_maximum == 5),
                *ACCEPTED[1:],
                Expect(Subscribe),
                Reply(Subscribe, lambda packet: SubAck(packet.packet_id, (ReasonCode(0),))),
                Send(Publish("plant/7", b"1", properties=alias)),
                Send(Publish("", b"2", properties=alias)),
                Expect(Unsubscribe),
                Reply(
                    Unsubscribe, lambda packet: UnsubAck(packet.packet_id, (ReasonCode.SUCCESS,))
                ),
                *GOODBYE,
            ]
        )
        async with (
            trio_mqtt.open_client(connector=peer.connect, topic_alias_maximum=5) as client,
            client.subscribe("plant/+") as messages,
        ):
            received = [await messages.receive() for _ in range(2)]
            assert [(each.topic, each.text()) for each in received] == [
                ("plant/7", "1"),
                ("plant/7", "2"),
            ]
        peer.assert_done()


# What `emqx_reason_codes:connack_error` and the checks of CONNECT send.
@pytest.mark.parametrize(
    ("reason_code", "fatal", "fatal_with_callable"),
    [
        (ReasonCode.BAD_USER_NAME_OR_PASSWORD, True, False),
        (ReasonCode.NOT_AUTHORIZED, True, False),
        (ReasonCode.BANNED, True, True),
        (ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, True, True),
        (ReasonCode.BAD_AUTHENTICATION_METHOD, True, True),
        (ReasonCode.SERVER_UNAVAILABLE, False, False),
        (ReasonCode.SERVER_BUSY, False, False),
        (ReasonCode.QUOTA_EXCEEDED, False, False),
        (ReasonCode.UNSPECIFIED_ERROR, False, False),
    ],
)
async def test_refusals(
    autojump_clock: MockClock, reason_code: ReasonCode, fatal: bool, fatal_with_callable: bool
) -> None:
    await assert_refusal(reason_code, MQTT_5, fatal=fatal, fatal_with_callable=fatal_with_callable)


# `emqx_reason_codes:compat`: below MQTT 5.0 a ban is "not authorized", which new credentials might
# help against, and a busy server is unavailable.
@pytest.mark.parametrize(
    ("reason_code", "fatal", "fatal_with_callable"),
    [
        (ReasonCode.BAD_USER_NAME_OR_PASSWORD, True, False),
        (ReasonCode.NOT_AUTHORIZED, True, False),
        (ReasonCode.SERVER_UNAVAILABLE, False, False),
    ],
)
async def test_refusals_of_mqtt_3_1_1(
    autojump_clock: MockClock, reason_code: ReasonCode, fatal: bool, fatal_with_callable: bool
) -> None:
    await assert_refusal(
        reason_code, MQTT_3_1_1, fatal=fatal, fatal_with_callable=fatal_with_callable
    )


@pytest.mark.parametrize(
    ("reason_code", "fatal"),
    [
        (ReasonCode.SESSION_TAKEN_OVER, True),  # another client with this client_id
        (ReasonCode.ADMINISTRATIVE_ACTION, False),  # kicked in the dashboard or by the REST API
        (ReasonCode.NOT_AUTHORIZED, True),  # deny_action = disconnect, or the token has expired
        (ReasonCode.PACKET_TOO_LARGE, True),
        (ReasonCode.RECEIVE_MAXIMUM_EXCEEDED, True),  # max_awaiting_rel
        (ReasonCode.TOPIC_ALIAS_INVALID, True),
        (ReasonCode.KEEP_ALIVE_TIMEOUT, False),
        (ReasonCode.SERVER_SHUTTING_DOWN, False),
        (ReasonCode.USE_ANOTHER_SERVER, False),  # rebalancing: the same address leads elsewhere
        (ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, False),
    ],
)
async def test_disconnects(autojump_clock: MockClock, reason_code: ReasonCode, fatal: bool) -> None:
    await assert_disconnect(GRANTED, reason_code, fatal=fatal)


@pytest.mark.parametrize("reason_code", [ReasonCode.NOT_AUTHORIZED, ReasonCode.QUOTA_EXCEEDED])
async def test_a_message_refused(autojump_clock: MockClock, reason_code: ReasonCode) -> None:
    peer = ScriptedPeer(
        [*ACCEPTED, Expect(Publish, topic="forbidden"), acknowledge(reason_code), *GOODBYE]
    )
    async with trio_mqtt.open_client(connector=peer.connect) as client:
        with pytest.raises(trio_mqtt.PublishRejected) as caught:
            await client.publish("forbidden", "x", qos=1)
        assert caught.value.reason_code is reason_code
    peer.assert_done()


async def test_a_message_that_nobody_subscribes_to_is_accepted(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer(
        [
            *ACCEPTED,
            Expect(Publish),
            acknowledge(ReasonCode.NO_MATCHING_SUBSCRIBERS),
            *GOODBYE,
        ]
    )
    async with trio_mqtt.open_client(connector=peer.connect) as client:
        result = await client.publish("a", "x", qos=1)
        assert result.reason_code is ReasonCode.NO_MATCHING_SUBSCRIBERS
    peer.assert_done()


async def test_a_subscription_refused(autojump_clock: MockClock) -> None:
    def answer(packet: Subscribe) -> SubAck:
        return SubAck(packet.packet_id, (ReasonCode.NOT_AUTHORIZED,))

    peer = ScriptedPeer([*ACCEPTED, Expect(Subscribe), Reply(Subscribe, answer), *GOODBYE])
    async with trio_mqtt.open_client(connector=peer.connect) as client:
        with pytest.raises(trio_mqtt.SubscribeRejected) as caught:
            async with client.subscribe("forbidden/#"):
                pytest.fail("it is subscribed")
        assert caught.value.reasons == {"forbidden/#": ReasonCode.NOT_AUTHORIZED}
    peer.assert_done()


async def test_a_session_kept_for_less_than_was_asked_for(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    shorter = attrs.evolve(GRANTED, session_expiry_interval=7200)
    peer = ScriptedPeer([*accept(shorter), *GOODBYE])
    session = Session("c", expiry=86_400)
    async with trio_mqtt.open_client(connector=peer.connect, session=session) as client:
        assert client.server.session_expiry_interval == 7200
        assert session.expiry == 7200
    assert any("7200" in record.getMessage() for record in caplog.records)
