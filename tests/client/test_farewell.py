"""What DISCONNECT says at the end, where the caller has decided that."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio

import trio_mqtt
from tests.client.moments import PATIENCE
from tests.client.outages import CONNECTED
from trio_mqtt import (
    MQTT_3_1_1,
    MQTT_5,
    FeatureNotSupported,
    LocalProtocolError,
    Protocol,
    ReasonCode,
    Reconnect,
    Session,
    Will,
)
from trio_mqtt.packets import ConnAck, Connect, Disconnect, Packet, Properties
from trio_mqtt.testing import Expect, ExpectEnd, ScriptedPeer, Send, Server

if TYPE_CHECKING:
    from trio.testing import MockClock

    from tests.servers import RealServer

open_client = trio_mqtt.open_client
WILL: Final = Will(topic="gone", payload="c")
WITH_WILL: Final = ReasonCode.DISCONNECT_WITH_WILL_MESSAGE
ENDS: Final = Properties(session_expiry_interval=0)
"""What DISCONNECT has of a client that was given no Session."""


async def last_packet_of(
    decided: dict[str, Any],
    *,
    will: Will | None = None,
    session: Session | None = None,
    error: Exception | None = None,
    maximum_packet_size: int | None = None,
) -> Packet:
    connack = ConnAck(properties=Properties(maximum_packet_size=maximum_packet_size))
    peer = ScriptedPeer(
        [Expect(Connect), Send(connack), Expect(Disconnect), ExpectEnd()], timeout=PATIENCE
    )
    with suppress(ValueError):
        async with open_client(connector=peer.connect, will=will, session=session) as client:
            client.disconnect_with(**decided)
            if error is not None:
                raise error
    peer.assert_done()
    return peer.received[-1]


def a_session() -> Session:
    return Session("c", expiry=1000)


FAREWELLS: Final[list[tuple[dict[str, Any], Disconnect]]] = [
    ({}, Disconnect(properties=ENDS)),
    ({"reason_code": 0}, Disconnect(properties=ENDS)),
    ({"reason_code": 4}, Disconnect(WITH_WILL, ENDS)),
    (
        {"reason_code": ReasonCode.ADMINISTRATIVE_ACTION},
        Disconnect(ReasonCode.ADMINISTRATIVE_ACTION, ENDS),
    ),
    ({"session_expiry": 7}, Disconnect(properties=Properties(session_expiry_interval=7))),
    (
        {"reason_string": "bye", "user_properties": [("a", "b"), ("a", "c")]},
        Disconnect(
            properties=Properties(
                session_expiry_interval=0,
                reason_string="bye",
                user_properties=(("a", "b"), ("a", "c")),
            )
        ),
    ),
]


@pytest.mark.parametrize(("decided", "expected"), FAREWELLS)
async def test_disconnect_says_what_was_decided(
    decided: dict[str, Any], expected: Disconnect
) -> None:
    assert await last_packet_of(decided) == expected


@pytest.mark.parametrize("expiry", [0, 5, 0xFFFF_FFFF])
async def test_the_session_expiry_is_changed_at_the_end(expiry: int) -> None:
    assert await last_packet_of({}, session=a_session()) == Disconnect()
    changed = await last_packet_of({"session_expiry": expiry}, session=a_session())
    assert changed == Disconnect(properties=Properties(session_expiry_interval=expiry))


async def test_a_session_that_is_discarded_ends_whatever_was_decided() -> None:
    session = a_session()
    session.discard()
    peer = ScriptedPeer([*CONNECTED, Expect(Disconnect), ExpectEnd()], timeout=PATIENCE)
    async with open_client(connector=peer.connect, session=session) as client:
        session.discard()
        client.disconnect_with(session_expiry=100)
    assert peer.received[-1] == Disconnect(properties=ENDS)


@pytest.mark.parametrize(
    ("decided", "code"),
    [({}, WITH_WILL), ({"reason_string": "x"}, WITH_WILL), ({"reason_code": 0}, 0)],
)
async def test_a_body_that_raised_lets_the_will_fire_unless_decided(
    decided: dict[str, Any], code: int
) -> None:
    packet = await last_packet_of(decided, will=WILL, error=ValueError())
    assert isinstance(packet, Disconnect)
    assert packet.reason_code == code


async def test_what_is_too_large_is_left_out() -> None:
    said = {"reason_string": "x" * 20, "user_properties": [("a", "b")]}
    packet = await last_packet_of(said, maximum_packet_size=35)
    assert packet == Disconnect(
        properties=Properties(session_expiry_interval=0, reason_string="x" * 20)
    )
    packet = await last_packet_of(said, maximum_packet_size=20)
    assert packet == Disconnect(
        properties=Properties(session_expiry_interval=0, user_properties=(("a", "b"),))
    )


@pytest.mark.parametrize(
    ("decided", "statement"),
    [
        ({"reason_code": ReasonCode.SESSION_TAKEN_OVER}, "MQTT-3.14.2-1"),
        ({"reason_code": ReasonCode.NOT_AUTHORIZED}, "MQTT-3.14.2-1"),
        ({"reason_code": 3}, "MQTT-3.14.2-1"),  # no Reason Code at all
        ({"reason_string": "\0"}, "MQTT-1.5.4-2"),
        ({"user_properties": [("a", "\ud800")]}, "MQTT-1.5.4-1"),
        ({"session_expiry": -1}, "2.2.2.2"),
        ({"session_expiry": 0x1_0000_0000}, "2.2.2.2"),
    ],
)
async def test_what_the_standard_forbids_is_refused(
    server: Server, decided: dict[str, Any], statement: str
) -> None:
    async with open_client(connector=server.connect) as client:
        with pytest.raises(LocalProtocolError) as caught:
            client.disconnect_with(**decided)
        assert caught.value.statement == statement
    assert server.log[-1].packet == Disconnect(properties=ENDS)


async def test_an_expiry_cannot_follow_on_none(server: Server) -> None:
    async with open_client(connector=server.connect, reconnect=None) as client:
        with pytest.raises(LocalProtocolError, match="give open_client a Session") as caught:
            client.disconnect_with(session_expiry=5)
        assert caught.value.statement == "3.14.2.2.2"
        client.disconnect_with(session_expiry=0)
    packet = server.log[-1].packet
    assert isinstance(packet, Disconnect)
    assert packet.properties.session_expiry_interval in (None, 0)


async def test_at_the_end_it_is_too_late(server: Server) -> None:
    async with open_client(connector=server.connect) as client:
        pass
    with pytest.raises(trio.ClosedResourceError):
        client.disconnect_with(reason_code=4)


async def test_the_last_decision_holds(server: Server) -> None:
    async with open_client(connector=server.connect) as client:
        client.disconnect_with(reason_string="one", reason_code=4)
        client.disconnect_with(user_properties=[("two", "")])
    assert server.log[-1].packet == Disconnect(
        properties=Properties(session_expiry_interval=0, user_properties=(("two", ""),))
    )


BELOW_5: Final[list[tuple[dict[str, Any], bool]]] = [
    ({"reason_code": ReasonCode.ADMINISTRATIVE_ACTION}, False),
    ({"session_expiry": 3}, False),
    ({"reason_string": "x"}, True),
    ({"user_properties": [("a", "b")]}, True),
]


@pytest.mark.parametrize(("decided", "harmless"), BELOW_5)
async def test_below_5_what_cannot_be_said_is_refused_or_left_out(
    server: Server, decided: dict[str, Any], *, harmless: bool
) -> None:
    for unsupported in ("refuse", "leave_out"):
        async with open_client(
            connector=server.connect,
            protocol=MQTT_3_1_1,
            unsupported_properties="leave_out" if unsupported == "leave_out" else "refuse",
        ) as client:
            if harmless and unsupported == "leave_out":
                client.disconnect_with(**decided)
            else:
                with pytest.raises(FeatureNotSupported, match=r"MQTT 3\.1\.1"):
                    client.disconnect_with(**decided)
        assert server.log[-1].packet == Disconnect()


@pytest.mark.parametrize(("protocol", "code"), [(MQTT_5, 4), (MQTT_3_1_1, 4), (MQTT_3_1_1, 0)])
async def test_the_will_is_published_on_every_version_if_that_was_decided(
    server: Server, protocol: Protocol, code: int
) -> None:
    async with (
        open_client(connector=server.connect) as watcher,
        watcher.subscribe("gone") as wills,
    ):
        async with open_client(connector=server.connect, protocol=protocol, will=WILL) as client:
            client.disconnect_with(reason_code=code)
        await watcher.publish("gone", "sentinel")
        with trio.fail_after(PATIENCE):
            expected = ["c", "sentinel"] if code else ["sentinel"]
            assert [(await wills.receive()).text() for _ in expected] == expected


async def test_what_was_decided_before_the_version_was_known_is_left_out(
    server: Server, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    server.accepting = False
    async with open_client(
        connector=server.connect, protocol=MQTT_3_1_1, reconnect=Reconnect(initial="background")
    ) as client:
        client.disconnect_with(reason_string="bye")
        server.accepting = True
        await client.wait_connected()
    assert server.log[-1].packet == Disconnect()
    assert "is left out: MQTT 3.1.1" in caplog.text


async def test_mosquitto_publishes_a_will_that_disconnect_asks_for(mosquitto: RealServer) -> None:
    with trio.fail_after(PATIENCE):
        async with (
            open_client(mosquitto.url) as watcher,
            watcher.subscribe("farewell/gone") as wills,
        ):
            will = Will(topic="farewell/gone", payload="c")
            async with open_client(mosquitto.url, will=will) as client:
                client.disconnect_with(
                    reason_code=4, reason_string="off", user_properties=[("a", "b")]
                )
            assert (await wills.receive()).text() == "c"


async def test_mosquitto_forgets_a_session_that_ends_early(mosquitto: RealServer) -> None:
    with trio.fail_after(PATIENCE):
        for expiry, present in ((None, True), (0, False)):
            session = Session(f"farewell-{expiry}", expiry=1000)
            async with open_client(mosquitto.url, session=session) as client:
                client.disconnect_with(session_expiry=expiry)
            async with open_client(mosquitto.url, session=session) as client:
                assert client.server.session_present is present
                session.discard()
