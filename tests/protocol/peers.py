"""Two real peers back to back: a Sender and a Receiver on each side, joined by bytes.

The handshakes do not know which side they play, so one end stands for the Client and the other for
the Server. What goes over the wire is kept, as packets, for the tests to look at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.packets.support import drain
from tests.protocol.support import outgoing
from trio_mqtt._enums import Protocol, ReasonCode
from trio_mqtt._protocol.exchanges import IncomingMessage, OutgoingMessage
from trio_mqtt._protocol.output import Output
from trio_mqtt._protocol.receiver import Receiver
from trio_mqtt._protocol.sender import Sender
from trio_mqtt._protocol.session import SessionState
from trio_mqtt.packets import (
    Packet,
    PacketReader,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable


class Peer:
    """One end.

    Args:
        protocol: the version of MQTT spoken.
        window: how many messages the other end takes at once: its Receive Maximum.
        receive_maximum: how many this end takes at once.

    Attributes:
        published: the messages accepted from the test, in order.
        finished: those whose exchange is over, in that order.
        delivered: the messages received, each once, in order.
        unsettled: those of QoS 1 and 2 that the test has not settled.
        sent: what went out, as packets.
        received: what came in, as packets.
        most_in_flight: how many of its messages were unacknowledged at once, at most, by what is
            in `sent` and `received`.
    """

    def __init__(self, protocol: Protocol, *, window: int, receive_maximum: int) -> None:
        self.protocol = protocol
        self.session = SessionState()
        self.output = Output()
        self.sender = Sender(self.session, self.output, protocol)
        self.receiver = Receiver(
            self.session,
            self.output,
            protocol,
            receive_maximum=receive_maximum,
            topic_alias_maximum=0,
        )
        self.published: list[OutgoingMessage] = []
        self.finished: list[OutgoingMessage] = []
        self.delivered: list[IncomingMessage] = []
        self.unsettled: list[IncomingMessage] = []
        self.sent: list[Packet] = []
        self.received: list[Packet] = []
        self.most_in_flight = 0
        self._in_flight = 0
        self._reader = PacketReader(protocol, publish_type=IncomingMessage)
        self._own_reader = PacketReader(protocol)
        self.sender.open(window)

    def publish(self, qos: int, payload: bytes) -> OutgoingMessage:
        message = outgoing(qos, payload, self.protocol)
        self.published.append(message)
        if qos:
            if not self.sender.send_at_once(message):
                self.session.accept(message)
                self.sender.pump()
        else:
            self.sender.send(message)
        return message

    def settle(self, index: int, reason_code: ReasonCode = ReasonCode.SUCCESS) -> None:
        """Deal with one of the unsettled messages."""
        self.receiver.settle(self.unsettled.pop(index % len(self.unsettled)), reason_code)

    def take_output(self) -> bytes:
        data = b"".join(self.output.take())
        self._own_reader.feed(data)
        for packet in drain(self._own_reader):
            self.sent.append(packet)
            if isinstance(packet, Publish) and packet.qos:
                self._in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self._in_flight)
        assert self._own_reader.buffered == 0
        return data

    def feed(self, data: bytes) -> None:
        self._reader.feed(data)
        for packet in drain(self._reader):
            self.received.append(packet)
            _HANDLERS[type(packet)](self, packet)
        self.sender.pump()

    def _on_publish(self, message: IncomingMessage) -> None:
        if self.receiver.on_publish(message):
            self.delivered.append(message)
            if message.qos:
                self.unsettled.append(message)

    def _on_acknowledgement(self, packet: PubAck | PubRec | PubComp) -> None:
        message = self.sender.on_acknowledgement(packet)
        if message is not None:
            self.finished.append(message)
            self._in_flight -= 1

    def _on_pubrel(self, packet: PubRel) -> None:
        self.receiver.on_pubrel(packet)

    def ids(
        self, packet_class: type[PubAck | PubRec | PubRel | PubComp], *, sent: bool
    ) -> list[int]:
        """The identifiers of one sort of packet, in order."""
        packets = self.sent if sent else self.received
        return [packet.packet_id for packet in packets if isinstance(packet, packet_class)]

    def published_ids(self, qos: int, *, sent: bool) -> list[int]:
        """The identifiers of the PUBLISHes of one QoS, in order."""
        packets = self.sent if sent else self.received
        return [
            packet.packet_id
            for packet in packets
            if isinstance(packet, Publish) and packet.qos == qos
        ]


_HANDLERS: dict[type, Callable[..., object]] = {
    IncomingMessage: Peer._on_publish,
    PubAck: Peer._on_acknowledgement,
    PubRec: Peer._on_acknowledgement,
    PubComp: Peer._on_acknowledgement,
    PubRel: Peer._on_pubrel,
}


class Pair:
    """Two peers and what is on its way between them.

    Args:
        protocol: the version of MQTT spoken.
        windows: the Receive Maximum of each.
        stutter: how often each packet but a QoS 0 or 1 PUBLISH goes over the wire.

    Attributes:
        stutters: whether that is more than once.
    """

    def __init__(
        self, protocol: Protocol, windows: tuple[int, int] = (65535, 65535), *, stutter: int = 1
    ) -> None:
        first, second = windows
        self.ends = (
            Peer(protocol, window=second, receive_maximum=first),
            Peer(protocol, window=first, receive_maximum=second),
        )
        self._on_the_way = (bytearray(), bytearray())  # from each end
        self.stutters = stutter > 1
        self._stutter = stutter
        self._protocol = protocol

    def move(self, end: int, size: int | None = None) -> bool:
        """Carry up to `size` bytes from this end to the other; says if there were any."""
        way = self._on_the_way[end]
        data = self.ends[end].take_output()
        way += self._repeat(data) if self.stutters else data
        part = bytes(way[:size])
        del way[:size]
        self.ends[1 - end].feed(part)
        return bool(part)

    def _repeat(self, data: bytes) -> bytes:
        reader = PacketReader(self._protocol)
        reader.feed(data)
        repeated = b""
        for packet in drain(reader):
            repeated += encode(packet, self._protocol)
            if isinstance(packet, Publish):
                if packet.qos != 2:
                    continue
                packet.dup = True
            repeated += encode(packet, self._protocol) * (self._stutter - 1)
        return repeated

    def move_all(self) -> None:
        """Carry bytes until neither end has anything to say."""
        while self.move(0) | self.move(1):
            pass
