"""``python -m benchmarks.idle.server`` prints its port and serves any number of idle clients.

It answers what idle clients send, and to each line on its standard input it prints what it
has counted until then.
"""

from __future__ import annotations

import json
import select
import socket
import sys
from collections import Counter
from typing import Final

from benchmarks.idle.descriptors import raise_limit
from trio_mqtt import MQTT_5, ReasonCode
from trio_mqtt.packets import ConnAck, SubAck, UnsubAck, encode

_BACKLOG: Final = 4096
_CHUNK: Final = 4096
_NAMES: Final = {1: "connects", 8: "subscribes", 12: "pings", 14: "disconnects"}
_ANSWERS: Final = {1: encode(ConnAck(), MQTT_5), 12: b"\xd0\0"}
_SUBSCRIBE: Final = 8
_UNSUBSCRIBE: Final = 10


def answer(data: bytes, counts: Counter[str]) -> bytes:
    """What is to be said to these packets, which are whole and shorter than 128 bytes."""
    answers = b""
    while data:
        kind = data[0] >> 4
        counts[_NAMES.get(kind, "others")] += 1
        answers += _ANSWERS.get(kind, b"")
        packet_id = int.from_bytes(data[2:4], "big")
        if kind == _SUBSCRIBE:
            answers += encode(SubAck(packet_id, (ReasonCode.GRANTED_QOS_1,)), MQTT_5)
        elif kind == _UNSUBSCRIBE:
            answers += encode(UnsubAck(packet_id, (ReasonCode.SUCCESS,)), MQTT_5)
        data = data[2 + data[1] :]
    return answers


def serve(listener: socket.socket) -> None:
    """Serve until the standard input ends."""
    counts: Counter[str] = Counter()
    connections: dict[int, socket.socket] = {}
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    poll.register(sys.stdin, select.EPOLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == listener.fileno():
                connection, _ = listener.accept()
                connections[connection.fileno()] = connection
                poll.register(connection, select.EPOLLIN)
            elif descriptor == sys.stdin.fileno():
                if not sys.stdin.readline():
                    return
                print(json.dumps(counts), flush=True)
            else:
                try:
                    data = connections[descriptor].recv(_CHUNK)
                    connections[descriptor].send(answer(data, counts))
                except ConnectionError:
                    data = b""
                if not data:
                    connections.pop(descriptor).close()


def main() -> None:
    """Listen, and say where."""
    raise_limit()
    with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listener:
        print(listener.getsockname()[1], flush=True)
        serve(listener)


if __name__ == "__main__":
    main()
