"""Session State: what outlives a Network Connection (4.1).

With a journal it outlives the process, too: whatever must be remembered is noted there as it
changes, and the number of the batch that it is noted in goes along with what reveals it.
"""

from __future__ import annotations

from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Final, Literal
from weakref import WeakKeyDictionary

import attrs

from trio_mqtt._enums import QoS
from trio_mqtt._protocol.exchanges import OutgoingMessage, Request
from trio_mqtt._protocol.handshakes import ReceiverState, SenderState
from trio_mqtt._protocol.identifiers import PacketIdentifiers
from trio_mqtt._protocol.records import (
    OUTGOING,
    PROGRESS,
    RECEIVED,
    apply_progress,
    decode_message,
    encode_progress,
)
from trio_mqtt.packets import Unsubscribe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from trio_mqtt._enums import ReasonCode
    from trio_mqtt._protocol.exchanges import IncomingMessage
    from trio_mqtt._protocol.journal import Journal, RecordKey
    from trio_mqtt.packets import Properties

    Explanations = WeakKeyDictionary[IncomingMessage, tuple[ReasonCode, Properties]]

OnSessionLost = Literal["republish_certain", "republish", "fail"]
"""What becomes of messages under way when the Server has lost the Session."""

MOST_PREPARED: Final = 65_000
"""How many messages have Packet Identifiers; the rest is for SUBSCRIBE and UNSUBSCRIBE."""

_NONE: Final[deque[OutgoingMessage]] = deque(maxlen=0)
"""Where no message is ever put; an empty deque of its own takes a Session 760 bytes."""


def _no_clock() -> float:
    return 0.0


