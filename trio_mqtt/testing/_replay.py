"""A recording as scripts for `ScriptedPeer`: the client is checked, the server's side is played.

What the client makes up stands for itself: its Client Identifier, and the Packet Identifiers of
what it publishes, subscribes and unsubscribes, may be any, as long as the same one in the recording
is always the same one in the replay. Everything else has to be as it was recorded.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import attrs
import trio

from trio_mqtt.packets import (
    Auth,
    ConnAck,
    Connect,
    PingReq,
    PingResp,
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
from trio_mqtt.testing._dialogue import Mismatch
from trio_mqtt.testing._recorded import REDACTED
from trio_mqtt.testing._steps import (
    ExpectBytes,
    Pause,
    SendBytes,
    Step,
    check_fields,
    fields_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trio_mqtt._enums import Protocol
    from trio_mqtt.packets import Packet
    from trio_mqtt.testing._dialogue import Dialogue
    from trio_mqtt.testing._faults import Ending
    from trio_mqtt.testing._recorded import Recorded

_PATIENCE = 10.0
"""How much longer than in the recording the client may take, in seconds."""


@attrs.define
class _Names:
    """What one client of a replay made up, by what stands in the recording.

    Attributes:
        client_ids: Client Identifiers, of all clients.
        packet_ids: Packet Identifiers of what the client sends.
        in_flight: the recorded ones of those whose exchange is not over.
    """

    client_ids: dict[str, str]
    packet_ids: dict[int, int] = attrs.Factory(dict[int, int])
    in_flight: set[int] = attrs.Factory(set[int])

    def expected(self, recorded: Packet, packet: Packet) -> Packet:
        """The recorded packet of the client's with the names of this replay.

        Raises:
            Mismatch: the client calls two by one name.
        """
        if isinstance(recorded, Connect) and isinstance(packet, Connect):
            return self._connected(recorded, packet)
        if isinstance(recorded, Publish) and isinstance(packet, Publish) and recorded.qos:
            if not recorded.dup:
                self._use(recorded.packet_id, packet.packet_id)
            return self._renamed(recorded)
        if isinstance(recorded, Subscribe | Unsubscribe) and isinstance(
            packet, Subscribe | Unsubscribe
        ):
            self._use(recorded.packet_id, packet.packet_id)
            return self._renamed(recorded)
        return self._renamed(recorded) if isinstance(recorded, PubRel) else recorded

    def answer(self, recorded: Packet) -> Packet:
        """The recorded packet of the server's with the names of this replay."""
        if isinstance(recorded, ConnAck) and not recorded.session_present:
            self.in_flight.clear()
        if not isinstance(recorded, PubAck | PubRec | PubComp | SubAck | UnsubAck):
            return recorded
        if not isinstance(recorded, PubRec) or recorded.reason_code.is_failure:
            self.in_flight.discard(recorded.packet_id)
        return self._renamed(recorded)

    def _connected(self, recorded: Connect, packet: Connect) -> Packet:
        client_id = packet.client_id
        for other, known in self.client_ids.items():
            if known == client_id and other and other != recorded.client_id:
                raise Mismatch(f"{client_id!r} is another client's identifier, recorded {other!r}")
        known = self.client_ids.setdefault(recorded.client_id, client_id)
        return attrs.evolve(recorded, client_id=known)

    def _use(self, recorded: int, packet_id: int) -> None:
        """Note the Packet Identifier of a new exchange (2.2.1)."""
        for other in self.in_flight - {recorded}:
            if self.packet_ids[other] == packet_id:
                raise Mismatch(f"the Packet Identifier {packet_id} is still in use")
        self.packet_ids[recorded] = packet_id
        self.in_flight.add(recorded)

    def _renamed(self, packet: _Named) -> Packet:
        known = self.packet_ids.get(packet.packet_id, packet.packet_id)
        return attrs.evolve(packet, packet_id=known)


_Named = Publish | PubAck | PubRec | PubRel | PubComp | Subscribe | SubAck | Unsubscribe | UnsubAck


@attrs.frozen(repr=False)
class _FromClient(Step):
    """The client sends what it sent."""

    packet: Packet
    protocol: Protocol | None
    within: float
    names: _Names

    def __repr__(self) -> str:
        """What was recorded."""
        return f"the recorded {self.packet!r} of the client's"

    async def run(self, dialogue: Dialogue) -> None:
        """Read a packet, answer PINGREQs in front of it, and compare it."""
        packet = await _next_packet(dialogue, self.within)
        if packet is None:
            raise Mismatch("the client ended the connection instead")
        if type(packet) is not type(self.packet):
            raise Mismatch(f"the client sent {packet!r} instead")
        expected = [*fields_of(_redacted_alike(self.names.expected(self.packet, packet), packet))]
        if self.protocol is not None:
            expected.append(("protocol", self.protocol))
        check_fields(packet, expected, dialogue)


async def _next_packet(dialogue: Dialogue, within: float) -> Packet | None:
    """Answer PINGREQs up to the next other packet, or the end of the stream."""
    packet: Packet | None = PingReq()
    with trio.move_on_after(within) as patience:
        while isinstance(packet := await dialogue.read_packet(math.inf), PingReq):
            await dialogue.send(PingResp())
    if patience.cancelled_caught:
        raise Mismatch(f"nothing came for {within:g} s")
    return packet


