"""Enhanced authentication on a connection that was accepted before (4.12.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.authenticators import METHOD, Exchange, Riddles, Sphinx, nothing
from tests.client.moments import PATIENCE, assert_works, received, sent
from tests.client.outages import GOODBYE, lost, nth_connection, until, watching
from tests.client.support import open_once
from trio_mqtt import (
    AuthenticationFailed,
    Client,
    ConnectionLost,
    LocalProtocolError,
    PacketTooLarge,
    ReasonCode,
    Reconnect,
    RemoteProtocolError,
    Will,
)
from trio_mqtt.abc import AuthData
from trio_mqtt.events import Disconnected
from trio_mqtt.packets import Auth, ConnAck, Connect, Disconnect, Properties, PubAck
from trio_mqtt.testing import Expect, ExpectEnd, ScriptedPeer, Send, Server, ServerLimits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

    from trio_mqtt.testing import Step

open_client = trio_mqtt.open_client
SUCCESS: Final = ReasonCode.SUCCESS
CONTINUE: Final = ReasonCode.CONTINUE_AUTHENTICATION
AGAIN: Final = ReasonCode.RE_AUTHENTICATE


@pytest.fixture
def sphinx(server: Server) -> Sphinx:
    """What the server asks."""
    sphinx = Sphinx()
    server.authentication_methods[METHOD] = sphinx.begin
    return sphinx


def says(data: bytes | None = None) -> Properties:
    return Properties(authentication_method=METHOD, authentication_data=data)


def codes(server: Server) -> list[ReasonCode]:
    """What the client's AUTH packets were."""
    return [packet.reason_code for packet in received(server, Auth)]


class Hold:
    """Makes a step wait.

    Attributes:
        begun: set when it waits.
        free: set it to let it go on.
    """

    def __init__(self) -> None:
        self.begun = trio.Event()
        self.free = trio.Event()

    async def __call__(self, _exchange: Exchange) -> None:
        self.begun.set()
        await self.free.wait()


def raising(error: Exception) -> Callable[[Exchange], Awaitable[None]]:
    async def step(_exchange: Exchange) -> None:
        raise error

    return step


# -- in good order -------------------------------------------------------------------------------


@pytest.mark.statement("MQTT-4.12.0-3", "MQTT-4.12.0-5", "MQTT-4.12.1-1")
@pytest.mark.parametrize("riddles", [0, 1, 3])
async def test_it_ends_when_the_server_is_content(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock, riddles: int
) -> None:
    auth = Riddles()
    async with open_once(connector=server.connect, auth=auth) as client:
        sphinx.riddles = riddles
        for number in (2, 3):
            await client.reauthenticate()
            assert sphinx.asked[-1] == b"hello %d" % number
            assert [said.data for said in auth.exchanges[-1].heard][-1] == b"well done"
        await assert_works(client)
    # The first of each connection goes in CONNECT, and had one riddle.
    assert codes(server) == [CONTINUE] + [AGAIN, *[CONTINUE] * riddles] * 2
    assert {packet.properties.authentication_method for packet in received(server, Auth)} == {
        METHOD
    }


