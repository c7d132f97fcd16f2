"""Answering requests: `Client.serve`, each request in a task of its own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.client.moments import received
from tests.client.outages import lose_session, nth_connection, until
from tests.client.support import open_bounded_server, open_once
from trio_mqtt import (
    MQTT_3_1,
    MQTT_3_1_1,
    Client,
    ConnectionLost,
    FeatureNotSupported,
    Message,
    MQTTError,
    Protocol,
    ReasonCode,
    Session,
    SubscribeRejected,
    open_client,
)
from trio_mqtt.packets import Properties, PubAck, Publish, Subscribe, Unsubscribe
from trio_mqtt.testing import ServerLimits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trio.testing import MockClock

    from trio_mqtt.testing import Server

ASKED = Properties(response_topic="to", correlation_data=b"1")


@pytest.fixture
async def server(nursery: trio.Nursery) -> AsyncGenerator[Server]:
    async with open_bounded_server(nursery) as server:
        yield server


@pytest.fixture
async def responder(server: Server) -> AsyncGenerator[Client]:
    """A client to serve with."""
    async with open_client(connector=server.connect, client_id="r") as responder:
        yield responder


async def echo(request: Message) -> bytes:
    return request.payload


async def nothing(_request: Message) -> None:
    pass


def forever(seen: list[str]) -> Callable[[Message], Awaitable[None]]:
    """A handler that notes what it gets and never ends."""

    async def handler(request: Message) -> None:
        seen.append(request.text())
        await trio.sleep_forever()

    return handler


async def fails_to_serve(
    responder: Client,
    handler: Callable[[Message], Awaitable[Any]],
    error: type[Exception],
    words: str,
    *,
    task_status: trio.TaskStatus[Any],
) -> None:
    """Serve until the handler fails, as it has to."""
    with pytest.raises(ExceptionGroup) as caught:
        await responder.serve("ask", handler, task_status=task_status)
    assert caught.group_contains(error, match=words)


class TestServing:
    @pytest.mark.parametrize("qos", [0, 1, 2])
    async def test_what_the_handler_returns_is_the_reply(
        self, client: Client, responder: Client, qos: int
    ) -> None:
        async def shout(request: Message) -> str:
            return f"{request.topic}: {request.text().upper()}"

        async with trio.open_nursery() as nursery:
            serving = await nursery.start(partial(responder.serve, qos=qos), "shout/+", shout)
            assert serving.granted == {"shout/+": qos}
            reply = await client.request("shout/here", "hello")
            assert reply.text() == "shout/here: HELLO"
            assert serving.statistics().taken == 1
            await wait_all_tasks_blocked()
            assert serving.statistics().in_hand == 0
            nursery.cancel_scope.cancel()

    async def test_it_runs_until_cancelled_and_unsubscribes(
        self, autojump_clock: MockClock, server: Server, responder: Client
    ) -> None:
        with trio.move_on_after(0.05) as scope:
            await responder.serve("ask", nothing)
        assert scope.cancelled_caught
        await responder.publish("after", qos=1)
        [unsubscribe] = received(server, Unsubscribe)
        assert unsubscribe.topic_filters == ("ask",)

    async def test_each_request_has_a_task_of_its_own(
        self, client: Client, responder: Client
    ) -> None:
        """One that is slow does not keep others from being answered."""
        release = trio.Event()

        async def handler(request: Message) -> bytes:
            if request.payload == b"slow":
                await release.wait()
            return request.payload

        async with trio.open_nursery() as nursery:
            await nursery.start(responder.serve, "ask", handler)
            async with trio.open_nursery() as slow:
                slow.start_soon(client.request, "ask", "slow")
                await wait_all_tasks_blocked()
                assert (await client.request("ask", "quick")).text() == "quick"
                release.set()
            nursery.cancel_scope.cancel()

    @pytest.mark.parametrize("qos", [0, 1])
    async def test_so_many_at_once_and_no_more(
        self, server: Server, responder: Client, qos: int
    ) -> None:
        running = most = 0
        release = trio.Semaphore(0)
        done: list[str] = []

        async def handler(request: Message) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await release.acquire()
            running -= 1
            done.append(request.text())

        async with trio.open_nursery() as nursery:
            serving = await nursery.start(partial(responder.serve, limit=3), "ask", handler)
            for number in range(10):
                server.publish("ask", str(number), qos)
            await wait_all_tasks_blocked()
            assert (running, serving.statistics().buffered) == (3, 7)
            for _ in range(10):
                release.release()
                await wait_all_tasks_blocked()
            assert most == 3
            assert sorted(done) == [str(number) for number in range(10)]
            nursery.cancel_scope.cancel()

    async def test_settled_when_the_reply_is_accepted(
        self, server: Server, client: Client, responder: Client
    ) -> None:
        def acknowledged() -> bool:
            return any(
                isinstance(entry.packet, PubAck) and entry.direction == "received"
                for entry in server.log
            )

        async with trio.open_nursery() as nursery:
            await nursery.start(responder.serve, "ask", echo)
            with server.holding(PubAck, client_id="r"):
                await client.request("ask")
                await wait_all_tasks_blocked()
                assert not acknowledged()
            with trio.fail_after(5):
                await server.wait_until(acknowledged)
            nursery.cancel_scope.cancel()

    async def test_a_handler_may_reply_itself_or_not_at_all(
        self, server: Server, responder: Client, client: Client
    ) -> None:
        async def handler(request: Message) -> None:
            if request.payload:
                await request.reply("part one")
                await request.reply("part two")

        async with client.subscribe("to") as replies, trio.open_nursery() as nursery:
            await nursery.start(responder.serve, "ask", handler)
            server.publish("ask", b"", 1, properties=ASKED)
            server.publish("ask", b"!", 1, properties=ASKED)
            assert [(await replies.receive()).text() for _ in range(2)] == ["part one", "part two"]
            nursery.cancel_scope.cancel()
        assert len([each for each in received(server, Publish) if each.topic == "to"]) == 2

    async def test_programs_share_requests(self, server: Server, client: Client) -> None:
        async def answer(name: str, _request: Message) -> str:
            return name

        async with (
            open_once(connector=server.connect) as one,
            open_once(connector=server.connect) as two,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(one.serve, "$share/g/ask", partial(answer, "one"))
            await nursery.start(two.serve, "$share/g/ask", partial(answer, "two"))
            names = [(await client.request("ask")).text() for _ in range(10)]
            assert client.statistics().stray_replies == 0
            nursery.cancel_scope.cancel()
        assert set(names) == {"one", "two"}

    async def test_a_handler_may_ask_the_same_client(
        self, responder: Client, client: Client
    ) -> None:
        async def indirect(request: Message) -> bytes:
            return (await responder.request("direct", request.payload)).payload

        async with trio.open_nursery() as nursery:
            await nursery.start(partial(responder.serve, limit=1), "indirect", indirect)
            await nursery.start(responder.serve, "direct", echo)
            assert (await client.request("indirect", "round")).text() == "round"
            nursery.cancel_scope.cancel()


class TestFailures:
    async def test_an_exception_leaves_serve_and_the_request_comes_again(
        self, autojump_clock: MockClock, server: Server, responder: Client
    ) -> None:
        cancelled: list[str] = []

        async def handler(request: Message) -> None:
            if request.payload == b"bad":
                raise KeyError("bad")
            try:
                await trio.sleep_forever()
            finally:
                cancelled.append(request.text())

        async def serving(task_status: Any) -> None:
            with pytest.raises(ExceptionGroup) as caught:
                await responder.serve("ask", handler, task_status=task_status)
            [error] = caught.value.exceptions
            assert isinstance(error, KeyError)
            assert cancelled == ["good"]

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                await nursery.start(serving)
                server.publish("ask", "good", 1)
                server.publish("ask", "bad", 1)
        again: list[tuple[str, int]] = []

        async def patient(request: Message) -> None:
            again.append((request.text(), request.attempt))

        with trio.move_on_after(0.05):
            await responder.serve("ask", patient)
        assert again == [("good", 2), ("bad", 2)]

    async def test_cancelled_it_leaves_requests_unsettled(
        self, server: Server, client: Client
    ) -> None:
        """A Session that goes on gets them again, from the Server."""
        seen: list[str] = []
        session = Session("kept", expiry=1000)
        async with (
            open_once(connector=server.connect, session=session) as one,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(one.serve, "ask", forever(seen))
            await client.publish("ask", "important", qos=1)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert seen == ["important"]
        async with (
            open_once(connector=server.connect, session=session) as one,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(one.serve, "ask", forever(seen))
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert seen == ["important", "important"]

    async def test_a_request_without_a_response_topic_is_handled(
        self, server: Server, client: Client, responder: Client
    ) -> None:
        async with trio.open_nursery() as nursery:
            serving = await nursery.start(responder.serve, "ask", echo)
            server.publish("ask", "?", 1)
            await wait_all_tasks_blocked()
            assert serving.statistics().in_hand == 0
            assert (await client.request("ask", "?")).text() == "?"
            nursery.cancel_scope.cancel()

    @pytest.mark.parametrize("why", ["refused", "too large"])
    async def test_a_reply_that_is_not_taken_ends_nothing(
        self, server: Server, client: Client, caplog: pytest.LogCaptureFixture, why: str
    ) -> None:
        """Else whoever asks could end the service, by the Response Topic that he names."""

        def authorize(_client_id: str, packet: Publish) -> ReasonCode:
            refused = packet.topic == "forbidden"
            return ReasonCode.NOT_AUTHORIZED if refused else ReasonCode.SUCCESS

        server.authorize_publish = authorize
        server.limits = ServerLimits(maximum_packet_size=1000)

        async def handler(request: Message) -> bytes:
            large = why == "too large" and not request.payload
            return bytes(2000) if large else request.payload

        async with (
            open_once(connector=server.connect) as responder,
            trio.open_nursery() as nursery,
        ):
            serving = await nursery.start(responder.serve, "ask", handler)
            topic = "forbidden" if why == "refused" else "to"
            server.publish("ask", b"", 1, properties=Properties(response_topic=topic))
            assert (await client.request("ask", "next")).text() == "next"
            await wait_all_tasks_blocked()
            assert serving.statistics().in_hand == 0
            nursery.cancel_scope.cancel()
        assert caplog.text.count("a request to 'ask' gets no reply: ") == 1

    async def test_a_payload_that_is_none_is_an_error_of_the_handler(
        self, server: Server, responder: Client
    ) -> None:
        async def handler(_request: Message) -> Any:
            return {"not": "bytes"}

        async with trio.open_nursery() as nursery:
            await nursery.start(fails_to_serve, responder, handler, TypeError, "not dict")
            server.publish("ask", b"", 1, properties=ASKED)

    @pytest.mark.parametrize("error", [MQTTError, trio.ClosedResourceError])
    async def test_an_error_of_the_library_in_a_handler_is_one_of_the_handler(
        self, server: Server, responder: Client, error: type[Exception]
    ) -> None:
        """As long as it is not the client that has failed."""

        async def handler(_request: Message) -> None:
            raise error("from elsewhere")

        async with trio.open_nursery() as nursery:
            await nursery.start(fails_to_serve, responder, handler, error, "from elsewhere")
            server.publish("ask", b"", 1)

    @pytest.mark.parametrize("protocol", [MQTT_3_1_1, MQTT_3_1])
    async def test_below_mqtt_5(self, server: Server, protocol: Protocol) -> None:
        async with open_once(connector=server.connect, protocol=protocol) as responder:
            with pytest.raises(FeatureNotSupported, match=rf"{protocol.title} has no Response"):
                await responder.serve("ask", echo)
        assert received(server, Subscribe) == []

    async def test_no_handler_could_run(self, server: Server, responder: Client) -> None:
        with pytest.raises(ValueError, match="limit is 0"):
            await responder.serve("ask", echo, limit=0)
        assert received(server, Subscribe) == []

    async def test_the_topic_filter_is_refused(self, server: Server, responder: Client) -> None:
        server.authorize_subscribe = lambda _client_id, _request: ReasonCode.NOT_AUTHORIZED
        with pytest.raises(SubscribeRejected):
            await responder.serve("ask", echo)

    async def test_the_topic_filter_is_refused_after_the_session_was_lost(
        self, autojump_clock: MockClock, server: Server
    ) -> None:
        """That is no group, though handlers run."""
        seen: list[str] = []
        async with open_client(connector=server.connect, client_id="c") as responder:

            async def serving(task_status: Any) -> None:
                with pytest.raises(SubscribeRejected):
                    await responder.serve("ask", forever(seen), task_status=task_status)
                seen.append("over")

            with trio.fail_after(100):
                async with trio.open_nursery() as nursery:
                    await nursery.start(serving)
                    server.publish("ask", "?", 1)
                    await wait_all_tasks_blocked()
                    server.authorize_subscribe = lambda _id, _request: ReasonCode.NOT_AUTHORIZED
                    await lose_session(server)
        assert seen == ["?", "over"]

    async def test_the_client_fails_for_good(
        self, autojump_clock: MockClock, server: Server
    ) -> None:
        errors: list[Exception] = []
        seen: list[str] = []
        async with trio.open_nursery() as nursery:

            async def outside(client: Client, *, task_status: Any) -> None:
                with pytest.raises(ConnectionLost) as caught:
                    await client.serve("ask", forever(seen), task_status=task_status)
                errors.append(caught.value)

            with pytest.raises(ConnectionLost):
                async with open_once(connector=server.connect, client_id="c") as responder:
                    await nursery.start(outside, responder)
                    server.publish("ask", "?", 1)
                    await wait_all_tasks_blocked()
                    server.drop("c")
                    await responder.serve("other", echo)
        assert len(errors) == len(seen) == 1

    @pytest.mark.parametrize("limit", [1, 5])
    async def test_the_client_fails_for_good_while_replies_are_under_way(
        self, autojump_clock: MockClock, server: Server, limit: int
    ) -> None:
        """What the handlers say to that is nothing new: it is one error, and no group."""
        errors: list[BaseException] = []
        attempts: list[int] = []

        async def handler(request: Message) -> bytes:
            attempts.append(request.attempt)
            return request.payload

        async with trio.open_nursery() as nursery:

            async def outside(client: Client, *, task_status: Any) -> None:
                with pytest.raises(ConnectionLost) as caught:
                    await client.serve("ask", handler, limit=limit, task_status=task_status)
                errors.append(caught.value)

            with pytest.raises(ConnectionLost), server.holding(PubAck, client_id="r"):
                async with open_once(connector=server.connect, client_id="r") as responder:
                    await nursery.start(outside, responder)
                    for _ in range(3):
                        server.publish("ask", "?", 1, properties=ASKED)
                    await wait_all_tasks_blocked()
                    server.drop("r")
                    await trio.sleep_forever()
        assert len(errors) == 1
        assert attempts == [1, 1, 1]

    async def test_it_goes_on_after_a_reconnect(
        self, autojump_clock: MockClock, server: Server, client: Client
    ) -> None:
        async with (
            open_client(connector=server.connect, client_id="c") as responder,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(responder.serve, "ask", echo)
            for number in (2, 3):
                await lose_session(server)
                await nth_connection(responder, number)
                with trio.fail_after(5):
                    await until(lambda: "ask" in server.sessions["c"].subscriptions)
                    assert (await client.request("ask", str(number))).text() == str(number)
            nursery.cancel_scope.cancel()
