"""A measurement: publishers that send, subscribers that count and time what comes.

Each message has the number of its publisher, its own number, and when it was to be sent. So it is
known which are lost and doubled, and a latency counts from when the message was due: one that had
to wait for its turn was late, too.
"""

from __future__ import annotations

import secrets
import struct
from contextlib import AsyncExitStack
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final, cast

import attrs
import trio

from trio_mqtt import PublishRejected
from trio_mqtt._cli.measuring.histogram import Histogram
from trio_mqtt._cli.measuring.rates import Rates
from trio_mqtt._cli.measuring.sequences import Sequence

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from trio_mqtt import Client, Publisher, Subscription

_HEADER: Final = struct.Struct(">IIQ")
SMALLEST: Final = _HEADER.size
"""How many bytes a payload has at least: who sent it, its number, and when."""

_SECOND: Final = 1_000_000_000
_SAMPLE: Final = 0.25
"""How often the counts are looked at, in seconds."""
_BUFFER: Final = 10_000
"""How many messages a subscriber may be behind."""


@attrs.frozen(kw_only=True)
class Plan:
    """What is to be measured.

    Attributes:
        open: opens a client.
        qos: of the messages, and of the subscriptions.
        size: of each payload, in bytes.
        messages: how many are sent in all, or None for as many as fit into `duration`.
        duration: for how long messages are sent, in seconds, or None.
        publishers: how many clients publish.
        subscribers: how many clients get all messages.
        rate: messages a second, in all; None for as many as the clients can send.
        patience: how long to wait for messages once no more come, in seconds.
        prefix: what the topics begin with.
    """

    open: Callable[[], AbstractAsyncContextManager[Client]]
    qos: int = 0
    size: int = 64
    messages: int | None = None
    duration: float | None = None
    publishers: int = 1
    subscribers: int = 1
    rate: float | None = None
    patience: float = 5.0
    prefix: str = attrs.field(factory=lambda: f"trio-mqtt-bench/{secrets.token_hex(8)}")

    def share(self, number: int) -> int | None:
        """How many messages this publisher sends."""
        if self.messages is None:
            return None
        each, more = divmod(self.messages, self.publishers)
        return each + (1 if number < more else 0)


