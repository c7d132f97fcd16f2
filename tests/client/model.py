"""A program around one client, and what must hold of it after every step.

`World` acts: it opens subscriptions, consumes well and badly, publishes both ways, cancels and
waits. `Wire` reads the server's log and knows the rules of the standard. What the two see is
compared in `World.check`.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_mqtt import (
    MQTT_5,
    FeatureNotSupported,
    LocalProtocolError,
    Message,
    Protocol,
    PublishRejected,
    SubscribeRejected,
)
from trio_mqtt import ReasonCode as R
from trio_mqtt._client._buffer import MOST_BYTES, OVERHEAD
from trio_mqtt._client._session import MOST_QUEUED
from trio_mqtt._protocol.exchanges import OutgoingMessage
from trio_mqtt._protocol.sender import OUTPUT_HIGH_WATER
from trio_mqtt._topics import topic_matches
from trio_mqtt.events import MessageReleased
from trio_mqtt.packets import (
    Disconnect,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from contextlib import AbstractContextManager

    from trio_mqtt import Client, Delivery, Publisher, Subscription
    from trio_mqtt._client._event_stream import EventStream
    from trio_mqtt.testing import Held, LogEntry, Server

TOPICS: Final = ("a", "a/b", "b", "$x")
FILTERS: Final = ("a", "a", "a/b", "b", "a/#", "#", "+", "+/b", "$x", "$share/g/a", "$share/g/#")
REFUSED_FILTER: Final = "refused"
REFUSED_TOPIC: Final = "no"
HELD: Final = (PubAck, PubRec, PubRel, PubComp, SubAck, UnsubAck)
REJECTIONS: Final = (R.UNSPECIFIED_ERROR, R.NOT_AUTHORIZED, R.QUOTA_EXCEEDED)
UNCLAIMED_TIMEOUT: Final = 30
STALL_TIMEOUT: Final = 10
LARGE: Final = 300_000
NEVER: Final = 1 << 60


class Boom(Exception):
    """What code of the program raises."""


def boom() -> None:
    raise Boom


@attrs.frozen(kw_only=True)
class Setting:
    """What a run starts from."""

    protocol: Protocol
    receive_maximum: int
    server_window: int
    network: str
    wait_for_release: bool
    seed: int

    @property
    def large(self) -> bool:
        return self.network == "large"


# -- what passes between client and server --------------------------------------------------------


@attrs.define(eq=False)
class Arrival:
    """One PUBLISH that the server sent."""

    number: int
    topic: str
    payload: bytes
    qos: int
    identifiers: tuple[int, ...]
    must: set[Block] = attrs.Factory(lambda: set[Block]())  # noqa: PLW0108 - defined below
    may: set[Block] = attrs.Factory(lambda: set[Block]())  # noqa: PLW0108 - defined below
    acknowledged: bool = False
    takes: list[Take] = attrs.Factory(lambda: list[Take]())  # noqa: PLW0108 - defined below

    @property
    def copies(self) -> int:
        """How many subscriptions may have got it."""
        return max(1, len(self.may))


@attrs.frozen(eq=False)
class Take:
    """A message was handed to application code."""

    block: Block
    message: Message
    attempt: int
    settled_before: int  # how many of the earlier takes were settled


class Wire:
    """The server's log, packet by packet."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self.numbered = 0
        self.topics: dict[bytes, str] = {}
        self.arrivals: list[Arrival] = []  # the PUBLISHes that the server sent
        self.acknowledged: list[tuple[Arrival, bool]] = []  # and whether it was rejected
        self.published: dict[bytes, int] = {}  # those of the client, by payload
        self.published_order: list[bytes] = []  # at QoS 1 and 2
        self.identifiers: dict[str, int] = {}
        self.ended = False
        self._in_use: set[int] = set()  # Packet Identifiers of the client
        self._out_window: set[int] = set()
        self._in_window: dict[int, Arrival] = {}
        self._pubacks: deque[Arrival] = deque()
        self._pubrecs: deque[Arrival] = deque()
        self._pubrels: deque[int] = deque()
        self._pubcomps: deque[int] = deque()

    def read(self, entries: Iterable[LogEntry]) -> None:
        """Look at what is new."""
        for entry in entries:
            if entry.number <= self.numbered:
                continue
            self.numbered = entry.number
            handlers = self._SENT if entry.direction == "sent" else self._RECEIVED
            handler = handlers.get(type(entry.packet))
            if entry.direction == "received":
                assert not self.ended, f"{entry.packet} after DISCONNECT"
            if handler is not None:
                handler(self, entry.packet)

    # -- from the server

    def _publish_sent(self, packet: Publish) -> None:
        arrival = Arrival(
            len(self.arrivals) + 1,
            self.topics[packet.payload[:8]],
            packet.payload,
            packet.qos,
            packet.properties.subscription_identifiers,
        )
        self.arrivals.append(arrival)
        if packet.qos:
            assert packet.packet_id not in self._in_window
            self._in_window[packet.packet_id] = arrival
            (self._pubacks if packet.qos == 1 else self._pubrecs).append(arrival)
            if self._setting.protocol is MQTT_5:
                assert len(self._in_window) <= self._setting.receive_maximum

    def _pubrel_sent(self, packet: PubRel) -> None:
        self._pubcomps.append(packet.packet_id)

    def _answer_sent(self, packet: PubAck | PubComp | SubAck | UnsubAck) -> None:
        self._in_use.remove(packet.packet_id)
        self._out_window.discard(packet.packet_id)

    def _pubrec_sent(self, packet: PubRec) -> None:
        if packet.reason_code.is_failure:
            self._in_use.remove(packet.packet_id)
            self._out_window.discard(packet.packet_id)
        else:
            self._pubrels.append(packet.packet_id)

    def _disconnect_sent(self, packet: Disconnect) -> None:
        raise AssertionError(f"the server complains: {packet}")

    # -- from the client

    def _publish_received(self, packet: Publish) -> None:
        key = packet.payload[:8]
        self.published[key] = self.published.get(key, 0) + 1
        assert self.published[key] == 1, f"{key!r} was published twice"
        assert not packet.dup
        if packet.qos:
            self.published_order.append(key)
            self._use(packet.packet_id)
            self._out_window.add(packet.packet_id)
            if self._setting.protocol is MQTT_5:
                assert len(self._out_window) <= self._setting.server_window  # MQTT-3.3.4-7

    def _use(self, packet_id: int) -> None:
        assert packet_id not in self._in_use, "MQTT-2.2.1-3"
        self._in_use.add(packet_id)

    def _puback_received(self, packet: PubAck) -> None:
        arrival = self._in_window.pop(packet.packet_id)
        assert arrival is self._pubacks.popleft(), "MQTT-4.6.0-2"
        self._note(arrival, packet.reason_code)

    def _pubrec_received(self, packet: PubRec) -> None:
        arrival = self._in_window[packet.packet_id]
        assert arrival is self._pubrecs.popleft(), "MQTT-4.6.0-3"
        self._note(arrival, packet.reason_code)
        if packet.reason_code.is_failure:
            del self._in_window[packet.packet_id]

    def _note(self, arrival: Arrival, reason_code: R) -> None:
        arrival.acknowledged = True
        self.acknowledged.append((arrival, reason_code.is_failure))

    def _pubrel_received(self, packet: PubRel) -> None:
        assert packet.packet_id == self._pubrels.popleft(), "MQTT-4.6.0-4"

    def _pubcomp_received(self, packet: PubComp) -> None:
        assert packet.packet_id == self._pubcomps.popleft(), "in the order of the PUBRELs"
        assert not packet.reason_code.is_failure
        del self._in_window[packet.packet_id]

    def _subscribe_received(self, packet: Subscribe) -> None:
        self._use(packet.packet_id)
        for identifier in packet.properties.subscription_identifiers:
            self.identifiers[packet.requests[0].topic_filter] = identifier

    def _unsubscribe_received(self, packet: Unsubscribe) -> None:
        self._use(packet.packet_id)

    def _disconnect_received(self, packet: Disconnect) -> None:
        assert packet == Disconnect()
        self.ended = True

    _SENT: ClassVar[dict[type, Callable[..., None]]] = {
        Publish: _publish_sent,
        PubRel: _pubrel_sent,
        PubAck: _answer_sent,
        PubComp: _answer_sent,
        SubAck: _answer_sent,
        UnsubAck: _answer_sent,
        PubRec: _pubrec_sent,
        Disconnect: _disconnect_sent,
    }
    _RECEIVED: ClassVar[dict[type, Callable[..., None]]] = {
        Publish: _publish_received,
        PubAck: _puback_received,
        PubRec: _pubrec_received,
        PubRel: _pubrel_received,
        PubComp: _pubcomp_received,
        Subscribe: _subscribe_received,
        Unsubscribe: _unsubscribe_received,
        Disconnect: _disconnect_received,
    }


