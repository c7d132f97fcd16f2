"""The end of the exploration that receives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from tests.protocol.bounds import NAMES, Violation, name_of
from tests.protocol.ends import End, Facts
from trio_mqtt._enums import MQTT_5, ReasonCode
from trio_mqtt._protocol.exchanges import IncomingMessage
from trio_mqtt._protocol.handshakes import ReceiverState
from trio_mqtt._protocol.journal import Work
from trio_mqtt._protocol.receiver import Receiver
from trio_mqtt._protocol.records import RECEIVED
from trio_mqtt.packets import Packet, PubAck, PubComp, PubRec, PubRel, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.protocol.bounds import Bounds
    from tests.protocol.ends import Step

_EFFECT: Final = "effect"  # what the program keeps of a message, on the same disk
_REFUSED: Final = ReasonCode.UNSPECIFIED_ERROR


@attrs.define(eq=False)
class _Job:
    error: BaseException | None = None


class Consumer(End):
    """The end that receives.

    What its program makes of a QoS 2 message, and that it was settled, are one transaction. A
    QoS 1 message has its effect at once.

    Attributes:
        in_hand: the messages handed over and not settled.
        settled: the messages that its program has dealt with, at any time.
    """

    role = "server"

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(bounds)
        self.settled: set[str] = set()
        self._ever: set[str] = set()  # handed over

    def _start(self) -> None:
        super()._start()
        self.in_hand: list[IncomingMessage] = []
        self._done: list[IncomingMessage] = []
        self._working: list[tuple[IncomingMessage, int]] = []  # each with the batch of its work
        self._handed: set[str] = set()  # not to be handed over again by this process
        self._arrived: dict[tuple[int, int], str] = {}  # on this connection
        self._owed: dict[int, list[int]] = {1: [], 2: []}

    def steps(self) -> Iterator[Step]:
        yield from super().steps()
        for index, message in enumerate(self.in_hand):
            held = self.session.held.get((2, message.packet_id)) is message
            if held and self.bounds.drops == "offline":
                continue  # what the publisher may have dropped would be remembered for good
            yield "settle", index
            if self.bounds.rejects:
                yield "reject", index
            if self.bounds.works and message.qos == 2:
                yield "work", index
        for index in range(len(self._done)):
            yield "change_mind", index

    def settle(self, index: int) -> None:
        """The program has dealt with a message."""
        message = self.in_hand.pop(index)
        name = name_of(message)
        if message.qos == 2:
            self._check_effect(name)
            if self.journal is not None:
                self.journal.put((_EFFECT, name), b"")
        self.settled.add(name)
        self._settle(message, ReasonCode.SUCCESS)

    def _check_effect(self, name: str) -> None:
        pending = self.journal is not None and self.journal.after((_EFFECT, name))
        if pending or self.has_effect(name):
            raise Violation(f"message {name} has its effect twice")

    def work(self, index: int) -> None:
        """The program begins with work that is committed together with the settling."""
        message = self.in_hand.pop(index)
        assert self.journal is not None
        assert self.receiver is not None
        self._check_effect(name_of(message))
        receipt: dict[tuple[str, int | str], bytes] = {}
        if self.receiver.expects(message):
            receipt[RECEIVED, message.packet_id] = b""
        work = Work(receipt | {(_EFFECT, name_of(message)): b""}, _Job())
        self._working.append((message, self.journal.add(work)))
        self.session.begin_settling(receipt)

    def commit(self) -> None:
        """The batch is on the disk, and with it the work that it holds."""
        assert self.journal is not None
        super().commit()
        for message, number in self._working.copy():
            if number <= self.journal.committed:
                self._working.remove((message, number))
                self.settled.add(name_of(message))
                self._settle(message, ReasonCode.SUCCESS)

    def fail(self) -> None:
        """The batch could not be committed, and the work in it has failed."""
        assert self.batch is not None
        number = self.batch.number
        super().fail()
        for message, its_number in self._working.copy():
            if its_number == number:
                self._working.remove((message, number))
                self.session.cancel_settling([(RECEIVED, message.packet_id)])
                self.in_hand.append(message)

    def reopen(self) -> None:
        """The program closes its client: only what it has settled at QoS 2 is sure not to come."""
        super().reopen()
        qos = dict(zip(self.bounds.names, self.bounds.qos, strict=True))
        settled = (self.settled & self._handed) - set(map(name_of, self.in_hand))
        self._handed = {name for name in settled if qos[name] == 2}
        self.in_hand.clear()

    def reject(self, index: int) -> None:
        """The program refuses a message."""
        message = self.in_hand.pop(index)
        self.refused.add(name_of(message))
        self._settle(message, _REFUSED)

    def _settle(self, message: IncomingMessage, code: ReasonCode) -> None:
        assert self.receiver is not None
        self.receiver.settle(message, code)
        if self.bounds.changes_mind:
            self._done.append(message)

    def change_mind(self, index: int) -> None:
        """The program settles a message again, and the other way."""
        assert self.receiver is not None
        message = self._done.pop(index)
        rejected = name_of(message) in self.refused
        self.receiver.settle(message, ReasonCode.SUCCESS if rejected else _REFUSED)

    def connect(self) -> None:
        self._arrived.clear()
        self._owed = {1: [], 2: []}
        super().connect()

    def _go_on(self) -> None:
        if not self.bounds.lazy and self.receiver is not None:
            self.receiver._acknowledge()

    def strange(self) -> Iterator[tuple[bytes, bool]]:
        for packet_id, state in self.session.received.items():
            if state is ReceiverState.HELD and any(
                each.packet_id == packet_id for each in self.in_hand
            ):
                yield encode(PubRel(packet_id), MQTT_5), True

    def _receive(self, packet: Packet) -> None:
        assert self.receiver is not None
        if isinstance(packet, PubRel):
            self.receiver.on_pubrel(packet)
            return
        assert isinstance(packet, IncomingMessage)
        name = name_of(packet)
        key = packet.qos, packet.packet_id
        self._arrived[key] = name
        owed = self._owed[packet.qos]
        if packet.packet_id not in owed:
            owed.append(packet.packet_id)
        if self.receiver.on_publish(packet):
            if name in self._handed or (packet.qos == 2 and self.has_effect(name)):
                raise Violation(f"message {name} is handed over again")
            earlier = [each for each in self.bounds.names if each < name]
            if self.bounds.strict and not self._ever.issuperset(earlier):
                raise Violation(f"message {name} comes before one that was published earlier")
            self._handed.add(name)
            self._ever.add(name)
            self.in_hand.append(packet)
            packet.dup = False  # so that the same state looks the same each time
        if self.receiver.overruns:
            raise Violation("more messages are under way than the Receive Maximum allows")

    def has_effect(self, name: str) -> bool:
        """Whether the effect of a QoS 2 message is on the disk."""
        return (_EFFECT, name) in self.disk if self.bounds.durable else name in self.settled

    def _watch_written(self, packet: Packet) -> None:
        assert isinstance(packet, PubAck | PubRec | PubComp)
        packet_id = packet.packet_id
        remembered = (RECEIVED, packet_id) in self.disk
        if isinstance(packet, PubComp):
            if remembered and self.bounds.strict:
                raise Violation(f"PUBCOMP {packet_id} reveals what is not on disk")
            return
        qos = 1 if isinstance(packet, PubAck) else 2
        refuses = packet.reason_code.is_failure
        # One that answers a repeat may go out when all is over and forgotten.
        unknown = self.bounds.durable and not remembered and packet_id in self.session.received
        if qos == 2 and not refuses and unknown and self.bounds.strict:
            raise Violation(f"PUBREC {packet_id} reveals what is not on disk")
        name = self._arrived.get((qos, packet_id))
        if name is None:
            raise Violation(f"{packet_id} is acknowledged on a connection that did not bring it")
        if qos == 1 or refuses:
            self._handed.discard(name)  # if the acknowledgement is lost, it comes again
        owed = self._owed[qos]
        if packet_id in owed:
            if owed[0] != packet_id and self.bounds.receiver is Receiver:
                raise Violation(f"{packet_id} is acknowledged before an earlier message")
            owed.remove(packet_id)

    def _watch(self) -> None:
        pass

    def _number_anew(self, anew: Callable[[int], int]) -> None:
        self._working = [(message, anew(number)) for message, number in self._working]

    def knows(self) -> set[int]:
        """The identifiers that stand for something here, in memory or on the disk."""
        session = self.session
        stored = {packet_id for _, packet_id in self._keys(RECEIVED)}
        return stored | set(session.received) | {packet_id for _, packet_id in session.held}

    @property
    def may_drop(self) -> bool:
        """Whether the first message can be dropped, and nothing here will stand in the way."""
        return self.bounds.qos[0] == 1 or NAMES[0] in map(name_of, self.in_hand)

    def facts(self) -> Facts:
        return attrs.evolve(
            super().facts(),
            knows=frozenset(self.knows()),
            may_drop=self.may_drop,
            in_hand="".join(map(name_of, self.in_hand)),
        )

    def taken(self) -> set[str]:
        qos = dict(zip(self.bounds.names, self.bounds.qos, strict=True))
        return {
            name
            for name in self.bounds.names
            if (self.has_effect(name) if qos[name] == 2 else name in self.settled)
        }

    @property
    def is_final(self) -> bool:
        assert self.receiver is not None or not self.connected
        return (
            super().is_final
            and not self.in_hand
            and not self._working
            and (not self.knows() or self.bounds.drops == "offline")
            and self.receiver is not None
            and not self.receiver.unsettled
        )


class HastyReceiver(Receiver):
    """Sends each PUBREC as soon as it can, in no order: that of a server with other manners."""

    def settle(
        self, message: IncomingMessage, reason_code: ReasonCode = ReasonCode.SUCCESS
    ) -> None:
        waiting = self._before_pubrec
        if message in waiting:
            waiting.remove(message)
            waiting.appendleft(message)
        super().settle(message, reason_code)
