"""The bridge passes messages on, in both directions, and loses and doubles none."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

import trio_mqtt
from tests.examples.programs import LONGEST_RUN, Running, output_of, running
from trio_mqtt.testing import FaultyNetwork, Server, open_proxy, open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio_mqtt.packets import Publish


@attrs.frozen
class Side:
    """A server, a network between it and the bridge, and a client that is connected to it."""

    server: Server
    network: FaultyNetwork
    client: trio_mqtt.Client

    @property
    def far_url(self) -> str:
        assert self.network.url is not None
        return self.network.url


@asynccontextmanager
async def open_side() -> AsyncGenerator[Side]:
    async with open_server(port=0) as server:
        assert server.url is not None
        async with (
            open_proxy(server.url) as network,
            trio_mqtt.open_client(server.url) as client,
        ):
            yield Side(server, network, client)


@pytest.fixture
async def local() -> AsyncGenerator[Side]:
    async with open_side() as side:
        yield side


@pytest.fixture
async def remote() -> AsyncGenerator[Side]:
    async with open_side() as side:
        yield side


@asynccontextmanager
async def bridging(local: Side, remote: Side, *more: str) -> AsyncGenerator[Running]:
    """Run the bridge while the block runs."""
    async with running("bridge.py", local.far_url, remote.far_url, *more) as bridge:
        await bridge.says("passing on .*")
        await bridge.says("passing on .*")
        yield bridge


async def receive(messages: trio_mqtt.Subscription, count: int) -> list[trio_mqtt.Message]:
    """Receive and settle some messages."""
    received: list[trio_mqtt.Message] = []
    with trio.fail_after(LONGEST_RUN):
        while len(received) < count:
            with await messages.receive() as message:
                received.append(message)
    return received


async def test_both_directions_keep_what_a_message_has(local: Side, remote: Side) -> None:
    async with (
        remote.client.subscribe("#", qos=2, retain_as_published=True) as at_remote,
        local.client.subscribe("commands/#", qos=2) as at_local,
        bridging(local, remote) as bridge,
    ):
        await local.client.publish(
            "plant/temperature",
            "21.5 °C",
            qos=2,
            retain=True,
            message_expiry=100,
            content_type="text/plain",
            response_topic="commands/answer",
            correlation_data=b"7",
            user_properties=[("from", "kitchen")],
        )
        (message,) = await receive(at_remote, 1)
        assert message.topic == "site-1/plant/temperature"
        assert message.text() == "21.5 °C"
        assert (message.qos, message.retain) == (2, True)
        assert message.message_expiry in range(90, 101)
        assert message.content_type == "text/plain"
        assert message.user_properties == (("from", "kitchen"), ("crossed-bridge", "bridge"))
        assert message.properties.payload_format_indicator == 1

        await remote.client.publish(message.response_topic or "", b"\xff", qos=1)
        (answer,) = await receive(at_local, 1)
        assert (answer.topic, answer.payload, answer.qos) == ("commands/answer", b"\xff", 1)
        await receive(at_remote, 1)

        await local.client.publish("elsewhere", qos=1)
        await local.client.publish("plant/last")
        (message,) = await receive(at_remote, 1)
        assert (message.topic, message.qos) == ("site-1/plant/last", 0)
        assert await bridge.ends(signal.SIGTERM) == 0
        await bridge.prints("out: 2 passed on")
        await bridge.prints("in: 1 passed on")


async def test_messages_wait_at_their_server_while_the_other_is_away(
    local: Side, remote: Side
) -> None:
    too_long = "plant/" + 65_525 * "x"  # with the prefix
    async with remote.client.subscribe("site-1/plant/#", qos=2) as at_remote:
        async with bridging(local, remote) as bridge:
            remote.network.down()
            await bridge.says("remote: .* broke .*")
            async with local.client.open_publisher(qos=1) as publisher:
                for number in range(50):
                    await publisher.send("plant/1", str(number))
                await publisher.send(too_long)
            await bridge.says("not passed on: .*")  # so it has dealt with the others
            assert local.server.sessions["bridge-local"].inflight == 51
            assert await bridge.ends(signal.SIGKILL) == -signal.SIGKILL
        remote.network.up()
        async with bridging(local, remote):
            received = await receive(at_remote, 50)
            assert [message.text() for message in received] == [str(number) for number in range(50)]
            with trio.fail_after(LONGEST_RUN):
                await local.server.wait_until(
                    lambda: local.server.sessions["bridge-local"].inflight == 0
                )


async def test_a_bridge_that_is_away_misses_nothing(local: Side, remote: Side) -> None:
    async with remote.client.subscribe("site-1/plant/#", qos=2) as at_remote:
        async with bridging(local, remote) as bridge:
            await local.client.publish("plant/1", "before", qos=2)
            await receive(at_remote, 1)
            assert await bridge.ends(signal.SIGINT) == 0
        await local.client.publish("plant/1", "meanwhile", qos=2)
        async with bridging(local, remote):
            await local.client.publish("plant/1", "after", qos=2)
            received = await receive(at_remote, 2)
    assert [message.text() for message in received] == ["meanwhile", "after"]


async def test_what_is_retained_is_passed_on_once_and_not_at_each_start(
    local: Side, remote: Side
) -> None:
    async with remote.client.subscribe("site-1/plant/#", qos=2) as at_remote:
        await local.client.publish("plant/state", "kept", qos=2, retain=True)
        async with bridging(local, remote) as bridge:
            await receive(at_remote, 1)
            assert await bridge.ends(signal.SIGTERM) == 0
        async with bridging(local, remote):
            await local.client.publish("plant/1", "after", qos=2)
            assert [message.text() for message in await receive(at_remote, 1)] == ["after"]
    assert remote.server.retained == {"site-1/plant/state": b"kept"}


async def test_it_says_which_filter_it_may_not_have(local: Side, remote: Side) -> None:
    remote.server.authorize_subscribe = lambda _client_id, _request: (
        trio_mqtt.ReasonCode.NOT_AUTHORIZED
    )
    output = await output_of("bridge.py", local.far_url, remote.far_url, status=1)
    assert "the bridge has failed: " in output
    assert "site-1/commands/#" in output
    assert "Traceback" not in output


async def test_exactly_once_while_connections_break(local: Side, remote: Side) -> None:
    async with (
        remote.client.subscribe("site-1/plant/#", qos=2) as at_remote,
        bridging(local, remote),
        trio.open_nursery() as nursery,
    ):

        async def publish() -> None:
            async with local.client.open_publisher(qos=2) as publisher:
                for number in range(600):
                    await publisher.send("plant/1", str(number))

        nursery.start_soon(publish)
        received: list[str] = []
        for side in (remote, local, remote):
            received += [message.text() for message in await receive(at_remote, 100)]
            side.network.cut()
        received += [message.text() for message in await receive(at_remote, 300)]
        await local.client.publish("plant/1", "last", qos=2)
        received += [message.text() for message in await receive(at_remote, 1)]
    assert received == [*map(str, range(600)), "last"]


async def test_nothing_is_sent_back(local: Side, remote: Side) -> None:
    both_ways = ("--out", "chat/#", "--in", "chat/#", "--prefix", "")
    async with (
        local.client.subscribe("chat/#", qos=1) as at_local,
        remote.client.subscribe("chat/#", qos=1) as at_remote,
        bridging(local, remote, *both_ways) as bridge,
    ):
        for text in ("one", "two"):
            await local.client.publish("chat/1", text, qos=1)
        await remote.client.publish("chat/1", "three", qos=1)
        for messages in (at_local, at_remote):
            received = await receive(messages, 3)
            assert sorted(message.text() for message in received) == ["one", "three", "two"]
        assert await bridge.ends(signal.SIGTERM) == 0
        await bridge.prints("out: 2 passed on")  # and none was sent back
        await bridge.prints("in: 1 passed on")


async def test_two_bridges_side_by_side(local: Side, remote: Side) -> None:
    both_ways = ("--out", "chat/#", "--in", "chat/#", "--prefix", "")
    async with (
        local.client.subscribe("chat/#", qos=1) as at_local,
        remote.client.subscribe("chat/#", qos=1) as at_remote,
        bridging(local, remote, *both_ways, "--name", "a"),
        bridging(local, remote, *both_ways, "--name", "b") as second,
    ):
        for text in ("four", "five"):
            await local.client.publish("chat/1", text, qos=1)
            # What crosses one bridge comes back over the other, and no further.
            for messages, count in ((at_local, 3), (at_remote, 2)):
                received = await receive(messages, count)
                assert Counter(message.text() for message in received) == {text: count}
        assert await second.ends(signal.SIGTERM) == 0
        await second.says("out: .*in a circle.*")


async def test_what_the_target_refuses_holds_up_nothing(local: Side, remote: Side) -> None:
    remote.server.authorize_publish = lambda _client_id, publish: (
        trio_mqtt.ReasonCode.NOT_AUTHORIZED
        if publish.topic.endswith("secret")
        else trio_mqtt.ReasonCode.SUCCESS
    )
    async with (
        remote.client.subscribe("site-1/plant/#", qos=1) as at_remote,
        bridging(local, remote) as bridge,
    ):
        for topic in ("plant/secret", "plant/other"):
            await local.client.publish(topic, qos=1)
        (message,) = await receive(at_remote, 1)
        assert message.topic == "site-1/plant/other"
        await bridge.says("not passed on: .*refused .*site-1/plant/secret.*")
        with trio.fail_after(LONGEST_RUN):
            await local.server.wait_until(
                lambda: local.server.sessions["bridge-local"].inflight == 0
            )


async def test_what_is_beyond_a_quota_is_tried_again(local: Side, remote: Side) -> None:
    left = 3

    def authorize(_client: str, publish: Publish) -> trio_mqtt.ReasonCode:
        nonlocal left
        if publish.topic.endswith("hungry") and left > 0:
            left -= 1
            return trio_mqtt.ReasonCode.QUOTA_EXCEEDED
        return trio_mqtt.ReasonCode.SUCCESS

    remote.server.authorize_publish = authorize
    async with (
        remote.client.subscribe("site-1/plant/#", qos=2) as at_remote,
        bridging(local, remote) as bridge,
    ):
        await local.client.publish("plant/hungry", "1", qos=2, message_expiry=100)
        (message,) = await receive(at_remote, 1)
        assert (message.topic, message.text()) == ("site-1/plant/hungry", "1")
        assert message.message_expiry in range(90, 101)
        await local.server.wait_acknowledged("plant/hungry", within=LONGEST_RUN)
        assert await bridge.ends(signal.SIGTERM) == 0
        await bridge.prints("out: 3 over quota, 1 passed on")


async def test_it_does_not_try_for_ever(local: Side, remote: Side) -> None:
    remote.server.authorize_publish = lambda _client_id, _publish: (
        trio_mqtt.ReasonCode.QUOTA_EXCEEDED
    )
    async with bridging(local, remote, "--keep-trying", "0.2") as bridge:
        await local.client.publish("plant/hungry", qos=1)
        await bridge.says("not passed on: .*quota exceeded.*")
        assert await bridge.ends(signal.SIGTERM) == 0
        await bridge.says("out: .*1 not taken")


async def test_it_does_not_try_again_what_has_expired(local: Side, remote: Side) -> None:
    remote.server.authorize_publish = lambda _client_id, _publish: (
        trio_mqtt.ReasonCode.QUOTA_EXCEEDED
    )
    async with bridging(local, remote) as bridge:
        await local.client.publish("plant/hungry", qos=1, message_expiry=1)
        await bridge.says("not passed on: .*quota exceeded.*")
        assert await bridge.ends(signal.SIGTERM) == 0
        await bridge.says("out: .*1 not taken")
