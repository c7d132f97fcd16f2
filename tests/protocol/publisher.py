"""The end of the exploration that publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from tests.protocol.bounds import NAMES, Violation, name_of
from tests.protocol.ends import End
from trio_mqtt._enums import MQTT_5, ReasonCode
from trio_mqtt._protocol.exchanges import OutgoingMessage
from trio_mqtt._protocol.handshakes import SenderInput, SenderState
from trio_mqtt.packets import Packet, PubAck, PubComp, Publish, PubRec, PubRel, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.protocol.bounds import Bounds
    from tests.protocol.ends import Step

_DROPPED: Final = {SenderState.AWAITING_PUBACK, SenderState.AWAITING_PUBREC}
_ANSWERS: Final[dict[SenderInput, PubAck | PubRec | PubComp]] = {
    SenderInput.PUBACK: PubAck(0),
    SenderInput.PUBREC: PubRec(0),
    SenderInput.PUBREC_REFUSING: PubRec(0, ReasonCode.UNSPECIFIED_ERROR),
    SenderInput.PUBCOMP: PubComp(0),
}
_FITTING: Final = {
    (SenderState.AWAITING_PUBACK, SenderInput.PUBACK),
    (SenderState.AWAITING_PUBREC, SenderInput.PUBREC),
    (SenderState.AWAITING_PUBREC, SenderInput.PUBREC_REFUSING),
    (SenderState.AWAITING_PUBCOMP, SenderInput.PUBREC),
    (SenderState.AWAITING_PUBCOMP, SenderInput.PUBCOMP),
}
"""What may come; it is not strange even where nobody has sent it."""


class Publisher(End):
    """The end that publishes.

    Attributes:
        promised: the messages that have been on the disk: those are to arrive.
        dropped: the one that was given up.
        accepted: those whose publisher was told of success.
    """

    role = "client"

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(bounds)
        self.promised: set[str] = set()
        self.dropped: set[str] = set()
        self.accepted: set[str] = set()
        self._written: set[str] = set()  # in a PUBLISH, on any connection
        self._recorded: list[str] = []  # in the order of their PUBRECs
        self._released: list[str] = []  # in the order of their PUBRELs, on this connection
        self._under_way: set[int] = set()  # identifiers that count against the window

    @property
    def over(self) -> set[str]:
        """The messages that nobody waits for any more."""
        return self.accepted | self.refused | self.dropped

    def steps(self) -> Iterator[Step]:
        yield from super().steps()
        known = self.promised | self.over | {name_of(each) for each in self.session.messages()}
        for index, name in enumerate(self.bounds.names):
            if name not in known:
                yield "accept", index
                break
        if self.connected and self.bounds.hesitates:
            yield "pump", 0
        if self.bounds.drops == ("online" if self.connected else "offline") and not self.dropped:
            for message in self.session.messages():
                if name_of(message) == NAMES[0] and message.state in _DROPPED:
                    yield "drop", 0

    def accept(self, index: int) -> None:
        """The program hands a message over."""
        self.session.accept(self.bounds.message(NAMES[index]))

    def pump(self) -> None:
        """Move messages to the output."""
        assert self.sender is not None
        self.sender.pump()

    def _go_on(self) -> None:
        if self.sender is not None and not self.bounds.hesitates:
            self.sender.pump()

    def drop(self) -> None:
        """Drop the first message while it is under way."""
        (first,) = (each for each in self.session.messages() if name_of(each) == NAMES[0])
        first.state = SenderState.IDLE
        self.session.finish(first)
        self.dropped.add(NAMES[0])

    def taken(self) -> set[str]:
        return self.accepted

    def connect(self) -> None:
        self._released = []
        self._under_way = set()
        super().connect()

    def strange(self) -> Iterator[tuple[bytes, bool]]:
        for packet_id in range(1, self.bounds.identifiers + 1):
            holder = self.session.identifiers.holder(packet_id)
            assert holder is None or isinstance(holder, OutgoingMessage)
            state = SenderState.IDLE if holder is None else holder.state
            for what, packet in _ANSWERS.items():
                if (state, what) not in _FITTING:
                    data = encode(attrs.evolve(packet, packet_id=packet_id), MQTT_5)
                    yield data, state is not SenderState.IDLE

    def _receive(self, packet: Packet) -> None:
        assert isinstance(packet, PubAck | PubRec | PubComp)
        assert self.sender is not None
        holder = self.session.identifiers.holder(packet.packet_id)
        if isinstance(packet, PubRec) and isinstance(holder, OutgoingMessage):
            name = name_of(holder)
            if holder.state is SenderState.AWAITING_PUBREC:
                self._recorded = [each for each in self._recorded if each != name] + [name]
        message = self.sender.on_acknowledgement(packet)
        if message is None:
            return
        self._under_way.discard(packet.packet_id)
        assert message.acknowledgement is not None
        told = self.refused if message.acknowledgement.reason_code.is_failure else self.accepted
        told.add(name_of(message))

    def _watch_written(self, packet: Packet) -> None:
        if isinstance(packet, Publish):
            self._watch_publish(packet)
        elif self.bounds.strict:
            assert isinstance(packet, PubRel)
            if not packet.reason_code:
                self._watch_pubrel(packet)

    def _watch_publish(self, packet: Publish) -> None:
        name = name_of(packet)
        if self.bounds.strict:
            if name in self._written and not packet.dup:
                raise Violation(f"message {name} is sent again without DUP")
            if not self._has_stored(name, packet_id=packet.packet_id):
                raise Violation(f"PUBLISH of {name} reveals what is not on disk")
        self._written.add(name)
        self._under_way.add(packet.packet_id)
        if len(self._under_way) > self.bounds.window:
            raise Violation("more messages are under way than the window allows")

    def _watch_pubrel(self, packet: PubRel) -> None:
        message = self.session.identifiers.holder(packet.packet_id)
        if not isinstance(message, OutgoingMessage):
            raise Violation(f"PUBREL {packet.packet_id} belongs to nothing")
        name = name_of(message)
        if not self._has_stored(name, released=True):
            raise Violation(f"PUBREL of {name} reveals what is not on disk")
        if name not in self._released:
            earlier = self._recorded[: self._recorded.index(name)]
            if not set(self._released) <= {*earlier, *self.over}:
                raise Violation(f"PUBREL of {name} comes later than its PUBREC did")
            self._released.append(name)

    def _has_stored(self, name: str, *, packet_id: int = 0, released: bool = False) -> bool:
        """Whether that much of a message is on the disk."""
        if not self.bounds.durable:
            return True
        message = self.stored().get(name)
        return (
            message is not None
            and (not packet_id or message.packet_id == packet_id)
            and (not released or message.state is SenderState.AWAITING_PUBCOMP)
        )

    def _watch(self) -> None:
        stored = self.stored()
        kept = [name_of(each) for each in self.session.messages()]
        self.promised |= set(stored if self.bounds.durable else kept)
        for name in self.promised - self.over:
            if name not in stored and self.bounds.durable:
                raise Violation(f"message {name} is not on disk any more")
            if name not in kept:
                raise Violation(f"message {name} is not in memory any more")
        in_use = [each.packet_id for each in stored.values() if each.packet_id]
        if len(set(in_use)) < len(in_use):
            raise Violation("two messages on disk have the same Packet Identifier")
        if len(set(kept)) < len(kept):
            raise Violation("a message is there twice")

    @property
    def is_final(self) -> bool:
        sender = self.sender
        return (
            super().is_final
            and not self.disk
            and set(self.bounds.names) == self.over
            and not self.session.unfinished
            and sender is not None
            and (sender.quota == min(self.bounds.window, 65_000) or bool(self.dropped))
            and not sender.is_repeating
        )
