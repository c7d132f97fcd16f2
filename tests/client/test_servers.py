"""The client against the test server, on a real port, and Mosquitto; in MQTT 5.0 and 3.1.1."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
import trio

from tests.client.support import open_once
from tests.servers import run_mosquitto
from trio_mqtt import (
    MQTT_3_1_1,
    MQTT_5,
    Client,
    ConnectFailed,
    ConnectionLost,
    FeatureNotSupported,
    LocalProtocolError,
    Message,
    Protocol,
    QoS,
    ReasonCode,
    RetainHandling,
    Subscription,
    Will,
    open_client,
)
from trio_mqtt.packets import PingReq
from trio_mqtt.testing import open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from trio.testing import MockClock

    from tests.servers import RealServer

PATIENCE: Final = 30
"""How long anything may take, in seconds."""
numbers = count()


@attrs.frozen
class Target:
    """A server to test against, in one version of MQTT.

    Attributes:
        url: where it listens.
        protocol: the version.
        prefix: what topics begin with, so that no test meets what another left.
    """

    url: str
    protocol: Protocol
    prefix: str = attrs.Factory(lambda: f"test/{next(numbers)}")

    def open(self, **options: Any) -> AbstractAsyncContextManager[Client]:
        """A client of it."""
        return open_once(self.url, protocol=self.protocol, **options)

    def topic(self, name: str) -> str:
        """A Topic Name, or a Topic Filter, of this test."""
        return f"{self.prefix}/{name}"


@pytest.fixture(params=["test server", "mosquitto"])
async def url(request: pytest.FixtureRequest, mosquitto: RealServer) -> AsyncGenerator[str]:
    if request.param == "mosquitto":
        yield mosquitto.url
    else:
        async with open_server(port=0) as server:
            assert server.url is not None
            yield server.url


@pytest.fixture(params=[MQTT_5, MQTT_3_1_1], ids=["5", "3.1.1"])
def target(request: pytest.FixtureRequest, url: str) -> Target:
    return Target(url, request.param)


@pytest.fixture
async def client(target: Target) -> AsyncGenerator[Client]:
    with trio.fail_after(2 * PATIENCE):
        async with target.open() as client:
            yield client


async def take(messages: Subscription, wanted: int) -> list[str]:
    """The texts of so many messages, each of them settled."""
    texts: list[str] = []
    with trio.fail_after(PATIENCE):
        while len(texts) < wanted:
            message = await messages.receive()
            texts.append(message.text())
            message.ack()
    return texts


async def assert_nothing_left(client: Client, target: Target, messages: Subscription) -> None:
    """Check that nothing more has come, now that something sent later has."""
    marker = f"marker/{target.prefix}"  # no wildcard of a test takes it
    async with client.subscribe(marker, qos=1) as markers:
        await client.publish(marker, "last", qos=1)
        await take(markers, 1)
    with pytest.raises(trio.WouldBlock):
        messages.receive_nowait()
    assert client.statistics().unfinished == 0
    assert client.statistics().stray_acknowledgements == 0


async def test_the_version_asked_for_is_spoken(target: Target, client: Client) -> None:
    assert client.server.protocol is target.protocol
    assert len(client.server.client_id) == 23
    assert not client.server.session_present


async def test_without_a_wish_it_is_mqtt_5(url: str) -> None:
    with trio.fail_after(PATIENCE):
        async with open_once(url) as client:
            assert client.server.protocol is MQTT_5


@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("subscribed", [0, 1, 2])
async def test_each_qos(target: Target, client: Client, subscribed: int, published: int) -> None:
    topic = target.topic("a")
    async with client.subscribe(topic, qos=subscribed) as messages:
        assert messages.granted == {topic: QoS(subscribed)}
        result = await client.publish(topic, "hello", qos=published)
        assert result.reason_code is ReasonCode.SUCCESS
        with trio.fail_after(PATIENCE):
            message = await messages.receive()
        assert (message.topic, message.text()) == (topic, "hello")
        assert message.qos == min(subscribed, published)
        assert not message.retain
        assert not message.dup
        message.ack()
        await assert_nothing_left(client, target, messages)


@pytest.mark.parametrize("payload", [b"", b"\0", bytes(range(256)), b"x" * 127, b"x" * 16_384])
async def test_payloads(target: Target, client: Client, payload: bytes) -> None:
    async with client.subscribe(target.topic("a"), qos=2) as messages:
        for qos in (0, 1, 2):
            await client.publish(target.topic("a"), payload, qos=qos)
            with trio.fail_after(PATIENCE):
                message = await messages.receive()
            assert (message.qos, message.payload) == (qos, payload)
            message.ack()


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_mebibyte(target: Target, client: Client, qos: int) -> None:
    payload = bytes(range(256)) * 4096
    async with client.subscribe(target.topic("large"), qos=qos) as messages:
        await client.publish(target.topic("large"), payload, qos=qos)
        with trio.fail_after(PATIENCE):
            message = await messages.receive()
        assert message.payload == payload
        message.ack()


@pytest.mark.parametrize(
    ("topic_filter", "topics"),
    [
        ("+/b", ["a/b", "/b"]),
        ("a/+", ["a/b", "a/"]),
        ("a/#", ["a", "a/b", "a/", "a/b/c"]),
        ("#", ["a", "b", "a/b", "/b", "a/", "a/b/c", "A"]),
        ("a/+/c", ["a/b/c"]),
        ("A", ["A"]),
        ("a", ["a"]),
    ],
)
async def test_wildcards(
    target: Target, client: Client, topic_filter: str, topics: list[str]
) -> None:
    every = ["a", "b", "a/b", "/b", "a/", "a/b/c", "A"]
    async with client.subscribe(target.topic(topic_filter), qos=1) as messages:
        for topic in every:
            await client.publish(target.topic(topic), topic, qos=1)
        assert await take(messages, len(topics)) == [each for each in every if each in topics]
        await assert_nothing_left(client, target, messages)


async def test_topics_in_every_script(target: Target, client: Client) -> None:
    topic = target.topic("Küche/температура/温度/🌡")
    async with client.subscribe(target.topic("Küche/+/温度/#"), qos=1) as messages:
        await client.publish(topic, "21,5 °C", qos=1)
        with trio.fail_after(PATIENCE):
            message = await messages.receive()
        assert (message.topic, message.text()) == (topic, "21,5 °C")
        message.ack()


async def test_retained_messages(target: Target, client: Client) -> None:
    for room in ("kitchen", "cellar"):
        await client.publish(target.topic(room), "old", qos=1, retain=True)
        await client.publish(target.topic(room), room, qos=1, retain=True)
    async with client.subscribe(target.topic("+"), qos=1) as messages:
        got: dict[str, str] = {}
        for _ in range(2):
            with trio.fail_after(PATIENCE):
                message = await messages.receive()
            assert message.retain
            got[message.topic] = message.text()
            message.ack()
        assert got == {target.topic(room): room for room in ("kitchen", "cellar")}
        await client.publish(target.topic("kitchen"), "new", qos=1, retain=True)
        with trio.fail_after(PATIENCE):
            message = await messages.receive()
        assert (message.text(), message.retain) == ("new", False)
        message.ack()
    for room in ("kitchen", "cellar"):
        await client.publish(target.topic(room), retain=True, qos=1)  # none any more
    async with client.subscribe(target.topic("+"), qos=1) as messages:
        await assert_nothing_left(client, target, messages)


@pytest.mark.parametrize("qos", [1, 2])
async def test_two_thousand_messages_each_way(target: Target, qos: int) -> None:
    wanted = [str(number) for number in range(2000)]

    async def publish(client: Client, topic: str) -> None:
        async with client.open_publisher(qos=qos) as publisher:
            for text in wanted:
                await publisher.send(target.topic(topic), text)
        assert publisher.sent == len(wanted)

    with trio.fail_after(2 * PATIENCE):
        async with (
            target.open() as one,
            target.open() as other,
            one.subscribe(target.topic("one"), qos=qos) as to_one,
            other.subscribe(target.topic("other"), qos=qos) as to_other,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(publish, one, "other")
            nursery.start_soon(publish, other, "one")
            for messages in (to_one, to_other):
                got: list[str] = []
                async for message in messages:
                    got.append(message.text())
                    if len(got) == len(wanted):
                        message.ack()
                        break
                assert got == wanted


async def test_both_kinds_of_acknowledged_messages_at_once(target: Target, client: Client) -> None:
    async def publish(qos: int) -> None:
        async with client.open_publisher(qos=qos) as publisher:
            for _ in range(1000):
                await publisher.send(target.topic("both"), b"x")

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish, 1)
            nursery.start_soon(publish, 2)


async def test_two_thousand_messages_of_qos_0(target: Target, client: Client) -> None:
    async with client.subscribe(target.topic("a"), buffer=10) as messages:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_publish_2000, client, target.topic("a"))
            assert await take(messages, 2000) == [str(number) for number in range(2000)]
        assert messages.statistics().dropped == 0


async def _publish_2000(client: Client, topic: str) -> None:
    for number in range(2000):
        await client.publish(topic, str(number))


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_loop_that_publishes_with_a_full_buffer(
    target: Target, client: Client, qos: int
) -> None:
    async with (
        client.subscribe(target.topic("in"), qos=qos, buffer=1) as messages,
        client.subscribe(target.topic("out"), qos=qos) as forwarded,
    ):
        async with client.open_publisher(qos=qos) as publisher:
            for number in range(60):
                await publisher.send(target.topic("in"), str(number))
        left = 60
        with trio.fail_after(PATIENCE):
            async for message in messages:
                await client.publish(target.topic("out"), message.payload, qos=qos)
                left -= 1
                if not left:
                    message.ack()
                    break
        assert await take(forwarded, 60) == [str(number) for number in range(60)]


async def test_unsubscribe(target: Target, client: Client) -> None:
    async with client.subscribe(target.topic("a"), target.topic("b"), qos=1) as messages:
        await client.publish(target.topic("a"), "1", qos=1)
        assert await take(messages, 1) == ["1"]
        await client.unsubscribe(target.topic("a"))
        await client.publish(target.topic("a"), "lost", qos=1)
        await client.publish(target.topic("b"), "2", qos=1)
        assert await take(messages, 1) == ["2"]
    await client.publish(target.topic("b"), "nobody", qos=1)
    async with client.subscribe(target.topic("b"), qos=1) as messages:
        await client.publish(target.topic("b"), "3", qos=1)
        assert await take(messages, 1) == ["3"]
        await assert_nothing_left(client, target, messages)
    await client.unsubscribe(target.topic("never/subscribed"))


async def test_overlapping_subscriptions(target: Target, client: Client) -> None:
    # Without Subscription Identifiers a server may send a copy for each, or one for all.
    async with (
        client.subscribe(target.topic("#"), qos=1) as wide,
        client.subscribe(target.topic("a"), qos=2) as narrow,
        client.subscribe(target.topic("a"), qos=0) as again,
    ):
        await client.publish(target.topic("a"), "x", qos=2)
        await client.publish(target.topic("b"), "y", qos=2)
        for messages in (wide, narrow, again):
            assert (await take(messages, 1)) == ["x"]
        if target.protocol is MQTT_5:
            assert await take(wide, 1) == ["y"]
            await assert_nothing_left(client, target, narrow)
        else:
            texts = await take(wide, 1)
            while texts[-1] != "y":
                texts += await take(wide, 1)
            assert set(texts[:-1]) <= {"x"}


async def test_several_clients(target: Target) -> None:
    async with (
        target.open(client_id="one") as one,
        target.open(client_id="two") as two,
        one.subscribe(target.topic("a"), qos=1) as first,
        two.subscribe(target.topic("a"), qos=1) as second,
    ):
        await one.publish(target.topic("a"), "x", qos=1)
        await two.publish(target.topic("a"), "y", qos=1)
        assert await take(first, 2) == ["x", "y"]
        assert await take(second, 2) == ["x", "y"]


async def test_a_shared_subscription_takes_each_message_once(target: Target) -> None:
    shared = f"$share/group/{target.topic('a')}"
    got: list[str] = []
    complete = trio.Event()
    async with (
        target.open() as one,
        target.open() as two,
        one.subscribe(shared, qos=1) as first,
        two.subscribe(shared, qos=1) as second,
        trio.open_nursery() as nursery,
    ):

        async def work(messages: Subscription) -> None:
            async for message in messages:
                got.append(message.text())
                message.ack()
                if len(got) == 50:
                    complete.set()

        nursery.start_soon(work, first)
        nursery.start_soon(work, second)
        for number in range(50):
            await one.publish(target.topic("a"), str(number), qos=1)
        with trio.fail_after(PATIENCE):
            await complete.wait()
        nursery.cancel_scope.cancel()
    assert sorted(got, key=int) == [str(number) for number in range(50)]


async def test_the_will_of_a_client_whose_block_failed(target: Target, client: Client) -> None:
    class BodyError(Exception):
        pass

    will = Will(topic=target.topic("status"), payload="gone", qos=1)
    async with client.subscribe(target.topic("status"), qos=1) as messages:
        with pytest.raises(BodyError):
            async with target.open(will=will):
                raise BodyError
        assert await take(messages, 1) == ["gone"]
        async with target.open(will=will):
            pass  # a normal end: no will
        await assert_nothing_left(client, target, messages)


async def test_a_client_identifier_taken_over(
    target: Target, request: pytest.FixtureRequest
) -> None:
    ended = trio.Event()

    async def be_taken_over() -> None:
        with pytest.raises(ConnectionLost) as caught:
            async with target.open(client_id="taken"):
                connected.set()
                await trio.sleep_forever()
        assert target.url in str(caught.value)
        if target.protocol is MQTT_5 and "mosquitto" not in request.node.name:
            assert caught.value.reason_code is ReasonCode.SESSION_TAKEN_OVER
        ended.set()

    connected = trio.Event()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(be_taken_over)
            await connected.wait()
            async with target.open(client_id="taken") as newcomer:
                await ended.wait()
                await newcomer.publish(target.topic("a"), qos=2)


@pytest.mark.parametrize(
    "topic_filter", ["", "a#", "#/a", "a+", "+a/b", "a\0", "$share/g", "\ud800"]
)
async def test_bad_filters_never_leave(client: Client, topic_filter: str) -> None:
    with pytest.raises(LocalProtocolError):
        async with client.subscribe(topic_filter):
            pytest.fail("no server would take it")
    with pytest.raises(LocalProtocolError):
        await client.unsubscribe(topic_filter)
    assert client.statistics().unfinished == 0


async def test_a_cancelled_life_is_over_at_the_server_too(target: Target, client: Client) -> None:
    will = Will(topic=target.topic("status"), payload="gone")
    async with client.subscribe(target.topic("#"), qos=1) as messages:
        with trio.CancelScope() as scope:
            async with target.open(will=will) as other:
                for number in range(5):
                    other.publish_nowait(target.topic("a"), str(number), qos=1)
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert await take(messages, 5) == [str(number) for number in range(5)]
        await assert_nothing_left(client, target, messages)


async def test_nobody_listens_any_more(target: Target) -> None:
    port = int(target.url.rpartition(":")[2])
    with trio.fail_after(PATIENCE), pytest.raises(ConnectFailed, match=r"127\.0\.0\.2") as caught:
        async with open_once(f"mqtt://127.0.0.2:{port}", protocol=target.protocol):
            pytest.fail("only 127.0.0.1 is listened on")
    assert caught.value.stage == "connect"


@pytest.mark.parametrize("protocol", [MQTT_5, MQTT_3_1_1], ids=["5", "3.1.1"])
async def test_keep_alive_keeps_an_idle_connection(
    autojump_clock: MockClock, protocol: Protocol
) -> None:
    async with open_server() as server:
        async with open_once(
            connector=server.connect, client_id="c", protocol=protocol, keep_alive=1
        ) as client:
            await trio.sleep(100)  # the server would close after 1.5 s of silence
            assert server.sessions["c"].connected
            await client.publish("a", qos=2)
        pings = [entry for entry in server.log if isinstance(entry.packet, PingReq)]
        assert 100 <= len(pings) <= 115


# -- MQTT 5.0 only ----------------------------------------------------------------------------


@pytest.fixture
async def client_5(url: str) -> AsyncGenerator[tuple[Target, Client]]:
    target = Target(url, MQTT_5)
    with trio.fail_after(2 * PATIENCE):
        async with target.open() as client:
            yield target, client


async def test_properties_arrive_as_they_were_sent(client_5: tuple[Target, Client]) -> None:
    target, client = client_5
    pairs = (("b", "1"), ("a", "2"), ("b", "3"), ("b", "1"), ("", ""))
    async with client.subscribe(target.topic("a"), qos=1) as messages:
        await client.publish(
            target.topic("a"),
            "text",
            qos=1,
            content_type="text/plain",
            response_topic="answers",
            correlation_data=b"\0\1",
            message_expiry=100,
            user_properties=pairs,
        )
        with trio.fail_after(PATIENCE):
            message = await messages.receive()
        assert message.user_properties == pairs
        assert message.content_type == "text/plain"
        assert message.response_topic == "answers"
        assert message.correlation_data == b"\0\1"
        assert message.message_expiry in range(90, 101)
        assert message.properties.payload_format_indicator == 1
        message.ack()


async def test_nobody_subscribes(
    client_5: tuple[Target, Client], request: pytest.FixtureRequest
) -> None:
    target, client = client_5
    for qos in (1, 2):
        result = await client.publish(target.topic("nobody"), qos=qos)
        if qos == 1 or "mosquitto" not in request.node.name:  # it looks only once PUBREL has come
            assert result.reason_code is ReasonCode.NO_MATCHING_SUBSCRIBERS


async def test_no_local(client_5: tuple[Target, Client]) -> None:
    target, client = client_5
    async with (
        target.open() as other,
        client.subscribe(target.topic("a"), qos=1, no_local=True) as messages,
    ):
        await client.publish(target.topic("a"), "own", qos=1)
        await other.publish(target.topic("a"), "another's", qos=1)
        assert await take(messages, 1) == ["another's"]
        await assert_nothing_left(client, target, messages)


async def test_retain_options(client_5: tuple[Target, Client]) -> None:
    target, client = client_5
    await client.publish(target.topic("a"), "retained", qos=1, retain=True)
    async with client.subscribe(
        target.topic("a"),
        qos=1,
        retain_as_published=True,
        retain_handling=RetainHandling.DO_NOT_SEND,
    ) as messages:
        await client.publish(target.topic("a"), "new", qos=1, retain=True)
        with trio.fail_after(PATIENCE):
            message = await messages.receive()
        assert (message.text(), message.retain) == ("new", True)
        message.ack()
        await assert_nothing_left(client, target, messages)
    await client.publish(target.topic("a"), retain=True, qos=1)


async def test_a_rejected_message_is_gone(client_5: tuple[Target, Client]) -> None:
    target, client = client_5
    async with client.subscribe(target.topic("a"), qos=2) as messages:
        for qos in (1, 2):
            await client.publish(target.topic("a"), "bad", qos=qos)
            with trio.fail_after(PATIENCE):
                message = await messages.receive()
            message.reject(ReasonCode.PAYLOAD_FORMAT_INVALID)
        await assert_nothing_left(client, target, messages)


async def test_a_small_receive_maximum_of_ours(url: str) -> None:
    target = Target(url, MQTT_5)
    with trio.fail_after(2 * PATIENCE):
        async with (
            target.open(receive_maximum=1) as client,
            client.subscribe(target.topic("a"), qos=2) as messages,
        ):
            async with client.open_publisher(qos=2) as publisher:
                for number in range(100):
                    await publisher.send(target.topic("a"), str(number))
            assert await take(messages, 100) == [str(number) for number in range(100)]


async def test_topic_aliases_of_the_server(url: str) -> None:
    target = Target(url, MQTT_5)
    with trio.fail_after(PATIENCE):
        async with (
            target.open(topic_alias_maximum=3) as client,
            client.subscribe(target.topic("#"), qos=1) as messages,
        ):
            wanted = [target.topic(name) for name in "abcdeabcde"]
            for topic in wanted:
                await client.publish(topic, topic, qos=1)
            for topic in wanted:
                message = await messages.receive()
                assert (message.topic, message.text()) == (topic, topic)
                message.ack()


async def test_requests_and_their_replies(client: Client, target: Target) -> None:
    async def double(request: Message) -> str:
        return str(2 * int(request.payload))

    if target.protocol is not MQTT_5:
        with pytest.raises(FeatureNotSupported):
            await client.request(target.topic("double"))
        return
    replies: dict[int, int] = {}

    async def ask(number: int) -> None:
        reply = await client.request(target.topic("double"), str(number), qos=number % 3)
        replies[number] = int(reply.payload)

    async with target.open() as responder, trio.open_nursery() as nursery:
        await nursery.start(responder.serve, target.topic("double"), double)
        async with trio.open_nursery() as asking:
            for number in range(30):
                asking.start_soon(ask, number)
        nursery.cancel_scope.cancel()
    assert replies == {number: 2 * number for number in range(30)}
    assert client.statistics().stray_replies == 0


async def test_replies_where_mosquitto_has_access_rules(tmp_path: Path) -> None:
    """With the rules that the page on requests names, which let nobody else read them."""
    rules = tmp_path / "rules"
    rules.write_text("topic ask\ntopic write response/#\npattern read response/%c/#\n")
    rules.chmod(0o600)  # a later Mosquitto insists on that

    async def shout(request: Message) -> str:
        return request.text().upper()

    with run_mosquitto(tmp_path, [f"acl_file {rules}"]) as mosquitto, trio.fail_after(10):
        async with (
            open_client(mosquitto.url) as client,
            open_client(mosquitto.url) as responder,
            responder.subscribe("response/#") as overheard,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(responder.serve, "ask", shout)
            assert (await client.request("ask", "hello")).text() == "HELLO"
            assert (await responder.request("ask", "own")).text() == "OWN"
            assert (await overheard.receive()).text() == "OWN"
            nursery.cancel_scope.cancel()
