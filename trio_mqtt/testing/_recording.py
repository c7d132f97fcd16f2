"""Exchanges that are recorded as they pass the faulty network, and kept in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import attrs
import trio

from trio_mqtt._errors import RemoteProtocolError
from trio_mqtt.packets import Connect, PacketReader
from trio_mqtt.testing._dialogue import packet_size
from trio_mqtt.testing._recorded import Recorded, redacted
from trio_mqtt.testing._recording_format import dump, parse
from trio_mqtt.testing._replay import scripts

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from trio_mqtt._enums import Protocol
    from trio_mqtt.packets import Packet
    from trio_mqtt.testing._faults import Ending
    from trio_mqtt.testing._recorded import Sender
    from trio_mqtt.testing._steps import Step


class Recording:
    """What passed between clients and a server; `FaultyNetwork.record` begins one.

    Example::

        async with open_proxy("mqtt://localhost") as proxy:
            recording = proxy.record()
            async with open_client(proxy.url) as client:
                await client.publish("press/done", "lid", qos=2)
        recording.save("lid.jsonl")

    and later, in a test without that server::

        peer = ScriptedPeer(*Recording.load("lid.jsonl").scripts())
        async with open_client(connector=peer.connect) as client:
            await client.publish("press/done", "lid", qos=2)
        peer.assert_done()

    Args:
        entries: what passed, in its order.
    """

    def __init__(self, entries: Iterable[Recorded] = ()) -> None:
        self._entries = list(entries)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file that `save` has written.

        Raises:
            ValueError: it is none, or of a version that cannot be read; it names the line.
            OSError: it cannot be read.
        """
        with Path(path).open(encoding="utf-8") as lines:
            try:
                return cls(parse(lines))
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error

    @property
    def entries(self) -> tuple[Recorded, ...]:
        """What has passed so far, in its order."""
        return tuple(self._entries)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file of JSON lines, in place of the one that is there.

        Raises:
            OSError: it cannot be written.
        """
        Path(path).write_text("".join(dump(self._entries)), encoding="utf-8", newline="\n")

    def scripts(self, *, paced: bool = True) -> list[list[Step]]:
        """A script for each connection, with which a `ScriptedPeer` plays the recorded server.

        The client has to send what was recorded, in its order. The Client Identifier and the Packet
        Identifiers that it chooses may be others, as long as each is always the same and none
        stands for two at a time. What was redacted has to be there; PINGREQ is answered whenever it
        comes. Where the recording ends before a connection, the client may do what it likes.

        Args:
            paced: let as much time pass before each packet of the server's as in the recording,
                by Trio's clock; False sends it at once.

        Raises:
            ValueError: something to be played was left out of the recording.
        """
        return scripts(self._entries, paced=paced)

    def add(self, entry: Recorded) -> None:
        """Note what has passed."""
        self._entries.append(entry)


class _Side:
    """What one side of a connection sends.

    Attributes:
        data: what is there of a packet that is not whole.
        reader: decodes packets.
        lost: what came was no packet, and nothing behind it can be told apart.
    """

    def __init__(self) -> None:
        self.data = bytearray()
        self.reader = PacketReader(None)
        self.lost = False

    def take(self, data: bytes) -> Iterator[Packet]:
        """The packets that are whole with these bytes."""
        self.data += data
        while not self.lost and (size := packet_size(self.data)) and len(self.data) >= size:
            self.reader.feed(self.data[:size])
            try:
                packets = self.reader.read_packets()
            except RemoteProtocolError:
                packets = []
            self.lost = not packets
            if not self.lost:
                del self.data[:size]
                yield from packets


class Recorder:
    """Writes what passes in one connection into a recording.

    Args:
        recording: the recording.
        connection: its number in the network.
        began: when the recording began, by Trio's clock.
        secrets: whether User Name, Password and Authentication Data are kept.
    """

    def __init__(
        self, recording: Recording, connection: int, *, began: float, secrets: bool
    ) -> None:
        self._recording = recording
        self._connection = connection
        self._began = began
        self._secrets = secrets
        self._over = False
        self._sides = {"client": _Side(), "server": _Side()}

    def data(self, sender: Sender, data: bytes) -> None:
        """Bytes are passed on."""
        if self._over:
            return
        side = self._sides[sender]
        for packet in side.take(data):
            protocol: Protocol | None = None
            if isinstance(packet, Connect):
                protocol = self._sides["server"].reader.protocol = side.reader.protocol
            kept = packet if self._secrets else redacted(packet)
            self._recording.add(attrs.evolve(self._entry(sender), packet=kept, protocol=protocol))
        if side.lost and side.data:
            lost = bytes(side.data) if self._secrets else b""
            side.data.clear()
            self._recording.add(attrs.evolve(self._entry(sender), data=lost))

    def end(self, sender: Sender, ending: Ending) -> None:
        """One side ends the connection, or the network; behind a break there is nothing."""
        if not self._over:
            self._recording.add(attrs.evolve(self._entry(sender), end=ending))
        self._over = self._over or ending == "reset" or sender == "network"

    def _entry(self, sender: Sender) -> Recorded:
        time = trio.current_time() - self._began
        return Recorded(connection=self._connection, time=time, sender=sender)
