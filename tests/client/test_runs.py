"""Messages delivered in a row: the same holds then as if each had been delivered by itself."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from tests.client.support import open_bounded_server, open_once
from trio_mqtt import Client, Message
from trio_mqtt._client._buffer import MOST_BYTES, OVERHEAD, Buffer
from trio_mqtt.packets._runs import PublishRun
from trio_mqtt.testing import Server, open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

TOPICS: Final = ("one", "other", "both/x", "nobody")
SIZES: Final = (0, 1, MOST_BYTES // 3, MOST_BYTES // 2 - OVERHEAD, MOST_BYTES)
PAYLOADS: Final = {size: bytes(size) for size in SIZES}
RECEIVE_MAXIMUM: Final = 6

Row = tuple[str, int, int]
"""A message: its topic, its QoS and the size of its payload."""


@st.composite
def batches_of_runs(draw: st.DrawFn) -> list[list[Row]]:
    """Batches of messages, each with several that are alike, then several others."""
    qos = st.sampled_from((0, 0, 1, 2))
    row = st.tuples(st.sampled_from(TOPICS), qos, st.sampled_from(SIZES))
    runs = st.lists(st.tuples(row, st.integers(1, 9)), min_size=1, max_size=4)
    return [
        [each for each, count in draw(runs) for _ in range(count)]
        for _ in range(draw(st.integers(1, 3)))
    ]


@pytest.fixture
async def server(nursery: trio.Nursery) -> AsyncGenerator[Server]:
    async with open_bounded_server(nursery) as server:
        yield server


def one_by_one(client: Client, events: list[Any]) -> None:
    for message in events:
        client._deliveries.deliver(message)


def in_a_row(client: Client, events: list[Any]) -> None:
    for _, alike in groupby(events, key=lambda message: message.qos):
        run = PublishRun[Any](alike)
        position = 0
        while position < len(run):
            count = client._deliveries.deliver_run(run, position)
            if not count:
                client._deliveries.deliver(run[position])
            position += count or 1


async def outcome(
    deliver: Callable[[Client, list[Any]], None],
    batches: list[list[Row]],
    options: dict[str, Any],
) -> object:
    """What there is after some batches, between which half of what has arrived is taken."""
    number = 0
    found: list[object] = []
    async with (
        open_server() as server,
        open_once(connector=server.connect, receive_maximum=RECEIVE_MAXIMUM) as client,
        client.subscribe("one", "both/+", **options) as one,
        client.subscribe("other", "both/#", **options) as other,
    ):
        deliveries = client._deliveries
        for batch in batches:
            events: list[Message] = []
            for topic, qos, size in batch:
                number += 1
                packet_id = number if qos else 0
                events.append(Message(topic, PAYLOADS[size], qos, packet_id=packet_id))
            deliver(client, events)
            for subscription in (one, other):
                found += [subscription.statistics(), subscription._dropping]
                found.append(subscription._buffer in deliveries.valve.blockers)
                for _ in range(len(subscription._buffer) // 2):
                    message = subscription.receive_nowait()
                    found.append((message.topic, len(message.payload), message._arrival))
                    assert message._holder is subscription
            found += [deliveries._held, deliveries.strays, deliveries._watch.running]
            found += [len(deliveries.unclaimed), deliveries._window.full]
    return found


@pytest.mark.parametrize("ack", ["when_done", "on_receipt"])
@pytest.mark.parametrize("overflow", ["wait", "drop_oldest", "drop_newest"])
@given(batches=batches_of_runs(), buffer=st.integers(1, 8))
def test_it_makes_no_difference(
    ack: str, overflow: str, batches: list[list[Row]], buffer: int
) -> None:
    options = {"qos": 2, "ack": ack, "overflow": overflow, "buffer": buffer}
    apart = trio.run(outcome, one_by_one, batches, options)
    together = trio.run(outcome, in_a_row, batches, options)
    assert together == apart


@pytest.mark.parametrize("qos", [0, 1])
async def test_as_many_waiters_are_woken_as_there_are_messages(server: Server, qos: int) -> None:
    taken: list[bytes] = []

    async def take_one() -> None:
        taken.append((await subscription.receive()).payload)

    async with (
        open_once(connector=server.connect) as client,
        client.subscribe("a", qos=qos) as subscription,
        trio.open_nursery() as nursery,
    ):
        for _ in range(4):
            nursery.start_soon(take_one)
        await wait_all_tasks_blocked()
        run = PublishRun[Any](Message("a", b"%d" % number, qos) for number in range(3))
        assert client._deliveries.deliver_run(run, 0) == 3
        await wait_all_tasks_blocked()
        assert taken == [b"0", b"1", b"2"]
        nursery.cancel_scope.cancel()


async def test_what_goes_one_by_one_is_looked_at_once(server: Server) -> None:
    """Or each message would cost as much as there are others behind it."""
    async with (
        open_once(connector=server.connect) as client,
        client.subscribe("a", qos=1, ack="on_receipt"),
        client.subscribe("b", buffer=1),
    ):
        for topic, qos in (("a", 1), ("b", 0)):
            run = PublishRun[Any](Message(topic, b"", qos, packet_id=qos) for _ in range(9))
            assert client._deliveries.deliver_run(run, 0) == 0
            assert [message._arrival for message in run] == [0] * 9


async def test_what_is_for_one_subscription_takes_one_step(server: Server) -> None:
    """Or nothing would be gained."""
    async with (
        open_once(connector=server.connect) as client,
        client.subscribe("a/+", qos=1) as one,
        client.subscribe("b", qos=1) as other,
    ):
        topics = [*[f"a/{number}" for number in range(10)], *["b"] * 10]
        for _ in range(2):  # also at the first look at a topic
            run = PublishRun[Any](Message(topic, b"") for topic in topics)
            assert [client._deliveries.deliver_run(run, at) for at in (0, 5, 10)] == [10, 5, 10]
        run = PublishRun[Any](
            Message(topic, b"", 1, packet_id=number) for number, topic in enumerate(topics, 1)
        )
        assert [client._deliveries.deliver_run(run, at) for at in (0, 10)] == [10, 10]
        assert one.statistics().received == 40
        assert other.statistics().received == 30


@pytest.mark.parametrize("qos", [0, 1])
def test_what_arrives_while_another_thread_counts_was_not_taken(qos: int) -> None:
    """A counter that goes down is one that was reset, to those who plot it."""

    class Watched(Buffer):
        """Gets messages while it is looked at, as by the reader in its own thread."""

        def __len__(self) -> int:
            messages = [arriving.pop() for _ in range(min(len(arriving), 3))]
            put = self.put_windowed_run if qos else self.put_loose_run
            put(messages)
            return super().__len__()

    arriving = [Message("t", qos=qos) for _ in range(6)]
    buffer = Watched("buffer", 100, "wait", on_room=lambda _: None)
    assert buffer.taken == 0
    assert buffer.received == 6
    assert buffer.take() is not None
    assert buffer.taken == 1
