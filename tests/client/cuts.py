"""One exchange between a client and the rest of the world, to be cut anywhere and resumed.

The client subscribes, publishes from two tasks, one of them the loop that receives, and has a
message in hand for so long that whatever breaks the connection finds it there. The *world* is a
server with a program at it that sends the client its messages and counts what the client's
messages have become.

An exchange is over when a last message has passed in each direction and no handshake is open: what
comes twice has come by then.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

import attrs
import trio

from trio_mqtt import Client, Message, Protocol, Session, SessionLost
from trio_mqtt.testing import Ending, Faults

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mqtt import PublishResult, Subscription

Direction = Literal["to_server", "to_client"]
DIRECTIONS: Final[tuple[Direction, ...]] = ("to_server", "to_client")
OnSessionLost = Literal["republish_certain", "republish", "fail"]

INBOUND: Final = ("1", "2", "3")
OUTBOUND: Final = ("a", "b", "2", "3")
LATE: Final = "1"
LAST: Final = "z"
EXPIRY: Final = 3600
PATIENCE: Final = 60
"""Longer than any exchange takes, in seconds of Trio's clock."""
AGAIN: Final = 0.1
"""How long to wait for what may have been lost, in seconds."""
MOMENT: Final = 0.01
LONG: Final = 0.05
"""How long a message is in hand that is still there when the client has connected again."""
SHORT: Final = 0.0001
"""How long one is that may be settled while there is no connection."""


@attrs.frozen
class Cut:
    """Where a Network Connection breaks.

    Attributes:
        direction: of the bytes that are counted.
        offset: behind how many of them.
    """

    direction: Direction
    offset: int

    def faults(self, ending: Ending) -> Faults:
        """What the connection suffers."""
        if self.direction == "to_server":
            return Faults(cut_to_server=self.offset, ending=ending)
        return Faults(cut_to_client=self.offset, ending=ending)


@attrs.frozen(kw_only=True)
class Case:
    """What is cut.

    Attributes:
        qos: of all messages.
        protocol: the version of MQTT.
        ending: how the connections break.
        cuts: where the first connection breaks, the second and so on.
        forget: whether the server loses the Session before the second connection.
        on_session_lost: what the client does then.
        hold: how long one of the messages is in hand, in seconds.
        window: the Receive Maximum of both sides; None for all there is.
        capacity: how many bytes are on their way at most, in each direction.
        name: the Client Identifier, and what Topic Names begin with.
    """

    qos: int
    protocol: Protocol
    ending: Ending = "reset"
    cuts: tuple[Cut, ...] = ()
    forget: bool = False
    on_session_lost: OnSessionLost = "republish_certain"
    hold: float = LONG
    window: int | None = None
    capacity: int = 65_536
    name: str = "c"

    @property
    def inbox(self) -> str:
        """The Topic Name of what the client receives."""
        return f"{self.name}i"

    @property
    def outbox(self) -> str:
        """The Topic Name of what it publishes."""
        return f"{self.name}o"

    @property
    def may_lose(self) -> bool:
        """Whether what the world sends may never come."""
        return self.qos == 0 or self.forget

    def faults(self) -> list[Faults]:
        """What the connections suffer."""
        return [cut.faults(self.ending) for cut in self.cuts]

    def session(self) -> Session:
        """A Session that lives as long as the exchange."""
        return Session(self.name, expiry=EXPIRY)


class World(ABC):
    """What the client talks to, and what that has seen of it.

    Attributes:
        received: the payloads that a subscriber of the client's messages has got, in order.
        subscribed: set once the client says that it has subscribed.
    """

    def __init__(self) -> None:
        self.received: list[str] = []
        self.subscribed = trio.Event()
        self._changed = trio.lowlevel.ParkingLot()

    def note(self, payload: bytes) -> None:
        """A message of the client's has arrived."""
        self.received.append(payload.decode())
        self._changed.unpark_all()

    async def wait_received(self, payload: str) -> None:
        """Wait until a message of the client's has arrived."""
        while payload not in self.received:
            await self._changed.park()

    async def wait_subscribed(self) -> None:
        """Wait until the client gets what is sent."""
        await self.subscribed.wait()

    @abstractmethod
    async def send(self, payload: str) -> None:
        """Send the client a message."""

    @property
    def is_done(self) -> bool:
        """Whether no handshake with the client is open, as far as can be seen."""
        return True


