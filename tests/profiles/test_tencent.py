"""IoT Hub and IoT Explorer of Tencent Cloud, played from their documentation.

Sources: IoT Hub, "MQTT-Based Device Connection over TCP" (MQTT 3.1.1, without QoS 2, wills and
retained messages; Keep Alive from 0 to 900 seconds; what stands in CONNECT) and "Use Limits" (one
subscription in a SUBSCRIBE, one connection in 5 seconds, messages of at most 16 KB, of which those
above are refused).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import pytest
import trio
from signatures import tencent_credentials

import trio_mqtt
from tests.profiles.support import GOODBYE, SOON, assert_refusal
from trio_mqtt import MQTT_3_1_1, ReasonCode, Reconnect, ServerInfo
from trio_mqtt.events import Connected
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    UnsubAck,
    Unsubscribe,
)
from trio_mqtt.testing import Close, Expect, Pause, Reply, Reset, ScriptedPeer, Send

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

    from trio_mqtt.testing import Step

PRODUCT: Final = "ABCDE12345"
SECRET: Final = "MDEyMzQ1Njc4OWFiY2RlZg=="
NOW: Final = 1_800_000_000
LIFETIME: Final = 600


def signed_for(expires_at: int) -> tuple[str, str]:
    credentials = tencent_credentials(
        PRODUCT, "pump", SECRET, connection_id="k3j9x", expires_at=expires_at
    )
    return credentials.username, credentials.password


def signing() -> Callable[[], Awaitable[tuple[str, str]]]:
    """Credentials signed at each attempt, of which a second passes before the next."""
    times = itertools.count(NOW)

    async def credentials() -> tuple[str, str]:
        await trio.lowlevel.checkpoint()
        return signed_for(next(times) + LIFETIME)

    return credentials


def connect(attempt: int) -> Step:
    username, password = signed_for(NOW + attempt + LIFETIME)
    return Expect(
        Connect,
        protocol=MQTT_3_1_1,
        client_id=f"{PRODUCT}pump",
        username=username,
        password=password.encode(),
    )


async def test_each_attempt_is_signed_anew(autojump_clock: MockClock) -> None:
    refused = ConnAck(reason_code=ReasonCode.NOT_AUTHORIZED)  # the signature has expired
    peer = ScriptedPeer(
        [connect(0), Send(ConnAck()), Pause(1), Reset()],
        [connect(1), Send(refused), Close()],
        [connect(2), Send(ConnAck()), *GOODBYE],
    )
    async with (
        trio_mqtt.open_client(
            connector=peer.connect,
            protocol=MQTT_3_1_1,
            client_id=f"{PRODUCT}pump",
            credentials=signing(),
            reconnect=SOON,
        ) as client,
        client.events() as events,
    ):
        assert client.server == ServerInfo(
            protocol=MQTT_3_1_1,
            client_id=f"{PRODUCT}pump",
            keep_alive=60,
            subscription_identifier_available=False,
        )
        async for event in events:
            if isinstance(event, Connected):
                break
    peer.assert_done()


async def test_a_fixed_signature_that_has_expired_is_the_end(autojump_clock: MockClock) -> None:
    username, password = signed_for(NOW)
    peer = ScriptedPeer(
        [Expect(Connect), Send(ConnAck()), Pause(1), Reset()],
        [Expect(Connect), Send(ConnAck(reason_code=ReasonCode.NOT_AUTHORIZED)), Close()],
    )
    with pytest.raises(trio_mqtt.ConnectRejected):
        async with trio_mqtt.open_client(
            connector=peer.connect,
            protocol=MQTT_3_1_1,
            username=username,
            password=password,
            reconnect=SOON,
        ):
            await trio.sleep_forever()
    peer.assert_done()


# The documentation names no codes of its own; these are those of the standard.
@pytest.mark.parametrize(
    ("reason_code", "fatal", "fatal_with_callable"),
    [
        (ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, True, True),
        (ReasonCode.SERVER_UNAVAILABLE, False, False),
        (ReasonCode.BAD_USER_NAME_OR_PASSWORD, True, False),
        (ReasonCode.NOT_AUTHORIZED, True, False),
    ],
)
async def test_refusals(
    autojump_clock: MockClock, reason_code: ReasonCode, fatal: bool, fatal_with_callable: bool
) -> None:
    await assert_refusal(
        reason_code, MQTT_3_1_1, fatal=fatal, fatal_with_callable=fatal_with_callable
    )


async def test_each_filter_has_a_subscribe_of_its_own(autojump_clock: MockClock) -> None:
    filters = [f"{PRODUCT}/pump/control", f"{PRODUCT}/pump/data"]
    script: list[Step] = [Expect(Connect), Send(ConnAck())]
    for each in filters:
        script += [
            Expect(Subscribe, requests=(SubscriptionRequest(each, 1),)),
            Reply(Subscribe, lambda packet: SubAck(packet.packet_id, (ReasonCode(1),))),
        ]
    for _ in filters:
        script += [
            Expect(Unsubscribe),
            Reply(Unsubscribe, lambda packet: UnsubAck(packet.packet_id)),
        ]
    peer = ScriptedPeer([*script, *GOODBYE])
    async with (
        trio_mqtt.open_client(connector=peer.connect, protocol=MQTT_3_1_1) as client,
        client.subscribe(*filters, qos=1) as messages,
    ):
        assert list(messages.granted) == filters
    peer.assert_done()


# A client that may choose the version would spend its one connection in 5 seconds on MQTT 5.0.
async def test_the_version_is_found_with_a_second_connection(autojump_clock: MockClock) -> None:
    older = Send(ConnAck(reason_code=ReasonCode.UNSUPPORTED_PROTOCOL_VERSION))
    peer = ScriptedPeer(
        [Expect(Connect), older, Pause(1)],
        [Expect(Connect, protocol=MQTT_3_1_1), Send(ConnAck()), *GOODBYE],
    )
    async with trio_mqtt.open_client(connector=peer.connect) as client:
        assert client.server.protocol is MQTT_3_1_1
    peer.assert_done()
    assert peer.connections == 2


# How the server turns one away is not documented; a close without an answer is played.
async def test_a_connection_too_soon_is_tried_again_later(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer(
        [Expect(Connect), Close()],
        [Expect(Connect), Send(ConnAck()), *GOODBYE],
        protocol=MQTT_3_1_1,
    )
    async with trio_mqtt.open_client(
        connector=peer.connect,
        protocol=MQTT_3_1_1,
        reconnect=Reconnect(initial="retry", delay=10),
    ):
        pass
    peer.assert_done()
