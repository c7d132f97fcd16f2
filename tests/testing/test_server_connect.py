from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest
import trio

from tests.testing.support import RawClient, connected, expiring, kept
from trio_mqtt._enums import MQTT_3_1, MQTT_3_1_1, MQTT_5, Protocol, ReasonCode
from trio_mqtt.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    Properties,
    SubAck,
    WillMessage,
    encode,
)
from trio_mqtt.testing import Server, ServerLimits, open_server

if TYPE_CHECKING:
    from trio.testing import MockClock

each_protocol = pytest.mark.parametrize("protocol", list(Protocol), ids=lambda p: p.name)


async def refused(server: Server, connect: Connect, protocol: Protocol = MQTT_5) -> ConnAck | None:
    """The CONNACK that refuses, or None; the connection must end behind it."""
    async with server.connect() as stream:
        client = RawClient(stream, protocol)
        await client.send(connect)
        connack = await client.receive()
        assert connack is None or await client.receive() is None
        assert connack is None or isinstance(connack, ConnAck)
        return connack


@each_protocol
async def test_accepts_each_version(protocol: Protocol, autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server, "c", protocol) as client:
        assert client.connack.reason_code is ReasonCode.SUCCESS
        await client.send(PingReq())
        assert await client.receive() == PingResp()
        assert server.sessions["c"].protocol is protocol


async def test_announces_nothing_but_what_differs_from_the_defaults(
    autojump_clock: MockClock,
) -> None:
    limits = ServerLimits(topic_alias_maximum=0)
    async with open_server(limits=limits) as server, connected(server) as client:
        assert client.connack == ConnAck()


