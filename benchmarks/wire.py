"""MQTT by the stream, for servers and publishers that must cost next to nothing.

Packets with the same fixed header have the same size and stand in the stream one after the other,
so that one slice with a step picks out a byte of each: no loop in Python touches single messages.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Final

import attrs

from benchmarks.jobs import MOST_IN_FLIGHT, Job
from trio_mqtt.packets import Properties, Publish, encode

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping

    from trio_mqtt import Protocol

PUBLISH: Final = 3
PUBACK: Final = 4
PUBREC: Final = 5
PUBREL: Final = 6
PUBCOMP: Final = 7
UNSUBSCRIBE: Final = 10
DISCONNECT: Final = 14
_LAST: Final = frozenset({PUBACK, PUBCOMP})
CHUNK: Final = 256 * 1024
_MORE: Final = 128  # in a byte of the Remaining Length: another one follows


@attrs.frozen
class Run:
    """Packets in a row that have the same fixed header.

    Attributes:
        data: the packets and nothing else.
        size: of one packet.
        header: the size of its fixed header.
    """

    data: bytes
    size: int
    header: int

    @property
    def kind(self) -> int:
        """The packet type."""
        return self.data[0] >> 4

    @property
    def qos(self) -> int:
        """That of PUBLISH packets."""
        return self.data[0] >> 1 & 3

    @property
    def packet_id(self) -> int:
        """The Packet Identifier of the first, unless that is a PUBLISH."""
        return int.from_bytes(self.data[self.header : self.header + 2], "big")

    def __len__(self) -> int:
        """How many packets."""
        return len(self.data) // self.size

    def answer(self, kind: int) -> bytes:
        """An acknowledgement of this packet type for each packet."""
        at = self.header
        if self.kind == PUBLISH:  # all have the same Topic Name
            at += 2 + int.from_bytes(self.data[at : at + 2], "big")
        first = kind << 4 | (2 if kind == PUBREL else 0)
        answer = bytearray(bytes((first, 2, 0, 0)) * len(self))
        answer[2::4] = self.data[at :: self.size]
        answer[3::4] = self.data[at + 1 :: self.size]
        return bytes(answer)


class Splitter:
    """Cuts what arrives into runs."""

    def __init__(self) -> None:
        self._rest = b""
        self._alike = 1

    def feed(self, data: bytes) -> Iterator[Run]:
        """The runs that are complete with these bytes."""
        data = self._rest + data
        position = 0
        while run := self._next(data, position):
            position += len(run.data)
            yield run
        self._rest = data[position:]

    def _next(self, data: bytes, start: int) -> Run | None:
        end = start + 1
        length = shift = 0
        while True:
            if end >= len(data):
                return None
            length |= (data[end] & 127) << shift
            shift += 7
            end += 1
            if data[end - 1] < _MORE:
                break
        header = end - start
        size = header + length
        # No look at all that is there: where runs are short, that would be in vain each time.
        count = min((len(data) - start) // size, 4 * self._alike + 16)
        for at in range(start, end):
            column = data[at : at + count * size : size]
            count = len(column) - len(column.lstrip(data[at : at + 1]))
        if not count:
            return None
        self._alike = count
        return Run(data[start : start + count * size], size, header)


def publish_stream(
    job: Job, protocol: Protocol, identifiers: tuple[int, ...] = ()
) -> tuple[bytes, int]:
    """All messages of a job, ready to be sent, and the size of one packet.

    Args:
        job: tells the messages.
        protocol: how they are encoded.
        identifiers: the Subscription Identifiers that each carries.
    """
    message = Publish(job.topic, job.payload, job.qos, packet_id=int(job.qos > 0))
    message.properties = Properties(subscription_identifiers=identifiers)
    packet = encode(message, protocol)
    stream = bytearray(packet * job.messages)
    if job.qos:
        at = packet.index(job.topic.encode()) + len(job.topic)
        packet_ids = bytearray().join(
            (1 + index % MOST_IN_FLIGHT).to_bytes(2, "big") for index in range(job.messages)
        )
        stream[at :: len(packet)] = packet_ids[0::2]
        stream[at + 1 :: len(packet)] = packet_ids[1::2]
    return bytes(stream), len(packet)


def mixed_stream(job: Job, protocol: Protocol, identifiers: Mapping[str, tuple[int, ...]]) -> bytes:
    """The messages of a job to all of its Topic Names in turn, at QoS 0."""
    packets = [
        encode(
            Publish(
                topic,
                job.payload,
                properties=Properties(subscription_identifiers=identifiers[topic]),
            ),
            protocol,
        )
        for topic in job.topics
    ]
    whole, rest = divmod(job.messages, len(packets))
    return b"".join(packets) * whole + b"".join(packets[:rest])


def last_message(job: Job, protocol: Protocol, identifiers: tuple[int, ...] = ()) -> bytes:
    """What tells a receiving client that no more will come; see `Job.arriving`."""
    properties = Properties(subscription_identifiers=identifiers)
    return encode(Publish(job.topics[-1], b"", 1, packet_id=1, properties=properties), protocol)


def send_stream(
    connection: socket.socket, stream: bytes, size: int, *, qos: int, window: int
) -> list[Run]:
    """Send packets of this size as the socket takes them, at QoS 1 and 2 until all are done.

    Args:
        connection: where to.
        stream: the packets.
        size: of each.
        qos: theirs.
        window: how many may be unacknowledged at QoS 1 and 2.

    Returns:
        What arrived beside them.

    Raises:
        ConnectionError: the other side closed before it had acknowledged all.
    """
    connection.settimeout(0)
    poll = select.poll()
    view = memoryview(stream)
    splitter = Splitter()
    others: list[Run] = []
    released = bytearray()  # PUBRELs; each four bytes, and sent between two packets
    sent = acknowledged = 0
    while sent < len(stream) or (qos and acknowledged < len(stream) // size):
        allowed = (acknowledged + window) * size if qos else len(stream)
        may_send = released or sent < min(allowed, len(stream))
        poll.register(connection, select.POLLIN | (select.POLLOUT if may_send else 0))
        ((_, ready),) = poll.poll()
        if ready & select.POLLOUT:
            if released and not sent % size:
                del released[: connection.send(released)]
            else:
                end = sent + -sent % size if released else min(sent + CHUNK, allowed)
                sent += connection.send(view[sent:end])
        if ready & ~select.POLLOUT:
            data = connection.recv(CHUNK)
            if not data:
                message = f"closed after {acknowledged} acknowledgements, {sent // size} sent"
                raise ConnectionError(message)
            for run in splitter.feed(data):
                if run.kind in _LAST:
                    acknowledged += len(run)
                elif run.kind == PUBREC:
                    released += run.answer(PUBREL)
                else:
                    others.append(run)
    connection.settimeout(None)
    return others
