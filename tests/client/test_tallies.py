"""Ends of exchanges that are told in a row: the same holds as if each was told by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.support import open_bounded_server, open_once
from tests.protocol.support import outgoing
from trio_mqtt import ReasonCode
from trio_mqtt._client._publisher import Publisher
from trio_mqtt._protocol.runs import FinishedRun
from trio_mqtt.packets import PubAck

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio_mqtt.testing import Server

ROWS = ("aaaa", "abab", "aab", "a", "a-a", "-a", "--")
"""Who publishes the messages in a row: two publishers, and somebody who does not ask."""


@pytest.fixture
async def server(nursery: trio.Nursery) -> AsyncGenerator[Server]:
    async with open_bounded_server(nursery) as server:
        yield server


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize(
    "code",
    [ReasonCode.SUCCESS, ReasonCode.NO_MATCHING_SUBSCRIBERS, ReasonCode.QUOTA_EXCEEDED],
)
async def test_each_publisher_learns_of_its_own(
    server: Server, monkeypatch: pytest.MonkeyPatch, row: str, code: ReasonCode
) -> None:
    acknowledgement = PubAck(1, code)
    async with open_once(connector=server.connect) as client:
        sending = client._supervisor.sending
        events: list[object] = []
        monkeypatch.setattr(sending._events, "put", events.append)
        found: list[object] = []
        for in_a_row in (False, True):
            publishers = {name: Publisher(sending, 1) for name in "ab"}
            run = FinishedRun()
            for number, name in enumerate(row):
                message = outgoing(topic=str(number))
                message.acknowledgement = acknowledgement
                publisher = publishers.get(name)
                if publisher is not None:
                    publisher.pending += 1
                    message.listener = publisher._tally
                run.append(message)
            if in_a_row:
                assert sending.finish_run(run, 0) == len(run)
            else:
                for message in run:
                    sending.finish(message)
            found.append(
                [
                    (each.pending, each.rejected, [error.topic for error in each.rejections])
                    for each in publishers.values()
                ]
            )
            assert not any(publisher.pending for publisher in publishers.values())
            assert len(events) == (len(row) if code.is_failure else 0)
            events.clear()
    assert found[0] == found[1]


@pytest.mark.parametrize("others", [False, True])
async def test_leaving_waits_for_one_s_own(server: Server, others: bool) -> None:
    """Acknowledgements that come in a row, with those of others among them or not."""
    left = trio.Event()

    async def publish_many() -> None:
        async with client.open_publisher() as publisher:
            for number in range(9):
                await publisher.send("a", b"mine")
                if others:
                    nursery.start_soon(client.publish, "a", b"other")
                    client.publish_nowait("a", str(number), qos=1)
        assert publisher.pending == 0
        assert publisher.sent == 9
        left.set()

    async with open_once(connector=server.connect) as client, trio.open_nursery() as nursery:
        await client.publish("a", b"first")
        with server.holding(PubAck):
            nursery.start_soon(publish_many)
            await wait_all_tasks_blocked()
            assert not left.is_set()
        await left.wait()


async def test_many_tasks_are_woken_by_acknowledgements_in_a_row(server: Server) -> None:
    results: list[trio_mqtt.PublishResult] = []

    async def publish() -> None:
        results.append(await client.publish("a", b"1", qos=1))

    async with open_once(connector=server.connect) as client, trio.open_nursery() as nursery:
        await client.publish("a", b"first")
        with server.holding(PubAck):
            for _ in range(9):
                nursery.start_soon(publish)
            await wait_all_tasks_blocked()
            assert results == []
            assert client.statistics().tasks_awaiting_answers == 9
        await wait_all_tasks_blocked()
        assert len(results) == 9
        assert client.statistics().tasks_awaiting_answers == 0
