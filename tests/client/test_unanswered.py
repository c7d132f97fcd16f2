"""SUBSCRIBE and UNSUBSCRIBE that a run of the program leaves unanswered: the next repeats them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.moments import PATIENCE, received
from tests.client.outages import (
    BOTH,
    BROKEN,
    CONNECTED,
    GOODBYE,
    RESUMED,
    grant,
    lose_session,
    nth_connection,
    until,
    watching,
)
from tests.client.storages import DictStorage, call_in_place
from tests.client.support import open_once
from trio_mqtt import (
    MemoryStorage,
    PacketTooLarge,
    Protocol,
    ReasonCode,
    Reconnect,
    Session,
    SubscribeRejected,
    UnsubscribeRejected,
    open_client,
)
from trio_mqtt.events import SubscriptionLost
from trio_mqtt.packets import Publish, SubAck, Subscribe, UnsubAck, Unsubscribe
from trio_mqtt.testing import (
    Before,
    Expect,
    ExpectSilence,
    Faults,
    Reply,
    ScriptedPeer,
    ServerLimits,
    open_network,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from trio.testing import MockClock

    from trio_mqtt.abc import Storage
    from trio_mqtt.testing import Server, Step

WEEK: Final = 7 * 24 * 3600


class Program:
    """A program that is run several times, with the same Session.

    Args:
        server: the server that it connects to.
        storage: where its Session is kept.
        protocol: the version of MQTT that it speaks.

    Attributes:
        faults: what the connections made from now on suffer, to the end of the run.
        storage: where its Session is kept.
        session: that of the last run.
    """

    def __init__(self, server: Server, storage: Storage, protocol: Protocol) -> None:
        self.faults = Faults()
        self.storage = storage
        self._server = server
        self._protocol = protocol
        self.session = self._new_session()

    def _new_session(self) -> Session:
        return Session("c", expiry=WEEK, storage=self.storage)

    def _each_time(self) -> Iterator[Faults]:
        while True:
            yield self.faults

    def forget(self) -> None:
        """The next run knows nothing of the Session."""
        self.session = self._new_session()
        if isinstance(self.storage, DictStorage):
            self.storage.records.clear()

    @asynccontextmanager
    async def run(
        self, faults: Faults | None = None, **options: Any
    ) -> AsyncGenerator[trio_mqtt.Client]:
        """One run; it is left without waiting long."""
        if isinstance(self.storage, DictStorage):  # another process
            self.session = self._new_session()
        usual: dict[str, Any] = {"close_timeout": 1, "reconnect": Reconnect(delay=0.1)} | options
        self.faults = faults or Faults()
        async with (
            open_network(self._server.connect, self._each_time()) as network,
            trio_mqtt.open_client(
                connector=network.connect,
                session=self.session,
                protocol=self._protocol,
                **usual,
            ) as client,
        ):
            yield client

    @asynccontextmanager
    async def lose_session(self) -> AsyncGenerator[trio_mqtt.Client]:
        """A run in which the session is lost, and no SUBSCRIBE after that gets through."""
        async with self.run() as client:
            self.faults = Faults(stall_to_server=Before(Subscribe))
            await lose_session(self._server)
            await nth_connection(client, 2)
            await wait_all_tasks_blocked()
            yield client
        assert self.subscribed == set()

    @property
    def subscribed(self) -> set[str]:
        """What the server has subscribed."""
        return set(self._server.sessions["c"].subscriptions)

    @property
    def requests(self) -> list[Subscribe | Unsubscribe]:
        """The SUBSCRIBEs and UNSUBSCRIBEs so far."""
        return [*received(self._server, Subscribe), *received(self._server, Unsubscribe)]

    @asynccontextmanager
    async def quiet_run(self) -> AsyncGenerator[trio_mqtt.Client]:
        """A run in which nothing is to be repeated."""
        before = len(self.requests)
        async with self.run() as client:
            yield client
            await wait_all_tasks_blocked()
            assert len(self.requests) == before

    async def keep(self, *topic_filters: str) -> None:
        """A run that subscribes, and leaves the filters subscribed."""
        async with self.run() as client, client.subscribe(*topic_filters, qos=1):
            pass


@pytest.fixture(params=BOTH, ids=["5", "3.1.1"])
def protocol(request: pytest.FixtureRequest) -> Protocol:
    return Protocol(request.param)


@pytest.fixture(params=[MemoryStorage, DictStorage], ids=["in memory", "durable"])
def program(
    server: Server,
    request: pytest.FixtureRequest,
    protocol: Protocol,
    monkeypatch: pytest.MonkeyPatch,
) -> Program:
    call_in_place(monkeypatch)
    return Program(server, request.param(), protocol)


class TestSubscribe:
    """Subscriptions that were just being made again."""

    async def test_the_next_run_makes_them_again(
        self, server: Server, program: Program, autojump_clock: MockClock
    ) -> None:
        await program.keep("a", "b/#")
        async with program.lose_session():
            pass
        async with program.run():  # which subscribes to nothing
            await until(lambda: program.subscribed == {"a", "b/#"})
            await wait_all_tasks_blocked()
        async with program.quiet_run():
            assert program.subscribed == {"a", "b/#"}

    async def test_before_messages_that_wait(
        self, server: Server, program: Program, autojump_clock: MockClock
    ) -> None:
        await program.keep("a", "b/#")
        async with program.lose_session() as client:
            await client.enqueue("a", "x", qos=1)
        start = server.log[-1]
        async with program.run() as client:
            await until(lambda: not client.statistics().unfinished)
        later = [each for each in server.log if each.number > start.number]
        kinds = [type(each.packet) for each in later if each.direction == "received"]
        assert kinds[1:4] == [Subscribe, Subscribe, Publish]

    async def test_where_the_session_is_lost_once_more(
        self, server: Server, program: Program, autojump_clock: MockClock
    ) -> None:
        await program.keep("a")
        async with program.lose_session():
            pass
        await until(lambda: not server.sessions["c"].connected)
        server.forget_session("c")
        async with program.run():
            await until(lambda: program.subscribed == {"a"})

    @pytest.mark.parametrize("program", [DictStorage], ids=["durable"], indirect=True)
    async def test_a_crash_is_an_end_like_another(
        self, server: Server, program: Program, autojump_clock: MockClock
    ) -> None:
        storage = program.storage
        assert isinstance(storage, DictStorage)
        await program.keep("a")
        async with program.lose_session():
            records = dict(storage.records)
        storage.records = records
        async with program.run():
            await until(lambda: program.subscribed == {"a"})

    async def test_what_the_program_subscribes_meanwhile(
        self, server: Server, program: Program, autojump_clock: MockClock
    ) -> None:
        await program.keep("a")
        async with program.lose_session():
            pass
        async with program.run() as client, client.subscribe("a", qos=2) as messages:
            server.publish("a", "x", qos=2)
            message = await taken(messages)
            assert (message.text(), message.qos) == ("x", 2)
            message.ack()
        async with program.quiet_run():
            assert program.subscribed == {"a"}

    async def test_refused_then_it_is_lost(
        self, server: Server, program: Program, autojump_clock: MockClock
    ) -> None:
        await program.keep("a")
        async with program.lose_session():
            pass
        server.authorize_subscribe = lambda _client_id, _request: ReasonCode.NOT_AUTHORIZED
        background = Reconnect(initial="background")
        async with program.run(reconnect=background) as client, watching(client) as seen:
            await until(lambda: bool(seen.of(SubscriptionLost)))
        async with program.quiet_run():
            assert program.subscribed == set()

    async def test_a_raise_of_the_qos(
        self, server: Server, program: Program, autojump_clock: MockClock
    ) -> None:
        await program.keep("a")
        second = Faults(stall_to_server=Before(Subscribe, 2))
        async with program.run(second) as client, client.subscribe("a", qos=1):
            with trio.move_on_after(1):
                async with client.subscribe("a", qos=2):
                    pytest.fail("it is not answered")
        async with program.run():
            await until(lambda: server.sessions["c"].subscriptions["a"].qos == 2)
            await wait_all_tasks_blocked()
        async with program.quiet_run():
            assert program.subscribed == {"a"}

    async def test_a_raise_of_the_qos_that_was_refused(
        self, server: Server, program: Program, autojump_clock: MockClock
    ) -> None:
        await program.keep("a")
        async with program.run() as client:
            server.authorize_subscribe = lambda _client_id, request: (
                ReasonCode.NOT_AUTHORIZED if request.qos == 2 else ReasonCode.SUCCESS
            )
            async with client.subscribe("a", qos=1):
                with pytest.raises(SubscribeRejected):
                    async with client.subscribe("a", qos=2):
                        pytest.fail("it is refused")
        async with program.quiet_run():
            assert server.sessions["c"].subscriptions["a"].qos == 1


async def taken(messages: trio_mqtt.Subscription) -> trio_mqtt.Message:
    with trio.fail_after(PATIENCE):
        return await messages.receive()


async def test_what_a_second_block_keeps_is_kept(
    server: Server, program: Program, autojump_clock: MockClock
) -> None:
    async with (
        program.run() as client,
        client.subscribe("a", qos=1, keep=False),
        client.subscribe("a", qos=0, keep=True),
    ):
        assert len(program.requests) == 1
    await until(lambda: not server.sessions["c"].connected)
    server.forget_session("c")
    async with program.run():
        await until(lambda: program.subscribed == {"a"})


async def outage(server: Server, client: trio_mqtt.Client) -> None:
    """There is no connection from now on."""
    server.accepting = False
    server.drop("c")
    await until(lambda: not client.statistics().connected)


SILENT: Final = Faults(stall_to_server=Before(Unsubscribe))


class TestUnsubscribe:
    """What was left for good."""

    async def check_next_runs(self, server: Server, program: Program) -> None:
        """The next run unsubscribes "a", and the one after that has nothing to do."""
        assert "a" in program.subscribed
        server.accepting = True
        async with program.run():
            await until(lambda: "a" not in program.subscribed)
            await wait_all_tasks_blocked()
        async with program.quiet_run():
            assert "a" not in program.subscribed

    async def test_left_in_an_outage(
        self, server: Server, program: Program, autojump_clock: MockClock
    ) -> None:
        async with program.run() as client, client.subscribe("a", qos=1, keep=False):
            await outage(server, client)
        await self.check_next_runs(server, program)

    async def test_left_while_the_server_does_not_answer(
        self, server: Server, program: Program, autojump_clock: MockClock
    ) -> None:
        with pytest.raises(ZeroDivisionError):
            async with program.run(SILENT) as client, client.subscribe("a", qos=1, keep=False):
                raise ZeroDivisionError
        await self.check_next_runs(server, program)

    async def test_left_as_the_client_fails(
        self, server: Server, program: Program, autojump_clock: MockClock
    ) -> None:
        with pytest.raises(trio_mqtt.ConnectionLost):
            async with program.run(reconnect=None) as client, client.subscribe("a", keep=False):
                server.drop("c")
                await trio.sleep_forever()
        await self.check_next_runs(server, program)

    async def test_an_entry_that_is_cancelled(
        self, server: Server, program: Program, autojump_clock: MockClock
    ) -> None:
        silent = Faults(stall_to_client=Before(SubAck), stall_to_server=Before(Unsubscribe))
        async with program.run(silent) as client:
            with trio.move_on_after(1):
                async with client.subscribe("a", keep=True):
                    pytest.fail("it is not answered")
        await self.check_next_runs(server, program)

    @pytest.mark.parametrize("knows", [True, False])
    async def test_by_hand(
        self, server: Server, program: Program, autojump_clock: MockClock, knows: bool
    ) -> None:
        await program.keep("a")
        if not knows:
            program.forget()
        async with program.run() as client:
            await outage(server, client)
            with trio.move_on_after(1):
                await client.unsubscribe("a", "never/subscribed")
        await self.check_next_runs(server, program)

    async def test_by_hand_and_subscribed_again(
        self, server: Server, program: Program, autojump_clock: MockClock
    ) -> None:
        await program.keep("a")
        async with program.run(SILENT) as client:
            with trio.move_on_after(1):
                await client.unsubscribe("a")
            with trio.move_on_after(1):
                async with client.subscribe("a", keep=True):
                    pytest.fail("it is not answered")
        async with program.run():  # what was asked for last holds
            await until(lambda: len(received(server, Subscribe)) == 2)
            await wait_all_tasks_blocked()
        async with program.quiet_run():
            assert program.subscribed == {"a"}

    async def test_the_next_run_may_subscribe_at_once(
        self, server: Server, program: Program, autojump_clock: MockClock
    ) -> None:
        async with program.run() as client, client.subscribe("a", qos=1, keep=False):
            await outage(server, client)
        server.accepting = True
        async with program.run() as client:
            with server.holding(UnsubAck):
                async with client.subscribe("a", qos=1) as messages:
                    server.publish("a", "x", qos=1)
                    message = await taken(messages)
                    assert message.text() == "x"
                    message.ack()
            await wait_all_tasks_blocked()
        assert program.subscribed == {"a"}
        await until(lambda: not server.sessions["c"].connected)
        server.forget_session("c")
        async with program.run():  # the answer to the first took nothing from the second
            await until(lambda: program.subscribed == {"a"})

    async def test_a_message_in_hand_when_it_was_left_is_not_lost(
        self, server: Server, program: Program, autojump_clock: MockClock
    ) -> None:
        async with (
            program.run() as client,
            client.subscribe("a", qos=1, keep=False) as messages,
        ):
            server.publish("a", "in hand", qos=1)
            await messages.receive()
            await outage(server, client)
        server.accepting = True
        async with program.run() as client:
            await until(lambda: "a" not in program.subscribed)
            async with client.subscribe("a", qos=1, keep=False) as messages:
                message = await taken(messages)
                assert message.text() == "in hand"
                message.ack()

    async def test_where_the_session_is_lost_there_is_nothing_to_unsubscribe(
        self, server: Server, program: Program, autojump_clock: MockClock
    ) -> None:
        async with program.run() as client, client.subscribe("a", qos=1, keep=False):
            await outage(server, client)
        await until(lambda: not server.sessions["c"].connected)
        server.forget_session("c")
        server.accepting = True
        for _ in range(2):
            async with program.quiet_run():
                assert program.subscribed == set()


def refuse(*topic_filters: str) -> list[Step]:
    """UNSUBSCRIBE, refused."""

    def unsuback(packet: Unsubscribe) -> UnsubAck:
        assert packet.topic_filters == topic_filters
        return UnsubAck(packet.packet_id, (ReasonCode.NOT_AUTHORIZED,) * len(topic_filters))

    return [Expect(Unsubscribe), Reply(Unsubscribe, unsuback)]


async def test_a_raise_refused_after_an_unsubscribe_brings_nothing_back(
    server: Server, program: Program, autojump_clock: MockClock
) -> None:
    async def raise_it() -> None:
        with pytest.raises(SubscribeRejected):
            async with client.subscribe("a", qos=2):
                pytest.fail("it is refused")

    async with program.run() as client, client.subscribe("a", qos=1):
        server.authorize_subscribe = lambda _client_id, _request: ReasonCode.NOT_AUTHORIZED
        async with trio.open_nursery() as nursery:
            with server.holding(SubAck):
                nursery.start_soon(raise_it)
                await wait_all_tasks_blocked()
                nursery.start_soon(client.unsubscribe, "a")
                await wait_all_tasks_blocked()
        server.authorize_subscribe = None
    await until(lambda: not server.sessions["c"].connected)
    server.forget_session("c")
    async with program.quiet_run():
        assert program.subscribed == set()


class TestRefused:
    """An UNSUBSCRIBE that is answered, though not as one would like."""

    async def test_by_hand_all_is_as_it_was(self, autojump_clock: MockClock) -> None:
        session = Session("c", expiry=WEEK)
        silence = ExpectSilence(1)
        peer = ScriptedPeer(
            [*CONNECTED, *grant(1), *refuse("a", "b", "a"), *GOODBYE],
            [*RESUMED, silence, *GOODBYE],
            [*CONNECTED, *grant(1), *GOODBYE],  # "a" is kept, after all
            timeout=PATIENCE,
        )
        async with open_once(connector=peer.connect, session=session) as client:
            async with client.subscribe("a", qos=1):
                pass
            with pytest.raises(UnsubscribeRejected):
                await client.unsubscribe("a", "b", "a")
        for _ in range(2):
            async with open_once(connector=peer.connect, session=session):
                await trio.sleep(2)
        peer.assert_done()

    async def test_what_was_left_is_not_unsubscribed_again_and_again(
        self, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        session = Session("c", expiry=WEEK)
        peer = ScriptedPeer(
            [*CONNECTED, *grant(1), Expect(Unsubscribe), *BROKEN],
            [*RESUMED, *refuse("a"), *GOODBYE],
            [*RESUMED, ExpectSilence(1), *GOODBYE],
            timeout=PATIENCE,
        )
        with pytest.raises(trio_mqtt.ConnectionLost):
            async with open_once(connector=peer.connect, session=session) as client:
                async with client.subscribe("a", qos=1, keep=False):
                    pass
                await trio.sleep(10)
        for _ in range(2):
            async with open_once(connector=peer.connect, session=session):
                await trio.sleep(2)
        peer.assert_done()
        assert caplog.text.count("refused to unsubscribe 'a': 0x87") == 1

    @pytest.mark.parametrize("when", ["at once", "later", "when nobody waits"])
    async def test_too_large_it_was_never_asked_for(
        self, autojump_clock: MockClock, server: Server, when: str
    ) -> None:
        session = Session("c", expiry=WEEK)
        topic_filters = ("a", "b/" + "x" * 100)
        async with open_client(connector=server.connect, session=session) as client:
            async with client.subscribe(*topic_filters):
                pass
            server.limits = ServerLimits(maximum_packet_size=100)
            server.accepting = when == "at once"
            server.drop("c")
            if when == "at once":
                await nth_connection(client, 2)
            else:
                await until(lambda: not client.statistics().connected)
            with trio.move_on_after(1 if when == "when nobody waits" else PATIENCE) as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(raises_too_large, client, topic_filters)
                    await wait_all_tasks_blocked()
                    server.accepting = when != "when nobody waits"
            assert scope.cancelled_caught == (when == "when nobody waits")
            server.accepting = True
            await nth_connection(client, 2)
        server.limits = ServerLimits()
        async with open_client(connector=server.connect, session=session):
            await wait_all_tasks_blocked()
        assert received(server, Unsubscribe) == []
        assert server.sessions["c"].subscriptions.keys() == set(topic_filters)


async def raises_too_large(client: trio_mqtt.Client, topic_filters: tuple[str, ...]) -> None:
    with pytest.raises(PacketTooLarge):
        await client.unsubscribe(*topic_filters)


async def test_nothing_is_repeated_of_what_was_answered(
    server: Server, program: Program, autojump_clock: MockClock
) -> None:
    with trio.fail_after(PATIENCE):
        await program.keep("a", "b")
        async with program.run() as client:
            await client.unsubscribe("b")
            async with client.subscribe("c", keep=False):
                pass
        async with program.quiet_run():
            assert program.subscribed == {"a"}
