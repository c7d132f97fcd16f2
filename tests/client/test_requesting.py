"""Requests and their replies (4.10): matching, waiting, and what goes wrong on the way."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.client.moments import assert_idle, received
from tests.client.outages import CONNECTED, lose_session, nth_connection, until
from tests.client.support import open_bounded_server, open_once
from trio_mqtt import (
    MQTT_3_1,
    MQTT_3_1_1,
    Client,
    ConnectionLost,
    FeatureNotSupported,
    LocalProtocolError,
    Message,
    MessageDropped,
    MQTTError,
    PacketTooLarge,
    Protocol,
    PublishRejected,
    ReasonCode,
    Reconnect,
    Session,
    SubscribeRejected,
    Subscription,
    open_client,
)
from trio_mqtt.packets import (
    Connect,
    Disconnect,
    Properties,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    Unsubscribe,
)
from trio_mqtt.testing import (
    Close,
    Expect,
    Reply,
    ScriptedPeer,
    ServerLimits,
    open_server,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

    from trio_mqtt.testing import Server


@pytest.fixture
async def server(nursery: trio.Nursery) -> AsyncGenerator[Server]:
    async with open_bounded_server(nursery) as server:
        yield server


@pytest.fixture
async def requests(server: Server) -> AsyncGenerator[Subscription]:
    """What arrives under "ask", for a client that answers by hand."""
    async with (
        open_client(connector=server.connect) as responder,
        responder.subscribe("ask", qos=2, ack="on_receipt") as requests,
    ):
        yield requests


def forbid(topic: str) -> Any:
    """An authorization that refuses what is published to this topic."""

    def authorize(_client_id: str, packet: Publish) -> ReasonCode:
        return ReasonCode.NOT_AUTHORIZED if packet.topic == topic else ReasonCode.SUCCESS

    return authorize


async def answer(requests: Subscription, payload: str = "answer") -> Message:
    """Reply to the next request, and return it."""
    request = await requests.receive()
    await request.reply(payload, qos=1)
    return request


async def ask(client: Client, requests: Subscription, text: str = "?") -> Message:
    """A whole exchange."""
    replies: list[Message] = []

    async def requester() -> None:
        replies.append(await client.request("ask", text))

    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(requester)
            assert (await answer(requests)).text() == text
    return replies[0]


def statistics_of(client: Client) -> tuple[int, int, int]:
    """Requests that wait, stray replies, and tasks that await an answer."""
    statistics = client.statistics()
    return statistics.requests, statistics.stray_replies, statistics.tasks_awaiting_answers


class TestExchange:
    @pytest.mark.parametrize("qos", [0, 1, 2])
    async def test_a_request_and_its_reply(
        self, server: Server, client: Client, requests: Subscription, qos: int
    ) -> None:
        replies: list[Message] = []

        async def requester() -> None:
            reply = await client.request(
                "ask",
                "question",
                qos=qos,
                content_type="text/plain",
                user_properties=[("a", "1"), ("a", "2")],
                message_expiry=60,
            )
            replies.append(reply)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(requester)
            request = await requests.receive()
            assert (request.text(), request.qos, request.retain) == ("question", qos, False)
            assert request.content_type == "text/plain"
            assert request.user_properties == (("a", "1"), ("a", "2"))
            assert request.message_expiry == 60
            assert request.response_topic is not None
            assert request.response_topic.startswith(f"response/{client.server.client_id}/")
            await wait_all_tasks_blocked()
            assert statistics_of(client) == (1, 0, 1)
            await request.reply(b"answer", content_type="x/y", user_properties=[("b", "3")])
        [reply] = replies
        assert (reply.payload, reply.qos) == (b"answer", 0)
        assert (reply.content_type, reply.user_properties) == ("x/y", (("b", "3"),))
        assert reply.correlation_data == request.correlation_data
        assert statistics_of(client) == (0, 0, 0)
        await assert_idle(client)

    async def test_one_subscription_of_qos_0_serves_all_requests(
        self, server: Server, client: Client, requests: Subscription
    ) -> None:
        for _ in range(3):
            await ask(client, requests)
        own = [
            request
            for packet in received(server, Subscribe)
            for request in packet.requests
            if request.topic_filter.startswith("response/")
        ]
        assert [request.qos for request in own] == [0]

    async def test_many_at_once_get_each_their_own(
        self, client: Client, requests: Subscription
    ) -> None:
        replies: dict[int, str] = {}

        async def requester(number: int) -> None:
            replies[number] = (await client.request("ask", str(number))).text()

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(requester, number)
            asked = [await requests.receive() for _ in range(50)]
            assert client.statistics().requests == 50
            for request in reversed(asked):
                await request.reply(f"to {request.text()}")
        assert replies == {number: f"to {number}" for number in range(50)}
        assert len({request.correlation_data for request in asked}) == 50
        assert len({request.response_topic for request in asked}) == 1

    async def test_the_request_waits_for_suback_and_no_longer(
        self, server: Server, client: Client, requests: Subscription
    ) -> None:
        async with trio.open_nursery() as nursery:
            with server.holding(SubAck):
                nursery.start_soon(client.request, "ask", "first")
                nursery.start_soon(client.request, "ask", "second")
                await wait_all_tasks_blocked()
                assert len(received(server, Subscribe)) == 2  # ours, and the responder's
                assert received(server, Publish) == []
            with server.holding(PubAck, client_id=client.server.client_id):
                texts = {(await answer(requests)).text() for _ in range(2)}
                await wait_all_tasks_blocked()
                assert nursery.child_tasks == set()  # they have no use for PUBACK any more
        assert texts == {"first", "second"}

    async def test_before_the_first_connection_it_waits(
        self, autojump_clock: MockClock, server: Server
    ) -> None:
        server.accepting = False
        reconnect = Reconnect(initial="background")
        async with (
            open_client(connector=server.connect, reconnect=reconnect) as client,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(client.request, "ask")
            await trio.sleep(5)
            assert client.statistics().requests == 0
            server.accepting = True
            async with (
                open_client(connector=server.connect) as responder,
                responder.subscribe("ask", qos=1) as requests,
            ):
                with trio.fail_after(1000):
                    await answer(requests)
                    await until(lambda: not nursery.child_tasks)

    async def test_another_subscription_that_matches_disturbs_nothing(
        self, server: Server, client: Client, requests: Subscription
    ) -> None:
        async with client.subscribe("response/#", qos=2, ack="on_receipt") as everything:
            assert (await ask(client, requests)).text() == "answer"
            assert (await everything.receive()).text() == "answer"
        await assert_idle(client)
        assert client.statistics().unsettled == 0

    async def test_a_reply_of_qos_1_is_settled(self) -> None:
        """Where Servers send one copy for all subscriptions, at the highest QoS (3.3.4)."""

        def reply(packet: Publish) -> Publish:
            properties = packet.properties
            assert properties.response_topic is not None
            answer = Properties(correlation_data=properties.correlation_data)
            return Publish(properties.response_topic, b"a", 1, packet_id=7, properties=answer)

        peer = ScriptedPeer(
            [
                *CONNECTED,
                Expect(Subscribe),
                Reply(Subscribe, lambda packet: SubAck(packet.packet_id, (ReasonCode.SUCCESS,))),
                Expect(Publish),
                Reply(Publish, reply),
                Expect(PubAck, packet_id=7),
                Expect(Disconnect),
                Close(),
            ]
        )
        async with open_once(connector=peer.connect) as client:
            reply_message = await client.request("ask", qos=0)
            assert (reply_message.payload, reply_message.qos) == (b"a", 1)
        peer.assert_done()


class TestStray:
    async def test_a_late_reply_is_counted_and_harmless(
        self, autojump_clock: MockClock, server: Server, client: Client, requests: Subscription
    ) -> None:
        with trio.move_on_after(0.01) as scope:
            await client.request("ask", "in vain")
        assert scope.cancelled_caught
        assert client.statistics().requests == 0
        late = await requests.receive()
        assert (await ask(client, requests, "again")).text() == "answer"
        await late.reply("late", qos=1)
        await late.reply("twice", qos=1)
        await wait_all_tasks_blocked()
        assert statistics_of(client) == (0, 2, 0)
        assert (await ask(client, requests, "and again")).text() == "answer"

    @pytest.mark.parametrize("correlation", [None, b"", b"unknown"])
    async def test_an_unknown_reply_is_counted_and_harmless(
        self, server: Server, client: Client, requests: Subscription, correlation: bytes | None
    ) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.request, "ask")
            request = await requests.receive()
            assert request.response_topic is not None
            server.publish(
                request.response_topic, properties=Properties(correlation_data=correlation)
            )
            await wait_all_tasks_blocked()
            assert statistics_of(client) == (1, 1, 1)
            await request.reply("the right one")
        assert client.statistics().strays == 0

    async def test_the_second_of_two_replies(self, client: Client, requests: Subscription) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.request, "ask")
            request = await requests.receive()
            await request.reply("one")
            await request.reply("two", qos=1)
            await wait_all_tasks_blocked()
        assert statistics_of(client) == (0, 1, 0)

    async def test_cancelling_the_first_leaves_the_subscription_to_others(
        self, server: Server, client: Client, requests: Subscription
    ) -> None:
        async with trio.open_nursery() as nursery:
            with server.holding(SubAck):
                with trio.CancelScope() as first:
                    nursery.start_soon(client.request, "ask", "second")
                    await wait_all_tasks_blocked()
                    nursery.start_soon(wait_and_cancel, first)
                    await client.request("ask", "first")
                assert first.cancelled_caught
            assert (await answer(requests)).text() == "second"
        assert len(received(server, Subscribe)) == 2
        assert received(server, Unsubscribe) == []


async def wait_and_cancel(scope: trio.CancelScope) -> None:
    await wait_all_tasks_blocked()
    scope.cancel()


class TestResponseTopic:
    async def test_response_information_is_asked_for(self, server: Server, client: Client) -> None:
        [connect] = received(server, Connect)
        assert connect.properties.request_response_information == 1

    @pytest.mark.parametrize("protocol", [MQTT_3_1_1, MQTT_3_1])
    async def test_and_nothing_is_below_mqtt_5(self, server: Server, protocol: Protocol) -> None:
        async with open_once(connector=server.connect, protocol=protocol):
            [connect] = received(server, Connect)
            assert connect.properties.request_response_information is None

    @pytest.mark.parametrize("information", ["replies/of/c", "replies/of/c/"])
    async def test_response_information_is_the_basis(
        self, server: Server, requests: Subscription, information: str
    ) -> None:
        server.limits = ServerLimits(response_information=information)
        async with open_once(connector=server.connect) as client:
            reply = await ask(client, requests)
        head, _, unique = reply.topic.rpartition("/")
        assert head == "replies/of/c"
        assert len(unique) == 16

    async def test_response_information_that_is_no_topic_is_no_basis(
        self, server: Server, requests: Subscription, caplog: pytest.LogCaptureFixture
    ) -> None:
        server.limits = ServerLimits(response_information="a/+/#")
        async with open_once(connector=server.connect, client_id="c") as client:
            reply = await ask(client, requests)
        assert reply.topic.startswith("response/c/")
        assert "is of no use" in caplog.text

    @pytest.mark.parametrize(
        ("client_id", "name"),
        [("a/b+c#d", "a_b_c_d"), ("$x", "$x"), ("é" * 100, "é" * 64)],
        ids=["wildcards", "dollar", "long"],
    )
    async def test_the_client_identifier_is_made_a_level_of_its_own(
        self, server: Server, requests: Subscription, client_id: str, name: str
    ) -> None:
        async with open_once(connector=server.connect, client_id=client_id) as client:
            reply = await ask(client, requests)
        assert reply.topic.startswith(f"response/{name}/")
        assert reply.topic.count("/") == 2

    async def test_no_two_clients_have_the_same(
        self, server: Server, requests: Subscription
    ) -> None:
        topics: set[str] = set()
        for _ in range(5):
            async with open_once(connector=server.connect, client_id="c") as client:
                topics.add((await ask(client, requests)).topic)
        assert len(topics) == 5

    @pytest.mark.parametrize("waits", [False, True])
    async def test_other_response_information_after_a_loss(
        self, autojump_clock: MockClock, server: Server, requests: Subscription, waits: bool
    ) -> None:
        """The old Response Topic is left once nobody waits there."""
        server.limits = ServerLimits(response_information="before")
        async with (
            open_client(connector=server.connect, client_id="c") as client,
            trio.open_nursery() as nursery,
        ):
            early = None
            if waits:
                nursery.start_soon(client.request, "ask", "early")
                early = await requests.receive()
            else:
                await ask(client, requests)
            server.limits = ServerLimits(response_information="after")
            server.drop("c")
            await nth_connection(client, 2)
            reply = await ask(client, requests, "late")
            assert reply.topic.startswith("after/")
            await wait_all_tasks_blocked()
            if early is not None:
                assert received(server, Unsubscribe) == []
                await early.reply("at last", qos=1)
                await until(lambda: not nursery.child_tasks)
                await wait_all_tasks_blocked()
            [unsubscribe] = received(server, Unsubscribe)
            assert unsubscribe.topic_filters[0].startswith("before/")
            assert (await ask(client, requests)).topic == reply.topic


class TestRefused:
    @pytest.mark.parametrize("protocol", [MQTT_3_1_1, MQTT_3_1])
    async def test_below_mqtt_5(self, server: Server, protocol: Protocol) -> None:
        async with open_once(connector=server.connect, protocol=protocol) as client:
            with pytest.raises(FeatureNotSupported, match=rf"{protocol.title} has no Response"):
                await client.request("ask")
            await assert_idle(client)
        assert received(server, Subscribe) == []

    @pytest.mark.parametrize("name", ["response_topic", "correlation_data", "retain", "nonsense"])
    async def test_arguments_that_there_are_not(
        self, server: Server, client: Client, name: str
    ) -> None:
        options: Any = {name: "x"}
        with pytest.raises(TypeError, match=f"no argument '{name}'"):
            await client.request("ask", **options)
        assert received(server, Subscribe) == []

    @pytest.mark.parametrize(
        ("topic", "payload", "qos", "error"),
        [
            ("a/+", b"", 1, LocalProtocolError),
            ("a", b"", 3, LocalProtocolError),
            ("a", 7, 1, TypeError),
            ("a", b"x" * 2000, 1, PacketTooLarge),
            ("a", b"", 2, FeatureNotSupported),
        ],
    )
    async def test_what_cannot_be_published_sends_nothing(
        self, server: Server, topic: str, payload: Any, qos: int, error: type[Exception]
    ) -> None:
        server.limits = ServerLimits(maximum_packet_size=1000, maximum_qos=1)
        async with open_once(connector=server.connect) as client:
            with pytest.raises(error):
                await client.request(topic, payload, qos=qos)
            await assert_idle(client)
            assert statistics_of(client) == (0, 0, 0)
        assert received(server, Subscribe) == []

    @pytest.mark.parametrize("qos", [1, 2])
    async def test_by_the_server(self, server: Server, client: Client, qos: int) -> None:
        server.authorize_publish = forbid("ask")
        with trio.fail_after(5), pytest.raises(PublishRejected) as caught:
            await client.request("ask", qos=qos)
        assert caught.value.reason_code == ReasonCode.NOT_AUTHORIZED
        assert statistics_of(client) == (0, 0, 0)

    async def test_the_subscription_and_the_next_request_tries_again(
        self, server: Server, client: Client, requests: Subscription
    ) -> None:
        refused: list[SubscriptionRequest] = []

        def authorize(_client_id: str, request: SubscriptionRequest) -> ReasonCode:
            refused.append(request)
            return ReasonCode.NOT_AUTHORIZED

        server.authorize_subscribe = authorize
        errors: list[SubscribeRejected] = []

        async def requester() -> None:
            with pytest.raises(SubscribeRejected, match="response/") as caught:
                await client.request("ask")
            errors.append(caught.value)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(requester)
        assert len(refused) == 1
        assert len({id(error) for error in errors}) == 3
        assert client.statistics().published == 0
        server.authorize_subscribe = None
        assert (await ask(client, requests)).text() == "answer"

    async def test_no_room_for_the_subscription(self, server: Server) -> None:
        server.limits = ServerLimits(maximum_packet_size=40)
        async with open_once(connector=server.connect, client_id="c" * 20) as client:
            with pytest.raises(PacketTooLarge):
                await client.request("a", qos=0)
            assert statistics_of(client) == (0, 0, 0)


class TestOutage:
    @pytest.mark.parametrize("forget", [False, True], ids=["resumed", "lost"])
    @pytest.mark.parametrize("qos", [0, 1, 2])
    async def test_the_response_handler_goes_on_after_a_reconnect(
        self,
        autojump_clock: MockClock,
        server: Server,
        requests: Subscription,
        forget: bool,
        qos: int,
    ) -> None:
        """A request that waits meanwhile gets its reply, and so do later ones."""
        async with (
            open_client(connector=server.connect, client_id="c") as client,
            trio.open_nursery() as nursery,
        ):
            replies: list[Message] = []

            async def requester() -> None:
                replies.append(await client.request("ask", "early", qos=qos))

            nursery.start_soon(requester)
            early = await requests.receive()
            await wait_all_tasks_blocked()
            if forget:
                await lose_session(server)
            else:
                server.drop("c")
            await nth_connection(client, 2)
            await wait_all_tasks_blocked()
            await early.reply("at last", qos=1)
            await until(lambda: bool(replies), 5)
            assert replies[0].text() == "at last"
            assert (await ask(client, requests, "late")).text() == "answer"
            assert statistics_of(client) == (0, 0, 0)

    @pytest.mark.parametrize("forget", [False, True], ids=["resumed", "lost"])
    async def test_cut_before_the_request_was_acknowledged_it_is_sent_again(
        self, autojump_clock: MockClock, server: Server, requests: Subscription, forget: bool
    ) -> None:
        """The subscription is there before the request, so that no reply finds none."""
        async with (
            open_client(connector=server.connect, client_id="c") as client,
            trio.open_nursery() as nursery,
        ):
            with server.holding(PubAck, client_id="c"):
                nursery.start_soon(client.request, "ask", "twice")
                await requests.receive()
                if forget:
                    await lose_session(server)
                else:
                    server.drop("c")
                await nth_connection(client, 2)
            again = await requests.receive()
            assert again.text() == "twice"
            await again.reply("answer", qos=1)
            await until(lambda: not nursery.child_tasks, 5)

    async def test_a_request_of_qos_0_waits_for_the_connection(
        self, autojump_clock: MockClock, server: Server, requests: Subscription
    ) -> None:
        async with (
            open_client(connector=server.connect, client_id="c") as client,
            trio.open_nursery() as nursery,
        ):
            await ask(client, requests)
            server.accepting = False
            server.drop("c")
            await until(lambda: not client.statistics().connected)
            nursery.start_soon(partial(client.request, "ask", "patient", qos=0))
            await trio.sleep(10)
            server.accepting = True
            assert (await answer(requests)).text() == "patient"

    async def test_an_expired_request_is_told(
        self, autojump_clock: MockClock, server: Server, requests: Subscription
    ) -> None:
        async with open_client(connector=server.connect, client_id="c") as client:
            await ask(client, requests)
            server.accepting = False
            server.drop("c")
            await until(lambda: not client.statistics().connected)
            with trio.fail_after(100), pytest.raises(MessageDropped):
                await client.request("ask", message_expiry=5)
            assert statistics_of(client) == (0, 0, 0)

    async def test_a_request_that_the_next_server_does_not_take(
        self, autojump_clock: MockClock, server: Server
    ) -> None:
        """Its limits are looked at again, though the request waited for SUBACK, not for room."""
        async with (
            open_client(connector=server.connect, client_id="c") as client,
            trio.open_nursery() as nursery,
        ):
            errors: list[MQTTError] = []

            async def requester() -> None:
                with pytest.raises(PacketTooLarge, match="Maximum Packet Size of 500") as caught:
                    await client.request("ask", bytes(1000))
                errors.append(caught.value)

            with server.holding(SubAck, client_id="c"):
                nursery.start_soon(requester)
                await wait_all_tasks_blocked()
                server.limits = ServerLimits(maximum_packet_size=500)
                server.drop("c")
                await nth_connection(client, 2)
            await until(lambda: bool(errors), 5)
        assert received(server, Publish) == []

    async def test_the_subscription_is_refused_after_the_session_was_lost(
        self, autojump_clock: MockClock, server: Server, requests: Subscription
    ) -> None:
        async with (
            open_client(connector=server.connect, client_id="c") as client,
            trio.open_nursery() as nursery,
        ):
            errors: list[MQTTError] = []

            async def requester() -> None:
                with pytest.raises(SubscribeRejected, match="again, with") as caught:
                    await client.request("ask", "early")
                errors.append(caught.value)

            nursery.start_soon(requester)
            await requests.receive()
            server.authorize_subscribe = lambda _client_id, _request: ReasonCode.NOT_AUTHORIZED
            await lose_session(server)
            await until(lambda: bool(errors), 100)
            server.authorize_subscribe = None
            assert (await ask(client, requests, "late")).text() == "answer"

    async def test_unsubscribed_by_hand_it_is_made_again(
        self, client: Client, requests: Subscription
    ) -> None:
        first = await ask(client, requests)
        await client.unsubscribe(first.topic)
        assert (await ask(client, requests)).topic != first.topic

    @pytest.mark.parametrize("qos", [0, 1])
    async def test_the_client_fails_for_good(
        self, autojump_clock: MockClock, server: Server, requests: Subscription, qos: int
    ) -> None:
        """Who waits outside the block gets the error; inside, the body is cancelled."""
        errors: list[ConnectionLost] = []
        async with trio.open_nursery() as nursery:

            async def requester(client: Client) -> None:
                with pytest.raises(ConnectionLost) as caught:
                    await client.request("ask", qos=qos)
                errors.append(caught.value)

            with pytest.raises(ConnectionLost):
                async with open_once(connector=server.connect, client_id="c") as client:
                    nursery.start_soon(requester, client)
                    nursery.start_soon(requester, client)
                    await requests.receive()
                    await wait_all_tasks_blocked()
                    server.drop("c")
                    await client.request("ask")
        assert len(errors) == 2
        assert errors[0] is not errors[1]

    @pytest.mark.parametrize("keeps", [False, True], ids=["ephemeral", "kept"])
    async def test_the_client_is_closed(
        self, server: Server, requests: Subscription, keeps: bool
    ) -> None:
        session = Session("c", expiry=1000) if keeps else None
        closed: list[str] = []

        async def requester(client: Client) -> None:
            with pytest.raises(
                trio.ClosedResourceError, match=r"the client of .* is closed"
            ) as caught:
                await client.request("ask")
            closed.append(str(caught.value))

        async with (
            trio.open_nursery() as nursery,
            open_once(connector=server.connect, session=session) as client,
        ):
            nursery.start_soon(requester, client)
            await requests.receive()
            await wait_all_tasks_blocked()
        assert len(closed) == 1
        with pytest.raises(trio.ClosedResourceError):
            await client.request("ask")


class TestSession:
    async def test_a_session_that_goes_on_keeps_no_response_subscription(
        self, server: Server, requests: Subscription
    ) -> None:
        session = Session("c", expiry=1000)
        async with (
            open_once(connector=server.connect, session=session) as client,
            client.subscribe("kept"),
        ):
            await ask(client, requests)
            assert len(server.sessions["c"].subscriptions) == 2
        assert server.sessions["c"].subscriptions.keys() == {"kept"}

    async def test_nor_one_that_was_given_up_and_is_still_waited_for(
        self, autojump_clock: MockClock, server: Server
    ) -> None:
        """The Server has given other Response Information since."""
        session = Session("c", expiry=1000)
        closed: list[str] = []

        async def requester(client: Client, topic: str) -> None:
            with pytest.raises(trio.ClosedResourceError):
                await client.request(topic)
            closed.append(topic)

        server.limits = ServerLimits(response_information="before")
        async with (
            trio.open_nursery() as nursery,
            open_client(connector=server.connect, session=session) as client,
        ):
            nursery.start_soon(requester, client, "early")
            await wait_all_tasks_blocked()
            server.limits = ServerLimits(response_information="after")
            server.drop("c")
            await nth_connection(client, 2)
            nursery.start_soon(requester, client, "late")
            await wait_all_tasks_blocked()
            assert len(server.sessions["c"].subscriptions) == 2
        assert sorted(closed) == ["early", "late"]
        assert server.sessions["c"].subscriptions == {}

    async def test_an_ephemeral_one_ends_without_unsubscribe(
        self, server: Server, requests: Subscription
    ) -> None:
        async with open_once(connector=server.connect) as client:
            await ask(client, requests)
        await wait_all_tasks_blocked()
        assert received(server, Unsubscribe) == []

    async def test_without_a_connection_closing_waits_for_nothing(
        self, autojump_clock: MockClock, server: Server, requests: Subscription
    ) -> None:
        session = Session("c", expiry=1000)
        async with open_client(connector=server.connect, session=session) as client:
            await ask(client, requests)
            server.accepting = False
            server.drop("c")
            await until(lambda: not client.statistics().connected)
            left = trio.current_time()
        assert trio.current_time() - left < 1


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_consumer_that_awaits_requests_in_its_own_loop_never_hangs(
    autojump_clock: MockClock, qos: int
) -> None:
    """With a buffer of 1 under a flood of QoS 0, and with the Receive Maximum full.

    Nothing but the reply ends the wait, and the reply comes behind the flood.
    """
    count = 100
    got: list[int] = []
    async with (
        open_server() as server,
        open_client(connector=server.connect) as responder,
        open_client(connector=server.connect, client_id="c", receive_maximum=1) as client,
        client.subscribe("flood", buffer=1) as flood,
        client.subscribe("work", qos=1, ack="manual") as work,
        trio.open_nursery() as nursery,
    ):

        async def echo(request: Message) -> bytes:
            for _ in range(3):
                server.publish("flood", b"more")  # the reply stands behind it
            return request.payload

        await nursery.start(responder.serve, "echo", echo)
        server.publish("work", "held", 1)
        server.publish("work", "waits", 1)
        held = await work.receive()
        for number in range(count):
            server.publish("flood", str(number))
        await wait_all_tasks_blocked()
        assert client.statistics().unsettled == 1  # the Receive Maximum is full
        assert flood.statistics().buffered == 1
        await trio.sleep(1)
        assert client.statistics().reading_paused >= 1
        with trio.fail_after(1):  # no timeout helped it along
            async for message in flood:
                if message.payload == b"more":
                    continue
                reply = await client.request("echo", message.payload, qos=qos)
                got.append(int(reply.text()))
                if len(got) == count:
                    break
        assert flood.statistics().dropped == 0
        held.ack()
        with trio.fail_after(1):
            assert (await work.receive()).text() == "waits"
        nursery.cancel_scope.cancel()
    assert got == [*range(count)]


async def test_a_request_lets_a_paused_reader_go_on(
    autojump_clock: MockClock, server: Server, client: Client, requests: Subscription
) -> None:
    """It counts as a task that awaits an answer, until it has the reply."""
    async with client.subscribe("flood", buffer=1) as flood:
        await ask(client, requests)
        for _ in range(3):
            server.publish("flood")
        await trio.sleep(1)
        assert flood.statistics().buffered == 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.request, "ask")
            request = await requests.receive()
            await wait_all_tasks_blocked()
            assert flood.statistics().buffered == 3
            await request.reply()
        for _ in range(3):
            await flood.receive()


class TestReply:
    async def test_at_the_qos_of_the_request_or_another(
        self, server: Server, client: Client
    ) -> None:
        async with client.subscribe("ask", qos=2) as requests, client.subscribe("to", qos=2) as to:
            for qos in (0, 1, 2):
                server.publish("ask", "?", qos, properties=Properties(response_topic="to"))
                request = await requests.receive()
                await request.reply("same")
                assert (await to.receive()).qos == qos
                await request.reply("other", qos=2 - qos)
                assert (await to.receive()).qos == 2 - qos
                request.ack()
                await request.reply("after it was settled")
                assert (await to.receive()).correlation_data is None

    async def test_all_options_of_publish(self, server: Server, client: Client) -> None:
        async with client.subscribe("ask") as requests, client.subscribe("to") as replies:
            asked = Properties(response_topic="to", correlation_data=b"1")
            server.publish("ask", properties=asked)
            request = await requests.receive()
            result = await request.reply(
                "text", qos=1, retain=True, response_topic="back", correlation_data=b"2"
            )
            assert result.reason_code == ReasonCode.SUCCESS
            reply = await replies.receive()
            assert reply.properties.payload_format_indicator == 1
            assert (reply.response_topic, reply.correlation_data) == ("back", b"2")
            await request.reply()
            assert (await replies.receive()).correlation_data == b"1"
        assert server.retained == {"to": b"text"}

    async def test_without_a_response_topic(self, server: Server, client: Client) -> None:
        async with client.subscribe("ask") as requests:
            server.publish("ask")
            request = await requests.receive()
            with pytest.raises(LocalProtocolError, match="'ask' has no Response Topic"):
                await request.reply()

    async def test_a_message_that_a_test_has_made(self) -> None:
        message = Message("ask", properties=Properties(response_topic="to"))
        with pytest.raises(RuntimeError, match="a client has not received it"):
            await message.reply()

    async def test_unclaimed_it_can_be_replied_to_and_taken_over_it_cannot(
        self, server: Server, client: Client
    ) -> None:
        async with client.subscribe("to", qos=1) as replies:
            async with client.subscribe("ask", qos=1) as requests:
                server.publish("ask", qos=1, properties=Properties(response_topic="to"))
                request = await requests.receive()
            await request.reply("though its block was left")
            assert (await replies.receive()).text() == "though its block was left"
            async with client.subscribe("ask", qos=1) as requests:
                again = await requests.receive()
                assert again.attempt == 2
                with pytest.raises(RuntimeError, match="has taken it over"):
                    await request.reply()
                await again.reply("from the one that has it")
                again.ack()

    async def test_the_client_is_closed(self, server: Server) -> None:
        async with (
            open_once(connector=server.connect) as client,
            client.subscribe("ask") as requests,
        ):
            server.publish("ask", properties=Properties(response_topic="to"))
            request = await requests.receive()
        with pytest.raises(trio.ClosedResourceError):
            await request.reply()
