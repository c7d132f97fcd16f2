"""Leaving the block of a client that is offline, or about to be (contracts 2, 18, 21, 22)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.moments import (
    PATIENCE,
    all_tasks,
    assert_works,
    at_every_moment,
    cancelled_at,
    received,
)
from tests.client.outages import (
    BOTH,
    CONNECTED,
    GOODBYE,
    longest_delays,
    nth_connection,
    until,
    warnings,
)
from trio_mqtt import (
    MQTT_3_1_1,
    ConnectFailed,
    ConnectionLost,
    ConnectRejected,
    Protocol,
    ReasonCode,
    Reconnect,
    Session,
    SessionLost,
    Will,
)
from trio_mqtt.packets import ConnAck, Connect, Disconnect, PubAck, Publish
from trio_mqtt.testing import (
    Close,
    Expect,
    ScriptedPeer,
    Send,
    Server,
    ServerLimits,
    open_server,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

    from trio_mqtt.abc import Connector

open_client = trio_mqtt.open_client
BACKGROUND: Final = Reconnect(initial="background")
both_versions = pytest.mark.parametrize("protocol", BOTH)


@pytest.fixture(autouse=True)
def half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is how long it takes to connect again, so that tests can do something meanwhile."""
    longest_delays(monkeypatch)


class TestOffline:
    async def test_an_ephemeral_session_reports_what_is_lost(
        self, server: Server, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        server.accepting = False
        errors: list[BaseException] = []

        async def publish(client: trio_mqtt.Client) -> None:
            with pytest.raises(SessionLost, match="may or may not") as caught:
                await client.publish("a", qos=1)
            errors.append(caught.value)

        async with (
            trio.open_nursery() as nursery,
            open_client(connector=server.connect, reconnect=BACKGROUND) as client,
        ):
            for _ in range(3):
                nursery.start_soon(publish, client)
            await wait_all_tasks_blocked()
        assert trio.current_time() == pytest.approx(4, abs=1)  # the close_timeout
        assert len({id(error) for error in errors}) == 3
        assert [each for each in warnings(caplog) if "3 messages were not acknowledged" in each]

    async def test_a_server_that_is_back_in_time_gets_them(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        server.accepting = False

        async def accept_soon() -> None:
            await trio.sleep(2)
            server.accepting = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_soon)
            async with open_client(connector=server.connect, reconnect=BACKGROUND) as client:
                for qos in (1, 2):
                    await client.enqueue("a", qos=qos)
        assert [packet.qos for packet in received(server, Publish)] == [1, 2]
        assert len(received(server, Disconnect)) == 1

    async def test_with_nothing_to_do_it_is_over_at_once(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        async with open_client(connector=server.connect, client_id="c") as client:
            server.accepting = False
            server.drop("c")
            await until(lambda: not client.statistics().connected)
            start = trio.current_time()
        assert trio.current_time() == start

    async def test_an_error_of_the_body_leaves_unchanged(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        error = KeyError("mine")
        with pytest.raises(KeyError) as caught:
            async with open_client(connector=server.connect, client_id="c") as client:
                server.accepting = False
                server.drop("c")
                await until(lambda: not client.statistics().connected)
                raise error
        assert caught.value is error
        assert not hasattr(error, "__notes__")

    async def test_the_reason_why_it_failed_for_good_is_a_note_on_an_error_of_the_body(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        with pytest.raises(KeyError) as caught:
            async with open_client(connector=server.connect, client_id="c"):
                try:
                    await server.disconnect("c", ReasonCode.SESSION_TAKEN_OVER)
                    await trio.sleep_forever()
                finally:
                    raise KeyError("mine")
        assert ["the client had failed, too" in note for note in caught.value.__notes__] == [True]


class TestGoodbye:
    @pytest.mark.parametrize("ephemeral", [True, False])
    async def test_disconnect_ends_an_ephemeral_session_only(
        self, server: Server, autojump_clock: MockClock, ephemeral: bool
    ) -> None:
        session = None if ephemeral else Session("c", expiry=1000)
        client_id = "c" if ephemeral else None
        async with open_client(
            connector=server.connect, client_id=client_id, session=session
        ) as client:
            server.drop("c")
            await nth_connection(client, 2)
        (packet,) = received(server, Disconnect)
        assert packet.reason_code is ReasonCode.SUCCESS
        assert packet.properties.session_expiry_interval == (0 if ephemeral else None)
        await wait_all_tasks_blocked()
        assert ("c" in server.sessions) != ephemeral

    @both_versions
    @pytest.mark.parametrize("failed", [True, False])
    async def test_the_will_after_a_reconnect(
        self, server: Server, autojump_clock: MockClock, protocol: Protocol, failed: bool
    ) -> None:
        async with (
            open_client(connector=server.connect) as watcher,
            watcher.subscribe("will", qos=1) as wills,
        ):
            try:
                async with open_client(
                    connector=server.connect,
                    client_id="c",
                    protocol=protocol,
                    will=Will(topic="will", payload="w", qos=1),
                ) as client:
                    server.drop("c")
                    assert (await wills.receive()).text() == "w"  # of the connection lost
                    await nth_connection(client, 2)
                    if failed:
                        raise KeyError  # noqa: TRY301 - that is what the body does
            except KeyError:
                pass
            with trio.move_on_after(10) as scope:
                await wills.receive()
            assert scope.cancelled_caught != failed

    async def test_below_5_what_was_accepted_goes_out_before_the_close_of_a_failed_body(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        with pytest.raises(KeyError):
            async with open_client(
                connector=lambda: server.connect(capacity=100),
                protocol=MQTT_3_1_1,
                will=Will(topic="will"),
            ) as client:
                for number in range(20):
                    client.publish_nowait("a", b"%d" % number + bytes(1000))
                raise KeyError
        await wait_all_tasks_blocked()
        payloads = [packet.payload.rstrip(b"\0") for packet in received(server, Publish)]
        assert payloads == [b"%d" % number for number in range(20)]
        assert received(server, Disconnect) == []


class NurseryConnector:
    """A connector that runs tasks of its own around the stream, as a tunnel does.

    Attributes:
        open: how many streams are open.
    """

    def __init__(self, connector: Connector) -> None:
        self.open = 0
        self._connector = connector

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[trio.abc.Stream]:
        async with trio.open_nursery() as nursery, self._connector() as stream:
            self.open += 1
            nursery.start_soon(trio.sleep_forever)
            try:
                yield stream
            finally:
                self.open -= 1
                nursery.cancel_scope.cancel()


class TestConnectorWithNursery:
    async def test_a_loss_and_the_end(self, server: Server, autojump_clock: MockClock) -> None:
        connector = NurseryConnector(server.connect)
        async with open_client(connector=connector.connect, client_id="c") as client:
            for count in (2, 3):
                server.drop("c", reset=count == 2)
                await nth_connection(client, count)
            assert connector.open == 1
            await assert_works(client)
        assert connector.open == 0

    @pytest.mark.parametrize("refusal", ["connack", "connack_3_1_1", "close"])
    async def test_another_version(self, autojump_clock: MockClock, refusal: Any) -> None:
        limits = ServerLimits(protocols=[MQTT_3_1_1], refusal=refusal)
        async with open_server(limits=limits) as server:
            connector = NurseryConnector(server.connect)
            async with open_client(connector=connector.connect) as client:
                await assert_works(client)
            assert connector.open == 0

    async def test_failures(self, server: Server, autojump_clock: MockClock) -> None:
        connector = NurseryConnector(server.connect)
        opened = partial(open_client, connector=connector.connect, client_id="c")
        server.authenticate = lambda _connect: ReasonCode.NOT_AUTHORIZED
        with pytest.raises(ConnectRejected):
            async with opened():
                pytest.fail("it is not connected")
        server.authenticate = None
        server.accepting = False
        with pytest.raises(ConnectFailed):
            async with opened():
                pytest.fail("it is not connected")
        server.accepting = True
        with server.holding(ConnAck), pytest.raises(ConnectFailed, match="within 3 s"):
            async with opened(connect_timeout=3):
                pytest.fail("it is not connected")
        with pytest.raises(ConnectionLost):
            async with opened():
                await server.disconnect("c", ReasonCode.SESSION_TAKEN_OVER)
                await trio.sleep_forever()
        with pytest.raises(ConnectionLost):
            async with opened(reconnect=None):
                server.drop("c", reset=True)
                await trio.sleep_forever()
        with pytest.raises(KeyError):
            async with opened():
                raise KeyError
        with trio.move_on_after(1) as scope:
            async with opened():
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert connector.open == 0

    async def test_a_stream_that_cannot_be_opened_in_time(
        self, server: Server, autojump_clock: MockClock
    ) -> None:
        @asynccontextmanager
        async def connect() -> AsyncGenerator[trio.abc.Stream]:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                await trio.sleep(1000)
                async with server.connect() as stream:
                    yield stream

        with pytest.raises(ConnectFailed, match="within 3 s") as caught:
            async with open_client(connector=connect, connect_timeout=3):
                pytest.fail("it is not connected")
        assert caught.value.stage == "connect"


class TestCancellation:
    @pytest.mark.parametrize("kind", ["resumed", "lost", "refused"])
    @both_versions
    async def test_the_block_at_every_moment_of_connecting_again(
        self, autojump_clock: MockClock, kind: str, protocol: Protocol
    ) -> None:
        tasks = all_tasks()

        async def scenario(moment: int) -> bool:
            async with open_server() as server:
                connector = NurseryConnector(server.connect)
                session = Session("c", expiry=1000)
                with cancelled_at(moment) as alarm:
                    async with (
                        open_client(
                            connector=connector.connect, session=session, protocol=protocol
                        ) as client,
                        client.subscribe("a", qos=2) as messages,
                    ):
                        client.publish_nowait("a", "x", qos=2)
                        server.drop("c")
                        await until(lambda: not client.statistics().connected)
                        if kind == "lost":
                            server.forget_session("c")
                        elif kind == "refused":
                            server.accepting = False
                            await trio.sleep(2)
                            server.accepting = True
                        await client.wait_connected()
                        if kind != "lost":
                            await messages.receive()
                assert connector.open == 0
                server.accepting = True
                async with (
                    open_client(
                        connector=server.connect, session=session, protocol=protocol
                    ) as client,
                    client.subscribe("a", qos=2, ack="on_receipt"),
                ):
                    await until(lambda: not client.statistics().unfinished)
                    await assert_works(client)
                return alarm.rang

        await at_every_moment(scenario, at_least=100, at_most=200)
        assert all_tasks() == tasks

    async def test_a_publish_at_every_moment_of_connecting_again(
        self, autojump_clock: MockClock
    ) -> None:
        async def scenario(moment: int) -> bool:
            async with (
                open_server() as server,
                open_client(connector=server.connect, client_id="c") as client,
            ):
                server.drop("c")
                with cancelled_at(moment) as alarm:
                    await client.publish("a", qos=1)
                    await client.publish("a", qos=0)
                    async with client.subscribe("b", qos=1):
                        pass
                await client.wait_connected()
                await until(lambda: not client.statistics().unfinished)
                await assert_works(client)
                assert len(received(server, Publish)) <= 6
                return alarm.rang

        await at_every_moment(scenario, at_least=50)


async def test_a_redundant_goodbye_is_not_said(autojump_clock: MockClock) -> None:
    """The first connection is lost while the block is left: what was open goes out on the next."""
    peer = ScriptedPeer(
        [*CONNECTED, Expect(Publish, packet_id=1), Close()],
        [
            Expect(Connect),
            Send(ConnAck(session_present=True)),
            Expect(Publish, packet_id=1, dup=True),
            Send(PubAck(1)),
            *GOODBYE,
        ],
        timeout=PATIENCE,
    )
    async with open_client(connector=peer.connect) as client:
        await client.enqueue("a", qos=1)
    peer.assert_done()
