"""The way of messages and requests from callers into the session."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final

import trio
from trio.lowlevel import enable_ki_protection

from trio_mqtt._client._outgoing import OVERHEAD, MessageMaker, Tally, own_instance, refusal_of
from trio_mqtt._client._requests import check_size, why_not
from trio_mqtt._client._waiting import Gate, Outcome, Pacer, Wakeup
from trio_mqtt._errors import MessageDropped, MQTTError, QueueFull
from trio_mqtt._protocol.exchanges import OutgoingMessage, Request
from trio_mqtt._protocol.handshakes import SenderState
from trio_mqtt._protocol.sender import OUTPUT_HIGH_WATER
from trio_mqtt.events import PublishFailed
from trio_mqtt.packets import SubAck, Subscribe, UnsubAck, Unsubscribe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mqtt._client._event_stream import EventStreams
    from trio_mqtt._client._link import Link
    from trio_mqtt._client._outgoing import Make, Payload
    from trio_mqtt._client._session import Session
    from trio_mqtt._client._valve import Valve
    from trio_mqtt._protocol.exchanges import Listener
    from trio_mqtt._protocol.runs import FinishedRun
    from trio_mqtt._protocol.server_info import ServerInfo

_logger = logging.getLogger("trio_mqtt")
_SWEEP_EVERY: Final = 1.0
"""Expired messages are looked for at most so often, in seconds."""
_GIVEN_UP: Final = MQTTError("the request was given up")


def _nothing_to_hasten() -> None:
    """There is no connection."""


class Sending:
    """Admits messages and requests to the session, within its bounds.

    Args:
        session: what takes them over.
        server: what is assumed of the Server before its CONNACK.
        name: its address, for messages.
        valve: as below.
        check_open: raises if the client is closed or has failed.
        dropped: is given each message that will not be sent, with the reason.
        events: who watches.
        start: starts a background task.

    Attributes:
        published: how many messages were admitted.
        expired: how many were dropped since they had expired.
        displaced: how many were dropped since others needed their place.
        hasten: sends what was just accepted at once, if it can; see `Link.hasten`.
        is_closed: whether the client takes nothing any more; the caller's to set.
        make: checks and prepares a message; raises as `Client.publish` says.
        pacer: to be asked before a message is made.
        valve: is told of tasks that await an answer of the Server.
    """

    def __init__(  # noqa: PLR0913 - the parts that it stands between
        self,
        session: Session,
        server: ServerInfo,
        name: str,
        *,
        valve: Valve,
        check_open: Callable[[], None],
        dropped: Callable[[OutgoingMessage, MQTTError], None],
        events: EventStreams,
        start: Callable[[Callable[[], Awaitable[None]]], None],
    ) -> None:
        self.published: int = 0
        self.expired: int = 0
        self.displaced: int = 0
        self.is_closed: bool = False
        self._session = session._state
        self._most_queued = session._queue
        self._most_bytes = session._queue_bytes
        self._overflow = session._overflow
        self.valve: Valve = valve
        self._check_open = check_open
        self._dropped = dropped
        self._events = events
        self._start = start
        self._sweeping = False
        self._sweep_at = math.inf
        self._sweep_sooner = Wakeup()
        self.pacer: Pacer = Pacer()
        self.hasten: Callable[[], None] = _nothing_to_hasten
        self._link: Link | None = None
        self._maker = MessageMaker(server, name)
        self.make: Make = self._maker.make
        self._output_gate = Gate(self._output_has_room, check_open)
        self._queue_gate = Gate(self._queue_has_room, check_open)

    def connected(self, link: Link, server: ServerInfo) -> None:
        """Send on this connection from now on; what it cannot send is given up."""
        self._link = link
        self.hasten = link.hasten
        self._maker.serve(server, link.name)
        for message in self._session.messages():
            # After PUBREC the Server has it, and PUBREL alone is left to send.
            if message.failure is None and message.state is not SenderState.AWAITING_PUBCOMP:
                failure = self._maker.check_again(message)
                if failure is not None:
                    self._session.give_up(message, failure)
                    self._dropped(message, failure)
        self._check_requests(server)

    def _check_requests(self, server: ServerInfo) -> None:
        """Have SUBSCRIBEs that wait say only what this Server takes; fail those that cannot."""
        requests = self._session.requests
        waiting = list(requests)
        requests.clear()
        for request in waiting:
            unsupported = self._maker.unsupported
            request.failure = why_not(request.packet, server, self.server_name, unsupported)
            if request.failure is None:
                requests.append(request)
            else:
                request.tell()

    def disconnected(self) -> None:
        """There is no connection: messages wait in the session, at QoS 0 with their publishers."""
        self._link = None
        self.hasten = _nothing_to_hasten

    @property
    def server_name(self) -> str:
        """The Server's address, for messages."""
        return self._maker.server_name

    @property
    def server(self) -> ServerInfo:
        """What the Server granted last."""
        return self._maker.server

    def _output_has_room(self) -> bool:
        link = self._link
        if link is None or link.connection.sender.is_repeating:
            return False
        output = link.connection.output
        return output.size < OUTPUT_HIGH_WATER and not output.closed

    def _queue_has_room(self) -> bool:
        session = self._session
        waiting = len(session.queue) + len(session.prepared)
        return waiting < self._most_queued and session.outgoing_size < self._most_bytes

    @enable_ki_protection
    def progress(self) -> None:
        """Move on what can move: something was sent or acknowledged, or has become due."""
        link = self._link
        if link is not None:
            connection = link.connection
            connection.sender.pump()
            if connection.sender.expired:
                self._tell_of_expired(connection.sender.expired)
        self._queue_gate.update()
        self._output_gate.update()

    def close(self) -> None:
        """Send those who wait for room away."""
        self._queue_gate.close()
        self._output_gate.close()

    def finish(self, message: OutgoingMessage) -> None:
        """Tell of the end of an exchange; a refusal is an event, too, as nobody may wait for it."""
        acknowledgement = message.acknowledgement
        if acknowledgement is not None and acknowledgement.reason_code:  # success is 0, mostly
            refusal = refusal_of(message, self.server_name)
            if refusal is not None:
                self._events.put(PublishFailed(message=message, error=refusal))
        listener = message.listener
        if listener is not None:
            listener(message)

    def finish_run(self, run: FinishedRun, start: int) -> int:
        """Tell of the ends of exchanges, from this position on; returns how many these are."""
        messages = run[start:]
        count = len(messages)
        tally = messages[0].listener
        if (
            isinstance(tally, Tally)
            and run.is_accepted
            and [message.listener for message in messages].count(tally) == count
        ):
            tally.accepted(count)
        else:
            for message in messages:
                self.finish(message)
        return count

    # -- messages that are not sent -----------------------------------------------------------

    def _tell_of_expired(self, messages: list[OutgoingMessage]) -> None:
        for message in messages:
            self.expired += 1
            self._dropped(message, _expired(message))
        messages.clear()

    def _displace(self) -> bool:
        """Drop the message that has waited longest; False if none has."""
        message = self._session.withdraw_first()
        if message is None:
            return False
        self.displaced += 1
        text = (
            f"the message to {message.topic!r} had waited longest in the full outgoing queue, and "
            "was dropped for another"
        )
        if self.displaced == 1:
            _logger.warning("the outgoing queue is full and drops messages")
        self._dropped(message, MessageDropped(text, topic=message.topic))
        return True

    @enable_ki_protection
    async def _sweep(self) -> None:
        """Drop messages as they expire while they wait."""
        session = self._session
        while deadlines := [
            message.expires_at
            for message in session.waiting_messages()
            if message.expires_at is not None and not message.was_sent
        ]:
            earliest = trio.current_time() + _SWEEP_EVERY
            self._sweep_at = max(min(deadlines), earliest)
            with trio.move_on_at(self._sweep_at):
                await self._sweep_sooner.sleep()
                continue  # a message came that expires before the others
            self._tell_of_expired(session.withdraw(_is_expired))
            self.progress()
        self._sweeping = False

    def watch_expiry(self, expires_at: float = math.inf) -> None:
        """Have messages dropped as they expire, one perhaps as soon as this (Trio's clock)."""
        if not self._sweeping:
            if self._session.waiting:
                self._sweeping = True
                self._start(self._sweep)
        elif expires_at < self._sweep_at - _SWEEP_EVERY:
            self._sweep_sooner()

    # -- messages -----------------------------------------------------------------------------

    def check_again(self, message: OutgoingMessage) -> None:
        """Raise if a message that was made before cannot be sent to the Server of now."""
        failure = self._maker.check_again(message)
        if failure is not None:
            raise failure

    def discard(self, message: OutgoingMessage, error: BaseException) -> None:
        """Note that a message was made, and is not to be admitted."""

    @enable_ki_protection
    async def admit(self, message: OutgoingMessage) -> None:
        """Wait for room and hand the message to the session; cancelled, nothing happened.

        Call it when `accept_at_once` has failed, with no checkpoint since the message was made.
        """
        self._check_open()
        gate = self._queue_gate if message.qos else self._output_gate
        if not gate.is_open and not (message.qos and await self._makes_room_or_pauses()):
            server = self._maker.server
            with self.valve:
                await gate.wait()
            self._check_open()
            failure = None if self._maker.server is server else self._maker.check_again(message)
            if failure is not None:
                gate.update()  # the next in line has its turn
                raise failure
        self._accept(message)

    @enable_ki_protection
    def admit_nowait(self, message: OutgoingMessage) -> None:
        """Hand the message to the session.

        Raises:
            trio.WouldBlock: there is no room.
            QueueFull: the same, where the Session says so.
            MQTTError: the client has failed.
            trio.ClosedResourceError: it is closed.
        """
        self._check_open()
        gate = self._queue_gate if message.qos else self._output_gate
        if not gate.is_open and not (message.qos and self._makes_room()):
            raise trio.WouldBlock
        self._accept(message)

    async def _makes_room_or_pauses(self) -> bool:
        """Make room as `_makes_room` does; but let others run before the queue is told to be full.

        Else who tries again and again would keep everybody from making room.
        """
        try:
            return self._makes_room()
        except QueueFull:
            await self.pacer.pause()
            raise

    def _makes_room(self) -> bool:
        """Make room in the full queue, if that is what the Session wants.

        Raises:
            QueueFull: it wants no message for which there is none.
        """
        if self._overflow == "error":
            text = (
                f"the outgoing queue is full: {self._session.waiting} messages wait, and all "
                f"unacknowledged take {self._session.outgoing_size} bytes; publish less, or give "
                "the Session a larger queue"
            )
            raise QueueFull(text)
        if self._overflow == "wait":
            return False
        while not self._queue_has_room():
            if not self._displace():
                return False
        return True

    @enable_ki_protection
    def send_plain(self, topic: str, payload: Payload) -> bool:
        """Send a QoS 0 message that is like most, if nothing is in its way.

        Returns:
            Whether it was sent. Otherwise nothing has happened: it is for `make`.
        """
        link = self._link  # there is none after a failure
        if link is None or self.is_closed or self._output_gate.waiting:
            return False
        if not isinstance(payload, bytes):
            return False
        maker = self._maker
        try:
            topic_field = maker.topic_fields.get(topic)
        except TypeError:  # a list, say
            return False
        if topic_field is None or len(topic_field) + len(payload) > maker.surely_fits:
            return False  # there is more to check
        sent = link.connection.sender.send_plain(topic_field, payload)
        self.published += sent
        return sent

    @enable_ki_protection
    def publish_plain(
        self, topic: str, payload: Payload, qos: int, listener: Listener
    ) -> OutgoingMessage | None:
        """As `send_plain` at QoS 1 or 2; the listener is called once the exchange is over.

        Returns:
            The message, which was sent; None if nothing has happened.
        """
        link = self._link
        maker = self._maker
        if (
            link is None
            or self.is_closed
            or self._queue_gate.waiting
            or self._session.outgoing_size >= self._most_bytes
            or not isinstance(payload, bytes)
            or qos not in maker.qos_granted
        ):
            return None
        try:
            topic_field = maker.topic_fields.get(topic)
        except TypeError:
            return None
        size = len(payload)
        if topic_field is None or len(topic_field) + size > maker.surely_fits:
            return None
        message = link.connection.sender.publish_plain(
            topic, topic_field, payload, qos, size + OVERHEAD, listener
        )
        if message is not None:
            self.published += 1
        return message

    @enable_ki_protection
    def accept_at_once(self, message: OutgoingMessage) -> bool:
        """Send a message if nothing is in its way, not even a look at what else might be due.

        That is most of them; whatever is rare returns False, and is for `admit`.
        """
        link = self._link  # there is none after a failure
        if link is None or self.is_closed or message.expires_at is not None:
            return False
        sender = link.connection.sender
        if message.qos:
            if self._queue_gate.waiting or self._session.outgoing_size >= self._most_bytes:
                return False
            if not sender.send_at_once(message):
                return False
        elif self._output_gate.is_open:
            sender.send(message)
        else:
            return False
        self.published += 1
        return True

    @enable_ki_protection
    def _accept(self, message: OutgoingMessage) -> None:
        self.published += 1
        link = self._link
        if message.qos:
            self._session.accept(message)
            if link is not None:
                sender = link.connection.sender
                sender.pump()
                if sender.expired:
                    self._tell_of_expired(sender.expired)
            if message.expires_at is not None:
                self.watch_expiry(message.expires_at)
            self._queue_gate.update()
        elif link is not None:
            if _is_expired(message):
                self.expired += 1
                self._output_gate.update()  # the next in line has its turn
                raise _expired(message)
            link.connection.sender.send(message)
            self._output_gate.update()

    @enable_ki_protection
    async def await_answer(self, event: trio.Event | Outcome) -> None:
        """Wait for something that only an answer of the Server can bring about."""
        with self.valve:
            await event.wait()

    # -- requests -----------------------------------------------------------------------------

    def check(self, packet: Subscribe | Unsubscribe) -> None:
        """Raise PacketTooLarge if the Server does not take so much."""
        check_size(packet, self.server, self.server_name)

    @enable_ki_protection
    def request(
        self,
        packet: Subscribe | Unsubscribe,
        listener: Callable[[Request], object] | None = None,
        *,
        stored_in: int = 0,
    ) -> Request:
        """Have a SUBSCRIBE or UNSUBSCRIBE sent.

        Args:
            packet: what to send; its Packet Identifier is set when that is done.
            listener: called once when the answer has come or the request has failed.
            stored_in: the batch of the journal that must be on disk before it is sent.

        Raises:
            LocalProtocolError: the standard forbids it.
            PacketTooLarge: the Server does not take so much.
        """
        self.check(packet)
        count = len(packet.requests if isinstance(packet, Subscribe) else packet.topic_filters)
        request = Request(packet, count, listener)
        request.stored_in = stored_in
        self._session.requests.append(request)
        self.progress()
        return request

    @enable_ki_protection
    async def ask(
        self,
        packet: Subscribe | Unsubscribe,
        listener: Callable[[Request], object],
        *,
        stored_in: int = 0,
    ) -> SubAck | UnsubAck:
        """Send a request and wait for its answer; the listener gets it first, in any case.

        Cancelled, only the waiting ends.
        """
        event = trio.Event()

        def answered(request: Request) -> None:
            listener(request)
            event.set()

        request = self.request(packet, answered, stored_in=stored_in)
        await self.await_answer(event)
        if request.answer is None:
            raise own_instance(request.failure or _GIVEN_UP)
        return request.answer


def _is_expired(message: OutgoingMessage) -> bool:
    return message.is_over_at(trio.current_time())


def _expired(message: OutgoingMessage) -> MessageDropped:
    text = f"the message to {message.topic!r} expired before it could be sent, and was dropped"
    return MessageDropped(text, topic=message.topic)
