"""Kills a program that publishes and consumes with a durable Session, again and again.

``python -m tests.client.kill_child URL DIRECTORY KILLS SEED SETTLING PROTOCOL``. Each program is a
fork of this one. It publishes messages with names of their own to ``DIRECTORY's name/out/QOS`` and
tells each that was accepted; it consumes what comes for ``.../in/+``, and has an effect for each
message. It dies by SIGKILL

- after so many milliseconds, from outside; or
- where it has come to a place for the n-th time: before or after it connects, opens the storage,
  sends, receives, has an effect, commits; or after so many steps of SQLite inside a commit.

It writes what it has done into files, which a SIGKILL does not harm:

- ``accepted``: a line for each message that `enqueue` has taken, its name;
- ``handled``, only where effects are not in the database: a line for each effect, its run, the
  name of the message and its Packet Identifier; and for each commit its run and the Packet
  Identifiers that are known to be settled from then on.

What this program prints: ``ready`` when there is a subscription; how the children have died, as
JSON, after the last kill; and ``done`` when a last child has dealt with all messages up to those
that say ``end``.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import mmap
import os
import random
import select
import signal
import sys
import traceback
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import attrs
import trio

import trio_mqtt
from trio_mqtt._protocol.records import RECEIVED
from trio_mqtt._storage import Effect

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence

    from trio_mqtt.abc import Changes, RecordKey

LONGEST_LIFE: Final = 0.4
"""By then it is killed, in seconds, whether or not it has come to its place."""
EVER: Final = 0xFFFF_FFFF
MOST_STEPS: Final = 400
CONSUMERS: Final = 3
PUBLISHERS: Final = 2  # for each QoS
OFTEN_PAUSED: Final = 0.3
LONGEST_PAUSE: Final = 0.01
WORK: Final = 0.002
"""How long the plain loop is about its work before each effect, in seconds."""
TABLE: Final = "CREATE TABLE IF NOT EXISTS effects (name TEXT NOT NULL)"


class Place(StrEnum):
    """Where a program can be killed."""

    OPEN = "opening the storage"
    CONNECT = "connecting"
    CONNECTED = "connected"
    SEND = "about to send"
    SENT = "sent"
    RECEIVED = "received"
    EFFECT = "in an effect"
    COMMIT = "about to commit"
    IN_COMMIT = "committing"
    COMMITTED = "committed"
    ACCEPTED = "accepted"


OFTEN: Final[dict[Place | None, int]] = {Place.OPEN: 2, Place.CONNECT: 1, Place.CONNECTED: 1}
"""How often a program comes to a place at least; to the others at least 15 times."""


@attrs.define
class Fate:
    """When a program is to die, and where it is: memory that it shares with who looks after it.

    Attributes:
        place: where it is to die, or None.
        times: when it comes there for this time.
        steps: after so many steps of SQLite, if that is in a commit.
        after: when it is killed from outside, in seconds.
    """

    place: Place | None
    times: int
    steps: int
    after: float
    memory: mmap.mmap = attrs.field(factory=lambda: mmap.mmap(-1, mmap.PAGESIZE))

    def at(self, place: Place) -> None:
        """It has come to this place."""
        if place is self.place:
            self.times -= 1
            if not self.times:
                self.memory[0] = list(Place).index(place) + 1
                os.kill(os.getpid(), signal.SIGKILL)

    @contextlib.contextmanager
    def during(self, place: Place) -> Generator[None]:
        """It is at this place while the block runs."""
        position = list(Place).index(place) + 1
        self.memory[position] = 1
        try:
            yield
        finally:
            self.memory[position] = 0

    def arm(self, connection: sqlite3.Connection | None) -> None:
        """A commit begins."""
        if self.place is Place.IN_COMMIT and connection is not None:
            self.times -= 1
            if not self.times:
                kill = functools.partial(os.kill, os.getpid(), signal.SIGKILL)
                connection.set_progress_handler(kill, self.steps)

    def found(self) -> str:
        """Where it was when it died."""
        if self.memory[0]:
            return list(Place)[self.memory[0] - 1].value
        names = [place.value for place, here in zip(Place, self.memory[1:], strict=False) if here]
        return " and ".join(names) or "elsewhere"


class WatchedStorage(trio_mqtt.SQLiteStorage):
    """Comes to places."""

    def __init__(self, path: Path, fate: Fate, committed: Callable[[Iterable[int]], None]) -> None:
        super().__init__(path)
        self._fate = fate
        self._committed = committed

    def open(self, client_id: str) -> Iterable[tuple[RecordKey, bytes]]:
        self._fate.at(Place.OPEN)
        with self._fate.during(Place.OPEN):
            records = super().open(client_id)
        self._fate.at(Place.OPEN)
        return records

    def commit_steps(self, steps: Sequence[Changes | Effect[object]]) -> None:
        fate = self._fate
        fate.at(Place.COMMIT)
        fate.arm(self._connection)
        with fate.during(Place.IN_COMMIT):
            super().commit_steps(steps)
        self._committed(
            int(key)
            for step in steps
            for (kind, key), value in (step.changes if isinstance(step, Effect) else step).items()
            if kind == RECEIVED and value is not None
        )
        fate.at(Place.COMMITTED)


class WatchedStream(trio.abc.Stream):
    """Comes to places, too."""

    def __init__(self, stream: trio.abc.Stream, fate: Fate) -> None:
        self._stream = stream
        self._fate = fate

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._fate.at(Place.SEND)
        with self._fate.during(Place.SEND):
            await self._stream.send_all(data)
        self._fate.at(Place.SENT)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._stream.receive_some(max_bytes)
        self._fate.at(Place.RECEIVED)
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()


Job = Literal["work", "subscribe", "finish"]


@attrs.define
class Program:
    """What is killed.

    Attributes:
        url: of the server.
        directory: where its files are; the name is its Client Identifier.
        run: which of the programs it is.
        in_transactions: whether an effect and the settling are one transaction.
        protocol: which version of MQTT it speaks.
        fate: how it ends.
        job: ``"work"`` publishes and consumes for ever, ``"subscribe"`` does only that, and
            ``"finish"`` consumes until the end.
    """

    url: str
    directory: Path
    run: int
    in_transactions: bool
    protocol: trio_mqtt.Protocol
    fate: Fate
    job: Job = "work"
    _ends: set[str] = attrs.field(factory=set[str])

    def write(self, name: str, line: str) -> None:
        """Add a line to a file, in one piece."""
        file = os.open(self.directory / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{line}\n".encode())
        os.close(file)

    def _note_commit(self, settled: Iterable[int]) -> None:
        numbers = " ".join(map(str, settled))
        if numbers and not self.in_transactions:
            self.write("handled", f"{self.run} committed {numbers}")

    async def main(self) -> None:
        """Publish and consume."""
        client_id = self.directory.name
        logging.getLogger("trio_mqtt").setLevel(logging.CRITICAL)
        storage = WatchedStorage(self.directory / "session.db", self.fate, self._note_commit)
        session = trio_mqtt.Session(client_id, expiry=EVER, storage=storage, queue=100)
        with contextlib.ExitStack() as connecting:
            connecting.enter_context(self.fate.during(Place.CONNECT))
            async with (
                trio_mqtt.open_client(
                    self.url,
                    connector=self._connect,
                    session=session,
                    protocol=self.protocol,
                    close_timeout=20,
                ) as client,
                client.subscribe(f"{client_id}/in/+", qos=2) as messages,
                trio.open_nursery() as nursery,
            ):
                connecting.close()
                if self.job == "subscribe":
                    return
                for _ in range(CONSUMERS if self.in_transactions else 1):
                    nursery.start_soon(self._consume, client, session, messages, nursery)
                if self.job == "work":
                    for qos in (1, 2):
                        for number in range(PUBLISHERS):
                            nursery.start_soon(self._publish, client, qos, number)

    @contextlib.asynccontextmanager
    async def _connect(self) -> AsyncGenerator[trio.abc.Stream]:
        self.fate.at(Place.CONNECT)
        host, port = self.url.removeprefix("mqtt://").split(":")
        async with WatchedStream(await trio.open_tcp_stream(host, int(port)), self.fate) as stream:
            self.fate.at(Place.CONNECTED)
            yield stream

    async def _publish(self, client: trio_mqtt.Client, qos: int, publisher: int) -> None:
        chance = random.Random(self.run * 10 + publisher)  # noqa: S311
        number = 0
        while True:
            number += 1
            name = f"{qos}-{self.run}-{publisher}-{number}"
            await client.enqueue(f"{self.directory.name}/out/{qos}", name, qos=qos)
            self.write("accepted", name)
            self.fate.at(Place.ACCEPTED)
            if chance.random() < OFTEN_PAUSED:
                await trio.sleep(chance.random() * LONGEST_PAUSE)

    async def _consume(
        self,
        client: trio_mqtt.Client,
        session: trio_mqtt.Session,
        messages: trio_mqtt.Subscription,
        nursery: trio.Nursery,
    ) -> None:
        async for message in messages:
            name = message.text()
            if self.in_transactions:
                await session.settle(message, functools.partial(self._insert, name))
            else:
                await trio.sleep(WORK)
                self.write("handled", f"{self.run} handled {name} {message.packet_id}")
                self.fate.at(Place.EFFECT)
            if name.endswith("end"):
                self._ends.add(name)
                if len(self._ends) == 2:
                    message.ack()
                    while client.statistics().unfinished:  # noqa: ASYNC110 - no event tells
                        await trio.sleep(WORK)
                    nursery.cancel_scope.cancel()

    def _insert(self, name: str, connection: sqlite3.Connection) -> None:
        with self.fate.during(Place.EFFECT):
            connection.execute(TABLE)
            connection.execute("INSERT INTO effects VALUES (?)", (name,))
            self.fate.at(Place.EFFECT)


def fork(program: Program) -> int:
    """Run it as a process of its own, and return which."""
    child = os.fork()
    if not child:
        try:
            trio.run(program.main)
        except BaseException:  # noqa: BLE001 - nothing of this process is to go on in the child
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def end_of(child: int, longest: float | None = None) -> int:
    """How it ended; it is killed if it has not after so many seconds."""
    handle = os.pidfd_open(child)
    try:
        ended, _, _ = select.select([handle], [], [], longest)
    finally:
        os.close(handle)
    if not ended:
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


NO_FATE: Final = Fate(None, 0, 0, 0)


def draw(number: int, chance: random.Random) -> Fate:
    """How the next one is to die: every other one at a place, all of them in turn."""
    place = None if number % 2 else list(Place)[number // 2 % len(Place)]
    return Fate(
        place,
        chance.randint(1, OFTEN.get(place, 15)) if place else 0,
        chance.randint(1, MOST_STEPS),
        LONGEST_LIFE if place else chance.uniform(0, LONGEST_LIFE),
    )


def main(url: str, directory: Path, kills: int, seed: int, settling: str, protocol: str) -> None:
    """Kill; see above."""
    chance = random.Random(seed)  # noqa: S311
    make = functools.partial(
        Program,
        url,
        directory,
        in_transactions=settling == "transaction",
        protocol=trio_mqtt.Protocol(int(protocol)),
    )
    deaths: Counter[str] = Counter()
    for run in range(1, kills + 1):
        if run == kills // 10:  # some have died while the file was made, or before subscribing
            status = end_of(fork(make(0, fate=NO_FATE, job="subscribe")))
            assert status == 0, f"the one that only subscribes ended with {status}"
            print("ready", flush=True)  # noqa: T201
        fate = draw(run, chance)
        status = end_of(fork(make(run, fate=fate)), fate.after)
        assert status == -signal.SIGKILL, f"run {run} ended with {status}"
        deaths[fate.found()] += 1
        fate.memory.close()
    print(json.dumps(deaths), flush=True)  # noqa: T201
    status = end_of(fork(make(kills + 1, fate=NO_FATE, job="finish")))
    assert status == 0, f"the last run ended with {status}"
    print("done", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])