# -- what the program does ------------------------------------------------------------------------


@attrs.define
class Window:
    """Which arrivals a subscription to one Topic Filter may and must get: (may], (must]."""

    may_after: int
    must_after: int = NEVER
    must_until: int = NEVER
    may_until: int = NEVER

    def must(self, number: int) -> bool:
        return self.must_after < number <= self.must_until

    def may(self, number: int) -> bool:
        return self.may_after < number <= self.may_until


@attrs.define(eq=False)
class Block:
    """One block of `Client.subscribe`."""

    filters: tuple[str, ...]
    qos: int
    buffer: int
    overflow: Any
    ack: Any
    keep: bool
    how: str  # it is left
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    leave: trio.Event = attrs.Factory(trio.Event)
    windows: dict[str, Window] = attrs.Factory(dict[str, Window])
    identifiers: dict[str, int | None] = attrs.Factory(dict[str, int | None])
    subscription: Subscription | None = None
    leaving: bool = False
    left: bool = False
    takes: list[Take] = attrs.Factory(list[Take])
    taken: set[int] = attrs.Factory(set[int])  # numbers of arrivals
    claimable: set[int] = attrs.Factory(set[int])  # on entry
    inheritable: set[int] = attrs.Factory(set[int])  # from a competitor that left
    may: set[int] = attrs.Factory(set[int])
    must_windowed: set[int] = attrs.Factory(set[int])
    must_loose: set[int] = attrs.Factory(set[int])
    buffered_at_exit: set[int] = attrs.Factory(set[int])
    windowed_at_exit: set[int] = attrs.Factory(set[int])
    grown: bool = False  # the buffer grew when that was allowed, and is still so large

    @property
    def is_open(self) -> bool:
        return self.subscription is not None and not self.leaving

    def buffered(self) -> set[int]:
        """The numbers of what waits in the buffer now."""
        if self.subscription is None:
            return set()
        buffer = self.subscription._buffer
        return {message._arrival for message in (*buffer._windowed, *buffer._loose)}

    @property
    def settles_at_once(self) -> bool:
        return bool(self.ack == "on_receipt")

    def matches(self, topic: str) -> bool:
        return any(topic_matches(each, topic) for each in self.filters)


