"""A Session whose storage outlives the program: what the next run finds, and what a full disk does.

Most of these tests use a storage of their own, which needs nothing but `trio_mqtt.abc.Storage`. As
it is done at once, it is called without a thread, so that a mock clock does not run away meanwhile.
"""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_mqtt
from tests.client.storages import DictStorage, call_in_place
from tests.client.support import open_once
from tests.storage.support import query
from trio_mqtt import Reconnect, Session, SQLiteStorage, StorageBusy, StorageError
from trio_mqtt._protocol.records import OUTGOING, RECEIVED, SESSION, SUBSCRIPTION, UNCLAIMED
from trio_mqtt.abc import Storage
from trio_mqtt.events import MessageReleased, PublishFailed
from trio_mqtt.packets import (
    Connect,
    Disconnect,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Subscribe,
    Unsubscribe,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
    from pathlib import Path

    from trio_mqtt._storage import Effect
    from trio_mqtt.abc import Changes, RecordKey
    from trio_mqtt.packets import Packet
    from trio_mqtt.testing import Server

WEEK: Final = 7 * 24 * 3600
CLIENT: Final = "gateway"
FULL: Final = "there is no room left"


class Shelf(DictStorage):
    """Has no room at times, and one owner at a time.

    Attributes:
        full: whether there is no room.
        commits: what was committed, in order.
    """

    def __init__(self, records: dict[RecordKey, bytes] | None = None) -> None:
        super().__init__(records)
        self.full = False
        self.commits: list[Changes] = []
        self._is_open = False

    def open(self, client_id: str) -> Iterable[tuple[RecordKey, bytes]]:
        if self._is_open:
            raise StorageBusy(f"the shelf of {client_id} is in use")
        self._is_open = True
        return super().open(client_id)

    def commit(self, changes: Changes) -> None:
        if self.full:
            raise StorageError(FULL)
        self.commits.append(dict(changes))
        super().commit(changes)

    def close(self) -> None:
        self._is_open = False


class Full(SQLiteStorage):
    """Has no room at times."""

    full = False

    def commit_steps(self, steps: Sequence[Changes | Effect[object]]) -> None:
        if self.full:
            raise StorageError(FULL)
        super().commit_steps(steps)


@pytest.fixture(autouse=True, params=["no threads"])
def no_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Call what may block where it is, unless a test wants threads."""
    if request.param == "no threads":
        call_in_place(monkeypatch)


threads = pytest.mark.parametrize("no_threads", ["threads"], indirect=True)


def session_in(storage: Storage, **options: Any) -> Session:
    return Session(CLIENT, expiry=WEEK, storage=storage, **options)


@asynccontextmanager
async def opened(
    server: Server, session: Session | Storage, **options: Any
) -> AsyncGenerator[trio_mqtt.Client]:
    """A client with a Session, which is left without waiting long."""
    if isinstance(session, Storage):
        session = session_in(session)
    usual: dict[str, Any] = {"close_timeout": 1, "reconnect": Reconnect(delay=0.1)}
    usual |= options
    connector = server.connect
    async with trio_mqtt.open_client(connector=connector, session=session, **usual) as client:
        yield client


@asynccontextmanager
async def offline(server: Server, session: Session | Storage) -> AsyncGenerator[trio_mqtt.Client]:
    """The same without a connection."""
    server.accepting = False
    reconnect = Reconnect(initial="background", delay=100)
    try:
        async with opened(server, session, reconnect=reconnect) as client:
            yield client
    finally:
        server.accepting = True


def crashes(server: Server) -> None:
    """Break the connection; with this, what a client does on leaving is for nobody."""
    server.accepting = False
    server.drop(CLIENT)


def received(server: Server, *wanted: type[Packet], after: int = 0) -> list[Packet]:
    """What the server got from the client."""
    return [
        entry.packet
        for entry in server.log
        if entry.direction == "received"
        and entry.number > after
        and isinstance(entry.packet, wanted)
    ]


def last_entry(server: Server) -> int:
    return server.log[-1].number


async def payloads(messages: trio_mqtt.Subscription) -> list[str]:
    """What has arrived."""
    await wait_all_tasks_blocked()
    found: list[str] = []
    try:
        while True:
            found.append(messages.receive_nowait().text())
    except trio.WouldBlock:
        return found


async def take(messages: trio_mqtt.Subscription) -> trio_mqtt.Message:
    with trio.fail_after(5):
        return await messages.receive()


# -- sending --------------------------------------------------------------------------------------


async def test_the_queue_is_sent_by_the_next_run(autojump_clock: MockClock, server: Server) -> None:
    shelf = Shelf()
    async with offline(server, shelf) as client:
        for number in range(3):
            await client.enqueue("a", str(number), qos=1 + number % 2)
    assert len(shelf.kind(OUTGOING)) == 3
    async with opened(server, shelf) as client:
        await client.publish("a", "new", qos=1)
        sent = [each for each in received(server, Publish) if isinstance(each, Publish)]
    assert [each.payload for each in sent] == [b"0", b"1", b"2", b"new"]
    assert not any(each.dup for each in sent)
    assert shelf.kind(OUTGOING) == []


@pytest.mark.parametrize("qos", [1, 2])
async def test_what_was_under_way_is_sent_again(
    autojump_clock: MockClock, server: Server, qos: int
) -> None:
    shelf = Shelf()
    with server.holding(PubAck, PubRec):
        async with opened(server, shelf) as client:
            for number in range(3):
                await client.enqueue("a", str(number), qos=qos)
            await wait_all_tasks_blocked()
            crashes(server)
        server.accepting = True
    before = last_entry(server)
    async with opened(server, shelf) as client:
        await client.publish("a", "new", qos=qos)
    sent = [each for each in received(server, Publish, after=before) if isinstance(each, Publish)]
    assert [(each.payload, each.dup) for each in sent] == [
        (b"0", True),
        (b"1", True),
        (b"2", True),
        (b"new", False),
    ]
    assert len({each.packet_id for each in sent}) == 4
    assert shelf.kind(OUTGOING) == []


async def test_handshakes_go_on_where_they_were(autojump_clock: MockClock, server: Server) -> None:
    shelf = Shelf()
    with server.holding(PubComp):
        async with opened(server, shelf) as client:
            for number in range(3):
                await client.enqueue("a", str(number), qos=2)
            await wait_all_tasks_blocked()
            crashes(server)
        server.accepting = True
    before = last_entry(server)
    async with opened(server, shelf) as client:
        await wait_all_tasks_blocked()
        assert client.statistics().unfinished == 0
    sent = received(server, Publish, PubRel, after=before)
    assert [type(each) for each in sent] == [PubRel] * 3


# -- time -----------------------------------------------------------------------------------------


class Wall:
    """A wall clock."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_expiry_counts_down_between_runs(autojump_clock: MockClock, server: Server) -> None:
    shelf, wall = Shelf(), Wall()
    async with offline(server, session_in(shelf, clock=wall)) as client:
        start = trio.current_time()
        await client.enqueue("a", "kept", message_expiry=100)
        await client.enqueue("a", "dropped", message_expiry=50)
    wall.now += trio.current_time() - start  # it goes on as Trio's does
    wall.now += 60
    async with opened(server, session_in(shelf, clock=wall)) as client:
        await client.publish("a", "new", qos=1)
        assert client.statistics().expired == 1
    kept, _new = received(server, Publish)
    assert isinstance(kept, Publish)
    assert kept.payload == b"kept"
    left = kept.properties.message_expiry_interval
    assert left is not None
    assert 35 <= left <= 40


async def test_what_has_expired_between_runs_is_told(
    autojump_clock: MockClock, server: Server
) -> None:
    shelf, wall = Shelf(), Wall()
    async with offline(server, session_in(shelf, clock=wall)) as client:
        await client.enqueue("a", "dropped", message_expiry=50)
    wall.now += 60
    server.accepting = False
    reconnect = Reconnect(initial="background", delay=0.1)
    async with (
        opened(server, session_in(shelf, clock=wall), reconnect=reconnect) as client,
        client.events() as events,
    ):
        server.accepting = True
        async for event in events:
            if isinstance(event, PublishFailed):
                assert event.message.payload == b"dropped"
                assert isinstance(event.error, trio_mqtt.MessageDropped)
                break
    assert received(server, Publish) == []
    assert shelf.kind(OUTGOING) == []


async def test_what_was_sent_is_sent_again_though_it_has_expired(
    autojump_clock: MockClock, server: Server
) -> None:
    shelf, wall = Shelf(), Wall()
    with server.holding(PubAck):
        async with opened(server, session_in(shelf, clock=wall)) as client:
            await client.enqueue("a", "sent", message_expiry=50)
            await wait_all_tasks_blocked()
            crashes(server)
        server.accepting = True
    wall.now += 60
    async with opened(server, session_in(shelf, clock=wall)) as client:
        await wait_all_tasks_blocked()
    _first, again = received(server, Publish)
    assert isinstance(again, Publish)
    assert again.dup
    assert again.properties.message_expiry_interval == 1


# -- receiving ------------------------------------------------------------------------------------


async def test_what_was_settled_is_not_delivered_by_the_next_run(
    autojump_clock: MockClock, server: Server
) -> None:
    shelf = Shelf()
    async with opened(server, shelf) as client, client.subscribe("a", qos=2) as messages:
        for name in ("first", "second", "third"):
            server.publish("a", name, qos=2)
        first, second, third = [await take(messages) for _ in range(3)]
        assert first.text() == "first"
        second.ack()
        third.ack()
        await wait_all_tasks_blocked()
        assert received(server, PubRec) == []  # the first holds them up
        crashes(server)
    server.accepting = True
    before = last_entry(server)
    async with opened(server, shelf) as client:
        async with client.subscribe("a", qos=2) as messages:
            assert (await take(messages)).text() == "first"
            assert await payloads(messages) == []
            assert received(server, PubRec, after=before) == []
        async with client.subscribe("a", qos=2) as messages:
            async for message in messages:
                message.ack()
                break
            await wait_all_tasks_blocked()
    assert len(received(server, PubRec, after=before)) == 3
    assert len(received(server, PubComp, after=before)) == 3


async def test_a_pubrel_finds_its_identifier_in_the_next_run(
    autojump_clock: MockClock, server: Server
) -> None:
    shelf = Shelf()
    with server.holding(PubRel):
        async with opened(server, shelf) as client, client.subscribe("a", qos=2) as messages:
            server.publish("a", "x", qos=2)
            (await take(messages)).ack()
            await wait_all_tasks_blocked()
            crashes(server)
        server.accepting = True
    async with opened(server, shelf) as client, client.subscribe("a", qos=2) as messages:
        assert await payloads(messages) == []
    [answer] = received(server, PubComp)
    assert isinstance(answer, PubComp)
    assert answer.reason_code == 0


async def test_kept_filters_keep_their_identifiers(
    autojump_clock: MockClock, server: Server
) -> None:
    shelf = Shelf()
    async with opened(server, shelf) as client:
        async with client.subscribe("a", qos=1), client.subscribe("b", qos=1):
            pass
        async with client.subscribe("c", qos=1, keep=False):
            pass
    assert sorted(map(str, shelf.kind(SUBSCRIPTION))) == ["a", "b"]
    before = last_entry(server)
    async with (
        opened(server, shelf) as client,
        client.subscribe("d", qos=1),
        client.subscribe("b", qos=1),
    ):
        pass
    identifiers = {
        each.requests[0].topic_filter: each.properties.subscription_identifiers
        for each in received(server, Subscribe, after=before)
        if isinstance(each, Subscribe)
    }
    assert identifiers == {"d": (4,), "b": (2,)}  # 3 was of c, and is never used again
    assert received(server, Unsubscribe, after=before) == []


async def test_a_filter_that_is_kept_from_now_on_is_on_disk_though_nothing_is_sent(
    autojump_clock: MockClock, server: Server
) -> None:
    shelf = Shelf()
    async with opened(server, shelf) as client, client.subscribe("a", qos=1, keep=False):
        await wait_all_tasks_blocked()
        assert shelf.kind(SUBSCRIPTION) == []
        before = last_entry(server)
        async with client.subscribe("a", qos=1):
            await wait_all_tasks_blocked()
            assert shelf.kind(SUBSCRIPTION) == ["a"]
            assert received(server, Subscribe, after=before) == []


async def test_messages_for_a_kept_filter_wait_for_whoever_comes(
    autojump_clock: MockClock, server: Server
) -> None:
    shelf = Shelf()
    async with opened(server, shelf) as client, client.subscribe("a/#", qos=1):
        pass
    server.publish("a/b", "while it was away", qos=1)
    async with opened(server, shelf) as client:
        await wait_all_tasks_blocked()
        assert client.statistics().unclaimed == 1
        async with client.subscribe("a/+", qos=1) as messages:
            assert (await take(messages)).text() == "while it was away"


async def test_a_lost_session_is_subscribed_again_by_the_next_run(
    autojump_clock: MockClock, server: Server
) -> None:
    shelf = Shelf()
    async with opened(server, shelf) as client, client.subscribe("a", qos=1):
        pass
    server.forget_session(CLIENT)
    async with opened(server, shelf) as client:
        await wait_all_tasks_blocked()
        assert "a" in server.sessions[CLIENT].subscriptions


# -- unclaimed ------------------------------------------------------------------------------------


async def leave_one(
    server: Server, shelf: Session | Storage, payload: str, qos: int
) -> MessageReleased:
    """Let the client acknowledge a message that nobody dealt with."""
    async with (
        opened(server, shelf, unclaimed_timeout=30) as client,
        client.events() as events,
    ):
        async with client.subscribe("a", qos=2) as messages:
            server.publish("a", payload, qos=qos)
            await take(messages)
        async for event in events:
            if isinstance(event, MessageReleased):
                await wait_all_tasks_blocked()
                return event
    raise AssertionError


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_released_message_can_be_claimed_by_the_next_run(
    autojump_clock: MockClock, server: Server, qos: int
) -> None:
    shelf = Shelf()
    event = await leave_one(server, shelf, "left", qos)
    assert event.claimable
    assert event.message.payload == b"left"
    assert server.sessions[CLIENT].inflight == 0
    assert len(shelf.kind(UNCLAIMED)) == 1
    async with opened(server, shelf) as client:
        async with client.subscribe("other", qos=2) as others:
            assert await payloads(others) == []
        async with client.subscribe("a", qos=2) as messages:
            message = await take(messages)
            assert (message.text(), message.qos, message.attempt) == ("left", qos, 2)
    assert len(shelf.kind(UNCLAIMED)) == 1  # it was not settled
    async with opened(server, shelf) as client, client.subscribe("a", qos=2) as messages:
        (await take(messages)).ack()
        assert await payloads(messages) == []
    assert shelf.kind(UNCLAIMED) == []


async def test_a_released_message_is_on_disk_before_its_acknowledgement(
    autojump_clock: MockClock, server: Server
) -> None:
    shelf = Shelf()
    async with opened(server, shelf, unclaimed_timeout=30) as client:
        async with client.subscribe("a", qos=1) as messages:
            server.publish("a", "left", qos=1)
            await take(messages)
        shelf.full = True
        await trio.sleep(60)
        assert client.statistics().unclaimed_released == 1
        assert received(server, PubAck) == []
        shelf.full = False
        await trio.sleep(10)
        assert len(received(server, PubAck)) == 1


async def test_released_messages_are_bounded(
    autojump_clock: MockClock, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_mqtt._client._session_records._MOST_UNCLAIMED", 1)
    shelf = Shelf()
    assert (await leave_one(server, shelf, "first", 1)).claimable
    assert not (await leave_one(server, shelf, "second", 1)).claimable
    assert len(shelf.kind(UNCLAIMED)) == 1


async def test_released_bytes_are_bounded(
    autojump_clock: MockClock, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_mqtt._client._session_records._MOST_UNCLAIMED_BYTES", 10)
    session = session_in(Shelf())
    assert not (await leave_one(server, session, "x" * 11, 1)).claimable
    assert (await leave_one(server, session, "x" * 10, 1)).claimable
    async with opened(server, session, unclaimed_timeout=30) as client:
        async with client.subscribe("a", qos=2) as messages:
            (await messages.receive()).ack()
            server.publish("a", "y" * 10, qos=1)
            await take(messages)
        await trio.sleep(60)
        assert client.statistics().unclaimed == 1  # there was room for it


async def test_a_session_given_up_leaves_their_room_to_the_next(
    autojump_clock: MockClock, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_mqtt._client._session_records._MOST_UNCLAIMED_BYTES", 10)
    session = session_in(Shelf())
    assert (await leave_one(server, session, "x" * 10, 1)).claimable
    assert not (await leave_one(server, session, "x", 1)).claimable
    async with opened(server, session):
        session.discard()
    assert (await leave_one(server, session, "x" * 10, 1)).claimable


async def test_without_durable_storage_a_released_message_is_gone(
    autojump_clock: MockClock, server: Server
) -> None:
    assert not (await leave_one(server, trio_mqtt.MemoryStorage(), "left", 1)).claimable


# -- a full disk ----------------------------------------------------------------------------------


async def test_with_a_full_disk_nothing_is_accepted_and_nothing_is_lost(
    autojump_clock: MockClock, server: Server
) -> None:
    shelf = Shelf()
    async with opened(server, shelf) as client:
        with server.holding(PubAck):
            before = await client.enqueue("a", "before")
            await wait_all_tasks_blocked()
            shelf.full = True
            with pytest.raises(StorageError, match=FULL):
                await client.enqueue("a", "refused")
            for qos in (1, 2):
                with pytest.raises(StorageError, match=FULL):
                    await client.publish("a", "refused", qos=qos)
            late = client.publish_nowait("a", "refused", qos=1)
            with pytest.raises(StorageError, match=FULL):
                await late.wait()
        await before.wait()
        assert client.statistics().unfinished == 0
        assert client.statistics().unfinished_bytes == 0
        shelf.full = False
        await client.publish("a", "after", qos=2)
    assert [each.payload for each in received(server, Publish) if isinstance(each, Publish)] == [
        b"before",
        b"after",
    ]
    assert shelf.kind(OUTGOING) == []


async def test_publishers_that_wait_go_on_after_others_were_refused(
    autojump_clock: MockClock, server: Server
) -> None:
    """There is room in the queue again, although nothing was sent."""
    shelf = Shelf()
    refused: list[int] = []
    async with offline(server, session_in(shelf, queue=2)) as client:
        shelf.full = True

        async def enqueue(number: int) -> None:
            try:
                await client.enqueue("a", str(number))
            except StorageError:
                refused.append(number)

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for number in range(7):
                    nursery.start_soon(enqueue, number)
        assert sorted(refused) == list(range(7))


async def test_an_event_tells_what_was_refused(autojump_clock: MockClock, server: Server) -> None:
    shelf = Shelf()
    async with opened(server, shelf) as client, client.events() as events:
        shelf.full = True
        client.publish_nowait("a", "refused", qos=1)
        async for event in events:
            if isinstance(event, PublishFailed):
                assert event.message.payload == b"refused"
                assert isinstance(event.error, StorageError)
                break


async def test_a_full_disk_holds_acknowledgements_back(
    autojump_clock: MockClock, server: Server
) -> None:
    shelf = Shelf()
    async with opened(server, shelf) as client, client.subscribe("a", qos=2) as messages:
        server.publish("a", "x", qos=2)
        message = await take(messages)
        shelf.full = True
        message.ack()
        await trio.sleep(10)
        assert received(server, PubRec) == []
        shelf.full = False
        await trio.sleep(10)
        assert len(received(server, PubRec)) == len(received(server, PubComp)) == 1


async def test_a_new_session_waits_for_room(autojump_clock: MockClock, server: Server) -> None:
    """Else a crash would leave identifiers of the old one on disk, for other messages."""
    shelf = Shelf()
    with server.holding(PubRel):
        async with opened(server, shelf) as client, client.subscribe("a", qos=2) as messages:
            server.publish("a", "old", qos=2)
            (await take(messages)).ack()
            await wait_all_tasks_blocked()
            crashes(server)
        server.accepting = True
    assert shelf.kind(RECEIVED) == [1]
    server.forget_session(CLIENT)
    shelf.full = True
    reconnect = Reconnect(initial="background")
    async with opened(server, shelf, reconnect=reconnect) as client:
        await trio.sleep(10)
        assert not server.sessions[CLIENT].subscriptions
        shelf.full = False
        await trio.sleep(10)
        assert shelf.kind(RECEIVED) == []
        server.publish("a", "new", qos=2)
        await wait_all_tasks_blocked()
        crashes(server)
    server.accepting = True
    async with opened(server, shelf) as client, client.subscribe("a", qos=2) as messages:
        assert await payloads(messages) == ["new"]


async def test_a_client_closes_while_its_new_session_waits_for_room(
    autojump_clock: MockClock, server: Server
) -> None:
    shelf = Shelf()
    async with opened(server, shelf):
        pass
    server.forget_session(CLIENT)
    shelf.full = True
    with trio.fail_after(10):
        async with opened(server, shelf, reconnect=Reconnect(initial="background")):
            await wait_all_tasks_blocked()


async def test_a_full_disk_costs_no_connection(autojump_clock: MockClock, server: Server) -> None:
    """PINGREQ does not wait with what reveals something."""
    shelf = Shelf()
    async with opened(server, shelf) as client, client.subscribe("a", qos=2) as messages:
        server.publish("a", "x", qos=2)
        message = await take(messages)
        shelf.full = True
        message.ack()
        await trio.sleep(1000)
        shelf.full = False
        await server.wait_for(PubComp)
        assert client.statistics().connections == 1


async def test_a_handshake_waits_for_room(autojump_clock: MockClock, server: Server) -> None:
    shelf = Shelf()
    async with opened(server, shelf) as client:
        with server.holding(PubRec):
            delivery = await client.enqueue("a", "x", qos=2)
            await wait_all_tasks_blocked()
            shelf.full = True
        await trio.sleep(10)
        assert received(server, PubRel) == []
        shelf.full = False
        with trio.fail_after(10):
            await delivery.wait()


async def test_a_disk_that_is_full_at_the_end(autojump_clock: MockClock, server: Server) -> None:
    shelf = Shelf()
    async with offline(server, shelf) as client:
        await client.enqueue("a", "accepted")
        shelf.full = True
    shelf.full = False
    async with opened(server, shelf) as client:
        await wait_all_tasks_blocked()
    [sent] = received(server, Publish)
    assert isinstance(sent, Publish)
    assert sent.payload == b"accepted"


async def test_a_storage_with_a_bug_ends_the_client(
    autojump_clock: MockClock, server: Server
) -> None:
    class Broken(Shelf):
        def commit(self, changes: Changes) -> None:
            if (OUTGOING, 1) in changes:
                raise ZeroDivisionError
            super().commit(changes)

    shelf = Broken()
    with trio.fail_after(30), pytest.raises(ZeroDivisionError):
        async with opened(server, shelf) as client:
            await client.publish("a", "x", qos=1)
    assert received(server, Publish) == []
    shelf.open(CLIENT)  # it was closed


# -- effects --------------------------------------------------------------------------------------


def insert(text: str, connection: sqlite3.Connection) -> int:
    connection.execute("CREATE TABLE IF NOT EXISTS effects (text)")
    connection.execute("INSERT INTO effects VALUES (?)", (text,))
    [count] = connection.execute("SELECT count(*) FROM effects").fetchone()
    return int(count)


def effects_in(path: Path) -> list[object]:
    return [row[0] for row in query(path, "SELECT text FROM effects")]


async def test_an_effect_returns_its_result(server: Server, tmp_path: Path) -> None:
    session = session_in(SQLiteStorage(tmp_path / "a.db"))
    async with opened(server, session) as client, client.subscribe("a", qos=2) as messages:
        server.publish("a", "x", qos=2)
        message = await take(messages)
        assert await session.settle(message, partial(insert, "x")) == 1
        assert message.settled == 0
        await server.wait_for(PubComp)
    assert effects_in(tmp_path / "a.db") == ["x"]


async def test_an_effect_that_raises_settles_nothing(server: Server, tmp_path: Path) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        insert("undone", connection)
        raise RuntimeError("no such customer")

    session = session_in(SQLiteStorage(tmp_path / "a.db"))
    async with opened(server, session) as client, client.subscribe("a", qos=2) as messages:
        server.publish("a", "x", qos=2)
        message = await take(messages)
        with pytest.raises(RuntimeError, match="no such customer"):
            await session.settle(message, fail)
        assert message.settled is None
        await wait_all_tasks_blocked()
        assert received(server, PubRec) == []
        await session.settle(message, partial(insert, "done"))
        await server.wait_for(PubRec)
    assert effects_in(tmp_path / "a.db") == ["done"]


async def test_an_effect_with_a_full_disk(
    autojump_clock: MockClock, server: Server, tmp_path: Path
) -> None:
    storage = Full(tmp_path / "a.db")
    session = session_in(storage)
    async with opened(server, session) as client, client.subscribe("a", qos=2) as messages:
        server.publish("a", "x", qos=2)
        message = await take(messages)
        storage.full = True
        with pytest.raises(StorageError, match=FULL):
            await session.settle(message, partial(insert, "x"))
        assert message.settled is None
        await trio.sleep(10)
        assert received(server, PubRec) == []
        storage.full = False
        await session.settle(message, partial(insert, "x"))
        await server.wait_for(PubComp)
    assert effects_in(tmp_path / "a.db") == ["x"]


class Slow(SQLiteStorage):
    """A commit waits until it is let go, and fails then if that is wanted."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.slow = False
        self.fails = False
        self.began = threading.Event()
        self.let_go = threading.Event()

    def commit_steps(self, steps: Sequence[Changes | Effect[object]]) -> None:
        if self.slow:
            self.slow = False
            self.began.set()
            assert self.let_go.wait(5)
            if self.fails:
                raise StorageError(FULL)
        super().commit_steps(steps)


@threads
async def test_what_cannot_be_stored_as_the_client_closes_is_not_accepted(
    mock_clock: MockClock, server: Server, tmp_path: Path
) -> None:
    storage = Slow(tmp_path / "a.db")

    async def enqueue(client: trio_mqtt.Client) -> None:
        with pytest.raises(StorageError, match=FULL):
            await client.enqueue("a", "x")

    async def let_go() -> None:
        await wait_all_tasks_blocked()
        mock_clock.jump(1)  # the close_timeout
        await wait_all_tasks_blocked()
        storage.let_go.set()

    async with trio.open_nursery() as nursery, opened(server, storage) as client:
        await wait_all_tasks_blocked()
        storage.slow = storage.fails = True
        nursery.start_soon(enqueue, client)
        await trio.to_thread.run_sync(storage.began.wait, 5)
        nursery.start_soon(let_go)
    assert not [key for key, _ in storage.open(CLIENT) if key[0] == OUTGOING]
    storage.close()


@threads
async def test_an_effect_is_not_refused_for_a_commit_before_it(
    server: Server, tmp_path: Path
) -> None:
    """While it waits, the batch before its own fails; its own is committed after that."""
    storage = Slow(tmp_path / "a.db")
    session = session_in(storage)
    outcomes: list[object] = []

    async def settle(message: trio_mqtt.Message) -> None:
        try:
            outcomes.append(await session.settle(message, partial(insert, "x")))
        except StorageError as error:
            outcomes.append(error)

    async with opened(server, session) as client, client.subscribe("a", qos=2) as messages:
        server.publish("a", "x", qos=2)
        message = await take(messages)
        storage.slow = storage.fails = True
        client.publish_nowait("b", "refused", qos=1)
        await trio.to_thread.run_sync(storage.began.wait, 5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(settle, message)
            await wait_all_tasks_blocked()
            storage.let_go.set()
        [outcome] = outcomes
        settled = message.settled is not None
    assert outcome == 1
    assert settled
    assert effects_in(tmp_path / "a.db") == ["x"]


@threads
async def test_nobody_claims_a_message_whose_effect_is_being_committed(
    server: Server, tmp_path: Path
) -> None:
    storage = Slow(tmp_path / "a.db")
    session = session_in(storage)
    async with opened(server, session) as client, trio.open_nursery() as nursery:
        async with client.subscribe("a", qos=2) as messages:
            server.publish("a", "x", qos=2)
            message = await take(messages)
            await wait_all_tasks_blocked()
            storage.slow = True
            nursery.start_soon(session.settle, message, partial(insert, "x"))
            await trio.to_thread.run_sync(storage.began.wait, 5)

        async def let_go() -> None:
            await wait_all_tasks_blocked()
            storage.let_go.set()

        nursery.start_soon(let_go)
        async with client.subscribe("a", qos=2) as messages:
            with trio.fail_after(5):
                await server.wait_for(PubComp)
            assert await payloads(messages) == []
    assert effects_in(tmp_path / "a.db") == ["x"]


@threads
async def test_nobody_releases_a_message_whose_effect_is_being_committed(
    server: Server, tmp_path: Path
) -> None:
    storage = Slow(tmp_path / "a.db")
    session = session_in(storage)
    async with (
        opened(server, session, unclaimed_timeout=0.01) as client,
        trio.open_nursery() as nursery,
    ):
        async with client.subscribe("a", qos=2) as messages:
            server.publish("a", "x", qos=2)
            message = await take(messages)
            await wait_all_tasks_blocked()
            storage.slow = True
            nursery.start_soon(session.settle, message, partial(insert, "x"))
            await trio.to_thread.run_sync(storage.began.wait, 5)
        await trio.sleep(0.03)
        storage.let_go.set()
        await server.wait_for(PubComp)
        assert client.statistics().unclaimed_released == 0
    assert effects_in(tmp_path / "a.db") == ["x"]


@threads
async def test_several_effects_at_once(server: Server, tmp_path: Path) -> None:
    session = session_in(SQLiteStorage(tmp_path / "a.db"))
    wanted = [str(number) for number in range(50)]
    async with (
        opened(server, session) as client,
        client.subscribe("a", qos=2) as messages,
        trio.open_nursery() as nursery,
    ):
        for payload in wanted:
            server.publish("a", payload, qos=2)
        for _ in wanted:
            message = await take(messages)
            nursery.start_soon(session.settle, message, partial(insert, message.text()))
        await server.wait_until(lambda: len(received(server, PubComp)) == len(wanted))
    assert sorted(map(str, effects_in(tmp_path / "a.db"))) == sorted(wanted)


async def test_a_cancelled_settle_is_complete(server: Server, tmp_path: Path) -> None:
    session = session_in(SQLiteStorage(tmp_path / "a.db"))
    async with opened(server, session) as client, client.subscribe("a", qos=2) as messages:
        server.publish("a", "x", qos=2)
        message = await take(messages)
        with trio.CancelScope() as scope:
            scope.cancel()
            await session.settle(message, partial(insert, "x"))
        done = message.settled is not None
    assert effects_in(tmp_path / "a.db") == (["x"] if done else [])


async def test_a_claimed_message_is_forgotten_with_its_effect(
    autojump_clock: MockClock, server: Server, tmp_path: Path
) -> None:
    storage = SQLiteStorage(tmp_path / "a.db")
    assert (await leave_one(server, storage, "left", 2)).claimable
    session = session_in(storage)
    async with opened(server, session) as client, client.subscribe("a", qos=2) as messages:
        await session.settle(await take(messages), partial(insert, "left"))
    async with opened(server, storage) as client, client.subscribe("a", qos=2) as messages:
        assert await payloads(messages) == []
    assert effects_in(tmp_path / "a.db") == ["left"]


# -- wrong use ------------------------------------------------------------------------------------


async def test_settle_needs_a_client(tmp_path: Path) -> None:
    session = session_in(SQLiteStorage(tmp_path / "a.db"))
    message = trio_mqtt.Message("a", b"x")
    with pytest.raises(trio.ClosedResourceError, match="not open"):
        await session.settle(message, partial(insert, "x"))


@pytest.mark.parametrize("make", [Shelf, trio_mqtt.MemoryStorage])
async def test_settle_needs_transactions(
    autojump_clock: MockClock, server: Server, make: Callable[[], Storage]
) -> None:
    session = session_in(make())
    async with opened(server, session) as client, client.subscribe("a", qos=2) as messages:
        server.publish("a", "x", qos=2)
        message = await take(messages)
        with pytest.raises(trio_mqtt.FeatureNotSupported, match="SQLiteStorage"):
            await session.settle(message, partial(insert, "x"))
        assert message.settled is None


async def test_settle_wants_a_message_in_hand(server: Server, tmp_path: Path) -> None:
    session = session_in(SQLiteStorage(tmp_path / "a.db"))
    async with (
        opened(server, session) as client,
        client.subscribe("a", qos=2) as messages,
        open_once(connector=server.connect) as other,
        other.subscribe("a", qos=2) as others,
    ):
        server.publish("a", "x", qos=2)
        settled = await take(messages)
        settled.ack()
        for message in (settled, await take(others), trio_mqtt.Message("a", b"x", 2)):
            with pytest.raises(trio_mqtt.LocalProtocolError):
                await session.settle(message, partial(insert, "x"))
        assert not [name for (name,) in query(tmp_path / "a.db", TABLES) if name == "effects"]


async def test_settle_wants_the_last_of_several_subscriptions(
    server: Server, tmp_path: Path
) -> None:
    session = session_in(SQLiteStorage(tmp_path / "a.db"))
    async with (
        opened(server, session) as client,
        client.subscribe("a", qos=2) as one,
        client.subscribe("a", qos=2) as two,
    ):
        server.publish("a", "x", qos=2)
        first, second = await take(one), await take(two)
        with pytest.raises(trio_mqtt.LocalProtocolError, match="overlap"):
            await session.settle(first, partial(insert, "x"))
        first.ack()
        await session.settle(second, partial(insert, "x"))
    assert query(tmp_path / "a.db", "SELECT * FROM effects") == [("x",)]


TABLES: Final = "SELECT name FROM sqlite_master"


async def test_settle_twice_at_once(server: Server, tmp_path: Path) -> None:
    session = session_in(SQLiteStorage(tmp_path / "a.db"))
    refused: list[Exception] = []

    async def settle(message: trio_mqtt.Message) -> None:
        try:
            await session.settle(message, partial(insert, "x"))
        except trio_mqtt.LocalProtocolError as error:
            refused.append(error)

    async with opened(server, session) as client, client.subscribe("a", qos=2) as messages:
        server.publish("a", "x", qos=2)
        message = await take(messages)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(settle, message)
            nursery.start_soon(settle, message)
    assert effects_in(tmp_path / "a.db") == ["x"]
    assert len(refused) == 1


# -- opening --------------------------------------------------------------------------------------


async def test_a_session_has_one_client_at_a_time(
    autojump_clock: MockClock, server: Server
) -> None:
    session = session_in(Shelf())
    async with opened(server, session):
        with pytest.raises(trio.BusyResourceError, match="in use by another client"):
            async with opened(server, session):
                raise AssertionError
    async with opened(server, session):
        pass


async def test_a_storage_that_is_in_use(
    autojump_clock: MockClock, server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "a.db"
    session = session_in(SQLiteStorage(path))
    async with opened(server, SQLiteStorage(path)):
        with pytest.raises(StorageBusy, match=str(path)):
            async with opened(server, session):
                raise AssertionError
    async with opened(server, session):
        pass


async def test_a_file_that_is_damaged(
    autojump_clock: MockClock, server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"no database" * 100)
    session = session_in(SQLiteStorage(path))
    for _ in range(2):
        with pytest.raises(StorageError, match=str(path)):
            async with opened(server, session):
                raise AssertionError
    assert path.read_bytes() == b"no database" * 100
    assert received(server, Connect) == []
    path.unlink()
    async with opened(server, session):
        pass


@pytest.mark.parametrize(
    "key",
    [
        (OUTGOING, 1),
        (OUTGOING, "text"),
        ("received", "text"),
        (SESSION, 0),
        (SUBSCRIPTION, "a"),
        (UNCLAIMED, 1),
        ("progress", 1),
    ],
)
@pytest.mark.parametrize("value", [b"", b"\xff" * 12, b"\xff" * 100])
async def test_records_that_cannot_be_read(
    autojump_clock: MockClock, server: Server, key: RecordKey, value: bytes
) -> None:
    shelf = Shelf()
    async with offline(server, shelf) as client:
        await client.enqueue("a", "x")
    shelf.records[key] = value
    found = dict(shelf.records)
    with pytest.raises(StorageError, match=CLIENT):
        async with opened(server, shelf):
            raise AssertionError
    assert shelf.records == found
    del shelf.records[key]
    async with opened(server, shelf):  # it was closed
        pass


async def test_without_a_record_the_session_of_the_server_is_adopted(
    autojump_clock: MockClock, server: Server
) -> None:
    async with opened(server, Shelf()) as client, client.subscribe("a", qos=1):
        pass
    server.publish("a", "while it was away", qos=1)
    async with opened(server, Shelf()) as client, client.subscribe("a", qos=1) as messages:
        assert await payloads(messages) == ["while it was away"]


async def test_without_a_record_it_can_start_clean(
    autojump_clock: MockClock, server: Server
) -> None:
    async with opened(server, Shelf()) as client, client.subscribe("a", qos=1):
        pass
    server.publish("a", "while it was away", qos=1)
    shelf = Shelf()
    session = session_in(shelf, adopt=False)
    async with opened(server, session) as client, client.subscribe("a", qos=1) as messages:
        assert await payloads(messages) == []
    server.publish("a", "wanted", qos=1)
    session = session_in(shelf, adopt=False)  # there is a record now
    async with opened(server, session) as client, client.subscribe("a", qos=1) as messages:
        assert await payloads(messages) == ["wanted"]
    starts = [each.clean_start for each in received(server, Connect) if isinstance(each, Connect)]
    assert starts == [False, True, False]


async def test_a_session_remembers_its_version(autojump_clock: MockClock, server: Server) -> None:
    shelf = Shelf()
    async with opened(server, shelf, protocol=trio_mqtt.MQTT_3_1_1):
        pass
    async with opened(server, shelf) as client:
        assert client.server.protocol is trio_mqtt.MQTT_3_1_1


# -- the end of a Session -------------------------------------------------------------------------


async def test_a_session_discarded_while_it_is_open(
    autojump_clock: MockClock, server: Server
) -> None:
    shelf = Shelf()
    session = session_in(shelf)
    async with opened(server, session) as client:
        async with client.subscribe("a", qos=1):
            pass
        session.discard()
    [goodbye] = received(server, Disconnect)
    assert isinstance(goodbye, Disconnect)
    assert goodbye.properties.session_expiry_interval == 0
    assert CLIENT not in server.sessions
    assert shelf.records == {}
    async with opened(server, session):
        assert not server.sessions[CLIENT].subscriptions


async def test_a_session_discarded_before_it_is_opened(
    autojump_clock: MockClock, server: Server
) -> None:
    shelf = Shelf()
    async with offline(server, shelf) as client:
        await client.enqueue("a", "given up")
    async with opened(server, shelf) as client, client.subscribe("b", qos=1):
        with server.holding(PubAck):
            await client.enqueue("a", "given up, too")
            await wait_all_tasks_blocked()
            crashes(server)
    server.accepting = True
    before = last_entry(server)
    session = session_in(shelf)
    session.discard()
    async with opened(server, session) as client:
        await wait_all_tasks_blocked()
        assert client.statistics().unfinished == 0
        assert not server.sessions[CLIENT].subscriptions
    [connect] = received(server, Connect, after=before)
    assert isinstance(connect, Connect)
    assert connect.clean_start
    assert received(server, Publish, Subscribe, after=before) == []


async def test_a_session_discarded_without_a_connection(
    autojump_clock: MockClock, server: Server
) -> None:
    """The server could not be told; so the next run, which finds the mark, starts clean."""
    shelf = Shelf()
    async with opened(server, shelf) as client, client.subscribe("b", qos=1):
        pass
    session = session_in(shelf)
    async with offline(server, session) as client:
        session.discard()
    before = last_entry(server)
    async with opened(server, shelf):
        assert not server.sessions[CLIENT].subscriptions
    [connect] = received(server, Connect, after=before)
    assert isinstance(connect, Connect)
    assert connect.clean_start


@pytest.mark.parametrize("make", [Shelf, trio_mqtt.MemoryStorage])
async def test_a_discarded_session_is_not_forgotten_when_no_connection_can_be_made(
    autojump_clock: MockClock, server: Server, make: Callable[[], Storage]
) -> None:
    session = session_in(make())
    async with opened(server, session) as client, client.subscribe("b", qos=1):
        pass
    session.discard()
    server.accepting = False
    with pytest.raises(trio_mqtt.ConnectFailed):
        async with opened(server, session):
            raise AssertionError
    server.accepting = True
    async with opened(server, session):
        assert not server.sessions[CLIENT].subscriptions


async def test_below_mqtt_5_the_next_run_starts_clean(
    autojump_clock: MockClock, server: Server
) -> None:
    shelf = Shelf()
    session = session_in(shelf)
    protocol = trio_mqtt.MQTT_3_1_1
    async with (
        opened(server, session, protocol=protocol) as client,
        client.subscribe("b", qos=1),
    ):
        session.discard()
    assert server.sessions[CLIENT].subscriptions
    for _ in range(2):
        async with opened(server, shelf, protocol=protocol) as client:
            await client.publish("a", qos=1)
            assert not server.sessions[CLIENT].subscriptions
    starts = [each.clean_start for each in received(server, Connect) if isinstance(each, Connect)]
    assert starts == [False, True, False]


async def test_a_full_disk_as_a_session_is_discarded(
    autojump_clock: MockClock, server: Server
) -> None:
    shelf = Shelf()
    session = session_in(shelf)
    with pytest.raises(StorageError, match=FULL):
        async with opened(server, session):
            session.discard()
            shelf.full = True
    shelf.full = False
    async with opened(server, session):
        pass
    assert [type(each) for each in received(server, Connect, Disconnect)] == [
        *[Connect, Disconnect],
        *[Connect, Disconnect],
    ]