class Exchange:
    """One exchange, and what has become of its messages.

    Attributes:
        taken: the payloads that the client's code was handed, in order.
        settled: the payloads that it has dealt with.
        accepted: the payloads whose publishers have got their results.
        doubtful: the payloads whose publishers were told that the Session was lost.
    """

    def __init__(self, case: Case, world: World) -> None:
        self.case = case
        self.world = world
        self.taken: list[str] = []
        self.settled: list[str] = []
        self.accepted: list[str] = []
        self.doubtful: list[str] = []
        self._in_hand: set[str] = set()
        self._last_came = trio.Event()
        self._changed = trio.lowlevel.ParkingLot()

    def __str__(self) -> str:
        """What has become of its messages."""
        return (
            f"taken {self.taken}, settled {self.settled}, accepted {self.accepted}, "
            f"doubtful {self.doubtful}, received by the world {self.world.received}"
        )

    async def run(self, client: Client) -> None:
        """All of it; returns once nothing is under way any more."""
        case = self.case
        async with trio.open_nursery() as world:
            world.start_soon(self._send)
            async with (
                client.subscribe(case.inbox, qos=case.qos) as messages,
                trio.open_nursery() as nursery,
            ):
                self.world.subscribed.set()
                nursery.start_soon(self._receive, client, messages)
                async with trio.open_nursery() as publishers:
                    for payload in OUTBOUND[:2]:  # both under way at once
                        delivery = await client.enqueue(case.outbox, payload, qos=case.qos)
                        publishers.start_soon(self._note_result, payload, delivery.wait)
                await self._last_came.wait()
                await self._publish_last(client)
                await self._wait_idle(client)
                nursery.cancel_scope.cancel()

    # -- receiving ----------------------------------------------------------------------------

    async def _send(self) -> None:
        """What the world sends, on its own."""
        world = self.world
        await world.wait_subscribed()
        for payload in INBOUND:
            await world.send(payload)
        if not self.case.may_lose:
            while not set(INBOUND) <= set(self.settled):
                await self._changed.park()
            await world.send(LAST)
            return
        while not self._last_came.is_set():
            await world.send(LAST)
            with trio.move_on_after(AGAIN):
                await self._last_came.wait()

    async def _receive(self, client: Client, messages: Subscription) -> None:
        async with trio.open_nursery() as nursery:
            async for message in messages:
                payload = message.text()
                assert payload not in self._in_hand, f"{payload} came while it was in hand: {self}"
                self.taken.append(payload)
                if payload == LATE:
                    await nursery.start(self._deal_with_late, message)
                    continue
                if payload in OUTBOUND:
                    await self._publish_again(client, payload)
                self._note_settled(payload)
                if payload == LAST:
                    self._last_came.set()

    async def _deal_with_late(
        self, message: Message, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        payload = message.text()
        with message:
            self._in_hand.add(payload)
            task_status.started()
            await trio.sleep(self.case.hold)
            self._in_hand.remove(payload)
            self._note_settled(payload)

    def _note_settled(self, payload: str) -> None:
        self.settled.append(payload)
        self._changed.unpark_all()

    # -- publishing ---------------------------------------------------------------------------

    async def _note_result(
        self, payload: str, publish: Callable[[], Awaitable[PublishResult]]
    ) -> None:
        try:
            await publish()
        except SessionLost:
            self.doubtful.append(payload)
        else:
            self.accepted.append(payload)

    async def _publish_again(self, client: Client, payload: str) -> None:
        """Publish what came, under another name if it came twice."""
        times = self.taken.count(payload)
        name = payload if times == 1 else f"{payload}x{times}"
        await self._note_result(
            name, partial(client.publish, self.case.outbox, name, qos=self.case.qos)
        )

    async def _publish_last(self, client: Client) -> None:
        """Publish what comes last until it has come."""
        publish = partial(client.publish, self.case.outbox, LAST, qos=self.case.qos)
        while LAST not in self.world.received:
            await self._note_result(LAST, publish)
            with trio.move_on_after(AGAIN if self.case.may_lose else PATIENCE):
                await self.world.wait_received(LAST)

    async def _wait_idle(self, client: Client) -> None:
        """Wait until no handshake is open on either side, and all that was accepted has come."""
        # What the client holds of a Session that is no more, as far as it can tell it may come.
        held = self.case.forget and len(self.case.cuts) > 1
        while not (is_idle(client, held=held) and self.world.is_done and self._is_done):  # noqa: ASYNC110
            await trio.sleep(MOMENT)

    @property
    def _is_done(self) -> bool:
        all_came = not self.case.qos or set(self.accepted) <= set(self.world.received)
        return all_came and not self._in_hand


def is_idle(client: Client, *, held: bool = False) -> bool:
    """Whether no message is under way, no Packet Identifier in use and the window whole.

    Args:
        client: the client.
        held: whether messages of earlier connections may be left.
    """
    now = client.statistics()
    open_ends = (now.unfinished, now.queued, now.output_bytes, now.unsettled, now.held and not held)
    whole = now.window == min(client.server.receive_maximum, 65_000)
    return now.connected and not any((*open_ends, now.unclaimed)) and whole


# -- what must hold -------------------------------------------------------------------------------


def check(exchange: Exchange) -> None:
    """Check that what was promised has been kept."""
    case = exchange.case
    received, taken, settled = (
        Counter(each) for each in (exchange.world.received, exchange.taken, exchange.settled)
    )
    if case.qos != 1:
        assert set(received) <= {*OUTBOUND, LAST}, exchange
    assert set(taken) <= {*INBOUND, LAST}, exchange
    assert taken == settled, exchange
    if case.forget:
        _check_lost_session(exchange, received, taken)
        return
    assert not exchange.doubtful, exchange
    if case.qos:
        assert {*OUTBOUND, LAST} <= set(received), f"a message was lost: {exchange}"
        assert set(taken) == {*INBOUND, LAST}, f"a message was lost: {exchange}"
        assert sorted(exchange.accepted) == sorted(received), f"a message was lost: {exchange}"
        assert _first_of_each(exchange.taken) == [*INBOUND, LAST], f"out of order: {exchange}"
        first = [each for each in _first_of_each(exchange.world.received) if each in OUTBOUND[:2]]
        assert first == [*OUTBOUND[:2]], f"out of order: {exchange}"
    if case.qos != 1:
        own = [received[each] for each in OUTBOUND]
        assert max(own + [taken[each] for each in INBOUND]) <= 1, f"doubled: {exchange}"
    if case.qos == 2:
        assert received[LAST] == taken[LAST] == 1, f"doubled: {exchange}"


def _check_lost_session(exchange: Exchange, received: Counter[str], taken: Counter[str]) -> None:
    case = exchange.case
    assert {*OUTBOUND[:2], LAST} <= {*exchange.accepted, *exchange.doubtful}, exchange
    for payload in OUTBOUND:
        if payload in exchange.accepted and case.qos:
            assert received[payload], f"a message was lost: {exchange}"
        if case.qos == 2 and case.on_session_lost != "republish":
            # Where nobody heard that the Session was lost, a message under way comes twice.
            assert received[payload] <= max(1, len(case.cuts)), f"doubled: {exchange}"
    if case.qos == 2:
        assert max((taken[each] for each in INBOUND), default=0) <= 1, f"doubled: {exchange}"
    certain = case.on_session_lost == "republish" or (
        case.on_session_lost == "republish_certain" and case.qos == 1
    )
    if certain:
        assert not exchange.doubtful, exchange


def _first_of_each(payloads: list[str]) -> list[str]:
    return list(dict.fromkeys(payloads))
