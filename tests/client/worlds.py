"""Where exchanges take place: at the server of this process, or at Mosquitto through a proxy."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final

import attrs
import trio
import trio._core._run
import trio.testing
from trio.testing import MockClock

import trio_mqtt
from tests.client.cuts import DIRECTIONS, LONG, PATIENCE, SHORT, Case, Cut, Exchange, World, check
from tests.testing.support import connected
from trio_mqtt import Client, Reconnect, Session
from trio_mqtt.packets import Disconnect, Publish, SubscriptionRequest
from trio_mqtt.testing import (
    FaultyNetwork,
    Server,
    ServerLimits,
    open_network,
    open_proxy,
    open_server,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

    from tests.client.cuts import Direction
    from tests.testing.support import RawClient
    from trio_mqtt.testing import Ending

RECONNECT: Final = Reconnect(initial="retry", delay=0.01, max_delay=0.05)


class MemoryWorld(World):
    """The server of this process, with a subscriber at it that no fault concerns."""

    def __init__(self, server: Server, case: Case) -> None:
        super().__init__()
        self.server = server
        self._case = case
        self._connections = 0

    async def watch(self, raw: RawClient) -> None:
        """Note what arrives at a subscriber."""
        while isinstance(packet := await raw.receive(), Publish):
            self.note(packet.payload)

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[trio.abc.Stream]:
        """The client's way to the server, which may lose the Session before the second time."""
        self._connections += 1
        if self._case.forget and self._connections == 2:
            name = self._case.name
            sessions = self.server.sessions
            if name in sessions:
                await self.server.wait_until(lambda: not self.server.sessions[name].connected)
                self.server.forget_session(name)
        async with self.server.connect() as stream:
            yield stream

    async def wait_subscribed(self) -> None:
        """As soon as the server knows, however long the client will have to wait for SUBACK."""
        await self.server.wait_until(lambda: self._has(self._case.inbox))

    def _has(self, topic_filter: str) -> bool:
        session = self.server.sessions.get(self._case.name)
        return session is not None and topic_filter in session.subscriptions

    async def send(self, payload: str) -> None:
        """Publish it at the server itself."""
        await trio.lowlevel.checkpoint()
        self.server.publish(self._case.inbox, payload, self._case.qos)

    def use_identifiers_again(self) -> None:
        """Let the server begin with the first Packet Identifier that is free."""
        self.server._broker.sessions[self._case.name]._last_packet_id = 0

    @property
    def is_done(self) -> bool:
        """Whether the server has neither sent nor received what is not completed."""
        session = self.server.sessions[self._case.name]
        return not (session.queued or session.inflight or session.received)

    def check_packets(self) -> None:
        """Check that what was sent again is the same packet again, and says so."""
        first: dict[str, Publish] = {}
        for entry in self.server.log:
            packet = entry.packet
            if entry.client_id != self._case.name:
                continue
            if isinstance(packet, Disconnect):
                assert entry.direction == "received", f"the server refused something: {packet}"
            if entry.direction == "sent" or not isinstance(packet, Publish) or not packet.qos:
                continue
            payload = packet.payload.decode()
            if payload in first:
                assert packet.dup, f"{payload} was sent again without DUP"
                same = first[payload].packet_id == packet.packet_id
                assert same, f"{payload} was sent again with another Packet Identifier"
            first.setdefault(payload, packet)


def limits(case: Case) -> ServerLimits:
    """What the server grants."""
    return ServerLimits() if case.window is None else ServerLimits(receive_maximum=case.window)


@asynccontextmanager
async def open_world(case: Case) -> AsyncGenerator[MemoryWorld]:
    """A server of this process, and its subscriber."""
    async with (
        open_server(limits=limits(case)) as server,
        connected(server, "w") as raw,
        trio.open_nursery() as nursery,
    ):
        await raw.subscribe(SubscriptionRequest(case.outbox, 0))
        world = MemoryWorld(server, case)
        nursery.start_soon(world.watch, raw)
        yield world
        nursery.cancel_scope.cancel()


@attrs.frozen
class Report:
    """How an exchange went.

    Attributes:
        case: what was run.
        lengths: how many bytes passed on each connection, by direction.
        cut: whether each of them was cut.
        doubtful: how many publishers were told that the Session was lost.
    """

    case: Case
    lengths: list[dict[Direction, int]]
    cut: list[bool]
    doubtful: int = 0

    @classmethod
    def of(cls, case: Case, network: FaultyNetwork, *, doubtful: int = 0) -> Report:
        """What the network can tell."""
        made = network.connections
        lengths: list[dict[Direction, int]] = [
            {"to_server": each.to_server, "to_client": each.to_client} for each in made
        ]
        return cls(case, lengths, [each.outcome == "cut" for each in made], doubtful)


