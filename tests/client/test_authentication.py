"""Enhanced authentication at each connection (4.12; contract 20)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio

import trio_mqtt
from tests.client.authenticators import METHOD, Exchange, Riddles, Sphinx
from tests.client.moments import assert_works, received, sent
from tests.client.outages import GOODBYE, Attempts, nth_connection
from tests.client.support import open_once
from trio_mqtt import (
    MQTT_3_1,
    MQTT_3_1_1,
    AuthenticationFailed,
    ConnectFailed,
    ConnectRejected,
    FeatureNotSupported,
    LocalProtocolError,
    ReasonCode,
    Reconnect,
    RemoteProtocolError,
    Session,
)
from trio_mqtt.abc import AuthData, Authenticator, AuthExchange
from trio_mqtt.packets import Auth, ConnAck, Connect, Properties, Publish, PubRec
from trio_mqtt.testing import (
    Close,
    Expect,
    ExpectEnd,
    ScriptedPeer,
    Send,
    SendBytes,
    Server,
    ServerLimits,
    open_server,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

    from tests.servers import RealServer
    from trio_mqtt import Protocol
    from trio_mqtt.testing import Step

open_client = trio_mqtt.open_client
CONTINUE: Final = ReasonCode.CONTINUE_AUTHENTICATION
STEPS: Final = ("before_start", "before_answer", "before_finish")


@pytest.fixture
def sphinx(server: Server) -> Sphinx:
    """What the server asks."""
    sphinx = Sphinx()
    server.authentication_methods[METHOD] = sphinx.begin
    return sphinx


def says(data: bytes, **others: Any) -> Properties:
    return Properties(authentication_method=METHOD, authentication_data=data, **others)


async def fails(**options: Any) -> Exception:
    """The error with which no connection is made."""
    with pytest.raises(Exception, match=r".+") as caught:
        async with open_once(**options):
            raise AssertionError("not reached")
    return caught.value


@pytest.mark.parametrize("chunk", [None, 1], ids=["whole", "bytewise"])
@pytest.mark.parametrize("riddles", [0, 1, 5])
async def test_as_many_steps_as_the_server_wants(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock, riddles: int, chunk: int | None
) -> None:
    sphinx.riddles = riddles
    auth = Riddles()
    connector = partial(server.connect, chunk=chunk)
    async with open_once(connector=connector, auth=auth) as client:
        await assert_works(client)
    (connect,) = received(server, Connect)
    assert connect.properties.authentication_method == METHOD
    assert connect.properties.authentication_data == b"hello 1"
    numbers = range(1, riddles + 1)
    assert received(server, Auth) == [
        Auth(CONTINUE, says(b"answer to riddle %d" % number)) for number in numbers
    ]
    (exchange,) = auth.exchanges
    heard = [said.data for said in exchange.heard]
    assert heard == [*(b"riddle %d" % number for number in numbers), b"well done"]


async def test_each_connection_has_an_exchange_of_its_own(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    auth = Riddles()
    async with open_client(connector=server.connect, client_id="c", auth=auth) as client:
        for number in (2, 3):
            server.drop("c")
            await nth_connection(client, number)
        await assert_works(client)
    assert sphinx.asked == [b"hello 1", b"hello 2", b"hello 3"]
    assert [len(each.heard) for each in auth.exchanges] == [2, 2, 2]


async def test_user_name_and_password_may_stand_beside_it(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    async with open_once(
        connector=server.connect, auth=Riddles(), username="alice", password="secret"
    ) as client:
        await assert_works(client)
    (connect,) = received(server, Connect)
    assert (connect.username, connect.password) == ("alice", b"secret")


async def test_properties_of_both_sides(autojump_clock: MockClock) -> None:
    theirs = Properties(
        authentication_method=METHOD, reason_string="once more", user_properties=(("k", "t"),)
    )
    last = Properties(
        authentication_method=METHOD,
        authentication_data=b"well done",
        reason_string="welcome",
        user_properties=(("k", "l"),),
    )
    auth = Riddles()
    auth.first = AuthData(b"1", user_properties=[("k", "1")])
    auth.second = AuthData(None, reason_string="so it is", user_properties=[("k", "2")])
    peer = ScriptedPeer(
        [
            Expect(Connect),
            Send(Auth(CONTINUE, theirs)),
            Expect(
                Auth,
                reason_code=CONTINUE,
                properties=Properties(
                    authentication_method=METHOD,
                    reason_string="so it is",
                    user_properties=(("k", "2"),),
                ),
            ),
            Send(ConnAck(properties=last)),
            *GOODBYE,
        ]
    )
    async with open_once(connector=peer.connect, auth=auth, user_properties=[("k", "0")]) as client:
        assert client.server.reason_string == "welcome"
        assert client.server.user_properties == (("k", "l"),)
    peer.assert_done()
    assert auth.exchanges[0].heard == [
        AuthData(None, reason_string="once more", user_properties=[("k", "t")]),
        AuthData(b"well done", reason_string="welcome", user_properties=[("k", "l")]),
    ]


async def test_what_goes_into_connect_stands_behind_the_callers_own(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    auth = Riddles()
    auth.first = AuthData(b"1", user_properties=[("k", "1")])
    async with open_once(connector=server.connect, auth=auth, user_properties=[("k", "0")]):
        pass
    (connect,) = received(server, Connect)
    assert connect.properties.user_properties == (("k", "0"), ("k", "1"))


async def test_connect_has_no_reason_string(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    auth = Riddles()
    auth.first = AuthData(reason_string="please")
    error = await fails(connector=server.connect, auth=auth)
    assert isinstance(error, LocalProtocolError)
    assert not received(server, Connect)


def test_what_is_secret_is_in_no_repr() -> None:
    assert "secret" not in repr(AuthData(b"secret", reason_string="r"))


# -- refusals ----------------------------------------------------------------------------------


async def test_a_refusal_is_final(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    sphinx.verdicts = [ReasonCode.SUCCESS, ReasonCode.NOT_AUTHORIZED]
    with pytest.raises(ConnectRejected, match="check what auth proves") as caught:
        async with open_client(connector=server.connect, client_id="c", auth=Riddles()):
            server.drop("c")
            await trio.sleep_forever()
    assert caught.value.reason_code is ReasonCode.NOT_AUTHORIZED
    assert len(sphinx.asked) == 2


@pytest.mark.parametrize(
    "reason_code", [ReasonCode.NOT_AUTHORIZED, ReasonCode.BAD_USER_NAME_OR_PASSWORD]
)
async def test_a_refusal_is_not_final_if_the_next_exchange_says_something_else(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock, reason_code: ReasonCode
) -> None:
    sphinx.verdicts = [ReasonCode.SUCCESS, reason_code, reason_code]
    auth = Riddles(retry_refused=True)
    async with open_client(connector=server.connect, client_id="c", auth=auth) as client:
        server.drop("c")
        await nth_connection(client, 2)
        await assert_works(client)
    assert len(sphinx.asked) == 4


async def test_a_method_that_the_server_does_not_know(
    server: Server, autojump_clock: MockClock
) -> None:
    attempts = Attempts(server.connect)
    with pytest.raises(ConnectRejected, match="does not know the method 'riddles'") as caught:
        async with open_client(
            connector=attempts.connect, auth=Riddles(), reconnect=Reconnect(initial="retry")
        ):
            raise AssertionError("not reached")
    assert caught.value.reason_code is ReasonCode.BAD_AUTHENTICATION_METHOD
    assert len(attempts) == 1


async def test_a_method_that_mosquitto_does_not_know(mosquitto: RealServer) -> None:
    with pytest.raises(ConnectRejected, match="does not know the method 'riddles'"):
        async with open_client(mosquitto.url, auth=Riddles()):
            raise AssertionError("not reached")


async def test_a_refusal_in_the_middle_is_no_outcome_to_check(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    sphinx.riddles = 2
    auth = Riddles()
    auth.second = AuthData(b"wrong")
    assert isinstance(await fails(connector=server.connect, auth=auth), ConnectRejected)
    assert [said.data for said in auth.exchanges[0].heard] == [b"riddle 1"]


# -- versions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [MQTT_3_1_1, MQTT_3_1])
async def test_older_versions_have_no_such_thing(server: Server, protocol: Protocol) -> None:
    attempts = Attempts(server.connect)
    error = await fails(connector=attempts.connect, auth=Riddles(), protocol=protocol)
    assert isinstance(error, FeatureNotSupported)
    assert f"{protocol.title} has no enhanced authentication" in str(error)
    assert not attempts


async def test_a_session_that_has_spoken_an_older_version(
    server: Server, autojump_clock: MockClock
) -> None:
    session = Session("c", expiry=100)
    async with open_once(connector=server.connect, session=session, protocol=MQTT_3_1_1):
        pass
    error = await fails(connector=server.connect, session=session, auth=Riddles())
    assert isinstance(error, FeatureNotSupported)
    assert "a Session that has spoken it" in str(error)
    assert len(received(server, Connect)) == 1


@pytest.mark.parametrize("refusal", ["connack", "connack_3_1_1", "close"])
async def test_no_older_version_is_tried(autojump_clock: MockClock, refusal: Any) -> None:
    limits = ServerLimits(protocols=[MQTT_3_1_1], refusal=refusal)
    async with open_server(limits=limits) as server:
        attempts = Attempts(server.connect)
        error = await fails(connector=attempts.connect, auth=Riddles())
        assert isinstance(error, ConnectFailed if refusal == "close" else ConnectRejected)
        assert refusal == "close" or "auth needs MQTT 5.0" in str(error)
        assert len(attempts) == 1


# -- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "statement"),
    [
        ([Send(ConnAck())], "MQTT-4.12.0-5"),
        ([Send(ConnAck(properties=Properties(authentication_method="x")))], "MQTT-4.12.0-5"),
        ([SendBytes(b"\x20\x02\x00\x00")], "MQTT-4.12.0-5"),
        ([Send(Auth(ReasonCode.SUCCESS, says(b"well done")))], "MQTT-4.12.0-2"),
        ([Send(Auth(ReasonCode.RE_AUTHENTICATE, says(b"x")))], "MQTT-4.12.0-2"),
        ([Send(Auth(CONTINUE, Properties(authentication_method="x")))], "MQTT-4.12.0-5"),
    ],
    ids=["no method", "another", "form of 3.1.1", "AUTH 0x00", "AUTH 0x19", "AUTH of another"],
)
async def test_a_server_that_goes_astray(answer: list[Step], statement: str) -> None:
    peer = ScriptedPeer([Expect(Connect), *answer, ExpectEnd()])
    auth = Riddles()
    error = await fails(connector=peer.connect, auth=auth)
    assert isinstance(error, RemoteProtocolError)
    assert error.statement == statement
    assert auth.exchanges[0].heard == []
    peer.assert_done()


async def test_a_server_that_hangs_up_in_the_middle(autojump_clock: MockClock) -> None:
    steps = [Expect(Connect), Send(Auth(CONTINUE, says(b"r"))), Expect(Auth), Close()]
    error = await fails(connector=ScriptedPeer(steps).connect, auth=Riddles())
    assert isinstance(error, ConnectFailed)
    assert "in the middle of its answer" in str(error)


async def test_a_server_that_does_not_prove_who_it_is_changes_nothing(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    """It says that it has lost the Session, and gets no message."""
    session = Session("c", expiry=100)
    with server.holding(PubRec):
        async with open_once(connector=server.connect, session=session, auth=Riddles()) as client:
            await client.enqueue("a", "secret", qos=2)  # which may have come, as far as we know
    async with open_server() as impostor:
        liar = Sphinx()
        liar.last_words = b"trust me"
        impostor.authentication_methods[METHOD] = liar.begin
        attempts = Attempts(impostor.connect)
        with pytest.raises(AuthenticationFailed) as caught:
            async with open_client(
                "mqtt://nile",
                connector=attempts.connect,
                session=session,
                auth=Riddles(),
                reconnect=Reconnect(initial="retry"),
            ):
                raise AssertionError("not reached")
        assert received(impostor, Publish) == []
        assert len(attempts) == 1
    words = "the authentication with mqtt://nile:1883 failed: the server does not know what to say"
    assert str(caught.value) == words
    async with open_once(connector=server.connect, session=session, auth=Riddles()) as client:
        assert client.server.session_present
        await assert_works(client)
    assert [packet.dup for packet in received(server, Publish) if packet.topic == "a"] == [
        False,
        True,
    ]


@pytest.mark.parametrize("step", STEPS)
async def test_a_step_that_hangs(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock, step: str
) -> None:
    async def hang(_exchange: Exchange) -> None:
        await trio.sleep_forever()

    auth = Riddles()
    setattr(auth, step, hang)
    error = await fails(connector=server.connect, auth=auth, connect_timeout=7)
    assert isinstance(error, ConnectFailed)
    assert "auth " in str(error)
    assert "within 7 s" in str(error)
    assert trio.current_time() == pytest.approx(7)


async def test_a_server_that_does_not_answer_after_auth(autojump_clock: MockClock) -> None:
    steps = [Expect(Connect), Send(Auth(CONTINUE, says(b"r"))), Expect(Auth), ExpectEnd()]
    peer = ScriptedPeer(steps)
    error = await fails(connector=peer.connect, auth=Riddles(), connect_timeout=7)
    assert isinstance(error, ConnectFailed)
    assert "the server did not answer within 7 s" in str(error)


class Unlucky:
    """Raises the first times."""

    def __init__(self, error: Exception, times: int = 1) -> None:
        self._error = error
        self._left = times

    async def __call__(self, _exchange: Exchange) -> None:
        self._left -= 1
        if self._left >= 0:
            raise self._error


@pytest.mark.parametrize("step", STEPS)
async def test_what_cannot_be_had_now_is_tried_again(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock, step: str
) -> None:
    auth = Riddles()
    setattr(auth, step, Unlucky(ConnectionRefusedError("no tokens"), times=2))
    async with open_client(
        connector=server.connect, auth=auth, reconnect=Reconnect(initial="retry")
    ) as client:
        await assert_works(client)
    assert len(auth.exchanges) == 3
    setattr(auth, step, Unlucky(ConnectionRefusedError("no tokens")))
    error = await fails(connector=server.connect, auth=auth)
    assert isinstance(error, ConnectFailed)
    assert "no tokens" in str(error)


@pytest.mark.parametrize("step", STEPS)
async def test_a_mistake_leaves_the_block_as_it_is(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock, step: str
) -> None:
    auth = Riddles()
    mistake = ZeroDivisionError("a mistake")
    setattr(auth, step, Unlucky(mistake))
    with pytest.raises(ZeroDivisionError) as caught:
        async with open_client(
            connector=server.connect, auth=auth, reconnect=Reconnect(initial="retry")
        ):
            raise AssertionError("not reached")
    assert caught.value is mistake


async def test_a_failure_to_begin_names_the_server(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    auth = Riddles()
    auth.before_start = Unlucky(AuthenticationFailed("no key"))
    error = await fails(url="mqtt://nile", connector=server.connect, auth=auth)
    assert isinstance(error, AuthenticationFailed)
    assert str(error) == "the authentication with mqtt://nile:1883 failed: no key"


class Keyless(Riddles):
    def begin(self) -> AuthExchange:
        raise AuthenticationFailed("no key")


async def test_an_exchange_that_does_not_come_about_names_the_server(server: Server) -> None:
    error = await fails(url="mqtt://nile", connector=server.connect, auth=Keyless())
    assert str(error) == "the authentication with mqtt://nile:1883 failed: no key"


# -- authenticators ----------------------------------------------------------------------------


class Token(Authenticator):
    """What a user writes for a token."""

    method = "TOKEN"

    def begin(self) -> AuthExchange:
        return TokenExchange()


class TokenExchange(AuthExchange):
    async def start(self) -> bytes:
        return b"token"


async def test_a_method_of_one_step(server: Server, autojump_clock: MockClock) -> None:
    def begin(_connect: Connect) -> Callable[[bytes | None], tuple[ReasonCode, None]]:
        return lambda data: (
            ReasonCode.SUCCESS if data == b"token" else ReasonCode.NOT_AUTHORIZED,
            None,
        )

    server.authentication_methods["TOKEN"] = begin
    async with open_once(connector=server.connect, auth=Token()) as client:
        await assert_works(client)
    assert sent(server, Auth) == []


async def test_a_method_of_one_step_and_a_server_that_wants_more(autojump_clock: MockClock) -> None:
    challenge = Auth(CONTINUE, Properties(authentication_method="TOKEN"))
    peer = ScriptedPeer([Expect(Connect), Send(challenge), ExpectEnd()])
    error = await fails(connector=peer.connect, auth=Token())
    assert isinstance(error, AuthenticationFailed)
    assert "asks for more" in str(error)
    peer.assert_done()


class NoMethod(Authenticator):
    def begin(self) -> AuthExchange:
        raise NotImplementedError


@pytest.mark.parametrize("auth", [Riddles, "SCRAM-SHA-256", NoMethod()], ids=["class", "str", "-"])
async def test_what_is_no_authenticator(server: Server, auth: Any) -> None:
    error = await fails(connector=server.connect, auth=auth)
    assert isinstance(error, TypeError)
    assert "with a method" in str(error)
