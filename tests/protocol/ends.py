"""The two ends that the exploration moves: real Sessions, each with a disk that survives a crash.

A `Publisher` stands for the client and a `Consumer` for the server; the handshakes do not know
which side they play. Each step is one that the world can take at this end, and each end watches
what it does: a `Violation` says what went wrong.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar, Final

import attrs

from tests.protocol.bounds import name_of, read, split
from trio_mqtt._enums import MQTT_5
from trio_mqtt._protocol.journal import Journal, Work
from trio_mqtt._protocol.output import Output
from trio_mqtt._protocol.records import OUTGOING, PROGRESS, RECEIVED, apply_progress, decode_message
from trio_mqtt._protocol.sender import Sender
from trio_mqtt._protocol.session import SessionState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.protocol.bounds import Bounds
    from trio_mqtt._protocol.exchanges import OutgoingMessage
    from trio_mqtt._protocol.journal import Batch
    from trio_mqtt._protocol.receiver import Receiver
    from trio_mqtt.packets import Packet

Step = tuple[str, int | bytes]
"""What happens, by the name of a method, and with what: a packet, or one of several messages."""

_OF_ONE: Final = {"accept", "change_mind", "reject", "settle", "work"}  # of several messages
_SENT: Final = {OUTGOING, PROGRESS}
_COMMITTED: Final = 2  # what the last committed batch is called once all is numbered anew


@attrs.frozen(kw_only=True)
class Facts:
    """What is to be known of a state of an end, from without.

    Attributes:
        connected: whether there is a connection.
        is_final: whether all is done here, and nothing left over.
        strange: packets that fit nothing, and whether they are refused for that.
        taken: the messages that are said to have arrived, or have.
        refused: those that are said to have been refused, or have been.
        knows: the consumer's: identifiers that stand for something here, in memory or on the disk.
        may_drop: the consumer's: whether it can do without the first message.
        in_hand: the consumer's: the messages that its program has not settled.
    """

    connected: bool
    is_final: bool
    strange: tuple[tuple[bytes, bool], ...]
    taken: frozenset[str]
    refused: frozenset[str]
    knows: frozenset[int] = frozenset()
    may_drop: bool = False
    in_hand: str = ""


class End:
    """One end: what it has in memory, what is on its disk, and what was seen of it.

    Attributes:
        bounds: what is explored.
        disk: the records that survive a crash.
        connected: whether there is a connection.
        batch: what is being committed, or None.
        refused: the messages that the consumer has refused, as far as this end knows.
    """

    bounds: Bounds
    role: ClassVar[str]

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.disk: dict[tuple[str, int | str], bytes] = {}
        self.connected = False
        self.refused: set[str] = set()
        self._start()
        self.session.identifiers.last = bounds.last_identifier

    def __getstate__(self) -> dict[str, object]:
        """All but what is the same for all."""
        state = vars(self).copy()
        del state["bounds"]
        return state

    def _start(self) -> None:
        """Begin as a new process does, with what is on the disk."""
        self.journal = Journal() if self.bounds.durable else None
        self.session = SessionState(self.journal)
        self.session.load(
            {key: self.disk[kind, key] for kind, key in self._keys(OUTGOING)},
            {key: self.disk[kind, key] for kind, key in self._keys(PROGRESS)},
            [key for _, key in self._keys(RECEIVED)],
            0.0,
        )
        self.batch: Batch | None = None
        self.output = Output()
        self.sender: Sender | None = None
        self.receiver: Receiver | None = None

    def _keys(self, wanted: str) -> list[tuple[str, int]]:
        return sorted((k, key) for k, key in self.disk if k == wanted and isinstance(key, int))

    def stored(self) -> dict[str, OutgoingMessage]:
        """The messages to be sent that are on the disk."""
        found: dict[str, OutgoingMessage] = {}
        for kind, sequence in self._keys(OUTGOING):
            message = decode_message(sequence, self.disk[kind, sequence], 0.0)
            if (PROGRESS, sequence) in self.disk:
                apply_progress(message, self.disk[PROGRESS, sequence])
            found[name_of(message)] = message
        return found

    # -- what can happen ----------------------------------------------------------------------

    def steps(self) -> Iterator[Step]:
        """What this end can do of itself."""
        if self.batch is not None:
            yield "commit", 0
            yield "fail", 0
        elif self.journal is not None and not self.journal.is_empty:
            yield ("begin" if self.bounds.slow_disk else "commit"), 0
        if self.output.ready:
            yield "write", 0
        if self.bounds.reopens and not self.connected:
            yield "reopen", 0

    def strange(self) -> Iterator[tuple[bytes, bool]]:
        """Packets that fit nothing now, and whether they are refused for that."""
        raise NotImplementedError

    def perform(self, step: Step) -> list[bytes]:
        """Take a step; returns the packets that go out by it."""
        what, which = step
        sent: list[bytes] = []
        if what == "write":
            sent = [packet for data in self.output.take() for packet in split(data)]
            for data in sent:
                self._watch_written(read(data))
        elif isinstance(which, bytes):
            self._receive(read(which))
        elif what in _OF_ONE:
            getattr(self, what)(which)
        else:
            getattr(self, what)()
        self._go_on()
        self._watch()
        self._count_from_here()
        return sent

    def connect(self) -> None:
        """A connection opens, and each side has its Session."""
        bounds = self.bounds
        self.connected = True
        self.output = Output()
        if self.journal is not None:
            self.output.commit(self.journal.committed)
        self.sender = Sender(self.session, self.output, MQTT_5)
        self.receiver = bounds.receiver(
            self.session,
            self.output,
            MQTT_5,
            receive_maximum=bounds.window,
            topic_alias_maximum=0,
        )
        self.sender.open(bounds.window)
        self.sender.resume()
        self.receiver.resume()

    def end(self) -> None:
        """The connection is over."""
        assert self.receiver is not None
        self.receiver.end()
        self.sender = None
        self.connected = False

    def begin(self) -> None:
        """Take a batch to the disk."""
        assert self.journal is not None
        self.batch = self.journal.take()

    def commit(self) -> None:
        """The batch is on the disk."""
        assert self.journal is not None
        batch = self.batch or self.journal.take()
        for step in batch.steps:
            for key, record in (step.changes if isinstance(step, Work) else step).items():
                if record is None:
                    self.disk.pop(key, None)
                else:
                    self.disk[key] = record
        self.journal.commit(batch)
        self.output.commit(batch.number)
        self.batch = None

    def fail(self) -> None:
        """The batch could not be committed."""
        assert self.journal is not None
        assert self.batch is not None
        self.journal.restore(self.batch)
        self.batch = None
        self.session.withdraw_unstored()

    def crash(self) -> None:
        """All but the disk is gone, and the end starts again."""
        self.connected = False
        self._start()

    def reopen(self) -> None:
        """The program closes its client, and opens another with the same Session."""
        self.session.detach()

    def _go_on(self) -> None:
        """Do what follows from every step."""

    def facts(self) -> Facts:
        """What is to be known of this end from without."""
        return Facts(
            connected=self.connected,
            is_final=self.is_final,
            strange=tuple(self.strange()) if self.connected and self.bounds.strange else (),
            taken=frozenset(self.taken()),
            refused=frozenset(self.refused),
        )

    # -- what is watched ----------------------------------------------------------------------

    def taken(self) -> set[str]:
        """The messages that have arrived, as far as this end knows."""
        raise NotImplementedError

    def _receive(self, packet: Packet) -> None:
        raise NotImplementedError

    def _watch_written(self, packet: Packet) -> None:
        raise NotImplementedError

    def _watch(self) -> None:
        raise NotImplementedError

    @property
    def is_final(self) -> bool:
        """Whether all is done here, and nothing left over."""
        all_stored = self.journal is None or self.journal.is_empty
        return self.connected and all_stored and self.batch is None

    # -- symmetry -----------------------------------------------------------------------------

    def _count_from_here(self) -> None:
        """Number the batches anew, so that the same state looks the same each time.

        All that matters is which of them are committed and which is open. What waits for a batch
        that failed waits for the next one. A message that was accepted in a committed batch and
        has changed since keeps two numbers that differ.
        """
        if self.sender is not None:
            self.sender.strays = 0
        if self.journal is None:
            return
        committed, open_batch = self.journal.committed, self.journal.open_batch

        def anew(number: int) -> int:
            if number > committed:
                return _COMMITTED + 1 + (number == open_batch)
            return _COMMITTED

        for message in self.session.messages():
            accepted_in, stored_in = message.accepted_in, message.stored_in
            if accepted_in > committed:
                message.accepted_in = anew(accepted_in)
            elif accepted_in:
                message.accepted_in = _COMMITTED - 1
            same = stored_in == accepted_in
            message.stored_in = message.accepted_in if same else anew(stored_in)
        output = self.output
        if output._held is not None:
            output._held = deque(
                (data, anew(after), settles) for data, after, settles in output._held
            )
        if self.batch is not None:
            self.batch.number = anew(self.batch.number)
        self.journal.open_batch = anew(open_batch)
        self._number_anew(anew)
        output.committed = self.journal.committed = _COMMITTED
        # A number that is nowhere any more may be given out again.
        session = self.session
        stored = [*session.messages(), *self.stored().values()]
        last_sequence = max([each.sequence for each in stored] + self._sequences() + [0])
        session._last_sequence = min(session._last_sequence, last_sequence)
        last_release = max([each.released for each in stored] + [0])
        session.last_release = min(session.last_release, last_release)

    def _sequences(self) -> list[int]:
        """The sequences of the records that are on their way to the disk."""
        assert self.journal is not None
        steps = [self.journal._open, *self.journal._closed]
        keys = [key for step in steps if isinstance(step, dict) for key in step]
        if self.batch is not None:
            keys += [key for step in self.batch.steps if isinstance(step, dict) for key in step]
        return [key for kind, key in keys if kind in _SENT and isinstance(key, int)]

    def _number_anew(self, anew: Callable[[int], int]) -> None:
        """Number what only this kind of end has."""
