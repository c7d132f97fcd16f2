"""Which version of MQTT is spoken (contract 20)."""

from __future__ import annotations

from typing import Any

import pytest

import trio_mqtt
from tests.client.support import open_once
from trio_mqtt import MQTT_3_1, MQTT_3_1_1, MQTT_5, Protocol, ReasonCode
from trio_mqtt.packets import ConnAck, Connect, Disconnect
from trio_mqtt.testing import (
    Close,
    Expect,
    ExpectEnd,
    ScriptedPeer,
    Send,
    SendBytes,
    ServerLimits,
    open_server,
)

GOODBYE = [Expect(Disconnect), ExpectEnd()]
CONNECT_5 = Expect(Connect, protocol=MQTT_5)
CONNECT_3 = Expect(Connect, protocol=MQTT_3_1_1)
ACCEPT_3 = [CONNECT_3, SendBytes(b"\x20\x02\x00\x00")]


@pytest.mark.parametrize("protocol", [MQTT_5, MQTT_3_1_1, MQTT_3_1])
async def test_a_version_asked_for_is_spoken(protocol: Protocol) -> None:
    async with (
        open_server(limits=ServerLimits(protocols=[protocol])) as server,
        open_once(connector=server.connect, protocol=protocol) as client,
    ):
        assert client.server.protocol is protocol
        async with client.subscribe("a", qos=2) as messages:
            await client.publish("a", b"x", qos=2)
            assert (await messages.receive()).payload == b"x"


@pytest.mark.parametrize("refusal", ["connack", "connack_3_1_1", "close"])
async def test_a_server_without_mqtt_5_is_reached_by_one_more_connection(refusal: Any) -> None:
    limits = ServerLimits(protocols=[MQTT_3_1_1], refusal=refusal)
    async with (
        open_server(limits=limits) as server,
        open_once(connector=server.connect) as client,
    ):
        assert client.server.protocol is MQTT_3_1_1
        connects = [entry for entry in server.log if isinstance(entry.packet, Connect)]
        assert len(connects) <= 2
        assert (await client.publish("a", qos=2)).reason_code is ReasonCode.SUCCESS


@pytest.mark.parametrize(
    "answer",
    [
        [Send(ConnAck(reason_code=ReasonCode.UNSUPPORTED_PROTOCOL_VERSION)), Close()],
        [SendBytes(b"\x20\x02\x00\x01"), Close()],
        [SendBytes(b"\x20"), SendBytes(b"\x02\x00"), SendBytes(b"\x01"), Close()],
        [Close()],
    ],
)
async def test_each_way_to_say_no_to_mqtt_5(answer: list[Send | SendBytes | Close]) -> None:
    peer = ScriptedPeer([CONNECT_5, *answer], [*ACCEPT_3, *GOODBYE])
    async with open_once(connector=peer.connect) as client:
        assert client.server.protocol is MQTT_3_1_1
        assert client.server.subscription_identifier_available is False
    peer.assert_done()


@pytest.mark.parametrize(
    "answer",
    [
        [Send(ConnAck(reason_code=ReasonCode.NOT_AUTHORIZED)), Close()],
        [SendBytes(b"\x20\x02\x00\x05"), Close()],
    ],
)
async def test_another_refusal_is_not_about_the_version(
    answer: list[Send | SendBytes | Close],
) -> None:
    peer = ScriptedPeer([CONNECT_5, *answer])
    with pytest.raises(trio_mqtt.ConnectRejected) as caught:
        async with open_once(connector=peer.connect):
            raise AssertionError("not reached")
    assert caught.value.reason_code is ReasonCode.NOT_AUTHORIZED
    peer.assert_done()


async def test_a_close_after_a_byte_is_not_about_the_version() -> None:
    peer = ScriptedPeer([CONNECT_5, SendBytes(b"\x20"), Close()])
    with pytest.raises(trio_mqtt.ConnectFailed, match="in the middle of its answer"):
        async with open_once(connector=peer.connect):
            raise AssertionError("not reached")
    peer.assert_done()


async def test_an_acceptance_in_the_form_of_3_1_1_is_a_violation() -> None:
    peer = ScriptedPeer([CONNECT_5, SendBytes(b"\x20\x02\x00\x00"), ExpectEnd()])
    with pytest.raises(trio_mqtt.RemoteProtocolError, match=r"in the form of MQTT 3\.1\.1"):
        async with open_once(connector=peer.connect):
            raise AssertionError("not reached")


async def test_a_version_asked_for_is_not_negotiated() -> None:
    peer = ScriptedPeer([CONNECT_5, Close()])
    with pytest.raises(trio_mqtt.ConnectFailed, match=r"does it speak MQTT 5\.0"):
        async with open_once(connector=peer.connect, protocol=MQTT_5):
            raise AssertionError("not reached")
    peer.assert_done()


async def test_if_both_fail_the_error_tells_both() -> None:
    peer = ScriptedPeer([CONNECT_5, Close()], [CONNECT_3, SendBytes(b"\x20\x02\x00\x03"), Close()])
    with pytest.raises(trio_mqtt.ConnectRejected) as caught:
        async with open_once(connector=peer.connect):
            raise AssertionError("not reached")
    assert caught.value.reason_code is ReasonCode.SERVER_UNAVAILABLE
    assert ["MQTT 5.0 was tried before" in note for note in caught.value.__notes__] == [True]


async def test_mqtt_3_1_knows_no_session_present() -> None:
    peer = ScriptedPeer(
        [Expect(Connect, protocol=MQTT_3_1), SendBytes(b"\x20\x02\x01\x00"), *GOODBYE]
    )
    async with open_once(connector=peer.connect, protocol=MQTT_3_1) as client:
        assert client.server.session_present is False
    peer.assert_done()
