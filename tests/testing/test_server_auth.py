"""The test server's side of enhanced authentication (4.12, 4.12.1)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest
import trio

from tests.testing.support import RawClient
from trio_mqtt._enums import MQTT_5, ReasonCode
from trio_mqtt.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Properties,
)
from trio_mqtt.testing import AuthenticationStep, ServerLimits, open_server, scram_users

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

    from trio_mqtt.testing import Server

SUCCESS: Final = ReasonCode.SUCCESS
CONTINUE: Final = ReasonCode.CONTINUE_AUTHENTICATION
AGAIN: Final = ReasonCode.RE_AUTHENTICATE
REFUSED: Final = ReasonCode.NOT_AUTHORIZED


def says(data: bytes | None, method: str = "rhyme") -> Properties:
    return Properties(authentication_method=method, authentication_data=data)


def begin_rhyme(_connect: Connect) -> AuthenticationStep:
    """Ask for what rhymes with "house", unless the client says it at once."""

    def step(data: bytes | None) -> tuple[ReasonCode, bytes | None]:
        if data == b"mouse":
            return SUCCESS, b"squeak"
        return (CONTINUE, b"house") if data is None else (REFUSED, None)

    return step


@asynccontextmanager
async def dialogue(
    data: bytes | None, limits: ServerLimits | None = None
) -> AsyncGenerator[tuple[Server, RawClient]]:
    """A server that asks for rhymes, and a client that has sent CONNECT."""
    async with open_server(limits=limits) as server, server.connect() as stream:
        server.authentication_methods["rhyme"] = begin_rhyme
        client = RawClient(stream)
        await client.send(Connect("c", keep_alive=0, properties=says(data)))
        yield server, client


async def test_with_a_challenge(autojump_clock: MockClock) -> None:
    async with dialogue(None) as (server, client):
        assert await client.receive() == Auth(CONTINUE, says(b"house"))
        assert not server.sessions
        await client.send(Auth(CONTINUE, says(b"mouse")))
        connack = await client.receive()
        assert isinstance(connack, ConnAck)
        assert connack.reason_code is SUCCESS
        assert connack.properties.authentication_method == "rhyme"
        assert connack.properties.authentication_data == b"squeak"
        assert server.sessions["c"].connected


async def test_without_a_challenge(autojump_clock: MockClock) -> None:
    async with dialogue(b"mouse") as (_, client):
        assert isinstance(await client.receive(), ConnAck)
        await client.send(PingReq())
        assert await client.receive() == PingResp()


async def test_a_client_that_is_refused(autojump_clock: MockClock) -> None:
    async with dialogue(b"cat") as (server, client):
        assert await client.receive() == ConnAck(reason_code=REFUSED)
        assert await client.receive() is None
        assert not server.sessions


@pytest.mark.parametrize(
    "packet",
    [
        PingReq(),
        Connect("c", properties=says(None)),
        Auth(CONTINUE, says(b"mouse", "reason")),
        Auth(AGAIN, says(b"mouse")),
        Auth(SUCCESS, says(b"mouse")),
    ],
    ids=["PINGREQ", "CONNECT", "another method", "0x19", "0x00"],
)
async def test_what_may_not_come_before_connack(autojump_clock: MockClock, packet: Packet) -> None:
    async with dialogue(None) as (server, client):
        assert isinstance(await client.receive(), Auth)
        await client.send(packet)
        answer = await client.receive()
        assert answer == ConnAck(reason_code=ReasonCode.PROTOCOL_ERROR)
        assert not server.sessions


async def test_a_client_that_does_not_answer_is_left_alone_no_longer(
    autojump_clock: MockClock,
) -> None:
    async with dialogue(None, ServerLimits(connect_timeout=7)) as (_, client):
        assert isinstance(await client.receive(), Auth)
        assert await client.receive() is None
        assert trio.current_time() == pytest.approx(7)


@asynccontextmanager
async def authenticated(data: bytes | None = b"mouse") -> AsyncGenerator[RawClient]:
    async with dialogue(data) as (_, client):
        assert isinstance(await client.receive(), ConnAck)
        yield client


async def test_again(autojump_clock: MockClock) -> None:
    async with authenticated() as client:
        for _ in range(2):
            await client.send(Auth(AGAIN, says(None)), PingReq())
            assert await client.receive() == Auth(CONTINUE, says(b"house"))
            assert await client.receive() == PingResp()
            await client.send(Auth(CONTINUE, says(b"mouse")))
            assert await client.receive() == Auth(SUCCESS, says(b"squeak"))


async def test_again_and_refused(autojump_clock: MockClock) -> None:
    async with authenticated() as client:
        await client.send(Auth(AGAIN, says(b"cat")))
        assert await client.receive() == Disconnect(REFUSED)
        assert await client.receive() is None


@pytest.mark.parametrize(
    "packets",
    [
        [Auth(CONTINUE, says(b"mouse"))],
        [Auth(SUCCESS, says(b"mouse"))],
        [Auth(AGAIN, says(b"mouse", "reason"))],
        [Auth(AGAIN, says(None)), Auth(AGAIN, says(None))],
    ],
    ids=["nothing to continue", "0x00", "another method", "twice"],
)
async def test_what_may_not_come_later(autojump_clock: MockClock, packets: list[Packet]) -> None:
    async with authenticated() as client:
        await client.send(*packets)
        answer = await client.receive()
        while answer == Auth(CONTINUE, says(b"house")):
            answer = await client.receive()
        assert isinstance(answer, Disconnect)
        assert answer.reason_code is ReasonCode.PROTOCOL_ERROR


async def test_answers_can_be_held_back(autojump_clock: MockClock) -> None:
    async with dialogue(None) as (server, client):
        assert isinstance(await client.receive(), Auth)
        await client.send(Auth(CONTINUE, says(b"mouse")))
        assert isinstance(await client.receive(), ConnAck)
        with server.holding(Auth) as held:
            await client.send(Auth(AGAIN, says(None)), PingReq())
            assert await client.receive() == PingResp()
            assert held.packets == (Auth(CONTINUE, says(b"house")),)
        assert await client.receive() == Auth(CONTINUE, says(b"house"))


async def test_user_name_and_password_are_looked_at_first(autojump_clock: MockClock) -> None:
    async with open_server() as server, server.connect() as stream:
        server.authentication_methods["rhyme"] = begin_rhyme
        server.authenticate = lambda _connect: ReasonCode.BANNED
        client = RawClient(stream, MQTT_5)
        await client.send(Connect("c", properties=says(None)))
        assert await client.receive() == ConnAck(reason_code=ReasonCode.BANNED)


async def test_scram_refuses_what_is_none(autojump_clock: MockClock) -> None:
    for data in (None, b"\xff", b"n,,n=nobody,r=abcdef", b"nonsense"):
        async with open_server() as server, server.connect() as stream:
            server.authentication_methods["SCRAM-SHA-256"] = scram_users({"alice": "secret"})
            client = RawClient(stream)
            await client.send(Connect("c", properties=says(data, "SCRAM-SHA-256")))
            assert await client.receive() == ConnAck(reason_code=REFUSED)


async def test_a_method_that_was_taken_away_meanwhile(autojump_clock: MockClock) -> None:
    async with dialogue(b"mouse") as (server, client):
        assert isinstance(await client.receive(), ConnAck)
        del server.authentication_methods["rhyme"]
        await client.send(Auth(AGAIN, says(b"mouse")))
        assert await client.receive() == Disconnect(ReasonCode.BAD_AUTHENTICATION_METHOD)