class SessionState:
    """Messages and requests that are not over, in both directions.

    Args:
        journal: where changes are noted for the disk, or None.
        clock: what message expiry is measured by, in seconds.

    Attributes:
        journal: where changes are noted for the disk, or None.
        clock: what message expiry is measured by, in seconds.
        identifiers: our Packet Identifiers in use, in the order of first transmission, with the
            message or request that each belongs to.
        requests: SUBSCRIBEs and UNSUBSCRIBEs accepted and not yet sent.
        queue: QoS 1 and 2 messages accepted and not yet sent.
        prepared: those before them that have got their Packet Identifiers ahead of time.
        received: QoS 2 identifiers of the Server between PUBLISH and PUBREL. They are apart from
            ours: the same number can be in use both ways (2.2.1).
        held: messages of earlier connections for which no acknowledgement was ever written, by
            QoS and Packet Identifier: the Server sends them again if it still has the Session.
        outgoing_size: what all accepted and unfinished messages take in memory, in bytes.
        given_up: messages that will not be sent again and only keep their Packet Identifiers.
        explanations: what acknowledgements are to say beside their Reason Codes, and for which of
            those; None until there is one.
    """

    def __init__(
        self, journal: Journal | None = None, clock: Callable[[], float] = _no_clock
    ) -> None:
        self.journal = journal
        self.clock = clock
        self.identifiers: PacketIdentifiers[OutgoingMessage | Request] = PacketIdentifiers()
        self.requests: list[Request] = []
        self.queue: deque[OutgoingMessage] = deque()
        self.prepared: deque[OutgoingMessage] = _NONE if journal is None else deque()
        self.received: dict[int, ReceiverState] = {}
        self.held: dict[tuple[int, int], IncomingMessage] = {}
        self.outgoing_size: int = 0
        self.given_up: int = 0
        self.explanations: Explanations | None = None
        self._stored_received: set[int] = set()  # identifiers that the storage remembers
        self._last_sequence = 0
        self.last_release: int = 0

    @property
    def unfinished(self) -> int:
        """How many messages and requests are accepted and not over."""
        return len(self.identifiers) - self.given_up + len(self.requests) + len(self.queue)

    @property
    def waiting(self) -> int:
        """How many messages are accepted and not yet sent."""
        return len(self.queue) + len(self.prepared)

    def waiting_messages(self) -> Iterator[OutgoingMessage]:
        """The messages accepted and not yet sent, in order."""
        return chain(self.prepared, self.queue)

    def messages(self) -> list[OutgoingMessage]:
        """All messages that are not over, in order."""
        held = [each for each in self.identifiers.holders() if isinstance(each, OutgoingMessage)]
        return [*held, *self.queue]

    # -- sending ------------------------------------------------------------------------------

    def accept(self, message: OutgoingMessage) -> None:
        """Take over a QoS 1 or 2 message: from here on it is the Session's to complete."""
        self.queue.append(message)
        self.outgoing_size += message.size
        if self.journal is not None:
            self._last_sequence += 1
            message.sequence = self._last_sequence
            number = self.journal.put((OUTGOING, message.sequence), message)
            message.accepted_in = message.stored_in = number

    def prepare(self, message: OutgoingMessage) -> None:
        """Give a message its Packet Identifier (MQTT-2.2.1-4)."""
        message.packet_id = self.identifiers.take(message)
        self._note_progress(message)

    def prepare_ahead(self, room: int) -> None:
        """Let the queue get its Packet Identifiers, so that they are on disk in time.

        At QoS 2 only for what the window has room for: after a crash nothing tells whether a
        message with an identifier was sent, and if the Server has lost the Session then, that
        makes a difference.
        """
        while self.queue and len(self.identifiers) < MOST_PREPARED:
            message = self.queue[0]
            if message.qos == QoS.EXACTLY_ONCE and len(self.prepared) >= room:
                return
            self.queue.popleft()
            self.prepare(message)
            self.prepared.append(message)

    def release(self, message: OutgoingMessage) -> int:
        """Note that PUBREC has come; says which batch must be on disk before PUBREL is sent."""
        self.last_release += 1
        message.released = self.last_release
        self._note_progress(message)
        return message.stored_in

    def _note_progress(self, message: OutgoingMessage) -> None:
        journal = self.journal
        if journal is None or message.accepted_in == journal.open_batch:
            return  # what is not written yet will be written as it is then
        record = encode_progress(message)
        message.stored_in = journal.put((PROGRESS, message.sequence), record)

    def finish(self, message: OutgoingMessage) -> None:
        """Free what a message held; its exchange is over."""
        if message.packet_id:
            self.identifiers.release(message.packet_id)
            self.given_up -= message.failure is not None
        self.outgoing_size -= message.size
        journal = self.journal
        if journal is not None:
            journal.delete((OUTGOING, message.sequence))
            if message.stored_in != message.accepted_in or not message.accepted_in:
                journal.delete((PROGRESS, message.sequence))

    def withdraw(self, unwanted: Callable[[OutgoingMessage], bool]) -> list[OutgoingMessage]:
        """Take messages back that were not sent yet; they are the caller's to report."""
        withdrawn = [message for message in self.waiting_messages() if unwanted(message)]
        if withdrawn:
            gone = set(withdrawn)
            for waiting in (self.prepared, self.queue):
                kept = [message for message in waiting if message not in gone]
                waiting.clear()
                waiting.extend(kept)
            for message in withdrawn:
                self.finish(message)
        return withdrawn

    def withdraw_first(self) -> OutgoingMessage | None:
        """Take the message back that has waited longest, if one has that was never sent."""
        for waiting in (self.prepared, self.queue):
            for number, message in enumerate(waiting):
                if not message.was_sent:
                    del waiting[number]
                    self.finish(message)
                    return message
        return None

    def withdraw_unstored(self) -> list[OutgoingMessage]:
        """Take back what has not come to disk at all; it was never sent."""
        journal = self.journal
        if journal is None:
            return []
        committed = journal.committed
        withdrawn = self.withdraw(lambda message: message.accepted_in > committed)
        for message in withdrawn:
            journal.forget((OUTGOING, message.sequence))
            journal.forget((PROGRESS, message.sequence))
        return withdrawn

    def give_up(self, message: OutgoingMessage, failure: Exception) -> None:
        """Send a message no more; one on the wire keeps its identifier till the Session ends."""
        if message.state is SenderState.IDLE:
            self.withdraw(lambda each: each is message)
        else:
            self.given_up += 1
            self.outgoing_size -= message.size
            place = _place_of(message, failure)
            self.identifiers.replace(message.packet_id, place)
            self._note_progress(place)
        message.failure = failure

    def detach(self) -> list[OutgoingMessage | Request]:
        """The client is closed, and the Session goes on without those who wait for it.

        Returns:
            What they wait for. The Session has copies of its own of the messages.
        """
        detached: list[OutgoingMessage | Request] = [*self.requests]
        self.requests.clear()
        for holder in self.identifiers.holders():
            detached.append(holder)
            if isinstance(holder, Request):
                self.identifiers.release(holder.packet.packet_id)
            else:
                self.identifiers.replace(holder.packet_id, self._alone(holder))
        detached += self.queue
        self.queue = deque(self._alone(message) for message in self.queue)
        prepared = [self.identifiers.holder(message.packet_id) for message in self.prepared]
        self.prepared = deque(each for each in prepared if isinstance(each, OutgoingMessage))
        self.forget_held()
        return detached

    def _alone(self, message: OutgoingMessage) -> OutgoingMessage:
        """The same message, for which nobody waits; one that was given up stays so."""
        alone = attrs.evolve(message, listener=None)
        if self.journal is not None and message.accepted_in == self.journal.open_batch:
            self.journal.put((OUTGOING, message.sequence), alone)  # it is still to be written
        return alone

    def forget_held(self) -> None:
        """Nobody has messages of earlier connections any more: what comes again is delivered.

        But for what was settled at QoS 2.
        """
        for (_, packet_id), message in self.held.items():
            accepted = message.settled is not None and not message.settled.is_failure
            if accepted and message.qos == QoS.EXACTLY_ONCE:
                self.received[packet_id] = ReceiverState.ANSWERED
        self.held.clear()

    def abandon(self) -> list[OutgoingMessage | Request]:
        """Give up everything that is not over, in order, for the caller to report."""
        sent = [
            each
            for each in self.identifiers.holders()
            if isinstance(each, Request) or each.failure is None
        ]
        abandoned = [*sent, *self.requests, *self.queue]
        self.identifiers = self.identifiers.renewed()
        self.requests.clear()
        self.queue.clear()
        self.prepared.clear()
        self.outgoing_size = self.given_up = 0
        return abandoned

    # -- receiving ----------------------------------------------------------------------------

    def note_settled(self, packet_id: int) -> None:
        """Note on disk that a QoS 2 message was settled, whenever its PUBREC goes out."""
        if self.journal is not None and packet_id not in self._stored_received:
            self._stored_received.add(packet_id)
            self.journal.put((RECEIVED, packet_id), b"")

    def explain(
        self, message: IncomingMessage, reason_code: ReasonCode, properties: Properties
    ) -> None:
        """Have the acknowledgement of a message say more, if it is settled with this code."""
        if self.explanations is None:
            self.explanations = WeakKeyDictionary()
        self.explanations[message] = (reason_code, properties)

    def begin_settling(self, receipt: Iterable[RecordKey]) -> None:
        """Note that the caller's work is about to bring these records to disk."""
        self._stored_received.update(int(key) for kind, key in receipt if kind == RECEIVED)

    def cancel_settling(self, receipt: Iterable[RecordKey]) -> None:
        """Note that the caller's work has failed, and did not."""
        self._stored_received.difference_update(
            int(key) for kind, key in receipt if kind == RECEIVED
        )

    def settled_stored_in(self, packet_id: int) -> int:
        """The batch that must be on disk before the PUBREC of a settled message is sent."""
        return 0 if self.journal is None else self.journal.after((RECEIVED, packet_id))

    def forget_received(self, packet_id: int) -> int:
        """Forget a QoS 2 identifier; says which batch must be on disk before that shows."""
        self.received.pop(packet_id, None)
        if self.journal is None:
            return 0
        if packet_id in self._stored_received:
            self._stored_received.discard(packet_id)
            return self.journal.delete((RECEIVED, packet_id))
        return self.journal.after((RECEIVED, packet_id))  # it may be forgotten but not on disk

    def holds(self, message: IncomingMessage) -> bool:
        """Whether the Server will send this message of an earlier connection again."""
        return self.held.get((message.qos, message.packet_id)) is message

    def drop_connection(self, unacknowledged: list[IncomingMessage]) -> None:
        """A connection is over, and these messages were never acknowledged on it."""
        for message in unacknowledged:
            self.held[message.qos, message.packet_id] = message
        for packet_id, state in list(self.received.items()):
            if state is ReceiverState.HELD:
                del self.received[packet_id]

    # -- the Session of the Server ------------------------------------------------------------

    def renew_requests(self) -> None:
        """Have unanswered SUBSCRIBEs and UNSUBSCRIBEs made anew, before the others."""
        unanswered = [each for each in self.identifiers.holders() if isinstance(each, Request)]
        for request in unanswered:
            self.identifiers.release(request.packet.packet_id)
        self.requests[:0] = unanswered

    def unsubscribing(self) -> set[str]:
        """The Topic Filters of UNSUBSCRIBEs that have no answer yet."""
        requests = [each for each in self.identifiers.holders() if isinstance(each, Request)]
        packets = [each.packet for each in [*requests, *self.requests]]
        return {
            topic_filter
            for packet in packets
            if isinstance(packet, Unsubscribe)
            for topic_filter in packet.topic_filters
        }

    def start_anew(self, policy: OnSessionLost) -> list[OutgoingMessage]:
        """The Server has no Session of ours: nothing there is remembered (MQTT-3.1.2-4).

        What was sent and not acknowledged is to be sent as new, where the policy allows; what was
        received stays deliverable.

        Returns:
            The messages that are given up, since the Server may or may not have them.
        """
        self.renew_requests()
        doubtful: list[OutgoingMessage] = []
        again: list[OutgoingMessage] = []
        for message in self.identifiers.holders():
            if isinstance(message, Request) or message.failure is not None:
                continue  # the first are renewed; the others were given up long ago
            certain = message.state is SenderState.IDLE
            if certain or policy == "republish" or (message.qos == 1 and policy != "fail"):
                again.append(message)
            else:
                doubtful.append(message)
        gone = [each for each in self.identifiers.holders() if isinstance(each, OutgoingMessage)]
        self.identifiers = self.identifiers.renewed()
        self.given_up = 0
        kept = set(again)
        for message in gone:
            message.was_sent = message.was_sent or message.state is not SenderState.IDLE
            message.packet_id = 0
            message.state = SenderState.IDLE
            if message in kept:
                self._note_progress(message)
            else:
                self.finish(message)
        self.prepared.clear()
        self.queue.extendleft(reversed(again))
        for packet_id in [*self.received, *self._stored_received]:
            self.forget_received(packet_id)
        self.held.clear()
        return doubtful

    # -- the storage --------------------------------------------------------------------------

    def load(
        self,
        messages: Mapping[int, bytes],
        progress: Mapping[int, bytes],
        received: list[int],
        time_shift: float,
    ) -> None:
        """Take over what the storage remembers.

        Args:
            messages: the records of messages to be sent, by sequence, in order.
            progress: the records of their progress.
            received: identifiers of settled QoS 2 messages.
            time_shift: wall-clock time less the Session's clock, in seconds.

        Raises:
            ValueError: a record cannot be read, or struct.error.
        """
        for sequence, record in messages.items():
            message = decode_message(sequence, record, time_shift)
            if sequence in progress:
                apply_progress(message, progress[sequence])
            if message.failure is not None:
                message = _place_of(message, message.failure)
                self.given_up += 1
            self.outgoing_size += message.size
            self._last_sequence = sequence
            self.last_release = max(self.last_release, message.released)
            if message.packet_id:
                self.identifiers.restore(message.packet_id, message)
            else:
                self.queue.append(message)
        for packet_id in received:
            self._stored_received.add(packet_id)
            self.received[packet_id] = ReceiverState.ANSWERED


def _place_of(message: OutgoingMessage, failure: Exception) -> OutgoingMessage:
    """What keeps the Packet Identifier of a message that was given up, and nothing else of it."""
    return attrs.evolve(message, payload=b"", size=0, listener=None, failure=failure)
