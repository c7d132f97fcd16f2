"""The steps of which a script for `ScriptedPeer` consists."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import attrs
import trio

from trio_mqtt.packets import Packet
from trio_mqtt.testing._dialogue import Dialogue, Mismatch, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from trio_mqtt._enums import Protocol

P = TypeVar("P", bound=Packet)
_MOST_BYTES = 64  # shown of what came instead of others


class Step(ABC):
    """One step of a script."""

    @abstractmethod
    async def run(self, dialogue: Dialogue) -> None:
        """Take the step; AssertionError if the client does something else."""


class Expect(Step, Generic[P]):
    """The client sends this packet next.

    Examples::

        Expect(PingReq)                              # any packet of this class
        Expect(Publish, topic="a", qos=1)            # with these fields
        Expect(Publish, lambda p: len(p.payload) > 9)
        Expect(PubAck(1))                            # exactly this packet
        Expect(Connect, protocol=MQTT_3_1_1)

    Args:
        wanted: the packet, or its class.
        check: what must hold of it, or None.
        protocol: the version of MQTT that it must be written in, or None.
        fields: what its fields must be.
    """

    def __init__(
        self,
        wanted: P | type[P],
        check: Callable[[P], bool] | None = None,
        *,
        protocol: Protocol | None = None,
        **fields: object,
    ) -> None:
        self._wanted = wanted
        self._check = check
        self._protocol = protocol
        self._fields = fields

    def __repr__(self) -> str:
        """As it was written, but for `check`."""
        wanted = self._wanted.__name__ if isinstance(self._wanted, type) else repr(self._wanted)
        given = {"protocol": self._protocol} if self._protocol else {}
        parts = [wanted, *(f"{name}={value!r}" for name, value in (given | self._fields).items())]
        return f"Expect({', '.join(parts)})"

    async def run(self, dialogue: Dialogue) -> None:
        """Read a packet and compare it."""
        packet = await dialogue.read_packet()
        if packet is None:
            raise Mismatch("the client ended the connection instead")
        wanted: type[P] = self._wanted if isinstance(self._wanted, type) else type(self._wanted)
        if not isinstance(packet, wanted):
            raise Mismatch(f"the client sent {packet!r} instead")
        check_fields(packet, self._expected(), dialogue)
        if self._check is not None and not self._check(cast("P", packet)):
            raise Mismatch(f"the check refuses {packet!r}")

    def _expected(self) -> Iterator[tuple[str, object]]:
        if self._protocol is not None:
            yield "protocol", self._protocol
        if not isinstance(self._wanted, type):
            yield from fields_of(self._wanted)
        yield from self._fields.items()


def fields_of(packet: Packet) -> Iterator[tuple[str, object]]:
    """The names and values of a packet's fields."""
    for field in attrs.fields(type(packet)):
        yield field.name, getattr(packet, field.name)


def check_fields(
    packet: Packet, expected: Iterable[tuple[str, object]], dialogue: Dialogue
) -> None:
    """Raise Mismatch if fields of a packet, or its protocol, are not as expected."""
    differences = [
        f"  {name}: expected {shorten(value)}, got {shorten(actual)}"
        for name, value in expected
        if (actual := _actual(packet, name, dialogue)) != value
    ]
    if differences:
        raise Mismatch("\n".join((f"the client sent {packet!r}", *differences)))


def _actual(packet: Packet, name: str, dialogue: Dialogue) -> object:
    return dialogue.protocol if name == "protocol" else getattr(packet, name)


@attrs.frozen
class ExpectBytes(Step):
    """The client sends exactly these bytes next.

    Attributes:
        data: the bytes.
    """

    data: bytes = attrs.field(repr=shorten)

    async def run(self, dialogue: Dialogue) -> None:
        """Read as many bytes and compare them."""
        actual = await dialogue.read_bytes(len(self.data))
        if actual != self.data:
            raise Mismatch(f"the client sent other bytes:\n  {actual[:_MOST_BYTES].hex(' ')}")


@attrs.frozen
class ExpectEnd(Step):
    """The client ends the connection next."""

    async def run(self, dialogue: Dialogue) -> None:
        """Read to the end."""
        packet = await dialogue.read_packet()
        if packet is not None:
            raise Mismatch(f"the client sent {packet!r} instead")


@attrs.frozen
class ExpectSilence(Step):
    """The client sends nothing for some time.

    Attributes:
        seconds: how long.
    """

    seconds: float

    async def run(self, dialogue: Dialogue) -> None:
        """Wait, and read nothing."""
        with trio.move_on_after(self.seconds):
            packet = await dialogue.read_packet(math.inf)
            what = "ended the connection" if packet is None else f"sent {packet!r}"
            raise Mismatch(f"the client {what}")


@attrs.frozen
class Send(Step):
    """The peer sends a packet.

    Attributes:
        packet: the packet.
    """

    packet: Packet

    async def run(self, dialogue: Dialogue) -> None:
        """Send it."""
        await dialogue.send(self.packet)


@attrs.frozen
class SendBytes(Step):
    """The peer sends bytes, whatever they mean.

    Attributes:
        data: the bytes.
    """

    data: bytes = attrs.field(repr=shorten)

    async def run(self, dialogue: Dialogue) -> None:
        """Send them."""
        await dialogue.send(self.data)


class Reply(Step, Generic[P]):
    """The peer answers the last packet of a class.

    Example::

        Reply(Publish, lambda publish: PubAck(publish.packet_id))

    Args:
        packet_type: which packet is answered.
        make: makes the answer.
    """

    def __init__(self, packet_type: type[P], make: Callable[[P], Packet]) -> None:
        self._packet_type = packet_type
        self._make = make

    def __repr__(self) -> str:
        """What is answered."""
        return f"Reply({self._packet_type.__name__})"

    async def run(self, dialogue: Dialogue) -> None:
        """Make the answer and send it."""
        for packet in reversed(dialogue.received):
            if isinstance(packet, self._packet_type):
                await dialogue.send(self._make(packet))
                return
        raise Mismatch(f"the client has sent no {self._packet_type.__name__} so far")


@attrs.frozen
class WaitFor(Step):
    """The script goes on once the test sets an event.

    Attributes:
        event: the event.
    """

    event: trio.Event

    async def run(self, dialogue: Dialogue) -> None:  # noqa: ARG002 - the test's side, not ours
        """Wait for it."""
        await self.event.wait()


@attrs.frozen
class Pause(Step):
    """The script goes on after some time.

    Attributes:
        seconds: how long.
    """

    seconds: float

    async def run(self, dialogue: Dialogue) -> None:  # noqa: ARG002 - nothing is read meanwhile
        """Sleep."""
        await trio.sleep(self.seconds)


@attrs.frozen
class Close(Step):
    """The peer closes the connection in good order."""

    async def run(self, dialogue: Dialogue) -> None:
        """Close it."""
        await dialogue.close()


@attrs.frozen
class Reset(Step):
    """The peer breaks the connection, and the client gets an error."""

    async def run(self, dialogue: Dialogue) -> None:
        """Break it."""
        await dialogue.reset()
