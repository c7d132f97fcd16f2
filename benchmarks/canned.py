"""A server that takes itself out of the figure: a process that serves one client at a time.

``python -m benchmarks.canned`` reads a job, prints the port, serves a client, and prints what it
counted and how many seconds passed for it; then it is ready for the next job. It sends what was
encoded beforehand, and answers by the chunk, not by the message; requests it answers one by one.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
from collections import Counter
from functools import cache, partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

from benchmarks.jobs import MOST_IN_FLIGHT, Job
from benchmarks.websocket import WebSocketPeer, frame
from benchmarks.wire import (
    CHUNK,
    DISCONNECT,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    UNSUBSCRIBE,
    Run,
    Splitter,
    last_message,
    mixed_stream,
    publish_stream,
    send_stream,
)
from trio_mqtt import MQTT_5, QoS, ReasonCode
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PacketReader,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BACKLOG_TIMEOUT: Final = 30.0
_GRANTED: Final = {
    QoS.AT_MOST_ONCE: ReasonCode.SUCCESS,
    QoS.AT_LEAST_ONCE: ReasonCode.GRANTED_QOS_1,
    QoS.EXACTLY_ONCE: ReasonCode.GRANTED_QOS_2,
}
_LIKELY: Final[tuple[tuple[int, ...], ...]] = ((), (1,))
"""The Subscription Identifiers of a client with one Topic Filter: it has none, or the first."""
_ANSWERS: Final = {PUBREL: PUBCOMP}
_PUBLISH_ANSWERS: Final = {1: PUBACK, 2: PUBREC}

Channel = socket.socket | WebSocketPeer
Outcome = tuple[Counter[str], float]
"""How many packets of each sort came, and when the time began."""


def read_packets(connection: Channel, reader: PacketReader) -> Iterator[Packet]:
    """All packets that come, until the client disconnects or closes."""
    while True:
        while packets := reader.read_packets():
            for packet in packets:
                if isinstance(packet, Disconnect):
                    return
                yield packet
        data = connection.recv(CHUNK)
        if not data:
            return
        reader.feed(data)


def accept(connection: Channel) -> tuple[Connect, PacketReader]:
    """Read CONNECT and send CONNACK."""
    connect = next(read_packets(connection, PacketReader(None)), None)
    if not isinstance(connect, Connect):
        raise ConnectionError("something else than CONNECT")
    assigned = None if connect.client_id else "assigned"
    granted = Properties(receive_maximum=MOST_IN_FLIGHT, assigned_client_identifier=assigned)
    connection.sendall(encode(ConnAck(properties=granted), MQTT_5))
    return connect, PacketReader(MQTT_5)


def answer_all(connection: Channel, arrived: list[Run]) -> Counter[str]:
    """Acknowledge until the client disconnects; how many packets of each sort came."""
    counts: Counter[str] = Counter()
    splitter = Splitter()
    while True:
        answers = bytearray()
        for run in arrived:
            if run.kind == DISCONNECT:
                return counts
            if run.kind == UNSUBSCRIBE:
                answers += answer_unsubscribe(run)
                continue
            counts[name_of(run)] += len(run)
            kind = _PUBLISH_ANSWERS.get(run.qos) if run.kind == PUBLISH else _ANSWERS.get(run.kind)
            if kind is not None:
                answers += run.answer(kind)
        if answers:
            connection.sendall(bytes(answers))
        data = connection.recv(CHUNK)
        if not data:
            return counts
        arrived = list(splitter.feed(data))


def answer_unsubscribe(run: Run) -> bytes:
    """UNSUBACK for each."""
    reader = PacketReader(MQTT_5)
    reader.feed(run.data)
    answers = bytearray()
    for packet in reader.read_packets(len(run)):
        if isinstance(packet, Unsubscribe):
            answers += acknowledge(packet)
    return bytes(answers)


def acknowledge(packet: Unsubscribe) -> bytes:
    """UNSUBACK."""
    codes = (ReasonCode.SUCCESS,) * len(packet.topic_filters)
    return encode(UnsubAck(packet.packet_id, codes), MQTT_5)


def name_of(run: Run) -> str:
    """What the packets of a run are counted as."""
    return f"PUBLISH {run.qos}" if run.kind == PUBLISH else str(run.kind)


def serve_publisher(_job: Job, channel: Channel) -> Outcome:
    """Take what comes."""
    accept(channel)
    start = perf_counter()
    return answer_all(channel, []), start


def take_subscriptions(
    channel: Channel, reader: PacketReader, count: int, granted: ReasonCode
) -> tuple[dict[str, tuple[int, ...]], bytes]:
    """Answer SUBSCRIBE packets, until there are so many Topic Filters.

    Returns:
        The identifiers of each, and the last answer, which is still to be sent.
    """
    identifiers: dict[str, tuple[int, ...]] = {}
    for packet in read_packets(channel, reader):
        if not isinstance(packet, Subscribe):
            message = f"{type(packet).__name__} instead of SUBSCRIBE"
            raise ConnectionError(message)
        for each in packet.requests:
            identifiers[each.topic_filter] = packet.properties.subscription_identifiers
        codes = (granted,) * len(packet.requests)
        answer = encode(SubAck(packet.packet_id, codes), MQTT_5)
        if len(identifiers) == count:
            return identifiers, answer
        channel.sendall(answer)
    raise ConnectionError("closed before it had subscribed")


def serve_subscriber(job: Job, channel: Channel) -> Outcome:
    """Answer SUBSCRIBE and send all messages; with Subscription Identifiers if it wants them."""
    # Whatever takes time is done before the client looks at the clock.
    publishes = cache(partial(publish_stream, job, MQTT_5))
    for likely in _LIKELY if job.subscriptions == 1 else ():
        publishes(likely)
    connect, reader = accept(channel)
    granted = _GRANTED[QoS(job.qos)]
    identifiers, answer = take_subscriptions(channel, reader, job.subscriptions, granted)
    if job.subscriptions > 1:
        stream, size = mixed_stream(job, MQTT_5, identifiers), 1
        channel.sendall(answer)
        sys.stdin.readline()
    else:
        stream, size = publishes(identifiers[job.topic])
        channel.sendall(answer)
    last = last_message(job, MQTT_5, identifiers[job.topics[-1]])
    window = connect.properties.receive_maximum or MOST_IN_FLIGHT
    arrived: list[Run] = []
    start = perf_counter()
    if job.transport == "tcp" and isinstance(channel, socket.socket):
        arrived = send_stream(channel, stream, size, qos=job.qos, window=window)
        channel.sendall(last)
    elif isinstance(channel, WebSocketPeer):  # most servers send a frame for each packet
        channel.send_frames(frame(stream[:size]) * job.messages + frame(last))
    else:
        channel.sendall(stream + last)
    answer_all(channel, arrived)
    return Counter(sent=job.messages), start


def serve_duplicates(job: Job, channel: Channel) -> Outcome:
    """Send each QoS 2 message twice, the second as a repetition, before its PUBREL."""
    _, reader = accept(channel)
    _, answer = take_subscriptions(channel, reader, 1, ReasonCode.GRANTED_QOS_2)
    channel.sendall(answer)
    packets = read_packets(channel, reader)
    for repeated in (False, True):
        for number in range(1, job.messages + 1):
            message = Publish(job.topic, job.payload, 2, dup=repeated, packet_id=number)
            channel.sendall(encode(message, MQTT_5))
        for _ in range(job.messages):
            expect(packets, PubRec)
    for number in range(1, job.messages + 1):
        channel.sendall(encode(PubRel(number), MQTT_5))
    for _ in range(job.messages):
        expect(packets, PubComp)
    start = perf_counter()
    channel.sendall(last_message(job, MQTT_5))
    for packet in packets:  # it leaves, and waits for no more
        if isinstance(packet, Unsubscribe):
            channel.sendall(acknowledge(packet))
    return Counter(sent=job.messages), start


def expect(packets: Iterator[Packet], kind: type[Packet]) -> None:
    """The next packet is of this sort.

    Raises:
        ConnectionError: it is not, or there is none.
    """
    packet = next(packets, None)
    if not isinstance(packet, kind):
        raise ConnectionError(f"{type(packet).__name__} instead of {kind.__name__}")


def serve_requester(_job: Job, channel: Channel) -> Outcome:
    """Answer each request with its own payload."""
    _, reader = accept(channel)
    start = perf_counter()
    replies = 0
    for packet in read_packets(channel, reader):
        if isinstance(packet, Subscribe):
            answer = encode(SubAck(packet.packet_id, (ReasonCode.SUCCESS,)), MQTT_5)
        elif isinstance(packet, Unsubscribe):
            answer = acknowledge(packet)
        elif isinstance(packet, Publish):
            answer = encode(PubAck(packet.packet_id), MQTT_5) if packet.qos else b""
            asked = packet.properties
            data = Properties(correlation_data=asked.correlation_data)
            reply = Publish(asked.response_topic or "", packet.payload, properties=data)
            answer += encode(reply, MQTT_5)
            replies += 1
        else:
            continue
        channel.sendall(answer)
    return Counter(sent=replies), start


KINDS: Final[dict[str, Callable[[Job, Channel], Outcome]]] = {
    "publish": serve_publisher,
    "tasks": serve_publisher,
    "latency": serve_publisher,
    "receive": serve_subscriber,
    "duplicates": serve_duplicates,
    "request": serve_requester,
}


def open_channel(job: Job, connection: socket.socket) -> Channel:
    """What the client speaks below MQTT."""
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if job.transport == "ws":
        return WebSocketPeer(connection)
    if job.transport == "tls":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(Path(job.authority).with_name("server.pem"))
        return context.wrap_socket(connection, server_side=True)
    return connection


def serve_one(job: Job, listener: socket.socket) -> Outcome:
    """Serve one client."""
    connection, _ = listener.accept()
    with connection:
        channel = open_channel(job, connection)
        try:
            return KINDS[job.kind](job, channel)
        finally:
            if isinstance(channel, ssl.SSLSocket):
                channel.close()


def serve_connections(job: Job, listener: socket.socket) -> Outcome:
    """Let a client connect and disconnect, many times."""
    start = perf_counter()
    closed = 0
    while closed < job.messages:
        connection, _ = listener.accept()
        with connection:
            channel = open_channel(job, connection)
            _, reader = accept(channel)
            for _ in read_packets(channel, reader):
                pass
        closed += 1
    return Counter(sent=closed), start


def main() -> None:
    """Serve as the jobs say."""
    while line := sys.stdin.readline():
        job = Job.from_json(line)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(_BACKLOG_TIMEOUT)
            print(listener.getsockname()[1], flush=True)
            serve = serve_connections if job.kind == "connect" else serve_one
            counts, start = serve(job, listener)
        print(json.dumps({"counts": counts, "seconds": perf_counter() - start}), flush=True)


if __name__ == "__main__":
    main()