@attrs.define(eq=False)
class Alarm(trio.abc.Instrument):
    """Cancels scopes after a number of steps of any tasks, and watches who awaits an answer."""

    client: Client
    answers_awaited: bool = False
    due: list[tuple[int, trio.CancelScope]] = attrs.Factory(list[tuple[int, trio.CancelScope]])
    now: int = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.now += 1
        if self.client._deliveries.valve.awaited:
            self.answers_awaited = True
        if self.due:
            for when, scope in self.due:
                if when <= self.now:
                    scope.cancel()
            self.due = [each for each in self.due if each[0] > self.now]


class World:
    """A program with one client, and everything it can do."""

    def __init__(
        self, server: Server, client: Client, setting: Setting, nursery: trio.Nursery
    ) -> None:
        self.wire = Wire(setting)
        self.alarm = Alarm(client)
        self._server = server
        self._client = client
        self._setting = setting
        self._nursery = nursery
        self._deliveries = client._deliveries
        self._is_5 = setting.protocol is MQTT_5
        self._blocks: list[Block] = []
        self._routed = 0
        self._intended: set[Message] = set()  # settled by the program
        self._looped: set[Message] = set()  # among them, by a loop that asked for its next one
        self._kept: list[Message] = []  # taken, to be settled at some later time
        self._released: set[int] = set()
        self._accepted: set[bytes] = set()
        self._accepted_order: list[bytes] = []  # at QoS 1 and 2, as far as that is known
        self._tried: set[bytes] = set()
        self._consumers: list[trio.CancelScope] = []
        self._publishing: list[trio.CancelScope] = []
        self._holds: list[tuple[Held, AbstractContextManager[Held]]] = []
        self._paused = False
        self._slept = False
        self._count = 0
        self._busy = 0  # tasks that publish or unsubscribe

    @property
    def _arrived(self) -> int:
        """How many PUBLISHes the client has given to its subscriptions."""
        return self._deliveries._arrivals

    def _payload(self, topic: str, *, large: bool = False) -> bytes:
        self._count += 1
        payload = b"%08d" % self._count
        self.wire.topics[payload] = topic
        return payload + bytes(LARGE) if large else payload

    def _in_task(self, run: Callable[[trio.CancelScope], Any], scopes: list[Any]) -> None:
        scope = trio.CancelScope()
        scopes.append(scope)

        async def task() -> None:
            self._busy += scopes is self._publishing
            try:
                with scope:
                    await run(scope)
            finally:
                self._busy -= scopes is self._publishing

        self._nursery.start_soon(task)

    def _cancel_later(self, scope: trio.CancelScope, random: Random) -> None:
        steps = random.choice((1, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 25, 40))
        self.alarm.due.append((self.alarm.now + steps, scope))

    # -- publishing

    def publish(self, random: Random) -> None:
        """One `publish` in a task of its own, perhaps cancelled."""
        topic = random.choice((*TOPICS, "elsewhere", REFUSED_TOPIC))
        qos = random.randrange(3)
        payload = self._payload(topic)

        async def run(_scope: trio.CancelScope) -> None:
            await self._publish(topic, payload, qos)

        self._in_task(run, self._publishing)
        if not random.randrange(3):
            self._cancel_later(self._publishing[-1], random)

    async def _publish(self, topic: str, payload: bytes, qos: int) -> None:
        self._tried.add(payload)
        rejected = topic == REFUSED_TOPIC and qos and self._is_5
        try:
            await self._client.publish(topic, payload, qos=qos)
            assert not rejected
        except PublishRejected:
            assert rejected
        self._accepted.add(payload)

    def enqueue(self, random: Random) -> None:
        """Some messages handed over, with somebody who waits for them or nobody."""
        qos = random.randrange(3)
        payloads = [self._payload("a") for _ in range(random.randrange(1, 6))]

        async def run(_scope: trio.CancelScope) -> None:
            deliveries: list[Delivery] = []
            for payload in payloads:
                self._tried.add(payload)
                deliveries.append(await self._client.enqueue("a", payload, qos=qos))
                self._note_accepted(payload, qos)
            for delivery in deliveries:
                await delivery.wait()

        self._in_task(run, self._publishing)
        if random.randrange(2):
            self._cancel_later(self._publishing[-1], random)

    def _note_accepted(self, payload: bytes, qos: int) -> None:
        self._accepted.add(payload)
        if qos:
            self._accepted_order.append(payload)

    def publish_nowait(self, random: Random) -> None:
        qos = random.randrange(3)
        for _ in range(random.randrange(1, 8)):
            payload = self._payload("b")
            self._tried.add(payload)
            try:
                self._client.publish_nowait("b", payload, qos=qos)
            except trio.WouldBlock:
                return
            self._note_accepted(payload, qos)

    def open_publisher(self, random: Random) -> None:
        qos = random.randrange(3)
        payloads = [self._payload("a/b") for _ in range(random.randrange(1, 8))]
        fails = not random.randrange(4)

        async def send(publisher: Publisher) -> None:
            for payload in payloads:
                self._tried.add(payload)
                await publisher.send("a/b", payload)
                self._note_accepted(payload, qos)

        async def run(_scope: trio.CancelScope) -> None:
            try:
                async with self._client.open_publisher(qos=qos) as publisher:
                    await send(publisher)
                    if fails:
                        boom()
                assert publisher.pending == 0
                assert publisher.sent == len(payloads)
            except Boom:
                pass

        self._in_task(run, self._publishing)
        if not random.randrange(3):
            self._cancel_later(self._publishing[-1], random)

    def cancel_publishing(self, random: Random) -> None:
        if self._publishing:
            self._cancel_later(random.choice(self._publishing), random)

    # -- the server

    def serve(self, random: Random) -> None:
        """The server publishes some messages."""
        qos = random.randrange(3)
        for _ in range(random.randrange(1, 9)):
            topic = random.choice(TOPICS)
            large = self._setting.large and not random.randrange(4)
            self._server.publish(topic, self._payload(topic, large=large), qos=qos)

    def hold(self, random: Random) -> None:
        """Answers of some types are held back."""
        manager = self._server.holding(*random.sample(HELD, random.randrange(1, 4)))
        self._holds.append((manager.__enter__(), manager))

    def release(self, random: Random) -> None:
        """Some of the answers, or all."""
        if not self._holds:
            return
        index = random.randrange(len(self._holds))
        if random.randrange(2):
            self._holds[index][0].release(random.randrange(3))
        else:
            self._holds.pop(index)[1].__exit__(None, None, None)

    def pause(self, random: Random) -> None:
        """The server reads no more, or again."""
        self._paused = bool(random.randrange(3))
        if self._paused:
            self._server.pause_reading("me")
        else:
            self._server.resume_reading("me")

    # -- subscribing

    def subscribe(self, random: Random) -> None:
        """A block in a task of its own."""
        filters = {random.choice(FILTERS) for _ in range(random.choice((1, 1, 1, 2)))}
        if not random.randrange(12):
            filters.add(REFUSED_FILTER)
        block = Block(
            tuple(sorted(filters)),
            qos=random.choice((0, 1, 2, 2, 2)),
            buffer=random.choice((1, 2, 5, 100)),
            overflow=random.choice(("wait", "wait", "drop_oldest", "drop_newest")),
            ack=random.choice(("when_done", "when_done", "when_done", "manual", "on_receipt")),
            keep=not random.randrange(5),
            how=random.choice(("normally", "normally", "raise", "cancel")),
        )
        self._blocks.append(block)
        consumes = not random.randrange(3)
        script = Random(random.randrange(NEVER)) if consumes else None  # noqa: S311 - no secret
        self._nursery.start_soon(self._run_block, block, script)
        if not random.randrange(5):
            self._cancel_later(block.scope, random)

    async def _run_block(self, block: Block, consume: Random | None) -> None:
        with block.scope:
            try:
                self._before_entry(block)
                async with self._client.subscribe(
                    *block.filters,
                    qos=block.qos,
                    buffer=block.buffer,
                    overflow=block.overflow,
                    ack=block.ack,
                    keep=block.keep,
                ) as subscription:
                    try:
                        self._entered(block, subscription)
                        if consume is not None:
                            await self._consume(block, consume, contained=False)
                        await block.leave.wait()
                        if block.how == "raise":
                            raise Boom
                        if block.how == "cancel":
                            block.scope.cancel()
                            await trio.lowlevel.checkpoint()
                    finally:
                        self._before_exit(block)
            except (Boom, SubscribeRejected):
                pass
            finally:
                self._after_exit(block)

    def _before_entry(self, block: Block) -> None:
        for each in block.filters:
            block.windows[each] = Window(self._arrived)
        for message in self._deliveries.unclaimed:
            if block.matches(message.topic):
                block.claimable.add(message._arrival)

    def _entered(self, block: Block, subscription: Subscription) -> None:
        block.subscription = subscription
        self._read_log()
        for each, window in block.windows.items():
            window.must_after = self._arrived
            block.identifiers[each] = self.wire.identifiers.get(each)
        if not block.settles_at_once:  # else it may have been dropped
            assert block.claimable <= block.buffered(), "what is unclaimed goes to who comes next"
        assert set(subscription.granted) == set(block.filters)

    def _before_exit(self, block: Block) -> None:
        assert block.subscription is not None
        block.leaving = True
        block.buffered_at_exit = block.buffered()
        block.windowed_at_exit = {
            message._arrival for message in block.subscription._buffer._windowed
        }
        in_hand = block.subscription._buffer.in_hand
        left = block.windowed_at_exit | {each._arrival for each in in_hand}
        shared = {each for each in block.filters if each.startswith("$share")}
        for other in self._blocks:
            if shared & set(other.filters):
                other.inheritable |= left
        for window in block.windows.values():
            window.must_until = min(window.must_until, self._arrived)
            window.may_until = min(window.may_until, self._arrived)

    def _after_exit(self, block: Block) -> None:
        block.left = True
        for window in block.windows.values():
            window.may_until = min(window.may_until, self._arrived)

    def _find_block(self, random: Random) -> Block | None:
        found = [block for block in self._blocks if block.is_open]
        return random.choice(found) if found else None

    def leave(self, random: Random) -> None:
        block = self._find_block(random)
        if block is not None:
            block.leave.set()

    def cancel_block(self, random: Random) -> None:
        if self._blocks:
            self._cancel_later(random.choice(self._blocks).scope, random)

    def unsubscribe(self, random: Random) -> None:
        """By hand, whoever subscribed."""
        topic_filter = random.choice(FILTERS)

        async def run(_scope: trio.CancelScope) -> None:
            for block in self._blocks:
                window = block.windows.get(topic_filter)
                if window is not None:
                    window.must_until = min(window.must_until, self._arrived)
                    window.may_until = min(window.may_until, self._arrived)
            await self._client.unsubscribe(topic_filter)

        self._in_task(run, self._publishing)
        if random.randrange(2):
            self._cancel_later(self._publishing[-1], random)

    # -- consuming

    def consume(self, random: Random) -> None:
        """A task that takes messages of an open subscription."""
        block = self._find_block(random)
        if block is None:
            return
        script = Random(random.randrange(NEVER))  # noqa: S311 - it keeps no secret

        async def run(_scope: trio.CancelScope) -> None:
            await self._consume(block, script, contained=True)

        self._in_task(run, self._consumers)
        if not random.randrange(3):
            self._cancel_later(self._consumers[-1], random)

    def cancel_consumer(self, random: Random) -> None:
        if self._consumers:
            self._cancel_later(random.choice(self._consumers), random)

    async def _consume(self, block: Block, random: Random, *, contained: bool) -> None:
        subscription = block.subscription
        assert subscription is not None
        try:
            for _ in range(random.randrange(1, 4)):
                count = random.choice((1, 2, 3, 5, 1000))
                style = random.choice((self._loop, self._loop, self._receive, self._receive_nowait))
                try:
                    await style(block, subscription, random, count)
                except Boom:
                    if not contained:
                        raise
        except trio.ClosedResourceError:
            assert block.buffered_at_exit is not None

    async def _loop(
        self, block: Block, subscription: Subscription, random: Random, count: int
    ) -> None:
        async for message in subscription:
            self._take(block, message)
            await self._handle(message, random)
            count -= 1
            if not count:
                break
            held = message._holder is subscription  # else it was left, or is another's now
            if block.ack == "when_done" and held and not message._guarded:
                if message.qos and message.settled is None:
                    self._looped.add(message)
                self._intend(message)

    async def _receive(
        self, block: Block, subscription: Subscription, random: Random, count: int
    ) -> None:
        for _ in range(min(count, 5)):
            with trio.CancelScope() as scope:
                if random.randrange(2):
                    self._cancel_later(scope, random)
                message = await subscription.receive()
                self._take(block, message)
                await self._handle(message, random)

    async def _receive_nowait(
        self, block: Block, subscription: Subscription, random: Random, count: int
    ) -> None:
        for _ in range(min(count, 5)):
            try:
                message = subscription.receive_nowait()
            except trio.WouldBlock:
                return
            self._take(block, message)
            await self._handle(message, random)

    def _take(self, block: Block, message: Message) -> None:
        self._read_log()
        arrival = self.wire.arrivals[message._arrival - 1]
        assert (message.topic, message.payload) == (arrival.topic, arrival.payload)
        assert message.qos == arrival.qos
        settled = sum(take.message.settled is not None for take in arrival.takes)
        take = Take(block, message, message.attempt, settled)
        arrival.takes.append(take)
        assert message._arrival not in block.taken, "once"
        if block.takes and message._arrival not in block.inheritable:
            earlier = [take.message._arrival for take in block.takes]
            own = [each for each in earlier if each not in block.inheritable]
            assert not own or own[-1] < message._arrival, "in order"
        block.takes.append(take)
        block.taken.add(message._arrival)

    def _intend(self, message: Message) -> None:
        """It is about to be settled, unless another has taken it over."""
        if message.qos and message._holder is not None:
            self._intended.add(message)

    async def _handle(  # noqa: C901 - all that one can do with a message
        self, message: Message, random: Random
    ) -> None:
        action = random.randrange(14)
        if action == 1:
            for _ in range(random.randrange(5)):
                await trio.lowlevel.checkpoint()
        elif action in {2, 3}:
            await self._publish("elsewhere", self._payload("elsewhere"), random.randrange(3))
        elif action == 4:
            self._intend(message)
            message.ack()
        elif action == 5:
            self._reject(message, random)
        elif action in {6, 7}:
            await self._work(message, random)
        elif action == 8:
            await self._nursery.start(self._work_in_task, message, random)
        elif action == 9:
            boom()
        elif action == 10:
            self._kept.append(message)
        elif action == 11:
            await trio.sleep(random.choice((0, 0.5, 1, 9, 12, 40)))
        elif action == 12:
            self._nursery.start_soon(self._work_later, message, random)

    def _reject(self, message: Message, random: Random) -> None:
        if message.qos and self._is_5:
            self._intend(message)
            message.reject(random.choice(REJECTIONS))
        elif message._holder is not None:
            with pytest.raises(FeatureNotSupported):
                message.reject()

    async def _work(self, message: Message, random: Random) -> None:
        fails = not random.randrange(3)
        try:
            with message:
                for _ in range(random.randrange(4)):
                    await trio.lowlevel.checkpoint()
                if fails:
                    boom()
                self._intend(message)
        except Boom:
            pass

    async def _work_in_task(
        self, message: Message, random: Random, *, task_status: trio.TaskStatus[None]
    ) -> None:
        scope = trio.CancelScope()
        self._consumers.append(scope)
        with scope, message:
            task_status.started()
            for _ in range(random.randrange(10)):
                await trio.lowlevel.checkpoint()
            await trio.sleep(random.choice((0, 0, 1, 20)))
            self._intend(message)

    async def _work_later(self, message: Message, random: Random) -> None:
        """In a task that the loop does not wait for."""
        if message in self._looped:
            with pytest.raises(LocalProtocolError, match="too late"), message:
                boom()
        else:
            await self._work(message, random)

    def settle(self, random: Random) -> None:
        """A message that was taken long ago."""
        if self._kept:
            message = self._kept.pop(random.randrange(len(self._kept)))
            self._intend(message)
            message.ack()

    # -- time

    async def sleep(self, random: Random) -> None:
        self._server.resume_reading("me")
        self._paused = False
        self._slept = True
        await trio.sleep(random.choice((0, 0.5, 2, STALL_TIMEOUT + 1, UNCLAIMED_TIMEOUT + 1)))

    async def watch(self, events: EventStream) -> None:
        """Note which messages were released."""
        async for event in events:
            if not isinstance(event, MessageReleased):
                continue
            message = event.message
            assert isinstance(message, Message)
            self._released.add(message._arrival)

    # -- what must hold

    def _read_log(self) -> None:
        self.wire.read(self._server._log.since(self.wire.numbered))

    def check(self, *, quiet: bool) -> None:
        """Compare; `quiet` says that every task waits."""
        self._read_log()
        for arrival in self.wire.arrivals[self._routed : self._arrived]:
            self._route(arrival)
        self._routed = self._arrived
        for block in self._blocks:
            if block.is_open:
                self._check_open(block)
                self._check_bounds(block)
            elif block.subscription is not None and block.left:
                self._check_left(block)
        self.alarm.answers_awaited = False
        self._slept = False
        for arrival in self.wire.arrivals:
            if arrival.takes:
                self._check_takes(arrival)
        self._check_client()
        if quiet:
            self._check_settled()
            self._check_quiet()

    def _route(self, arrival: Arrival) -> None:
        """Work out who must and who may get a message, from what was subscribed when."""
        number = arrival.number
        groups: dict[str, tuple[set[Block], bool]] = {}
        for block in self._blocks:
            for each, window in block.windows.items():
                if not window.may(number) or not topic_matches(each, arrival.topic):
                    continue
                own = block.identifiers.get(each)
                if arrival.identifiers and own and own not in arrival.identifiers:
                    continue
                arrival.may.add(block)
                block.may.add(number)
                named = not arrival.identifiers or own in arrival.identifiers
                must = named and window.must(number)
                if each.startswith("$share"):
                    members, some = groups.get(each, (set[Block](), False))
                    groups[each] = ({*members, block}, some or must)
                elif must:
                    arrival.must.add(block)
                    is_loose = not arrival.qos or block.ack == "on_receipt"
                    (block.must_loose if is_loose else block.must_windowed).add(number)
        for members, some in groups.values():
            known = all(block.subscription and not block.settles_at_once for block in members)
            if some and arrival.qos and known:
                assert any(
                    number in block.taken | block.buffered() | block.buffered_at_exit
                    for block in members
                ), "a shared subscription gives each message to one"

    def _check_open(self, block: Block) -> None:
        assert block.subscription is not None
        statistics = block.subscription.statistics()
        assert statistics.taken == len(block.takes), "what was taken reached the program"
        assert statistics.received == (
            statistics.taken + statistics.dropped + statistics.buffered
        ), statistics
        got = block.taken | block.buffered()
        assert block.must_windowed <= got, "QoS 1 and 2 is never lost"
        assert len(block.must_loose - got) <= statistics.dropped, "every drop is counted"
        if block.overflow == "wait" and not self._setting.large:
            assert statistics.dropped == 0, statistics
        meant = block.may | block.claimable | block.inheritable
        assert got <= meant, "nobody gets what is not for them"
        assert statistics.received <= len(meant), f"{block.filters} got {statistics}"

    def _check_bounds(self, block: Block) -> None:
        assert block.subscription is not None
        buffer = block.subscription._buffer
        loose, size = len(buffer._loose), buffer.loose_bytes
        assert size == sum(len(each.payload) + OVERHEAD for each in buffer._loose)
        largest = OVERHEAD + 8 + LARGE
        claimed = block.settles_at_once and block.claimable
        if loose < block.buffer and size < MOST_BYTES:
            block.grown = False
        elif claimed or (block.overflow == "wait" and (self.alarm.answers_awaited or self._slept)):
            block.grown = True  # with one more when nobody awaits anything any longer
        if block.grown:
            assert loose <= 2 * block.buffer + 1 or size <= MOST_BYTES + largest
        else:
            assert loose <= block.buffer, f"{loose} messages; the bound is {block.buffer}"
            assert size <= MOST_BYTES + largest
        assert size <= 2 * MOST_BYTES + largest

    def _check_left(self, block: Block) -> None:
        assert block.subscription is not None
        statistics = block.subscription.statistics()
        assert statistics.taken == len(block.takes)
        assert statistics.buffered == 0
        assert statistics.in_hand == 0
        rest = len(block.windowed_at_exit)
        assert statistics.received == statistics.taken + statistics.dropped + rest
        # What only this block got of a shared filter goes to a competitor, if there is one.
        competes = any(each.startswith("$share") for each in block.filters)
        assert statistics.released in (range(rest + 1) if competes else {0, rest})
        assert block.must_windowed <= block.taken | block.buffered_at_exit

    def _check_takes(self, arrival: Arrival) -> None:
        attempts = [take.attempt for take in arrival.takes]
        assert attempts.count(1) <= arrival.copies, "delivered once"
        if arrival.copies == 1:
            first = attempts[0]
            assert attempts == list(range(first, first + len(attempts)))
            assert first == 1
        for take in arrival.takes:
            if not take.block.settles_at_once and arrival.qos:
                assert take.settled_before < arrival.copies, "what is settled stays settled"

    def _check_settled(self) -> None:
        """Settled is what the program settled, and nothing else; only that is acknowledged."""
        for arrival in self.wire.arrivals:
            if arrival.number in self._released or not arrival.qos:
                continue
            for take in arrival.takes:
                message = take.message
                if message.settled is not None and not take.block.settles_at_once:
                    assert message in self._intended or self._is_dealt_with(arrival), (
                        f"nothing else settles {take}"
                    )
                if message in self._intended:
                    assert message.settled is not None
        for arrival, rejected in self.wire.acknowledged:
            if rejected:
                assert arrival.takes
            assert self._is_dealt_with(arrival), f"{arrival} was acknowledged too early"
        self.wire.acknowledged.clear()

    def _is_dealt_with(self, arrival: Arrival) -> bool:
        number = arrival.number
        if number in self._released:
            return True
        done = 0
        for take in arrival.takes:
            if take.message in self._intended:
                # What several have left is claimed as one.
                late = take.block.claimable | take.block.inheritable
                done += arrival.copies if number in late else 1
        for block in self._blocks:
            gets = block in arrival.must
            claimed = number in block.claimable | block.inheritable
            if not gets and not claimed:
                continue
            if block.settles_at_once or (block.leaving and self._gave_up(block, number)):
                done += 1 if gets else arrival.copies
        return done >= len(arrival.must)

    def _gave_up(self, block: Block, number: int) -> bool:
        """Whether its block was left, and the message acknowledged with the UNSUBSCRIBE."""
        subscription = block.subscription
        if subscription is None or number not in block.windowed_at_exit:
            return False
        return subscription.statistics().released > 0

    def _check_client(self) -> None:
        statistics = self._client.statistics()
        session = self._client._supervisor.state
        in_flight = sum(isinstance(each, OutgoingMessage) for each in session.identifiers.holders())
        assert statistics.window + in_flight == self._full_window(), "no quota is lost"
        assert statistics.window >= 0
        if self._is_5:
            assert statistics.unsettled <= self._setting.receive_maximum
        assert statistics.receive_maximum_exceeded == 0
        assert statistics.stray_acknowledgements == 0
        assert statistics.queued <= MOST_QUEUED
        assert statistics.output_bytes <= 2 * OUTPUT_HIGH_WATER
        assert len(self.wire.published) <= statistics.published <= len(self._tried)

    def _full_window(self) -> int:
        return min(self._setting.server_window if self._is_5 else NEVER, 65_000)

    def _check_quiet(self) -> None:
        statistics = self._client.statistics()
        valve = self._deliveries.valve
        receiver = self._client._supervisor.connection
        assert receiver is not None
        assert all(message.settled is None for message in receiver.receiver.oldest())
        assert self._deliveries._held >= 0
        if not self._paused:
            assert statistics.output_bytes == 0
        if valve.paused_since is None:
            assert self._arrived == len(self.wire.arrivals), "everything was read"
        else:
            assert valve.blockers
            assert not valve.awaited
        for message in self._deliveries.unclaimed:
            assert message.settled is None

    # -- the end

    async def finish(self) -> None:
        """Let everything come to its end, and see that nothing is left of it."""
        self._server.resume_reading("me")
        self._paused = False
        while self._holds:
            self._holds.pop()[1].__exit__(None, None, None)
        await self._quieten()
        assert not self._busy, "every answer has come"
        for scope in self._consumers:
            scope.cancel()
        for block in self._blocks:
            block.leave.set()
        await self._quieten()
        for block in self._blocks:
            block.scope.cancel()
        await self._quieten()
        assert all(block.left for block in self._blocks)
        if not self._setting.wait_for_release:
            await self._take_the_rest()
            await self._quieten()
        while self._open_exchanges():
            before = self._open_exchanges()
            await trio.sleep(UNCLAIMED_TIMEOUT + 1)
            await self._quieten()
            assert self._open_exchanges() < before
        self._check_finished()

    async def _quieten(self) -> None:
        await wait_all_tasks_blocked()
        self.check(quiet=True)

    def _open_exchanges(self) -> int:
        session = self._server.sessions["me"]
        return session.queued + session.inflight

    async def _take_the_rest(self) -> None:
        """One subscription that takes everything."""
        block = Block(("#", "$x"), 2, 1000, "wait", "manual", keep=False, how="normally")
        self._blocks.append(block)
        self._before_entry(block)
        async with self._client.subscribe(*block.filters, qos=2, ack="manual") as subscription:
            self._entered(block, subscription)
            await self._quieten()
            while subscription.statistics().buffered:
                message = subscription.receive_nowait()
                self._take(block, message)
                self._intend(message)
                message.ack()
                await self._quieten()
            self._before_exit(block)
        self._after_exit(block)

    def _check_finished(self) -> None:
        statistics = self._client.statistics()
        assert statistics.unfinished == statistics.queued == statistics.unsettled == 0, statistics
        assert statistics.unclaimed == statistics.tasks_awaiting_answers == 0
        assert statistics.window == self._full_window()
        assert self._deliveries._held == 0
        assert not self._deliveries.valve.blockers
        assert statistics.published == len(self.wire.published)
        session = self._server.sessions["me"]
        assert (session.inflight, session.queued, session.received, session.dropped) == (0, 0, 0, 0)
        assert all(arrival.acknowledged for arrival in self.wire.arrivals if arrival.qos)
        for arrival in self.wire.arrivals:
            if arrival.must and arrival.qos and not arrival.takes:
                assert self._is_dealt_with(arrival), f"{arrival} is lost"

    def check_end(self) -> None:
        """After the client was closed."""
        self._read_log()
        assert self.wire.ended
        published = self.wire.published
        assert self._accepted <= published.keys(), "what was accepted is sent"
        assert published.keys() <= self._tried
        known = set(self._accepted_order)
        order = [payload for payload in self.wire.published_order if payload in known]
        assert order == self._accepted_order
        assert not self._server.sessions.get("me")

    async def act(self, number: int) -> None:
        """Do what a number stands for, and check."""
        number, after = divmod(number, 4)
        number, action = divmod(number, len(ACTIONS))
        result = ACTIONS[action](self, Random(number))  # noqa: S311 - it keeps no secret
        if result is not None:
            await result
        if after == 1:
            await trio.lowlevel.checkpoint()
        elif after:
            await wait_all_tasks_blocked()
        self.check(quiet=after > 1)


ACTIONS: Final[tuple[Callable[[World, Random], Awaitable[None] | None], ...]] = (
    *(World.subscribe,) * 5,
    *(World.serve,) * 5,
    *(World.consume,) * 5,
    *(World.publish,) * 2,
    World.enqueue,
    World.publish_nowait,
    World.open_publisher,
    World.cancel_publishing,
    *(World.hold,) * 2,
    *(World.release,) * 2,
    World.pause,
    *(World.leave,) * 2,
    World.cancel_block,
    World.unsubscribe,
    World.cancel_consumer,
    World.settle,
    World.settle,
    World.sleep,
)

NUMBERS: Final = 4 * len(ACTIONS) * 4096
"""How many there are."""
