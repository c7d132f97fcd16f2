"""The assertions of the test server: what they find, what they say, and how long they wait."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.testing.support import connected, kept
from trio_mqtt import (
    ConnectRejected,
    LocalProtocolError,
    PublishRejected,
    ReasonCode,
    SubscribeRejected,
    Will,
    open_client,
)
from trio_mqtt.packets import Connect, Publish, PubRel
from trio_mqtt.testing import (
    Acknowledged,
    Before,
    Connected,
    Faults,
    Published,
    Server,
    ServerLimits,
    Subscribed,
    open_network,
    open_server,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

NOT_AUTHORIZED = ReasonCode.NOT_AUTHORIZED


# -- published -----------------------------------------------------------------------------------


async def test_published_messages_are_found_by_each_field(autojump_clock: MockClock) -> None:
    async with open_server() as server, open_client(connector=server.connect, client_id="c") as c:
        await c.publish("a/b", "21.5", qos=1, retain=True)
        await c.publish("a/c", b"\0", qos=2, content_type="x")
        one, other = server.assert_published()
        assert one == Published(
            client_id="c",
            topic="a/b",
            payload=b"21.5",
            qos=1,
            retain=True,
            will=False,
            reason_code=ReasonCode.NO_MATCHING_SUBSCRIBERS,
            properties=one.properties,
        )
        assert other.properties.content_type == "x"
        assert server.assert_published("a/b", "21.5", qos=1, retain=True, client_id="c") == (one,)
        assert server.assert_published("a/+", b"\0", will=False) == (other,)
        assert server.assert_published("#", count=2) == (one, other)
        assert server.assert_published("a/b", "other", count=0) == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"topic": "a"},
        {"payload": b"21"},
        {"qos": 0},
        {"client_id": "d"},
        {"will": True},
        {"topic": "a/c", "retain": True},
        {"reason_code": NOT_AUTHORIZED},
        {"topic": "#", "count": 1},
        {"topic": "#", "count": 3},
        {"topic": "a/b", "count": 0},
    ],
)
async def test_each_field_can_exclude(wrong: dict[str, Any]) -> None:
    async with open_server() as server, open_client(connector=server.connect, client_id="c") as c:
        await c.publish("a/b", "21.5", qos=1, retain=True)
        await c.publish("a/c", b"\0", qos=2)
        with pytest.raises(AssertionError):
            server.assert_published(**wrong)


async def test_the_failure_lists_what_there_is(autojump_clock: MockClock) -> None:
    async with open_server() as server, open_client(connector=server.connect, client_id="c") as c:
        await c.publish("a", "x" * 100, retain=True, qos=1)
        await c.publish("b", "y", qos=2)
        with pytest.raises(AssertionError) as caught:
            server.assert_published("a", count=2)
        assert str(caught.value) == (
            "expected 2 of published messages with topic='a', found 1\n"
            "  all published messages so far, > marks what fits:\n"
            f"  > 'c': 'a' {b'x' * 60!r}... (100 bytes) at QoS 1, retained\n"
            "    'c': 'b' b'y' at QoS 2"
        )
        with pytest.raises(AssertionError, match=r"    none$"):
            server.assert_subscribed("a")


async def test_the_failure_says_that_nobody_has_connected() -> None:
    async with open_server() as server:
        with pytest.raises(AssertionError) as caught:
            server.assert_published()
        assert str(caught.value) == (
            "expected at least 1 of published messages, found 0\n"
            "  all published messages so far, > marks what fits:\n"
            "    none; no client has connected"
        )


async def test_the_failure_shows_the_last_twenty(autojump_clock: MockClock) -> None:
    async with open_server() as server, open_client(connector=server.connect) as client:
        for number in range(23):
            await client.publish(f"a/{number}")
        await client.publish("end", qos=1)
        with pytest.raises(AssertionError) as caught:
            server.assert_published("b")
        lines = str(caught.value).splitlines()
        assert len(lines) == 23
        assert lines[2] == "    ... 4 before these"
        assert "'a/4'" in lines[3]


async def test_a_count_needs_all_that_happened(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server) as raw:
        await raw.send(Publish("first"))
        for _ in range(100):
            await raw.send(*(Publish("a") for _ in range(100)))
            await trio.testing.wait_all_tasks_blocked()
        assert len(server.assert_published("a")) == 10_000
        for count, topic in ((0, "first"), (10_000, "a")):
            with pytest.raises(AssertionError, match="before all these 1 that are forgotten"):
                server.assert_published(topic, count=count)
            with pytest.raises(AssertionError, match="before all these 1 that are forgotten"):
                await server.wait_published(topic, count=count)


async def test_a_topic_alias_is_resolved(autojump_clock: MockClock) -> None:
    async with open_server() as server, open_client(connector=server.connect) as client:
        for _ in range(3):
            await client.publish("a/long/topic/name", qos=1)
        server.assert_published("a/long/topic/name", count=3)
        aliases = [
            entry.packet.properties.topic_alias
            for entry in server.log
            if isinstance(entry.packet, Publish)
        ]
        assert any(aliases)


async def test_qos_2_counts_once_and_qos_1_as_often_as_it_comes() -> None:
    async with open_server() as server, connected(server) as raw:
        await raw.send(Publish("one", qos=2, packet_id=1), Publish("one", qos=2, packet_id=1))
        await raw.receive_many(2)
        server.assert_published("one", count=1)
        await raw.send(PubRel(1), Publish("one", qos=2, packet_id=1))
        await raw.receive_many(2)
        server.assert_published("one", count=2)
        for _ in range(2):
            await raw.send(Publish("two", qos=1, packet_id=2))
            await raw.receive()
        server.assert_published("two", count=2)


async def test_a_refused_message_is_found_by_its_reason_code(autojump_clock: MockClock) -> None:
    async with open_server() as server, open_client(connector=server.connect) as client:
        server.authorize_publish = lambda _client_id, _packet: NOT_AUTHORIZED
        with pytest.raises(PublishRejected):
            await client.publish("a", qos=1)
        server.assert_published("a", count=0)
        (refused,) = server.assert_published("a", reason_code=NOT_AUTHORIZED)
        assert str(refused).endswith("at QoS 1, refused with 0x87 (not authorized)")


async def test_a_will_is_published_by_its_client(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        will = Will(topic="status", payload="dead", retain=True)
        async with open_client(connector=server.connect, client_id="c", will=will) as client:
            server.assert_published("status", count=0)
            server.drop("c")
            await server.wait_connected("c", count=2)
            await client.wait_connected()
        (published,) = server.assert_published("status", "dead", will=True, retain=True)
        assert str(published) == "'c': 'status' b'dead' at QoS 0, retained, its Will"


async def test_what_the_server_publishes_itself_does_not_count(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        server.publish("a", "b")
        server.assert_published(count=0)


# -- subscribed, connected -----------------------------------------------------------------------


async def test_subscriptions_with_their_answers(autojump_clock: MockClock) -> None:
    async with open_server(limits=ServerLimits(maximum_qos=1)) as server:
        server.authorize_subscribe = lambda _client_id, request: (
            NOT_AUTHORIZED if request.topic_filter == "secret" else ReasonCode.SUCCESS
        )
        async with open_client(connector=server.connect, client_id="c") as client:
            async with client.subscribe("a/+", qos=2):
                pass
            with pytest.raises(SubscribeRejected):
                async with client.subscribe("secret"):
                    raise AssertionError
        granted = Subscribed(
            client_id="c", topic_filter="a/+", qos=2, reason_code=ReasonCode.GRANTED_QOS_1
        )
        assert server.assert_subscribed() == (granted,)
        assert server.assert_subscribed("a/+", qos=2, client_id="c", count=1) == (granted,)
        server.assert_subscribed("a/b", count=0)
        server.assert_subscribed("secret", count=0)
        (refused,) = server.assert_subscribed("secret", reason_code=NOT_AUTHORIZED)
        assert str(granted) == "'c': 'a/+' at QoS 2, granted QoS 1"
        assert str(refused) == "'c': 'secret' at QoS 0, refused with 0x87 (not authorized)"


async def test_connections_with_their_answers(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        server.authenticate = lambda connect: (
            NOT_AUTHORIZED if connect.username is None else ReasonCode.SUCCESS
        )
        with pytest.raises(ConnectRejected):
            async with open_client(connector=server.connect, client_id="c"):
                raise AssertionError
        server.assert_connected("c", count=0)
        (refused,) = server.assert_connected("c", reason_code=NOT_AUTHORIZED)
        assert str(refused) == "'c', refused with 0x87 (not authorized)"
        async with open_client(connector=server.connect, client_id="c", username="me"):
            server.drop("c")
            first, second = await server.wait_connected("c", count=2)
        assert first == Connected(client_id="c")
        assert str(first) == "'c', without a Session"
        assert server.assert_connected(session_present=True) == (second,)
        assert str(second) == "'c', with its Session"


async def test_a_generated_client_identifier_is_known() -> None:
    async with open_server() as server, connected(server, Connect(keep_alive=0)) as raw:
        assert raw.connack.properties.assigned_client_identifier is not None
        server.assert_connected(raw.connack.properties.assigned_client_identifier)


# -- acknowledged --------------------------------------------------------------------------------


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_message_is_acknowledged_when_it_is_settled(
    qos: int, autojump_clock: MockClock
) -> None:
    async with (
        open_server() as server,
        open_client(connector=server.connect, client_id="c") as client,
        client.subscribe("jobs", qos=2) as jobs,
    ):
        server.publish("jobs", "good", qos=qos)
        server.publish("jobs", "bad", qos=qos)
        with await jobs.receive():
            await server.wait_acknowledged(count=0, within=60)
        (await jobs.receive()).reject(ReasonCode.PAYLOAD_FORMAT_INVALID)
        good = Acknowledged(
            client_id="c", topic="jobs", payload=b"good", qos=qos, reason_code=ReasonCode.SUCCESS
        )
        assert await server.wait_acknowledged("jobs", "good", qos=qos, client_id="c") == (good,)
        (bad,) = await server.wait_acknowledged(reason_code=ReasonCode.PAYLOAD_FORMAT_INVALID)
        assert server.assert_acknowledged("+") == (good,)
        assert str(bad).endswith("rejected with 0x99 (payload format invalid)")
        server.assert_acknowledged("jobs", qos=3 - qos, count=0)


# -- waiting -------------------------------------------------------------------------------------


async def test_waiting_ends_with_the_fact(autojump_clock: MockClock) -> None:
    async with (
        open_server() as server,
        open_client(connector=server.connect) as client,
        trio.open_nursery() as nursery,
    ):

        async def work() -> None:
            for number in range(3):
                await trio.sleep(2)
                await client.publish("a", str(number), qos=1)

        nursery.start_soon(work)
        start = trio.current_time()
        (first,) = await server.wait_published("a")
        assert trio.current_time() - start == pytest.approx(2)
        both = await server.wait_published("a", count=2)
        assert [message.payload for message in both] == [b"0", b"1"]
        assert both[0] is first
        assert trio.current_time() - start == pytest.approx(4)


async def test_waiting_ends_in_time(autojump_clock: MockClock) -> None:
    async with open_server() as server, open_client(connector=server.connect) as client:
        await client.publish("a", qos=1)
        start = trio.current_time()
        with pytest.raises(
            AssertionError, match=r"^expected 2 of published messages with topic='a'"
        ):
            await server.wait_published("a", count=2, within=3)
        assert trio.current_time() - start == 3
        with pytest.raises(AssertionError, match=r"^expected 0 of .* within 3 s, found 1"):
            await server.wait_published("a", count=0, within=3)


async def test_waiting_for_fewer_than_there_are_fails_at_once(autojump_clock: MockClock) -> None:
    async with open_server() as server, open_client(connector=server.connect) as client:
        for _ in range(2):
            await client.publish("a", qos=1)
        start = trio.current_time()
        with pytest.raises(AssertionError, match=r"^expected 1 of .* found 2"):
            await server.wait_published("a", count=1)
        assert trio.current_time() == start


async def test_a_wrong_topic_filter_is_no_failed_assertion(autojump_clock: MockClock) -> None:
    async with open_server() as server, open_client(connector=server.connect) as client:
        await client.publish("a", qos=1)
        with pytest.raises(LocalProtocolError):
            server.assert_published("a#")


# -- the server goes away ------------------------------------------------------------------------


async def sessions_after_restart(server: Server, *, keep_state: bool) -> None:
    async with (
        open_network(server.connect) as network,
        open_client(connector=network.connect, client_id="c") as client,
        client.subscribe("a", qos=1) as messages,
    ):
        await client.publish("kept", "x", qos=1, retain=True)
        with server.outage(keep_state=keep_state):
            assert (server.retained == {"kept": b"x"}) is keep_state
            await network.wait_connection(3)
            assert [attempt.outcome for attempt in network.connections[1:3]] == ["refused"] * 2
        (_, again) = await server.wait_connected("c", count=2, within=60)
        assert again.session_present is keep_state
        await server.wait_subscribed("a", count=1 if keep_state else 2)
        server.publish("a", "hello", qos=1)
        assert (await messages.receive()).text() == "hello"


async def test_an_outage_with_storage(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        await sessions_after_restart(server, keep_state=True)
        server.assert_subscribed("a", count=1)


async def test_an_outage_without_storage(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        await sessions_after_restart(server, keep_state=False)


async def test_sessions_that_are_away_are_forgotten_too(autojump_clock: MockClock) -> None:
    async with open_server() as server, connected(server, "there") as raw:
        async with connected(server, kept("away")):
            pass
        assert set(server.sessions) == {"there", "away"}
        with server.outage(keep_state=False):
            assert not server.sessions
        assert await raw.receive() is None


@pytest.mark.parametrize("keep_state", [True, False])
async def test_wills_in_an_outage(keep_state: bool, autojump_clock: MockClock) -> None:
    async with open_server() as server:
        will = Will(topic="status", payload="dead", retain=True)
        async with open_client(connector=server.connect, client_id="c", will=will) as client:
            await server.restart(keep_state=keep_state)
            await server.wait_connected("c", count=2)
            await client.wait_connected()
        server.assert_published("status", will=True, count=1 if keep_state else 0)
        assert ("status" in server.retained) is keep_state


async def test_a_restart_takes_its_time(autojump_clock: MockClock) -> None:
    async with open_server() as server:
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(server.restart, seconds=30))
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(ConnectionRefusedError):
                await server.connect().__aenter__()
        assert trio.current_time() - start == 30
        async with connected(server):
            pass
        with trio.move_on_after(1):
            await server.restart(seconds=30)
        async with connected(server):
            pass


async def test_restarts_that_overlap_end_with_the_last(autojump_clock: MockClock) -> None:
    async with open_server() as server, trio.open_nursery() as nursery:
        nursery.start_soon(partial(server.restart, seconds=10))
        await trio.sleep(5)
        nursery.start_soon(partial(server.restart, seconds=10))
        await trio.sleep(6)  # the first one is over
        with pytest.raises(ConnectionRefusedError):
            await server.connect().__aenter__()
        await trio.sleep(5)
        async with connected(server):
            pass


async def test_an_outage_leaves_a_closed_server_closed() -> None:
    async with open_server() as server:
        server.accepting = False
        with server.outage():
            pass
        with pytest.raises(ConnectionRefusedError):
            await server.connect().__aenter__()


@pytest.mark.parametrize("reset", [True, False])
async def test_how_clients_learn_of_an_outage(reset: bool) -> None:
    async with open_server() as server, connected(server) as raw:
        with server.outage(reset=reset):
            if reset:
                with pytest.raises(trio.BrokenResourceError):
                    await raw.receive()
            else:
                assert await raw.receive() is None


async def test_qos_2_over_a_restart_in_the_middle(autojump_clock: MockClock) -> None:
    async with (
        open_server() as server,
        open_network(server.connect, [Faults(cut_to_server=Before(PubRel))]) as network,
        open_client(connector=network.connect) as client,
    ):
        await client.publish("valves/3", "open", qos=2)
        server.assert_published("valves/3", "open", qos=2, count=1)