class Measurement:
    """What has been measured so far.

    Args:
        plan: what is to be measured.

    Attributes:
        plan: that.
        sent: messages that were handed over.
        rejected: messages that the Server refused.
        latencies: from when a message was due until it was received, in nanoseconds.
        rates: how it went over time.
        protocol: the version of MQTT spoken, for people.
        connections: how many connections there were, without the first of each client.
        dropped: messages that this program itself had no room for.
        sending_seconds: how long messages were sent.
        receiving_seconds: how long it took from the first message sent to the last received.
        interrupted: whether it ended before its time.
        complete: whether all that was sent was waited for.
        refusal: why the Server has refused messages, or empty.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.sent = 0
        self.rejected = 0
        self.latencies = Histogram()
        self.rates = Rates(_SAMPLE)
        self.protocol = ""
        self.connections = 0
        self.dropped = 0
        self.sending_seconds = 0.0
        self.receiving_seconds = 0.0
        self.interrupted = False
        self.complete = False
        self.refusal = ""
        self._sequences = [
            [Sequence() for _ in range(plan.publishers)] for _ in range(plan.subscribers)
        ]
        self._started = 0
        self._last_received = 0
        self._arrived = 0
        self._stopping = trio.Event()

    @property
    def received(self) -> int:
        """Messages that have come, at all subscribers, each counted once."""
        return sum(each.received for group in self._sequences for each in group)

    @property
    def doubled(self) -> int:
        """Messages that came again."""
        return sum(each.doubled for group in self._sequences for each in group)

    @property
    def late(self) -> int:
        """Messages that came after one sent later."""
        return sum(each.late for group in self._sequences for each in group)

    @property
    def expected(self) -> int:
        """How many have to come for those sent so far."""
        return (self.sent - self.rejected) * self.plan.subscribers

    @property
    def lost(self) -> int:
        """How many have not come."""
        return max(0, self.expected - self.received)

    def stop(self) -> None:
        """Send no more; what is under way may still come."""
        self.interrupted = True
        self._stopping.set()

    async def run(self, watch: Callable[[Measurement], None]) -> None:
        """Measure.

        Args:
            watch: is called several times a second.

        Raises:
            MQTTError: a client could not connect, or failed.
        """
        plan = self.plan
        async with AsyncExitStack() as stack:
            subscribers = [await stack.enter_async_context(plan.open()) for _ in self._sequences]
            publishers = [
                await stack.enter_async_context(plan.open()) for _ in range(plan.publishers)
            ]
            clients = [*subscribers, *publishers]
            self.protocol = clients[0].server.protocol.title
            topic_filter = f"{plan.prefix}/+"
            subscriptions = [
                await stack.enter_async_context(
                    client.subscribe(topic_filter, qos=plan.qos, buffer=_BUFFER, ack="on_receipt")
                )
                for client in subscribers
            ]
            try:
                await self._measure(publishers, subscriptions, watch)
            finally:
                self.dropped = sum(each.statistics().dropped for each in subscriptions)
                connections = sum(each.statistics().connections for each in clients)
                self.connections = connections - len(clients)

    async def _measure(
        self,
        publishers: list[Client],
        subscriptions: list[Subscription],
        watch: Callable[[Measurement], None],
    ) -> None:
        failure: ExceptionGroup[Exception] | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._observe, watch)
                for subscription, sequences in zip(subscriptions, self._sequences, strict=True):
                    nursery.start_soon(self._receive, subscription, sequences)
                await self._send(publishers)
                await self._wait_for_the_rest()
                self.complete = True
                nursery.cancel_scope.cancel()
        except ExceptionGroup as group:
            failure = group
        self.rates.sample(self.sent, self.received)
        if failure is not None:
            raise _first_of(failure)

    # -- sending --------------------------------------------------------------------------------

    async def _send(self, clients: list[Client]) -> None:
        self._started = self._last_received = perf_counter_ns()
        async with trio.open_nursery() as nursery:
            for number, client in enumerate(clients):
                nursery.start_soon(self._publish, client, number)
        self.sending_seconds = (perf_counter_ns() - self._started) / _SECOND

    async def _publish(self, client: Client, number: int) -> None:
        plan = self.plan
        publisher: Publisher | None = None
        try:
            async with client.open_publisher(qos=plan.qos) as publisher:
                scope = trio.CancelScope()
                if plan.duration is not None:
                    scope.deadline = trio.current_time() + plan.duration
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._cancel_when_stopped, scope)
                    with scope:
                        await self._send_all(publisher, number)
                    nursery.cancel_scope.cancel()
        except PublishRejected as error:
            self.refusal = self.refusal or str(error)
            self.rejected += 0 if publisher is None else publisher.rejected

    async def _cancel_when_stopped(self, scope: trio.CancelScope) -> None:
        await self._stopping.wait()
        scope.cancel()

    async def _send_all(self, publisher: Publisher, number: int) -> None:
        plan = self.plan
        topic = f"{plan.prefix}/{number}"
        rest = bytes(plan.size - SMALLEST)
        share = plan.share(number)
        pause = None if plan.rate is None else _SECOND * plan.publishers / plan.rate
        # Publishers take turns, so that they do not all send at the same moment.
        offset = 0 if pause is None else round(pause * number / plan.publishers)
        begun = perf_counter_ns() + offset
        sequence = 0
        while share is None or sequence < share:
            due = perf_counter_ns()
            if pause is not None:
                early = begun + round(sequence * pause) - due
                due += early
                if early > 0:
                    await trio.sleep(early / _SECOND)
            await publisher.send(topic, _HEADER.pack(number, sequence, due) + rest)
            sequence += 1
            self.sent += 1

    # -- receiving ------------------------------------------------------------------------------

    async def _receive(self, subscription: Subscription, sequences: list[Sequence]) -> None:
        add, unpack = self.latencies.add, _HEADER.unpack_from
        async for message in subscription:
            now = perf_counter_ns()
            payload = message.payload
            if len(payload) < SMALLEST:
                continue
            publisher: int
            number: int
            due: int
            publisher, number, due = unpack(payload)
            if publisher >= len(sequences):
                continue
            if sequences[publisher].take(number):
                add(now - due)
            self._arrived += 1
            self._last_received = now

    async def _wait_for_the_rest(self) -> None:
        """Wait until all have come, or no more do."""
        arrived = -1
        patient_until = 0.0
        while self.received < self.expected:
            if arrived != self._arrived:
                arrived = self._arrived
                patient_until = trio.current_time() + self.plan.patience
            elif trio.current_time() > patient_until:
                break
            await trio.sleep(min(_SAMPLE, self.plan.patience) / 10)
        self.receiving_seconds = (self._last_received - self._started) / _SECOND

    async def _observe(self, watch: Callable[[Measurement], None]) -> None:
        next_sample = trio.current_time() + _SAMPLE
        due = next_sample
        while True:
            await trio.sleep_until(due)
            if due >= next_sample:
                self.rates.sample(self.sent, self.received)
                next_sample += self.rates.interval
            watch(self)
            due += _SAMPLE


def _first_of(error: Exception) -> Exception:
    """An exception of a group, which all have the same reason: a client has failed."""
    if not isinstance(error, ExceptionGroup):
        return error
    return _first_of(cast("ExceptionGroup[Exception]", error).exceptions[0])
