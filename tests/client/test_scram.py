"""SCRAM as an Authentication Method, with the samples of RFC 5802 and RFC 7677."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, Final

import pytest
from scramp import ScramClient, ScramMechanism

from tests.client.moments import assert_works, received
from tests.client.support import open_once
from trio_mqtt import AuthenticationFailed, ConnectionLost, ConnectRejected, ReasonCode, open_client
from trio_mqtt.abc import AuthData
from trio_mqtt.packets import Auth, ConnAck, Connect, Disconnect, Properties
from trio_mqtt.scram import Scram
from trio_mqtt.testing import (
    Expect,
    ExpectEnd,
    Reply,
    ScriptedPeer,
    Send,
    Server,
    open_server,
    scram_users,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

METHODS: Final = ("SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512")
USERS: Final = {"alice": "open sesame", "b=o,b": "пароль", "user": "pencil"}
CONTINUE: Final = ReasonCode.CONTINUE_AUTHENTICATION

each_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture
async def server(server: Server) -> Server:
    """The test server, which knows some users."""
    for method in METHODS:
        server.authentication_methods[method] = scram_users(USERS, method)
    return server


@each_method
@pytest.mark.parametrize("username", USERS)
async def test_both_sides_know_the_password(
    server: Server, autojump_clock: MockClock, method: str, username: str
) -> None:
    auth = Scram(username, USERS[username], method=method)
    async with open_client(connector=server.connect, client_id="c", auth=auth) as client:
        await client.reauthenticate()
        server.drop("c")
        await client.reauthenticate()
        await assert_works(client)
    first, again = (packet.properties.authentication_data for packet in received(server, Connect))
    assert first is not None
    assert again is not None
    assert first != again  # each has a nonce of its own


@each_method
@pytest.mark.parametrize(("username", "password"), [("alice", "wrong"), ("nobody", "open sesame")])
async def test_who_does_not_know_it_is_refused(
    server: Server, autojump_clock: MockClock, method: str, username: str, password: str
) -> None:
    with pytest.raises(ConnectRejected, match=method) as caught:
        async with open_once(
            connector=server.connect, auth=Scram(username, password, method=method)
        ):
            raise AssertionError("not reached")
    assert caught.value.reason_code is ReasonCode.NOT_AUTHORIZED


async def test_a_password_that_was_changed_meanwhile(
    server: Server, autojump_clock: MockClock
) -> None:
    with pytest.raises(ConnectionLost) as caught:
        async with open_client(
            connector=server.connect, auth=Scram("alice", USERS["alice"])
        ) as client:
            server.authentication_methods["SCRAM-SHA-256"] = scram_users({"alice": "new"})
            await client.reauthenticate()
    assert caught.value.reason_code is ReasonCode.NOT_AUTHORIZED


async def test_many_iterations_hold_up_nothing() -> None:
    # Without a clock that jumps: it would, while a thread computes.
    async with open_server() as server:
        server.authentication_methods["SCRAM-SHA-256"] = scram_users(USERS, iterations=20_000)
        async with open_once(
            connector=server.connect, auth=Scram("alice", USERS["alice"])
        ) as client:
            await client.reauthenticate()


# -- servers that are not the right one ----------------------------------------------------------


def connack(data: bytes | None) -> ConnAck:
    return ConnAck(
        properties=Properties(authentication_method="SCRAM-SHA-256", authentication_data=data)
    )


def challenge(data: bytes) -> Auth:
    return Auth(
        CONTINUE,
        Properties(authentication_method="SCRAM-SHA-256", authentication_data=data),
    )


def echo(connect: Connect) -> Auth:
    """A challenge by somebody who does not know the password."""
    first = (connect.properties.authentication_data or b"").decode()
    nonce = first.partition("r=")[2]
    return challenge(f"r={nonce}more,s=QSXCR+Q6sek8bf92,i=4096".encode())


OUTCOMES: Final[dict[str, bytes | None]] = {
    "nothing": None,
    "empty": b"",
    "another signature": b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    "an error": b"e=other-error",
    "nonsense": b"hello",
    "no UTF-8": b"\xff",
}


@pytest.mark.parametrize("data", OUTCOMES.values(), ids=OUTCOMES)
async def test_a_server_with_a_wrong_signature(
    autojump_clock: MockClock, data: bytes | None
) -> None:
    peer = ScriptedPeer(
        [Expect(Connect), Reply(Connect, echo), Expect(Auth), Send(connack(data)), ExpectEnd()]
    )
    with pytest.raises(AuthenticationFailed) as caught:
        async with open_client("mqtt://nile", connector=peer.connect, auth=Scram("user", "pencil")):
            raise AssertionError("not reached")
    assert str(caught.value).startswith("the authentication with mqtt://nile:1883 failed: the serv")
    assert "pencil" not in str(caught.value)
    peer.assert_done()


@pytest.mark.parametrize("data", [None, b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="])
async def test_a_server_that_skips_its_part(autojump_clock: MockClock, data: bytes | None) -> None:
    peer = ScriptedPeer([Expect(Connect), Send(connack(data)), ExpectEnd()])
    with pytest.raises(AuthenticationFailed, match="without proving that it knows the password"):
        async with open_client(connector=peer.connect, auth=Scram("user", "pencil")):
            raise AssertionError("not reached")
    peer.assert_done()


async def test_a_server_that_skips_its_part_later(autojump_clock: MockClock) -> None:
    knows = ScramMechanism("SCRAM-SHA-256")
    info = knows.make_auth_info("pencil")
    side = knows.make_server(lambda _user: info)

    def first(connect: Connect) -> Auth:
        side.set_client_first((connect.properties.authentication_data or b"").decode())
        return challenge(side.get_server_first().encode())

    def last(auth: Auth) -> ConnAck:
        side.set_client_final((auth.properties.authentication_data or b"").decode())
        return connack(side.get_server_final().encode())

    success = Auth(ReasonCode.SUCCESS, Properties(authentication_method="SCRAM-SHA-256"))
    peer = ScriptedPeer(
        [
            Expect(Connect),
            Reply(Connect, first),
            Expect(Auth, reason_code=CONTINUE),
            Reply(Auth, last),
            Expect(Auth, reason_code=ReasonCode.RE_AUTHENTICATE),
            Send(success),
            Expect(Disconnect, reason_code=ReasonCode.UNSPECIFIED_ERROR),
            ExpectEnd(),
        ]
    )
    with pytest.raises(AuthenticationFailed, match="without proving"):
        async with open_client(connector=peer.connect, auth=Scram("user", "pencil")) as client:
            await client.reauthenticate()
    peer.assert_done()


CHALLENGES: Final = {
    "nothing": b"",
    "no UTF-8": b"\xff",
    "another nonce": b"r=abcdefgh,s=QSXCR+Q6sek8bf92,i=4096",
    "few iterations": b"r=NONCEmore,s=QSXCR+Q6sek8bf92,i=1",
    "one iteration less than is allowed": b"r=NONCEmore,s=QSXCR+Q6sek8bf92,i=4095",
    "one iteration more than is allowed": b"r=NONCEmore,s=QSXCR+Q6sek8bf92,i=10000001",
    "a short salt": b"r=NONCEmore,s=QUJD,i=4096",
    "an extension": b"m=x,r=NONCEmore,s=QSXCR+Q6sek8bf92,i=4096",
    "an error": b"e=unknown-user",
}


@pytest.mark.parametrize("data", CHALLENGES.values(), ids=CHALLENGES)
async def test_challenges_that_are_not_answered(data: bytes) -> None:
    exchange = Scram("user", "pencil").begin()
    first = await exchange.start()
    assert isinstance(first, bytes)
    nonce = first.partition(b"r=")[2]
    with pytest.raises(AuthenticationFailed, match="the server's part of SCRAM"):
        await exchange.answer(AuthData(data.replace(b"NONCE", nonce)))


# -- the samples of the standards ----------------------------------------------------------------

SAMPLES: Final = {
    "SCRAM-SHA-1": (  # RFC 5802, section 5
        "fyko+d2lbbFgONRv9qkxdawL",
        "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    "SCRAM-SHA-256": (  # RFC 7677, section 3
        "rOprNGfwEbeRWgbNEkqO",
        "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        (
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        ),
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
}


@pytest.mark.parametrize("method", SAMPLES)
@pytest.mark.parametrize("wrong", [False, True], ids=["as they are", "one bit wrong"])
async def test_the_samples(method: str, wrong: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    nonce, client_first, server_first, client_final, server_final = SAMPLES[method]

    def with_nonce(methods: list[str], username: str, password: str) -> ScramClient:
        return ScramClient(methods, username, password, c_nonce=nonce)

    monkeypatch.setattr("trio_mqtt.scram.ScramClient", with_nonce)
    exchange = Scram("user", "pencil", method=method).begin()
    assert await exchange.start() == client_first.encode()
    assert await exchange.answer(AuthData(server_first.encode())) == client_final.encode()
    if not wrong:
        await exchange.finish(AuthData(server_final.encode()))
        return
    signature = bytearray(b64decode(server_final[2:]))
    signature[-1] ^= 1
    with pytest.raises(AuthenticationFailed, match="without proving"):
        await exchange.finish(AuthData(b"v=" + b64encode(signature)))


# -- what is told --------------------------------------------------------------------------------


async def test_the_password_is_told_to_nobody(
    server: Server, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    caplog.set_level(logging.DEBUG)
    auth = Scram("alice", USERS["alice"])
    assert repr(auth) == "Scram(username='alice', method='SCRAM-SHA-256')"
    async with open_once(connector=server.connect, auth=auth) as client:
        await client.reauthenticate()
        text = repr(client)
    assert "sesame" not in text + caplog.text
    assert "sesame" not in repr(server.log)


@pytest.mark.parametrize(
    "arguments",
    [
        {"method": "SCRAM-MD5"},
        {"method": "SCRAM-SHA-256-PLUS"},
        {"username": ""},
        {"password": "bell\a"},
        {"username": "u\u0627"},
    ],
    ids=repr,
)
def test_what_cannot_be_used(arguments: Any) -> None:
    with pytest.raises(ValueError, match=r"method|SCRAM") as caught:
        Scram(**{"username": "alice", "password": "x", **arguments})
    assert "bell" not in str(caught.value)


@pytest.mark.parametrize("name", ["username", "password"])
@pytest.mark.parametrize("value", [b"secret", None])
def test_what_is_no_text(name: str, value: Any) -> None:
    arguments: dict[str, Any] = {"username": "alice", "password": "x", name: value}
    with pytest.raises(TypeError, match=f"{name} is a str, not {type(value).__name__}") as caught:
        Scram(**arguments)
    assert "secret" not in str(caught.value)


def test_it_can_be_copied() -> None:
    auth = Scram("alice", "secret")
    assert pickle.loads(pickle.dumps(auth)) == auth  # noqa: S301 - our own bytes


def test_without_scramp_it_is_said_what_to_install() -> None:
    program = "import sys; sys.modules['scramp'] = None; import trio_mqtt.scram"
    outcome = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "pip install 'trio-mqtt[scram]'" in outcome.stderr
    program = "import sys; sys.modules['scramp'] = None; import trio_mqtt, trio_mqtt.testing"
    subprocess.run([sys.executable, "-c", program], check=True)