async def test_other_traffic_goes_on_meanwhile(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    auth = Riddles()
    async with (
        open_once(connector=server.connect, auth=auth) as client,
        trio.open_nursery() as nursery,
    ):
        auth.before_answer = hold = Hold()
        nursery.start_soon(client.reauthenticate)
        await hold.begun.wait()
        await assert_works(client)
        hold.free.set()
    assert codes(server) == [CONTINUE, AGAIN, CONTINUE]


async def test_it_gets_through_while_reading_is_paused(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    async with (
        open_once(connector=server.connect, client_id="c", auth=Riddles()) as client,
        client.subscribe("a", buffer=1),
    ):
        for _ in range(3):
            server.publish("a", bytes(2_000_000))
            await wait_all_tasks_blocked()
        await until(lambda: client.statistics().reading_paused > 0)
        with trio.fail_after(1):
            await client.reauthenticate()


async def test_calls_at_the_same_time_have_one_exchange_after_the_other(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    auth = Riddles()
    async with (
        open_once(connector=server.connect, auth=auth) as client,
        trio.open_nursery() as nursery,
    ):
        auth.before_answer = hold = Hold()
        for _ in range(3):
            nursery.start_soon(client.reauthenticate)
        await hold.begun.wait()
        await wait_all_tasks_blocked()
        assert len(auth.exchanges) == 2
        hold.free.set()
    assert sphinx.asked == [b"hello 1", b"hello 2", b"hello 3", b"hello 4"]
    assert codes(server) == [CONTINUE] + [AGAIN, CONTINUE] * 3


async def test_properties_of_both_sides(autojump_clock: MockClock) -> None:
    theirs = Properties(
        authentication_method=METHOD,
        authentication_data=b"well done",
        reason_string="fine",
        user_properties=(("k", "t"),),
    )
    ours = Properties(
        authentication_method=METHOD, reason_string="again", user_properties=(("k", "o"),)
    )
    peer = ScriptedPeer(
        [
            Expect(Connect),
            Send(ConnAck(properties=says(b"well done"))),
            Expect(Auth, reason_code=AGAIN, properties=ours),
            Send(Auth(SUCCESS, theirs)),
            *GOODBYE,
        ]
    )
    auth = Riddles()
    async with open_once(connector=peer.connect, auth=auth) as client:
        auth.first = AuthData(None, reason_string="again", user_properties=[("k", "o")])
        await client.reauthenticate()
    peer.assert_done()
    (heard,) = auth.exchanges[-1].heard
    assert heard == AuthData(b"well done", reason_string="fine", user_properties=[("k", "t")])


async def test_the_end_does_not_wait_for_it(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    auth = Riddles()
    async with trio.open_nursery() as nursery:
        async with open_once(connector=server.connect, auth=auth) as client:
            auth.before_answer = hold = Hold()

            async def outside() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await client.reauthenticate()

            nursery.start_soon(outside)
            await hold.begun.wait()
        assert trio.current_time() == 0
    assert received(server, Disconnect) == [Disconnect()]
    with pytest.raises(trio.ClosedResourceError):
        await client.reauthenticate()


async def test_nothing_is_begun_while_the_client_closes(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    auth = Riddles()
    async with trio.open_nursery() as nursery:
        async with open_once(connector=server.connect, auth=auth) as client:
            auth.before_start = hold = Hold()
            nursery.start_soon(fails_outside, client, trio.ClosedResourceError)
            await hold.begun.wait()
            nursery.start_soon(release_later, server, hold)
            await client.enqueue("a", qos=1)
        nursery.cancel_scope.deadline = trio.current_time() + 1
    assert not nursery.cancel_scope.cancelled_caught
    assert codes(server) == [CONTINUE]


async def release_later(server: Server, hold: Hold) -> None:
    """Let go of a step while the client waits for its last acknowledgement."""
    with server.holding(PubAck) as held:
        await server.wait_until(lambda: bool(held.packets))
        await wait_all_tasks_blocked()
        hold.free.set()
        await wait_all_tasks_blocked()


# -- without a connection ------------------------------------------------------------------------


async def test_without_a_connection_the_next_one_is_enough(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    auth = Riddles()
    async with open_client(connector=server.connect, client_id="c", auth=auth) as client:
        server.accepting = False
        server.drop("c")
        await lost(client)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.reauthenticate)
            await wait_all_tasks_blocked()
            server.accepting = True
        assert client.statistics().connections == 2
        assert AGAIN not in codes(server)


async def test_an_attempt_that_had_begun_before_is_not_enough(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    auth = Riddles()
    async with open_client(connector=server.connect, client_id="c", auth=auth) as client:
        auth.before_answer = hold = Hold()
        server.drop("c")
        await hold.begun.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.reauthenticate)
            await wait_all_tasks_blocked()
            hold.free.set()
        assert sphinx.asked == [b"hello 1", b"hello 2", b"hello 3"]
        assert codes(server) == [CONTINUE, CONTINUE, AGAIN, CONTINUE]


async def test_before_the_first_connection(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    server.accepting = False
    async with (
        open_client(
            connector=server.connect, auth=Riddles(), reconnect=Reconnect(initial="background")
        ) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(client.reauthenticate)
        await wait_all_tasks_blocked()
        server.accepting = True
        await client.wait_connected()
        await assert_works(client)


@pytest.mark.parametrize("step", ["before_start", "before_answer", "before_finish"])
async def test_a_connection_lost_in_the_middle(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock, step: str
) -> None:
    auth = Riddles()
    async with open_client(connector=server.connect, client_id="c", auth=auth) as client:
        hold = Hold()
        setattr(auth, step, hold)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.reauthenticate)
            await hold.begun.wait()
            server.drop("c")
            await lost(client)
            hold.free.set()
        assert client.statistics().connections == 2
        assert len(auth.exchanges) == 3
        await client.reauthenticate()
        await assert_works(client)


async def test_a_connection_lost_while_the_server_thinks(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    async with open_client(connector=server.connect, client_id="c", auth=Riddles()) as client:
        with server.holding(Auth) as held:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.reauthenticate)
                await server.wait_until(lambda: len(held.packets) == 1)
                server.drop("c")
                await server.wait_until(lambda: len(held.packets) == 2)
                held.release()
        assert client.statistics().connections == 2
        await assert_works(client)


# -- what goes wrong -----------------------------------------------------------------------------


async def test_without_an_authenticator(server: Server, autojump_clock: MockClock) -> None:
    async with open_once(connector=server.connect) as client:
        with pytest.raises(LocalProtocolError) as caught:
            await client.reauthenticate()
        assert caught.value.statement == "MQTT-4.12.0-7"


async def test_a_refusal_is_final(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    sphinx.verdicts = [SUCCESS, ReasonCode.NOT_AUTHORIZED]
    with pytest.raises(ConnectionLost) as caught:
        async with open_client(connector=server.connect, auth=Riddles()) as client:
            await client.reauthenticate()
    assert caught.value.reason_code is ReasonCode.NOT_AUTHORIZED
    assert "check what auth proves" in str(caught.value)


async def test_a_refusal_is_not_final_if_the_next_exchange_says_something_else(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    sphinx.verdicts = [SUCCESS, ReasonCode.NOT_AUTHORIZED]
    auth = Riddles(retry_refused=True)
    async with open_client(connector=server.connect, auth=auth) as client:
        await client.reauthenticate()
        assert client.statistics().connections == 2
        await assert_works(client)


async def fails_outside(client: Client, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await client.reauthenticate()


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("before_answer", AuthenticationFailed("it asks for what it must not know")),
        ("before_finish", AuthenticationFailed("it said the wrong thing")),
        ("before_finish", RemoteProtocolError("it said nonsense")),
    ],
    ids=["answer", "finish", "other"],
)
@pytest.mark.statement("MQTT-4.12.1-2")
async def test_a_server_that_does_not_prove_who_it_is(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock, step: str, error: Exception
) -> None:
    auth = Riddles()
    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + PATIENCE
        with pytest.raises(type(error), match=str(error)) as caught:
            async with open_client("mqtt://nile", connector=server.connect, auth=auth) as client:
                setattr(auth, step, raising(error))
                nursery.start_soon(fails_outside, client, type(error))
                await trio.sleep_forever()
    assert (f"mqtt://nile:1883 failed: {error}" in str(caught.value)) is (
        type(error) is AuthenticationFailed
    )
    (goodbye,) = received(server, Disconnect)
    assert goodbye.reason_code is ReasonCode.UNSPECIFIED_ERROR
    assert goodbye.properties.reason_string == "the authentication failed"


async def test_what_cannot_be_had_now_ends_the_connection_alone(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    auth = Riddles()
    errors = [ConnectionRefusedError("no tokens")]

    async def fail_once(_exchange: Exchange) -> None:
        if errors:
            raise errors.pop()

    async with (
        open_client(connector=server.connect, auth=auth) as client,
        watching(client) as watched,
    ):
        auth.before_answer = fail_once
        await client.reauthenticate()
        assert client.statistics().connections == 2
        (lost,) = watched.of(Disconnected)
        assert isinstance(lost, Disconnected)
        assert "could not go on: no tokens" in str(lost.error)
        await assert_works(client)


async def test_a_mistake_leaves_the_block_as_it_is(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    auth = Riddles()
    mistake = ZeroDivisionError("a mistake")
    with pytest.raises(ZeroDivisionError) as caught:
        async with open_client(
            connector=server.connect, auth=auth, will=Will(topic="gone")
        ) as client:
            auth.before_answer = raising(mistake)
            await client.reauthenticate()
    assert caught.value is mistake
    (goodbye,) = received(server, Disconnect)
    assert goodbye.reason_code is ReasonCode.DISCONNECT_WITH_WILL_MESSAGE


@pytest.mark.parametrize("error", [OSError("no tokens"), AuthenticationFailed("no key")])
async def test_what_fails_before_anything_is_sent_is_the_callers(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock, error: Exception
) -> None:
    auth = Riddles()
    async with open_once(connector=server.connect, auth=auth) as client:
        auth.before_start = raising(error)
        with pytest.raises(type(error)) as caught:
            await client.reauthenticate()
        assert caught.value is error
        auth.before_start = nothing
        await client.reauthenticate()
    assert codes(server) == [CONTINUE, AGAIN, CONTINUE]


async def test_more_than_the_server_takes(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    server.limits = ServerLimits(maximum_packet_size=200)
    auth = Riddles()
    async with open_client(connector=server.connect, auth=auth) as client:
        auth.first = AuthData(bytes(200))
        with pytest.raises(PacketTooLarge, match="AUTH would take"):
            await client.reauthenticate()
        auth.first = None
        await client.reauthenticate()
        await assert_works(client)
    assert codes(server) == [CONTINUE, AGAIN, CONTINUE]


async def test_an_answer_that_is_more_than_the_server_takes(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    server.limits = ServerLimits(maximum_packet_size=200)
    auth = Riddles()
    with pytest.raises(PacketTooLarge):
        async with open_client(connector=server.connect, auth=auth) as client:
            auth.second = AuthData(bytes(200))
            await client.reauthenticate()


async def test_a_step_that_hangs(server: Server, sphinx: Sphinx, autojump_clock: MockClock) -> None:
    auth = Riddles()
    waiting: list[Exchange] = []

    async def hang_once(exchange: Exchange) -> None:
        waiting.append(exchange)
        if len(waiting) == 1:
            await trio.sleep_forever()

    async with open_client(
        connector=server.connect, auth=auth, connect_timeout=7, keep_alive=0
    ) as client:
        auth.before_answer = hang_once
        await client.reauthenticate()
        assert 7 <= trio.current_time() < 9
        assert client.statistics().connections == 2
        await assert_works(client)


@pytest.mark.parametrize("ack_timeout", [7, None])
async def test_a_server_that_does_not_answer(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock, ack_timeout: float | None
) -> None:
    async with open_client(
        connector=server.connect, client_id="c", auth=Riddles(), ack_timeout=ack_timeout
    ) as client:
        with server.holding(Auth) as held, trio.move_on_after(1000) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.reauthenticate)
                await server.wait_until(lambda: bool(held.packets))
                if ack_timeout is not None:
                    await until(lambda: not client.statistics().connected)
                    assert trio.current_time() == pytest.approx(7, abs=0.1)
                    held.release()
                    await server.wait_until(lambda: bool(held.packets))
                    held.release()
        assert scope.cancelled_caught is (ack_timeout is None)
        assert client.statistics().connections == (1 if ack_timeout is None else 2)
        await client.reauthenticate()
        await assert_works(client)


@pytest.mark.parametrize(
    ("steps", "statement"),
    [
        ([Send(Auth(AGAIN, says()))], "3.15.2.1"),
        ([Send(Auth(CONTINUE, says()))], "4.12.1"),
        ([Send(Auth(SUCCESS, says()))], "4.12.1"),
    ],
)
async def test_a_server_cannot_begin(
    autojump_clock: MockClock, steps: list[Step], statement: str
) -> None:
    peer = ScriptedPeer(
        [
            Expect(Connect),
            Send(ConnAck(properties=says(b"well done"))),
            *steps,
            Expect(Disconnect, reason_code=ReasonCode.PROTOCOL_ERROR),
            ExpectEnd(),
        ]
    )
    with trio.fail_after(PATIENCE), pytest.raises(RemoteProtocolError):
        async with open_client(connector=peer.connect, auth=Riddles()):
            await trio.sleep_forever()
    peer.assert_done()


async def test_a_server_may_ask_for_it_in_a_message(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    """As the documentation shows it."""
    async with open_once(connector=server.connect, client_id="c", auth=Riddles()) as client:

        async def watch() -> None:
            async with client.subscribe("$control/c/authenticate", qos=1) as requests:
                async for _ in requests:
                    await client.reauthenticate()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await server.wait_until(lambda: bool(server.sessions["c"].subscriptions))
            server.publish("$control/c/authenticate", qos=1)
            await until(lambda: len(sphinx.asked) == 2)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert client.statistics().connections == 1
    assert codes(server) == [CONTINUE, AGAIN, CONTINUE]
    assert sent(server, Auth)[-1] == Auth(SUCCESS, says(b"well done"))


async def test_a_new_connection_ends_what_an_old_one_began(
    server: Server, sphinx: Sphinx, autojump_clock: MockClock
) -> None:
    """A late answer goes to no later exchange."""
    auth = Riddles()
    async with open_client(connector=server.connect, client_id="c", auth=auth) as client:
        auth.before_answer = hold = Hold()
        with trio.move_on_after(1):
            await client.reauthenticate()
        server.drop("c")
        hold.free.set()
        await nth_connection(client, 2)
        auth.before_answer = nothing
        await client.reauthenticate()
        await assert_works(client)
    assert sphinx.asked == [b"hello 1", b"hello 2", b"hello 3", b"hello 4"]
