"""No client, but as little as is correct: reads from a socket and takes PUBLISH packets apart.

Of each read it makes a list of (Topic Name, payload). Of other packets it takes no notice, and it
checks nothing but the lengths and that the Topic Name is UTF-8. Nobody waits, nothing is kept.
"""

from __future__ import annotations

import socket
from time import perf_counter
from typing import TYPE_CHECKING, Final

from benchmarks.clients import subscribed

if TYPE_CHECKING:
    from benchmarks.clients import Work
    from benchmarks.jobs import Job

CONNECT: Final = b"\x10\x11\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x04bare"
READ: Final = 64 * 1024
_MORE: Final = 128  # in a byte of a Variable Byte Integer: another one follows
SUBACK: Final = 6
_PUBLISH: Final = 3


def parse(data: bytes) -> tuple[list[tuple[str, bytes]], int]:
    """The Topic Name and the payload of each PUBLISH, and where the incomplete one begins."""
    messages: list[tuple[str, bytes]] = []
    start, end = 0, len(data)
    while start + 2 <= end:
        length = data[start + 1]
        at = start + 2
        if length >= _MORE:
            length &= 127
            shift = 7
            while at < end:
                byte = data[at]
                at += 1
                length |= (byte & 127) << shift
                shift += 7
                if byte < _MORE:
                    break
            else:
                break
        stop = at + length
        if stop > end:
            break
        first = data[start]
        if first >> 4 == _PUBLISH:
            name = at + 2
            at = name + (data[at] << 8 | data[at + 1])
            topic = data[name:at].decode()
            if first & 6:
                at += 2
            properties = data[at]
            if properties >= _MORE:
                raise ValueError("more properties than were asked for")
            messages.append((topic, data[at + 1 + properties : stop]))
        start = stop
    return messages, start


def subscribe(topic: str) -> bytes:
    """SUBSCRIBE for a short Topic Name."""
    name = topic.encode()
    return b"\x82%c\x00\x01\x00\x00%c%b\x01" % (len(name) + 6, len(name), name)


def receive(job: Job) -> float:
    """Count what was taken."""
    count = 0
    with socket.create_connection(("127.0.0.1", job.port)) as connection:
        connection.sendall(CONNECT)
        connection.recv(READ)
        start = perf_counter()
        connection.sendall(subscribe(job.topic))
        rest = b""
        while len(rest) < SUBACK:
            rest += connection.recv(READ)
        rest = rest[SUBACK:]
        start = subscribed(job, start)
        while count < job.arriving:
            data = rest + connection.recv(READ) if rest else connection.recv(READ)
            messages, position = parse(data)
            count += len(messages)
            rest = data[position:]
        seconds = perf_counter() - start
        connection.sendall(b"\xe0\x00")
    return seconds


WORK: Final[Work] = {"receive": receive}
