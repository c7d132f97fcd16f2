"""The publisher behind a real server: sends all messages as fast as that takes them.

``python -m benchmarks.feeder JOB`` connects, prints a line, and begins when it reads one. It speaks
MQTT 3.1.1, which has no Receive Maximum to slow it down.
"""

from __future__ import annotations

import socket
import sys
from typing import Final

from benchmarks.jobs import MOST_IN_FLIGHT, Job
from benchmarks.wire import last_message, publish_stream, send_stream
from trio_mqtt import MQTT_3_1_1
from trio_mqtt.packets import Connect, Disconnect, encode

_WINDOW: Final = {0: 0, 1: MOST_IN_FLIGHT, 2: 20}
"""More at QoS 2 than Mosquitto takes at once, it drops after it has acknowledged them."""


def main() -> None:
    """Publish once."""
    job = Job.from_json(sys.argv[1])
    stream, size = publish_stream(job, MQTT_3_1_1)
    with socket.create_connection(("127.0.0.1", job.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(encode(Connect("feeder"), MQTT_3_1_1))
        if connection.recv(4) != b"\x20\x02\x00\x00":
            raise ConnectionError("no CONNACK that accepts")
        print("ready", flush=True)
        sys.stdin.readline()
        send_stream(connection, stream, size, qos=job.qos, window=_WINDOW[job.qos])
        connection.sendall(last_message(job, MQTT_3_1_1) + encode(Disconnect(), MQTT_3_1_1))


if __name__ == "__main__":
    main()