async def test_announces_its_limits(autojump_clock: MockClock) -> None:
    limits = ServerLimits(
        receive_maximum=5,
        maximum_qos=1,
        retain_available=False,
        maximum_packet_size=1000,
        topic_alias_maximum=3,
        wildcard_subscription_available=False,
        subscription_identifier_available=False,
        shared_subscription_available=False,
        server_keep_alive=20,
    )
    async with open_server(limits=limits) as server, connected(server) as client:
        assert client.connack.properties == Properties(
            receive_maximum=5,
            maximum_qos=1,
            retain_available=0,
            maximum_packet_size=1000,
            topic_alias_maximum=3,
            wildcard_subscription_available=0,
            subscription_identifier_available=0,
            shared_subscription_available=0,
            server_keep_alive=20,
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("receive_maximum", 0),
        ("maximum_qos", 3),
        ("maximum_packet_size", 0),
        ("topic_alias_maximum", 65536),
        ("server_keep_alive", -1),
        ("session_expiry_maximum", -1),
        ("connect_timeout", 0),
        ("maximum_queued", -1),
        ("overlapping", "none"),
        ("refusal", "none"),
        ("protocols", ()),
    ],
)
def test_limits_are_validated(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        ServerLimits(**{name: value})


async def test_limits_may_change_between_connections(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        async with connected(server) as client:
            assert client.connack.properties.receive_maximum is None
        server.limits = ServerLimits(receive_maximum=7)
        async with connected(server) as client:
            assert client.connack.properties.receive_maximum == 7


REFUSALS = [
    # how, the client's version, what it gets
    ("connack", MQTT_5, b"\x20\x03\x00\x84\x00"),
    ("connack", MQTT_3_1, b"\x20\x02\x00\x01"),
    ("connack_3_1_1", MQTT_5, b"\x20\x02\x00\x01"),
    ("close", MQTT_5, b""),
    ("close", MQTT_3_1, b""),
]


@pytest.mark.parametrize(("refusal", "protocol", "answer"), REFUSALS)
async def test_turns_other_versions_down_as_told(
    refusal: Literal["connack", "connack_3_1_1", "close"],
    protocol: Protocol,
    answer: bytes,
    autojump_clock: MockClock,
) -> None:
    limits = ServerLimits(protocols=[MQTT_3_1_1], refusal=refusal)
    async with open_server(limits=limits) as server:
        async with server.connect() as stream:
            await stream.send_all(encode(Connect("c"), protocol))
            assert b"".join([data async for data in stream]) == answer
        async with connected(server, "c", MQTT_3_1_1):
            pass


@pytest.mark.parametrize(
    ("connect", "answer"),
    [
        (b"\x10\x0d\x00\x04MQTT\x06\x02\x00\x00\x00\x01c", b"\x20\x02\x00\x01"),
        (b"\x10\x0c\x00\x04MQTT\x04\x00\x00\x00\x00\x00", b"\x20\x02\x00\x02"),
        (b"\x10\x0c\x00\x04MQTT\x04\x03\x00\x00\x00\x00", b""),
        (b"\x10\x0e\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x01c", b"\x20\x03\x00\x81\x00"),
        (b"\xc0\x00", b""),
        (b"\x00\x00", b""),
    ],
    ids=[
        "version 6",
        "no client identifier",
        "reserved flag",
        "and in 5.0",
        "PINGREQ first",
        "garbage",
    ],
)
async def test_refuses_what_is_no_connect(
    connect: bytes, answer: bytes, autojump_clock: MockClock
) -> None:
    async with open_server() as server, server.connect() as stream:
        await stream.send_all(connect)
        assert b"".join([data async for data in stream]) == answer


CONNECTS = [
    (
        Connect("c", properties=Properties(authentication_method="m")),
        MQTT_5,
        ReasonCode.BAD_AUTHENTICATION_METHOD,
    ),
    (Connect("c", will=WillMessage("w", qos=2)), MQTT_5, ReasonCode.QOS_NOT_SUPPORTED),
    (Connect("c", will=WillMessage("w", qos=2)), MQTT_3_1_1, None),
    (Connect("c", will=WillMessage("w", retain=True)), MQTT_5, ReasonCode.RETAIN_NOT_SUPPORTED),
]


@pytest.mark.parametrize(("connect", "protocol", "reason_code"), CONNECTS)
async def test_refuses_a_connect(
    connect: Connect, protocol: Protocol, reason_code: ReasonCode | None, autojump_clock: MockClock
) -> None:
    limits = ServerLimits(maximum_qos=1, retain_available=False)
    async with open_server(limits=limits) as server:
        connack = await refused(server, connect, protocol)
        assert (connack and connack.reason_code) == reason_code
        assert not server.sessions


@pytest.mark.parametrize(
    ("reason_code", "protocol", "answer"),
    [
        (ReasonCode.BAD_USER_NAME_OR_PASSWORD, MQTT_5, ReasonCode.BAD_USER_NAME_OR_PASSWORD),
        (ReasonCode.BAD_USER_NAME_OR_PASSWORD, MQTT_3_1, ReasonCode.BAD_USER_NAME_OR_PASSWORD),
        (ReasonCode.SERVER_BUSY, MQTT_3_1_1, ReasonCode.SERVER_UNAVAILABLE),
        (ReasonCode.QUOTA_EXCEEDED, MQTT_3_1_1, None),
    ],
)
async def test_asks_who_it_is(
    reason_code: ReasonCode,
    protocol: Protocol,
    answer: ReasonCode | None,
    autojump_clock: MockClock,
) -> None:
    def authenticate(connect: Connect) -> ReasonCode:
        right = (connect.username, connect.password) == ("ann", b"secret")
        return ReasonCode.SUCCESS if right else reason_code

    async with open_server() as server:
        server.authenticate = authenticate
        connack = await refused(server, Connect("c", username="ann", password=b"?"), protocol)
        assert (connack and connack.reason_code) == answer
        right = Connect("c", username="ann", password=b"secret")
        async with connected(server, right, protocol) as client:
            assert client.connack.reason_code is ReasonCode.SUCCESS


async def test_assigns_client_identifiers(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server, "auto-1") as first:
        assert first.connack.properties.assigned_client_identifier is None
        async with connected(server, "") as second, connected(server, "", MQTT_3_1_1):
            assert second.connack.properties.assigned_client_identifier == "auto-2"
            assert set(server.sessions) == {"auto-1", "auto-2", "auto-3"}


async def test_gives_response_information_to_who_asks(autojump_clock: MockClock) -> None:
    limits = ServerLimits(response_information="replies/")
    async with open_server(limits=limits) as server:
        async with connected(server) as client:
            assert client.connack.properties.response_information is None
        asking = Connect("c", properties=Properties(request_response_information=1))
        async with connected(server, asking) as client:
            assert client.connack.properties.response_information == "replies/"


async def test_closes_a_connection_without_connect(autojump_clock: MockClock) -> None:
    limits = ServerLimits(connect_timeout=5)
    async with open_server(limits=limits) as server, server.connect() as stream:
        started = trio.current_time()
        assert await stream.receive_some() == b""
        assert trio.current_time() - started == pytest.approx(5)


@pytest.mark.parametrize(
    ("keep_alive", "of_server", "seconds"), [(10, None, 15), (10, 4, 6), (0, None, None)]
)
async def test_enforces_keep_alive(
    keep_alive: int, of_server: int | None, seconds: float | None, autojump_clock: MockClock
) -> None:
    limits = ServerLimits(server_keep_alive=of_server)
    connect = Connect("c", keep_alive=keep_alive)
    async with open_server(limits=limits) as server, connected(server, connect) as client:
        if seconds is None:
            assert await client.silent(100_000)
            return
        for _ in range(3):
            await trio.sleep(seconds - 0.5)
            await client.send(PingReq())
            assert await client.receive() == PingResp()
        assert await client.silent(seconds - 0.1)
        packet = await client.receive()
        assert packet == Disconnect(ReasonCode.KEEP_ALIVE_TIMEOUT)
        assert await client.receive() is None


async def test_keep_alive_below_5_ends_without_a_word(autojump_clock: MockClock) -> None:
    connect = Connect("c", keep_alive=10)
    async with open_server() as server, connected(server, connect, MQTT_3_1_1) as client:
        assert await client.receive() is None
        assert trio.current_time() == pytest.approx(15)


async def test_a_second_connect_is_a_protocol_error(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server) as client:
        await client.send(Connect("c"), PingReq())
        packet = await client.receive()
        assert isinstance(packet, Disconnect)
        assert packet.reason_code is ReasonCode.PROTOCOL_ERROR
        assert packet.properties.reason_string
        assert await client.receive() is None


async def test_packets_of_servers_are_protocol_errors(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        for packet in (SubAck(1, (ReasonCode.SUCCESS,)), PingResp()):
            async with connected(server) as client:
                await client.send(packet)
                answer = await client.receive()
                assert isinstance(answer, Disconnect)
                assert answer.reason_code is ReasonCode.PROTOCOL_ERROR


async def test_auth_without_a_method_is_a_protocol_error(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server) as client:
        await client.send(Auth(properties=Properties(authentication_method="m")))
        answer = await client.receive()
        assert isinstance(answer, Disconnect)
        assert answer.reason_code is ReasonCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("data", "reason_code"),
    [
        (b"\xc0\x01\x00", ReasonCode.MALFORMED_PACKET),
        (b"\x30\xff\x7f", ReasonCode.PACKET_TOO_LARGE),
        (b"\x30\x04\x00\x01#\x00", ReasonCode.TOPIC_NAME_INVALID),
    ],
)
async def test_malformed_packets_end_the_connection(
    data: bytes, reason_code: ReasonCode, autojump_clock: MockClock
) -> None:
    limits = ServerLimits(maximum_packet_size=100)
    async with open_server(limits=limits) as server:
        async with connected(server) as client:
            await client.stream.send_all(data)
            packet = await client.receive()
            assert isinstance(packet, Disconnect)
            assert packet.reason_code is reason_code
            assert await client.receive() is None
        async with connected(server, "c", MQTT_3_1_1) as client:
            await client.stream.send_all(b"\xc0\x01\x00")
            assert await client.receive() is None


async def test_takes_a_session_over(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server, kept()) as first:
        await first.subscribe("t")
        async with connected(server, kept()) as second:
            assert await first.receive() == Disconnect(ReasonCode.SESSION_TAKEN_OVER)
            assert await first.receive() is None
            assert second.connack.session_present
            assert server.sessions["c"].connected
            server.publish("t", "x")
            packet = await second.receive()
            assert packet is not None


async def test_a_session_without_expiry_ends_when_taken_over(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server, "c", MQTT_3_1_1) as first:
        again = Connect("c", clean_start=False)
        async with connected(server, again, MQTT_3_1_1) as second:
            assert not second.connack.session_present
            assert await first.receive() is None


@pytest.mark.parametrize(
    ("asked", "most", "told", "lasts"),
    [(0, None, None, 0), (10, None, None, 10), (10, 5, 5, 5), (0xFFFF_FFFF, 100, 100, 100)],
)
async def test_sessions_expire(
    asked: int, most: int | None, told: int | None, lasts: int, autojump_clock: MockClock
) -> None:
    limits = ServerLimits(session_expiry_maximum=most)
    connect = Connect("c", clean_start=False, properties=expiring(asked))
    async with open_server(limits=limits) as server:
        async with connected(server, connect) as client:
            assert client.connack.properties.session_expiry_interval == told
            await client.send(Disconnect())
            assert await client.receive() is None
        await trio.sleep(max(lasts - 0.1, 0))
        assert ("c" in server.sessions) == bool(lasts)
        await trio.sleep(0.2)
        assert "c" not in server.sessions


@pytest.mark.parametrize(
    ("protocol", "properties"),
    [(MQTT_5, expiring(0xFFFF_FFFF)), (MQTT_3_1_1, Properties()), (MQTT_3_1, Properties())],
)
async def test_sessions_can_be_kept_for_ever(
    protocol: Protocol, properties: Properties, autojump_clock: MockClock
) -> None:
    connect = Connect("c", clean_start=False, keep_alive=0, properties=properties)
    async with open_server() as server:
        async with connected(server, connect, protocol) as client:
            assert not client.connack.session_present
        await trio.sleep(80_000)
        async with connected(server, connect, protocol) as client:
            assert client.connack.session_present == (protocol is not MQTT_3_1)
        async with connected(server, "c", protocol) as client:
            assert not client.connack.session_present  # MQTT-3.1.2-4
        await server.wait_until(lambda: "c" not in server.sessions)


async def test_disconnect_changes_the_expiry(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        async with connected(server, kept()) as client:
            await client.send(Disconnect(properties=expiring(5)))
            assert await client.receive() is None
        await trio.sleep(4)
        assert "c" in server.sessions
        await trio.sleep(2)
        assert "c" not in server.sessions


async def test_disconnect_cannot_ask_for_expiry_where_connect_did_not(
    autojump_clock: MockClock,
) -> None:
    async with open_server() as server, connected(server) as client:
        await client.send(Disconnect(properties=expiring(5)))
        packet = await client.receive()
        assert isinstance(packet, Disconnect)
        assert packet.reason_code is ReasonCode.PROTOCOL_ERROR