async def exchange_in_memory(case: Case, session: Session | None = None) -> Report:
    """Run a case in this process, and check it."""
    async with open_world(case) as world, open_network(world.connect, case.faults()) as network:
        exchange = Exchange(case, world)
        try:
            with trio.fail_after(PATIENCE):
                async with trio_mqtt.open_client(
                    connector=partial(network.connect, capacity=case.capacity),
                    session=session or case.session(),
                    protocol=case.protocol,
                    keep_alive=0,
                    reconnect=RECONNECT,
                    on_session_lost=case.on_session_lost,
                    receive_maximum=case.window or 1000,
                ) as client:
                    await exchange.run(client)
            await trio.testing.wait_all_tasks_blocked()  # until DISCONNECT has passed
            check(exchange)
            if not case.forget:
                world.check_packets()
        except BaseException as error:
            error.add_note(f"{case}\n{exchange}\n{network.connections}")
            raise
        return Report.of(case, network, doubtful=len(exchange.doubtful))


def run(scenario: Callable[[], Awaitable[Report]], seed: int = 0) -> Report:
    """Run a scenario on a clock that does not wait, its tasks in an order that the seed decides."""
    trio._core._run._r.seed(seed)
    return trio.run(scenario, clock=MockClock(autojump_threshold=0))


def run_in_memory(case: Case, seed: int = 0) -> Report:
    """Run a case in this process, on such a clock, and check it."""
    return run(partial(exchange_in_memory, case), seed)


def varied(case: Case, cut: Cut) -> Case:
    """A case with one more cut; offsets side by side differ in all else, too."""
    ending: Ending = "reset" if cut.offset % 2 else "close"
    hold = LONG if cut.offset // 2 % 2 else SHORT
    return attrs.evolve(case, cuts=(*case.cuts, cut), ending=ending, hold=hold)


def cuts_of(report: Report) -> Iterator[Cut]:
    """Every place where the connection after the last one that was cut may break."""
    number = len(report.case.cuts)
    if number < len(report.lengths):
        for direction in DIRECTIONS:
            for offset in range(report.lengths[number][direction] + 1):
                yield Cut(direction, offset)


# -- Mosquitto ------------------------------------------------------------------------------------

numbers = count()


class MosquittoWorld(World):
    """Mosquitto, with a client at it that no fault concerns and that all exchanges share."""

    def __init__(self, client: Client, case: Case) -> None:
        super().__init__()
        self._client = client
        self._case = case

    async def send(self, payload: str) -> None:
        """Publish it from that client."""
        await self._client.publish(self._case.inbox, payload, qos=self._case.qos)


class Mosquitto:
    """Runs cases at Mosquitto, each with a Session and topics of its own.

    Args:
        url: where it is.
        client: the client that watches.
    """

    def __init__(self, url: str, client: Client) -> None:
        self._url = url
        self._client = client
        self._worlds: dict[str, MosquittoWorld] = {}
        self._exchanges: list[Exchange] = []

    async def watch(self, messages: trio_mqtt.Subscription) -> None:
        """Note what arrives."""
        async for message in messages:
            world = self._worlds.get(message.topic)
            if world is not None:
                world.note(message.payload)

    def check(self) -> None:
        """Check all exchanges again: by now a double would have come."""
        for exchange in self._exchanges:
            check(exchange)

    async def exchange(self, case: Case) -> Report:
        """Run a case, and check it."""
        case = attrs.evolve(case, name=f"{next(numbers):03x}")
        world = self._worlds[case.outbox] = MosquittoWorld(self._client, case)
        exchange = Exchange(case, world)
        self._exchanges.append(exchange)
        async with open_proxy(self._url, case.faults()) as proxy:
            assert proxy.url is not None
            try:
                with trio.fail_after(PATIENCE):
                    async with trio_mqtt.open_client(
                        proxy.url,
                        session=case.session(),
                        protocol=case.protocol,
                        keep_alive=0,
                        reconnect=RECONNECT,
                    ) as client:
                        await exchange.run(client)
                check(exchange)
            except BaseException as error:
                error.add_note(f"{case}\n{exchange}\n{proxy.connections}")
                raise
        return Report.of(case, proxy)


@asynccontextmanager
async def open_mosquitto(url: str) -> AsyncGenerator[Mosquitto]:
    """Watch what Mosquitto makes of the messages of many exchanges."""
    async with (
        trio_mqtt.open_client(url, client_id=f"watch{next(numbers)}") as client,
        client.subscribe("+", qos=2) as messages,
        trio.open_nursery() as nursery,
    ):
        mosquitto = Mosquitto(url, client)
        nursery.start_soon(mosquitto.watch, messages)
        yield mosquitto
        nursery.cancel_scope.cancel()
