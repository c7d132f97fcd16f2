"""What the tests of lost connections share."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from trio_mqtt import MQTT_3_1_1, MQTT_5, ReasonCode
from trio_mqtt.packets import ConnAck, Connect, Disconnect, SubAck, Subscribe
from trio_mqtt.testing import Close, Expect, ExpectEnd, Pause, Reply, Reset, Send

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import pytest

    from trio_mqtt import Client, EventStream
    from trio_mqtt._transports.url import ServerAddress
    from trio_mqtt.abc import Connector
    from trio_mqtt.events import Event
    from trio_mqtt.testing import Server, Step

BOTH: Final = (MQTT_5, MQTT_3_1_1)
CONNECTED: Final[list[Step]] = [Expect(Connect), Send(ConnAck())]
RESUMED: Final[list[Step]] = [
    Expect(Connect, clean_start=False),
    Send(ConnAck(session_present=True)),
]
GOODBYE: Final[list[Step]] = [Expect(Disconnect), ExpectEnd()]
BROKEN: Final[list[Step]] = [Pause(0.1), Reset()]
ENDED: Final[list[Step]] = [Pause(0.1), Close()]


def grant(qos: int) -> list[Step]:
    """SUBSCRIBE, answered."""

    def suback(packet: Subscribe) -> SubAck:
        return SubAck(packet.packet_id, (ReasonCode(qos),))

    return [Expect(Subscribe), Reply(Subscribe, suback)]


class Attempts:
    """A connector that notes when it was used, and fails when that was too often.

    Attributes:
        times: when each attempt began, by Trio's clock.
    """

    def __init__(self, connector: Connector, *, most: int = 100_000) -> None:
        self.times: list[float] = []
        self._connector = connector
        self._most = most

    def __len__(self) -> int:
        return len(self.times)

    @property
    def delays(self) -> list[float]:
        """The time between the attempts."""
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[trio.abc.Stream]:
        self.times.append(trio.current_time())
        assert len(self.times) < self._most, "there is no pause between the attempts"
        async with self._connector() as stream:
            yield stream


class Hosts:
    """A name service of its own: which connector there is behind each host.

    Attributes:
        tried: the hosts in the order of the attempts.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **connectors: Connector) -> None:
        self.tried: list[str] = []
        self._connectors = connectors
        monkeypatch.setattr("trio_mqtt._client._itinerary.open_stream", self._open)

    @asynccontextmanager
    async def _open(
        self, address: ServerAddress, *_options: object
    ) -> AsyncGenerator[trio.abc.Stream]:
        self.tried.append(address.host)
        async with self._connectors[address.host]() as stream:
            yield stream


def longest_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each delay be as long as it may be."""

    class Longest:
        def uniform(self, _least: float, most: float) -> float:
            return most

    monkeypatch.setattr("trio_mqtt._client._reconnecting._random", Longest())


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings so far."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


class Watching:
    """Events, as they come.

    Attributes:
        events: all so far.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []

    def of(self, *kinds: type[Event]) -> list[Event]:
        """Those of some classes."""
        return [event for event in self.events if isinstance(event, kinds)]

    async def watch(self, stream: EventStream) -> None:
        async for event in stream:
            self.events.append(event)


@asynccontextmanager
async def watching(client: Client) -> AsyncGenerator[Watching]:
    """Collect the events of a client while the block runs."""
    watching = Watching()
    stream = client.events()
    async with trio.open_nursery() as nursery, stream as events:
        nursery.start_soon(watching.watch, events)
        yield watching
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool], patience: float = 1000) -> None:
    """Wait until something holds."""
    with trio.fail_after(patience):
        while not condition():  # noqa: ASYNC110 - any condition, of any part
            await trio.sleep(0.01)


async def lost(client: Client) -> None:
    """Wait until a connection is lost that was just broken, and may be back in an instant."""
    with trio.fail_after(1000):
        while client.statistics().connected:
            await trio.lowlevel.checkpoint()


async def nth_connection(client: Client, number: int, patience: float = 1000) -> None:
    """Wait until so many connections were made, the last of them there now."""
    await until(
        lambda: client.statistics().connections == number and client.statistics().connected,
        patience,
    )


async def lose_session(server: Server) -> None:
    """Break the connection and forget the session, before the client is back."""
    server.drop("c")
    await server.wait_until(lambda: not server.sessions["c"].connected)
    server.forget_session("c")


def connects(server: Server) -> list[Connect]:
    """The CONNECTs that a server has received."""
    return [entry.packet for entry in server.log if isinstance(entry.packet, Connect)]