def _redacted_alike(expected: Packet, packet: Packet) -> Packet:
    """What was redacted takes any value, but has to be there."""
    if isinstance(expected, Connect) and isinstance(packet, Connect):
        if expected.username == REDACTED and packet.username is not None:
            expected = attrs.evolve(expected, username=packet.username)
        if expected.password == REDACTED.encode() and packet.password is not None:
            expected = attrs.evolve(expected, password=packet.password)
    if isinstance(expected, Connect | Auth) and _hides_data(expected):
        data = cast("Connect | Auth", packet).properties.authentication_data
        if data is not None:
            properties = attrs.evolve(expected.properties, authentication_data=data)
            return attrs.evolve(expected, properties=properties)
    return expected


def _hides_data(packet: Connect | ConnAck | Auth) -> bool:
    return packet.properties.authentication_data == REDACTED.encode()


@attrs.frozen(repr=False)
class _FromServer(Step):
    """The peer sends what the server sent."""

    packet: Packet
    after: float
    names: _Names

    def __repr__(self) -> str:
        """What was recorded."""
        return f"the recorded {self.packet!r} of the server's"

    async def run(self, dialogue: Dialogue) -> None:
        """Wait as long as the server did, and send it."""
        await dialogue.pause(self.after)
        await dialogue.send(self.names.answer(self.packet))


@attrs.frozen(repr=False)
class _EndOfClient(Step):
    """The client ends the connection behind what it sent."""

    within: float

    def __repr__(self) -> str:
        """What was recorded."""
        return "the recorded end, by the client"

    async def run(self, dialogue: Dialogue) -> None:
        """Answer PINGREQs in front of it."""
        packet = await _next_packet(dialogue, self.within)
        if packet is not None:
            raise Mismatch(f"the client sent {packet!r} instead")


@attrs.frozen(repr=False)
class _EndOfServer(Step):
    """The server, or the network, ends the connection behind what was sent."""

    ending: Ending
    after: float

    def __repr__(self) -> str:
        """What was recorded."""
        return f"the recorded end, a {self.ending}"

    async def run(self, dialogue: Dialogue) -> None:
        """Wait as long as it took, and end it."""
        await dialogue.pause(self.after)
        await dialogue.cut(reset=self.ending == "reset")


@attrs.frozen
class _Unknown(Step):
    """The recording ended before the connection did: whatever the client does now is right."""

    async def run(self, dialogue: Dialogue) -> None:
        """Read to the end."""
        while (packet := await dialogue.read_packet(math.inf)) is not None:
            if isinstance(packet, PingReq):
                await dialogue.send(PingResp())


def scripts(entries: Sequence[Recorded], *, paced: bool) -> list[list[Step]]:
    """One script for each connection, in the order in which they were made.

    Raises:
        ValueError: something to be played was left out of the recording.
    """
    connections: dict[int, list[Recorded]] = {}
    for entry in entries:
        connections.setdefault(entry.connection, []).append(entry)
    client_ids: dict[str, str] = {}
    clients: dict[str, _Names] = {}
    made: list[list[Step]] = []
    for number, passed in connections.items():
        client = _client_of(passed) or f"#{number}"
        names = clients.setdefault(client, _Names(client_ids))
        made.append(list(_steps(passed, names, paced=paced)))
    return made


def _client_of(entries: Sequence[Recorded]) -> str:
    """The Client Identifier of a connection, be it of the server's choice; empty if unknown."""
    client_id = ""
    for entry in entries:
        if isinstance(entry.packet, Connect):
            client_id = entry.packet.client_id
        if isinstance(entry.packet, ConnAck):
            return client_id or entry.packet.properties.assigned_client_identifier or ""
    return client_id


def _steps(entries: Sequence[Recorded], names: _Names, *, paced: bool) -> Iterator[Step]:
    before = entries[0].time
    for entry in entries:
        if isinstance(entry.packet, PingReq | PingResp):
            continue
        passed, before = entry.time - before, entry.time
        after = passed if paced else 0.0
        packet = entry.packet
        if entry.end is not None:
            if entry.sender == "client":
                yield _EndOfClient(passed + _PATIENCE)
            else:
                yield _EndOfServer(entry.end, after)
            return
        if entry.sender == "client":
            yield _from_client(entry, passed + _PATIENCE, names)
        elif packet is None:
            yield Pause(after)
            yield SendBytes(_bytes_of(entry))
        else:
            _check_playable(packet)
            yield _FromServer(packet, after, names)
    yield _Unknown()


def _from_client(entry: Recorded, within: float, names: _Names) -> Step:
    if entry.packet is None:
        return ExpectBytes(_bytes_of(entry))
    return _FromClient(entry.packet, entry.protocol, within, names)


def _bytes_of(entry: Recorded) -> bytes:
    if not entry.data:
        raise ValueError(
            f"the {entry.sender} sent bytes that are no Control Packets, and they were left out of "
            "this recording, so that it cannot be replayed; record it with secrets=True"
        )
    return entry.data


def _check_playable(packet: Packet) -> None:
    if isinstance(packet, ConnAck | Auth) and _hides_data(packet):
        raise ValueError(
            "the server's Authentication Data was left out of this recording, so that it cannot be "
            "replayed; record it with secrets=True"
        )
