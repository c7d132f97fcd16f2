"""A server that floods one client: ``python -m tests.client.flood_peer COUNT`` prints its port.

It answers CONNECT and two SUBSCRIBEs, then sends COUNT messages of QoS 0 to ``flood`` as fast as
the socket takes them, and a last one to ``end``. It reads nothing meanwhile.
"""

from __future__ import annotations

import socket
import sys
from typing import Final

from trio_mqtt import MQTT_5, ReasonCode
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PacketReader,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    encode,
)

BATCH: Final = 1000
"""So many messages are numbered; then the numbers begin again."""
TIMEOUT: Final = 60


class Peer:
    """One connection, served to its end."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = PacketReader(None)
        self._waiting: list[Packet] = []

    def next_packet(self) -> Packet:
        while not self._waiting:
            data = self._connection.recv(65536)
            if not data:
                raise ConnectionError("the client hung up")
            self._reader.feed(data)
            self._waiting = self._reader.read_packets()
        return self._waiting.pop(0)

    def send(self, packet: Packet) -> None:
        self._connection.sendall(encode(packet, MQTT_5))

    def serve(self, count: int) -> None:
        assert isinstance(self.next_packet(), Connect)
        self.send(ConnAck())
        for _ in range(2):
            packet = self.next_packet()
            assert isinstance(packet, Subscribe)
            self.send(SubAck(packet.packet_id, (ReasonCode.SUCCESS,)))
        numbered = (Publish("flood", b"%032d" % number) for number in range(BATCH))
        batch = b"".join(encode(packet, MQTT_5) for packet in numbered)
        for _ in range(count // BATCH):
            self._connection.sendall(batch)
        self.send(Publish("end"))
        while not isinstance(packet := self.next_packet(), Disconnect):
            if isinstance(packet, Unsubscribe):
                self.send(UnsubAck(packet.packet_id, (ReasonCode.SUCCESS,)))
            elif isinstance(packet, Publish):
                self.send(PubAck(packet.packet_id))


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT)
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        connection, _ = listener.accept()
    with connection:
        connection.settimeout(TIMEOUT)
        Peer(connection).serve(int(sys.argv[1]))


if __name__ == "__main__":
    main()
