"""What a server does not grant is refused before it can do any harm (contract 15)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.moments import PATIENCE
from tests.client.outages import longest_delays
from trio_mqtt import Client, FeatureNotSupported, MQTTError, PacketTooLarge
from trio_mqtt.packets import PubAck, Publish, Subscribe, Unsubscribe
from trio_mqtt.testing import Server, ServerLimits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

    Action = Callable[[Client], Awaitable[object]]

open_client = trio_mqtt.open_client
SMALL: Final = 100
"""A Maximum Packet Size; CONNECT takes less."""


def publish(topic: str = "a", payload: bytes = b"", **options: Any) -> Action:
    return lambda client: client.publish(topic, payload, **options)


def enqueue(**options: Any) -> Action:
    return lambda client: client.enqueue("a", **options)


def publish_nowait(**options: Any) -> Action:
    async def act(client: Client) -> None:
        client.publish_nowait("a", **options)
        await trio.lowlevel.checkpoint()

    return act


def pipeline(qos: int, **options: Any) -> Action:
    async def act(client: Client) -> None:
        async with client.open_publisher(qos=qos) as publisher:
            await publisher.send("a", **options)

    return act


def subscribe(*topic_filters: str, **options: Any) -> Action:
    async def act(client: Client) -> None:
        async with client.subscribe(*topic_filters, **options):
            pass

    return act


def unsubscribe(*topic_filters: str, **options: Any) -> Action:
    return lambda client: client.unsubscribe(*topic_filters, **options)


def request(**options: Any) -> Action:
    return lambda client: client.request("a", **options)


PAIRS: Final = [("name", "v" * SMALL)]
LONG: Final = "x" * SMALL
QOS: Final = "granted a Maximum QoS of "
RETAIN: Final = "Retain Available is 0"
SIZE: Final = f"Maximum Packet Size of {SMALL}"
WILDCARD: Final = "Wildcard Subscription Available is 0"
SHARED: Final = "Shared Subscription Available is 0"
NO_QOS: Final = {"maximum_qos": 0}
NO_QOS_2: Final = {"maximum_qos": 1}
NO_RETAIN: Final = {"retain_available": False}
NO_MORE: Final = {"maximum_packet_size": SMALL}
NO_WILDCARDS: Final = {"wildcard_subscription_available": False}
NO_SHARES: Final = {"shared_subscription_available": False}
LIMITS: Final[dict[str, tuple[dict[str, Any], Action, str]]] = {
    "publish, qos 1": (NO_QOS, publish(qos=1), QOS + "0"),
    "publish, qos 2": (NO_QOS_2, publish(qos=2), QOS + "1"),
    "enqueue, qos 2": (NO_QOS_2, enqueue(qos=2), QOS + "1"),
    "publish_nowait, qos 1": (NO_QOS, publish_nowait(qos=1), QOS + "0"),
    "pipeline, qos 2": (NO_QOS_2, pipeline(2), QOS + "1"),
    "request, qos 1": (NO_QOS, request(), QOS + "0"),
    "publish, retain, qos 0": (NO_RETAIN, publish(retain=True), RETAIN),
    "publish, retain, qos 1": (NO_RETAIN, publish(retain=True, qos=1), RETAIN),
    "enqueue, retain": (NO_RETAIN, enqueue(retain=True), RETAIN),
    "pipeline, retain": (NO_RETAIN, pipeline(1, retain=True), RETAIN),
    "publish, payload, qos 0": (NO_MORE, publish(payload=bytes(SMALL)), SIZE),
    "publish, payload, qos 2": (NO_MORE, publish(payload=bytes(SMALL), qos=2), SIZE),
    "publish, topic": (NO_MORE, publish(topic=LONG), SIZE),
    "publish, properties": (NO_MORE, publish(user_properties=PAIRS, qos=1), SIZE),
    "enqueue, payload": (NO_MORE, enqueue(payload=bytes(SMALL)), SIZE),
    "publish_nowait, payload": (NO_MORE, publish_nowait(payload=bytes(SMALL), qos=1), SIZE),
    "subscribe, filter": (NO_MORE, subscribe(LONG), SIZE),
    "subscribe, second filter": (NO_MORE, subscribe("a", LONG), SIZE),
    "subscribe, properties": (NO_MORE, subscribe("a", user_properties=PAIRS), SIZE),
    "unsubscribe, filter": (NO_MORE, unsubscribe(LONG), SIZE),
    "unsubscribe, filters": (NO_MORE, unsubscribe(*[LONG[: SMALL // 3]] * 3), SIZE),
    "unsubscribe, properties": (NO_MORE, unsubscribe("a", user_properties=PAIRS), SIZE),
    "subscribe, multi-level": (NO_WILDCARDS, subscribe("a/#"), WILDCARD),
    "subscribe, single-level": (NO_WILDCARDS, subscribe("a", "+/b"), WILDCARD),
    "subscribe, shared": (NO_SHARES, subscribe("$share/g/a"), SHARED),
}
"""What is limited, what exceeds it, and how the error names the limit and its value."""

each_limit = pytest.mark.parametrize(
    ("limits", "action", "named"), LIMITS.values(), ids=LIMITS.keys()
)


def requested(server: Server) -> list[Publish | Subscribe | Unsubscribe]:
    """What the server got beside CONNECT and the like."""
    return [
        entry.packet
        for entry in server.log
        if entry.direction == "received"
        and isinstance(entry.packet, Publish | Subscribe | Unsubscribe)
    ]


async def assert_refused(client: Client, server: Server, action: Action, named: str) -> None:
    before = requested(server)
    with pytest.raises(MQTTError) as caught:
        await action(client)
    assert named in str(caught.value)
    assert type(caught.value) is (PacketTooLarge if named is SIZE else FeatureNotSupported)
    if isinstance(caught.value, PacketTooLarge):
        assert caught.value.limit == SMALL < caught.value.size
    statistics = client.statistics()
    assert statistics.unfinished == statistics.queued == statistics.output_bytes == 0
    assert statistics.unfinished_bytes == 0
    await client.publish("sentinel")
    await server.wait_until(lambda: len(requested(server)) > len(before))
    assert [
        each for each in requested(server)[len(before) :] if not isinstance(each, Publish)
    ] == []
    assert [
        each.topic for each in requested(server)[len(before) :] if isinstance(each, Publish)
    ] == ["sentinel"]


async def next_identifier(client: Client, server: Server) -> int:
    """The Packet Identifier of the next packet that has one."""
    await client.unsubscribe("next")
    packet = requested(server)[-1]
    assert isinstance(packet, Unsubscribe)
    return packet.packet_id


@each_limit
async def test_what_a_limit_forbids_is_refused_and_leaves_nothing(
    server: Server, limits: dict[str, Any], action: Action, named: str
) -> None:
    server.limits = ServerLimits(**limits)
    with trio.fail_after(PATIENCE):
        async with open_client(connector=server.connect, client_id="c") as client:
            await assert_refused(client, server, action, named)
            assert await next_identifier(client, server) == 1


@each_limit
async def test_a_limit_holds_from_the_connection_on_that_has_it(
    server: Server,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    limits: dict[str, Any],
    action: Action,
    named: str,
) -> None:
    longest_delays(monkeypatch)

    async def connect_again(granted: ServerLimits) -> None:
        server.limits = granted
        server.drop("c")
        await server.wait_until(lambda: not server.sessions["c"].connected)
        await wait_all_tasks_blocked()
        await client.wait_connected()

    async def is_taken() -> None:
        with trio.move_on_after(1):  # a request gets no reply
            await action(client)
            await trio.sleep_forever()  # until the server has it

    with trio.fail_after(PATIENCE):
        async with open_client(connector=server.connect, client_id="c") as client:
            await is_taken()
            await connect_again(ServerLimits(**limits))
            await assert_refused(client, server, action, named)
            await connect_again(ServerLimits())
            before = len(requested(server))
            await is_taken()
            assert len(requested(server)) > before


LOCALLY_OBEYED: Final[dict[str, dict[str, Any]]] = {
    "Receive Maximum": {"receive_maximum": 1},
    "Topic Alias Maximum": {"topic_alias_maximum": 0},
    "Subscription Identifier Available": {"subscription_identifier_available": False},
    "Server Keep Alive": {"server_keep_alive": 5},
}
"""What the client keeps to by itself: nobody has to be refused anything."""


@pytest.mark.parametrize("limits", LOCALLY_OBEYED.values(), ids=LOCALLY_OBEYED.keys())
async def test_other_limits_are_kept_without_an_error(
    server: Server,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    limits: dict[str, Any],
) -> None:
    """The server ends the connection of a client that does not."""
    longest_delays(monkeypatch)
    async with open_client(connector=server.connect, client_id="c") as client:
        for granted in (limits, {}, limits):
            server.limits = ServerLimits(**granted)
            server.drop("c")
            await server.wait_until(lambda: not server.sessions["c"].connected)
            await wait_all_tasks_blocked()
            await client.wait_connected()
            connections = client.statistics().connections
            with trio.fail_after(PATIENCE):
                async with client.subscribe("a/long/topic", "b", qos=2) as messages:
                    async with client.open_publisher(qos=1) as publisher:
                        with server.holding(PubAck):
                            for _ in range(20):
                                await publisher.send("a/long/topic")
                            await wait_all_tasks_blocked()
                    for _ in range(20):
                        (await messages.receive()).ack()
                    await trio.sleep(60)
            assert client.statistics().connections == connections
