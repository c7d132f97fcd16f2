"""IoT Platform and ApsaraMQ for MQTT of Alibaba Cloud, played from their documentation.

Sources: IoT Platform, "Establish MQTT connections over TCP" (what stands in CONNECT, Keep Alive
from 30 to 1200 seconds), "Troubleshooting" (return codes of CONNACK, in each version of MQTT),
"Optimized device-cloud interactions" (what CONNACK says in MQTT 5.0); ApsaraMQ for MQTT,
"Signature authentication".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import pytest
import trio
from signatures import alibaba_credentials, alibaba_mq_credentials

import trio_mqtt
from tests.profiles.support import (
    GOODBYE,
    SOON,
    accept,
    acknowledge,
    assert_disconnect,
    assert_refusal,
)
from trio_mqtt import MQTT_3_1_1, MQTT_5, QoS, ReasonCode, ServerInfo
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    PingReq,
    PingResp,
    Properties,
    Publish,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)
from trio_mqtt.testing import Expect, ExpectSilence, Pause, Reply, Reset, ScriptedPeer, Send

if TYPE_CHECKING:
    from trio.testing import MockClock

DEVICE: Final = alibaba_credentials("pk", "device", "secret", client_id="12345", timestamp=789)
GRANTED: Final = Properties(
    retain_available=1,
    wildcard_subscription_available=1,
    subscription_identifier_available=0,
    shared_subscription_available=1,
    topic_alias_maximum=65_535,
    maximum_qos=1,
    server_keep_alive=60,
)


async def test_a_device_presents_itself_at_each_connection(autojump_clock: MockClock) -> None:
    connect = Expect(
        Connect,
        protocol=MQTT_3_1_1,
        client_id="12345|securemode=2,signmethod=hmacsha256,timestamp=789|",
        username="device&pk",
        password=DEVICE.password.encode(),
        keep_alive=60,
    )
    peer = ScriptedPeer(
        [connect, Send(ConnAck()), Pause(1), Reset()], [connect, Send(ConnAck()), *GOODBYE]
    )
    async with trio_mqtt.open_client(
        connector=peer.connect,
        protocol=MQTT_3_1_1,
        client_id=DEVICE.client_id,
        username=DEVICE.username,
        password=DEVICE.password,
        reconnect=SOON,
    ):
        await trio.sleep(5)
    peer.assert_done()


async def test_apsara_mq(autojump_clock: MockClock) -> None:
    client_id, username, password = alibaba_mq_credentials(
        "mqtt-cn-example", "key id", "key secret", client_id="GID_Test@@@0001"
    )
    peer = ScriptedPeer(
        [
            Expect(
                Connect,
                client_id="GID_Test@@@0001",
                username="Signature|key id|mqtt-cn-example",
                password=b"MC0C7Z6yyXxumgVL8kEPQvUFk5M=",
            ),
            Send(ConnAck()),
            *GOODBYE,
        ]
    )
    async with trio_mqtt.open_client(
        connector=peer.connect, client_id=client_id, username=username, password=password
    ):
        pass
    peer.assert_done()


@pytest.mark.parametrize(
    ("reason_code", "fatal", "fatal_with_callable"),
    [
        (ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, True, True),
        (ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, True, True),  # also: a malformed extension
        (ReasonCode.SERVER_UNAVAILABLE, False, False),
        (ReasonCode.BAD_USER_NAME_OR_PASSWORD, True, False),
        (ReasonCode.NOT_AUTHORIZED, True, False),
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
        (ReasonCode.UNSPECIFIED_ERROR, False),
        (ReasonCode.MALFORMED_PACKET, True),
        (ReasonCode.PROTOCOL_ERROR, True),
        (ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, True),
        (ReasonCode.SERVER_UNAVAILABLE, False),
        (ReasonCode.SERVER_BUSY, False),
        (ReasonCode.BANNED, True),
        (ReasonCode.BAD_AUTHENTICATION_METHOD, True),
        (ReasonCode.QUOTA_EXCEEDED, False),
    ],
)
async def test_refusals_of_mqtt_5(
    autojump_clock: MockClock, reason_code: ReasonCode, fatal: bool
) -> None:
    await assert_refusal(reason_code, MQTT_5, fatal=fatal, fatal_with_callable=fatal)


@pytest.mark.parametrize(
    ("reason_code", "fatal"),
    [
        (ReasonCode.KEEP_ALIVE_TIMEOUT, False),
        (ReasonCode.TOPIC_NAME_INVALID, True),
        (ReasonCode.RECEIVE_MAXIMUM_EXCEEDED, True),
        (ReasonCode.TOPIC_ALIAS_INVALID, True),
        (ReasonCode.PACKET_TOO_LARGE, True),
        (ReasonCode.MESSAGE_RATE_TOO_HIGH, False),
        (ReasonCode.QUOTA_EXCEEDED, False),
        (ReasonCode.ADMINISTRATIVE_ACTION, False),
        (ReasonCode.QOS_NOT_SUPPORTED, True),
        (ReasonCode.USE_ANOTHER_SERVER, False),
        (ReasonCode.SERVER_MOVED, True),
    ],
)
async def test_disconnects(autojump_clock: MockClock, reason_code: ReasonCode, fatal: bool) -> None:
    await assert_disconnect(GRANTED, reason_code, fatal=fatal)


class TestMQTT5:
    async def test_what_connack_grants(self, autojump_clock: MockClock) -> None:
        peer = ScriptedPeer([*accept(GRANTED), *GOODBYE])
        async with trio_mqtt.open_client(
            connector=peer.connect, client_id=DEVICE.client_id
        ) as client:
            assert client.server == ServerInfo(
                protocol=MQTT_5,
                client_id=DEVICE.client_id,
                keep_alive=60,
                session_expiry_interval=300,
                maximum_qos=QoS.AT_LEAST_ONCE,
                topic_alias_maximum=65_535,
                subscription_identifier_available=False,
            )
        peer.assert_done()

    async def test_qos_2_is_refused_here(self, autojump_clock: MockClock) -> None:
        peer = ScriptedPeer([*accept(GRANTED), Expect(Publish, qos=1), acknowledge(), *GOODBYE])
        async with trio_mqtt.open_client(connector=peer.connect) as client:
            with pytest.raises(trio_mqtt.FeatureNotSupported, match="Maximum QoS of 1"):
                await client.publish("/pk/device/user/update", "x", qos=2)
            await client.publish("/pk/device/user/update", "x", qos=1)
        peer.assert_done()

    async def test_a_subscription_has_no_identifier(self, autojump_clock: MockClock) -> None:
        peer = ScriptedPeer(
            [
                *accept(GRANTED),
                Expect(Subscribe, properties=Properties()),
                Reply(Subscribe, lambda packet: SubAck(packet.packet_id, (ReasonCode(1),))),
                Expect(Unsubscribe),
                Reply(
                    Unsubscribe, lambda packet: UnsubAck(packet.packet_id, (ReasonCode.SUCCESS,))
                ),
                *GOODBYE,
            ]
        )
        async with (
            trio_mqtt.open_client(connector=peer.connect) as client,
            client.subscribe("/pk/device/user/get", qos=1) as messages,
        ):
            assert messages.granted == {"/pk/device/user/get": QoS.AT_LEAST_ONCE}
        peer.assert_done()

    async def test_the_keep_alive_asked_for_is_confirmed(self, autojump_clock: MockClock) -> None:
        peer = ScriptedPeer(
            [
                Expect(Connect, keep_alive=300),
                Send(ConnAck(properties=attrs.evolve(GRANTED, server_keep_alive=300))),
                ExpectSilence(100),
                Expect(PingReq),
                Send(PingResp()),
                *GOODBYE,
            ],
            timeout=1000,
        )
        async with trio_mqtt.open_client(connector=peer.connect, keep_alive=300) as client:
            assert client.server.keep_alive == 300
            await trio.sleep(300)
        peer.assert_done()


# It says that it rejects the connection, but not with which code; 5 is played.
async def test_a_keep_alive_out_of_range_is_refused(autojump_clock: MockClock) -> None:
    refused = ConnAck(reason_code=ReasonCode.NOT_AUTHORIZED)
    peer = ScriptedPeer([Expect(Connect, keep_alive=10), Send(refused), Pause(1)])
    with pytest.raises(trio_mqtt.ConnectRejected, match="not authorized"):
        async with trio_mqtt.open_client(
            connector=peer.connect, protocol=MQTT_3_1_1, keep_alive=10
        ):
            pytest.fail("it is connected")
