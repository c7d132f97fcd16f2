"""A client that ends where its connection is cut, and others that go on with its Session.

It ends in one of two ways: it *fails*, so that its Session is closed in good order, or it *dies* on
the spot, and what its storage had committed by then is all that is left.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar
from unittest.mock import patch

import trio
import trio.testing

import trio_mqtt
from tests.client.cuts import EXPIRY, INBOUND, LAST, LATE, MOMENT, OUTBOUND, PATIENCE, Case, is_idle
from tests.client.worlds import Report, open_world
from trio_mqtt import Client, ConnectFailed, ConnectionLost, Session, SQLiteStorage
from trio_mqtt._protocol.records import RECEIVED
from trio_mqtt.abc import Storage
from trio_mqtt.testing import open_network

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from pathlib import Path

    from tests.client.worlds import MemoryWorld
    from trio_mqtt import Message, Subscription
    from trio_mqtt.abc import Changes, RecordKey
    from trio_mqtt.testing import FaultyNetwork

Kind = Literal["object", "shelf", "file"]
"""What of a Session is there afterwards: itself, the records of a `Shelf`, or an SQLite file."""

COMMIT: Final = 0.001
"""How long a commit takes, in seconds."""

T = TypeVar("T")


class Shelf(Storage):
    """Keeps records in a dict that outlives it; once it is dead, commits come to nothing."""

    def __init__(self, records: dict[RecordKey, bytes]) -> None:
        self._records = records
        self._is_dead = False

    def kill(self) -> None:
        """From now on nothing is committed."""
        self._is_dead = True

    def has_died(self) -> bool:
        """Whether the program that has it is no more, and what its code still does is void."""
        return self._is_dead

    def open(self, client_id: str) -> Iterable[tuple[RecordKey, bytes]]:
        return sorted(
            self._records.items(), key=lambda item: (item[0][0], str(item[0][1]).zfill(9))
        )

    def commit(self, changes: Changes) -> None:
        if self._is_dead:
            return
        for key, value in changes.items():
            if value is None:
                self._records.pop(key, None)
            else:
                self._records[key] = value

    def close(self) -> None:
        pass


@contextmanager
def threads_in_turn() -> Generator[None]:
    """Have the work of threads done by the task itself, after some time of a clock that jumps."""

    async def run_sync(function: Callable[..., T], *args: Any, **_options: Any) -> T:
        with trio.CancelScope(shield=True):
            await trio.sleep(COMMIT)
        return function(*args)

    with patch.object(trio.to_thread, "run_sync", run_sync):
        yield


class Lives:
    """The lives of one Session.

    Attributes:
        enqueued: the payloads that the client has said it will deliver, by what is in them.
        taken: the payloads that its code was handed, in order.
        settled: the payloads that it has dealt with.
        durable: those of QoS 2 of which the storage knew that, when a life had ended.
    """

    def __init__(
        self, case: Case, kind: Kind, path: Path | None, world: MemoryWorld, *, dies: bool
    ) -> None:
        self.case = case
        self.world = world
        self.enqueued: dict[str, str] = {}
        self.taken: list[str] = []
        self.settled: list[str] = []
        self.durable: set[str] = set()
        self._dies = dies
        self._kind = kind
        self._path = path
        self._records: dict[RecordKey, bytes] = {}
        self._session = case.session()
        self._shelf = Shelf(self._records)
        self._identifiers: dict[str, int] = {}
        self._number = 0
        self._done = False

    def __str__(self) -> str:
        """What has become of the messages."""
        return (
            f"life {self._number}, enqueued {self.enqueued}, taken {self.taken}, settled "
            f"{self.settled}, durable {self.durable}, received by the world {self.world.received}"
        )

    def _next_session(self) -> Session:
        if self._kind == "object":
            return self._session
        if self._kind == "shelf":
            self._shelf = Shelf(self._records)
            return Session(self.case.name, expiry=EXPIRY, storage=self._shelf)
        assert self._path is not None
        return Session(self.case.name, expiry=EXPIRY, storage=SQLiteStorage(self._path))

    async def run(self, network: FaultyNetwork) -> None:
        """Live until everything is done."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send)
            while not self._done:
                self._number += 1
                with trio.CancelScope() as scope:
                    nursery.start_soon(self._end_with, network, self._number, scope)
                    await self._live_once(network)
                self._note_durable()
                await trio.sleep(MOMENT)
            nursery.cancel_scope.cancel()

    async def _live_once(self, network: FaultyNetwork) -> None:
        case = self.case
        try:
            async with trio_mqtt.open_client(
                connector=partial(network.connect, capacity=case.capacity),
                session=self._next_session(),
                protocol=case.protocol,
                keep_alive=0,
                reconnect=None,
            ) as client:
                await self._live(client, self._shelf)
        except (ConnectFailed, ConnectionLost):
            return

    async def _end_with(self, network: FaultyNetwork, number: int, scope: trio.CancelScope) -> None:
        """Die with a connection; a client that merely fails does so by itself."""
        connection = await network.wait_connection(number)
        if await connection.wait_ended() == "cut" and self._dies:
            self._shelf.kill()
            scope.cancel()

    def _note_durable(self) -> None:
        for payload in self.settled:
            if (RECEIVED, self._identifiers[payload]) in self._records:
                self.durable.add(payload)

    async def _send(self) -> None:
        """What the world sends, on its own."""
        await self.world.wait_subscribed()
        for payload in INBOUND:
            await self.world.send(payload)
        while not set(INBOUND) <= set(self.settled):  # noqa: ASYNC110
            await trio.sleep(MOMENT)
        self.world.use_identifiers_again()
        await self.world.send(LAST)

    async def _live(self, client: Client, shelf: Shelf) -> None:
        case = self.case
        async with (
            client.subscribe(case.inbox, qos=case.qos) as messages,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(self._receive, messages, shelf)
            for what in OUTBOUND:
                if what not in self.enqueued:
                    # Not to be taken for one that an earlier life may have enqueued, or not.
                    payload = f"{what}{self._number}"
                    await client.enqueue(case.outbox, payload, qos=case.qos)
                    if not shelf.has_died():
                        self.enqueued[what] = payload
            while not (self._is_complete and is_idle(client) and self.world.is_done):  # noqa: ASYNC110
                await trio.sleep(MOMENT)
            self._done = True
            nursery.cancel_scope.cancel()

    @property
    def _is_complete(self) -> bool:
        return {*INBOUND, LAST} <= set(self.settled)

    async def _receive(self, messages: Subscription, shelf: Shelf) -> None:
        async with trio.open_nursery() as nursery:
            async for message in messages:
                if shelf.has_died():
                    return
                payload = message.text()
                assert payload not in self.durable, f"{payload} was settled on disk, and came again"
                self.taken.append(payload)
                if payload == LATE:
                    await nursery.start(self._deal_with_late, message, shelf)
                else:
                    self._settle(message)

    async def _deal_with_late(
        self,
        message: Message,
        shelf: Shelf,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        with message:
            task_status.started()
            await trio.sleep(self.case.hold)
            if not shelf.has_died():
                self._settle(message)

    def _settle(self, message: Message) -> None:
        message.ack()
        self._identifiers[message.text()] = message.packet_id
        self.settled.append(message.text())

    def check(self) -> None:
        """Check that what was promised has been kept."""
        received, taken, settled = (
            Counter(each) for each in (self.world.received, self.taken, self.settled)
        )
        for payload in self.enqueued.values():
            assert received[payload], f"{payload} was lost"
        for payload in (*INBOUND, LAST):
            assert taken[payload], f"{payload} was lost"
        if self.case.qos == 2:
            assert max(received.values()) == 1, "doubled"
            if not self._dies:
                assert max(settled.values()) == 1, "settled twice"
        self.world.check_packets()


async def lives_in_memory(
    case: Case, kind: Kind, path: Path | None = None, *, dies: bool = False
) -> Report:
    """Run a case with a client that ends at each cut, and check it."""
    async with open_world(case) as world, open_network(world.connect, case.faults()) as network:
        lives = Lives(case, kind, path, world, dies=dies)
        try:
            with threads_in_turn(), trio.fail_after(PATIENCE):
                await lives.run(network)
            await trio.testing.wait_all_tasks_blocked()  # until DISCONNECT has passed
            lives.check()
        except BaseException as error:
            error.add_note(f"{case}\n{lives}\n{network.connections}")
            raise
        return Report.of(case, network)
