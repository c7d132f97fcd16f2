"""A server that takes itself out of the figure: a process for one connection.

``python -m benchmarks.canned JOB`` prints the port, serves one client, and prints what it counted
and the seconds that passed between CONNACK and the end.
It sends what was encoded beforehand, and answers by the chunk, not by the message.
"""

from __future__ import annotations

import json
import socket
import sys
from collections import Counter
from time import perf_counter
from typing import TYPE_CHECKING, Final

from benchmarks.jobs import MOST_IN_FLIGHT, Job
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
    publish_stream,
    send_stream,
)
from trio_mqtt import MQTT_5, QoS, ReasonCode
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Packet,
    PacketReader,
    Properties,
    SubAck,
    Subscribe,
    UnsubAck,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_BACKLOG_TIMEOUT: Final = 30.0
_GRANTED: Final = {
    QoS.AT_MOST_ONCE: ReasonCode.SUCCESS,
    QoS.AT_LEAST_ONCE: ReasonCode.GRANTED_QOS_1,
    QoS.EXACTLY_ONCE: ReasonCode.GRANTED_QOS_2,
}
_ANSWERS: Final = {PUBREL: PUBCOMP}
_PUBLISH_ANSWERS: Final = {1: PUBACK, 2: PUBREC}


def read_packet(connection: socket.socket, reader: PacketReader) -> Packet:
    """The next packet, at a time when the client waits for its answer before it sends more."""
    while True:
        data = connection.recv(CHUNK)
        if not data:
            raise ConnectionError("closed before it had said what it wants")
        reader.feed(data)
        if packets := reader.read_packets():
            return packets[0]


def answer_all(connection: socket.socket, arrived: list[Run]) -> Counter[str]:
    """Acknowledge until the client disconnects; how many packets of each sort came."""
    counts: Counter[str] = Counter()
    splitter = Splitter()
    while True:
        answers = bytearray()
        for run in arrived:
            if run.kind == DISCONNECT:
                return counts
            if run.kind == UNSUBSCRIBE:
                answers += encode(UnsubAck(run.packet_id, (ReasonCode.SUCCESS,)), MQTT_5)
                continue
            counts[name_of(run)] += len(run)
            kind = _PUBLISH_ANSWERS.get(run.qos) if run.kind == PUBLISH else _ANSWERS.get(run.kind)
            if kind is not None:
                answers += run.answer(kind)
        if answers:
            connection.sendall(answers)
        data = connection.recv(CHUNK)
        if not data:
            return counts
        arrived = list(splitter.feed(data))


def name_of(run: Run) -> str:
    """What the packets of a run are counted as."""
    return f"PUBLISH {run.qos}" if run.kind == PUBLISH else str(run.kind)


def serve_publisher(_job: Job, connection: socket.socket, _connect: Connect) -> Counter[str]:
    """Take what comes."""
    return answer_all(connection, [])


def serve_subscriber(job: Job, connection: socket.socket, connect: Connect) -> Counter[str]:
    """Answer SUBSCRIBE and send all messages."""
    stream, size = publish_stream(job, MQTT_5)
    packet = read_packet(connection, PacketReader(MQTT_5))
    if not isinstance(packet, Subscribe):
        message = f"{type(packet).__name__} instead of SUBSCRIBE"
        raise ConnectionError(message)
    granted = _GRANTED[QoS(job.qos)]
    connection.sendall(encode(SubAck(packet.packet_id, (granted,)), MQTT_5))
    window = connect.properties.receive_maximum or MOST_IN_FLIGHT
    arrived = send_stream(connection, stream, size, qos=job.qos, window=window)
    connection.sendall(last_message(job, MQTT_5))
    answer_all(connection, arrived)
    return Counter(sent=job.messages)


KINDS: Final[dict[str, Callable[[Job, socket.socket, Connect], Counter[str]]]] = {
    "publish": serve_publisher,
    "receive": serve_subscriber,
    "tasks": serve_publisher,
}


def main() -> None:
    """Serve one client."""
    job = Job.from_json(sys.argv[1])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(_BACKLOG_TIMEOUT)
        print(listener.getsockname()[1], flush=True)
        connection, _ = listener.accept()
    with connection:
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connect = read_packet(connection, PacketReader(None))
        if not isinstance(connect, Connect):
            raise TypeError
        granted = Properties(receive_maximum=MOST_IN_FLIGHT)
        connection.sendall(encode(ConnAck(properties=granted), MQTT_5))
        start = perf_counter()
        counts = KINDS[job.kind](job, connection, connect)
        seconds = perf_counter() - start
    print(json.dumps({"counts": counts, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
