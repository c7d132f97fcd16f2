"""A cluster of RabbitMQ whose nodes are killed under load: what was accepted arrives."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import attrs
import pytest
import trio

from tests.interop.install import PLACE
from tests.interop.servers import rabbitmq
from tests.interop.servers.cluster import Node, run_cluster
from tests.interop.servers.kind import PASSWORD, USERNAME
from trio_mqtt import Client, Reconnect, Session, Subscription, events, open_client

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

TOPIC: Final = "cluster/numbers"
AHEAD: Final = 300
"""How many messages are on their way at most, so that a slow machine is not buried."""
STEP: Final = 1000
"""How many have to arrive between one event and the next."""
BACKOFF: Final = Reconnect(delay=0.5, max_delay=2)
FAILOVER: Final = 20.0
"""How long it may take, in seconds: some attempts while the nodes elect new leaders."""
LIMIT: Final = 150.0
"""How long all of it may take, in seconds."""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Generator[Sequence[Node]]:
    if not rabbitmq.is_installed(PLACE):
        message = "RabbitMQ is not installed, or this user is not root; 'make interop' installs it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    directory: Path = tmp_path_factory.mktemp("cluster")
    with run_cluster(PLACE, directory) as running:
        yield running


@attrs.define
class Numbers:
    """What is published, and what has come of it.

    Attributes:
        sent: how many there are; each is a number, counted from 0.
        received: all that came, doubles among them.
        missing: those on their way.
        places: for those who may be.
        changed: set, and made anew, with each that comes.
        enough: whether no more are to be published.
    """

    sent: int = 0
    received: list[int] = attrs.field(factory=list[int])
    missing: set[int] = attrs.field(factory=set[int])
    places: trio.Semaphore = attrs.field(factory=lambda: trio.Semaphore(AHEAD))
    changed: trio.Event = attrs.field(factory=trio.Event)
    enough: bool = False

    async def publish(self, client: Client) -> None:
        """Publish one number after the other; returns once the last is acknowledged."""
        async with client.open_publisher(qos=1) as publisher:
            while not self.enough:
                await self.places.acquire()
                number = self.sent
                self.missing.add(number)
                self.sent += 1
                await publisher.send(TOPIC, str(number))

    async def take(self, messages: Subscription) -> None:
        """Take all that comes, until cancelled."""
        async for message in messages:
            number = int(message.payload)
            self.received.append(number)
            if number in self.missing:
                self.missing.remove(number)
                self.places.release()
            self.changed.set()
            self.changed = trio.Event()

    async def wait_more(self, count: int) -> None:
        """Return once so many more were published and have come."""
        wanted = self.sent + count
        while self.sent < wanted or min(self.missing, default=wanted) < wanted:
            await self.changed.wait()


def connect(nodes: Sequence[Node], name: str) -> AbstractAsyncContextManager[Client]:
    """A client of the cluster, with a Session that all nodes share."""
    return open_client(
        [node.url for node in nodes],
        session=Session(name, expiry=600),
        username=USERNAME,
        password=PASSWORD,
        reconnect=BACKOFF,
    )


async def follow(
    client: Client,
    node: Node,
    kept: bool,
    task_status: trio.TaskStatus[None],
) -> None:
    """Look at what a client tells of the end of its node.

    Args:
        client: the client.
        node: the node.
        kept: whether the cluster keeps the client's Session.
        task_status: told once it looks.
    """
    async with client.events() as told:
        task_status.started()
        lost = await anext(told)
        assert isinstance(lost, events.Disconnected)
        assert lost.server == node.url
        found = await anext(told)
        assert isinstance(found, events.Connected)
        assert found.server != node.url
        assert found.session_present is kept
        if not kept:
            assert isinstance(await anext(told), events.SessionReplaced)


async def kill_and_bring_back(node: Node, kept: Mapping[Client, bool], numbers: Numbers) -> None:
    """Kill a node, look at what follows, and start it again.

    Args:
        node: the node.
        kept: the clients connected to it, and whether the cluster keeps their Sessions.
        numbers: the load, which goes on.
    """
    with trio.fail_after(FAILOVER):
        async with trio.open_nursery() as nursery:
            for client, is_kept in kept.items():
                await nursery.start(follow, client, node, is_kept)
            node.process.kill()
    await numbers.wait_more(STEP)
    await trio.to_thread.run_sync(node.process.restart)
    await numbers.wait_more(STEP)


async def test_nodes_killed_under_load(nodes: Sequence[Node]) -> None:
    a, b, c = nodes
    numbers = Numbers()
    with trio.fail_after(LIMIT):
        async with (
            connect([b, c, a], "subscriber") as receiving,
            connect([a, b, c], "publisher") as sending,
            receiving.subscribe(TOPIC, qos=1) as messages,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(numbers.take, messages)
            async with trio.open_nursery() as load:
                load.start_soon(numbers.publish, sending)
                await numbers.wait_more(STEP)
                # RabbitMQ does not keep a Session that has no subscriptions, such as this one.
                await kill_and_bring_back(a, {sending: False}, numbers)
                async with sending.subscribe("cluster/answers", qos=1):
                    await kill_and_bring_back(b, {receiving: True, sending: True}, numbers)
                numbers.enough = True
            while numbers.missing:
                await numbers.changed.wait()
            nursery.cancel_scope.cancel()
    assert set(numbers.received) == set(range(numbers.sent))
