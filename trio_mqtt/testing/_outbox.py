"""What the Server sends on one Network Connection: its answers first, then queued messages."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs

from trio_mqtt._enums import MQTT_5, Protocol
from trio_mqtt.packets import (
    NO_PROPERTIES,
    Auth,
    ConnAck,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mqtt.packets import Properties
    from trio_mqtt.testing._broker import Broker
    from trio_mqtt.testing._session import Delivery, Session

_BATCH = 64 * 1024
_UNLIMITED = 65_535


class Outbox:
    """Turns answers and the messages of a Session into bytes, within the limits of the Client.

    Args:
        broker: gives the log and the answers to hold back.
        on_output: called when there may be something to send.

    Attributes:
        protocol: the version of MQTT spoken.
        client_id: for the log.
        session: whose messages are sent; None sends answers only.
        receive_maximum: the Client's Receive Maximum.
        maximum_packet_size: the Client's Maximum Packet Size, or None.
        topic_alias_maximum: how many Topic Aliases to use.
        problem_information: the Client's Request Problem Information.
        receiving: Packet Identifiers of the Client's PUBLISHes that have no final answer yet.
        opened: whether a CONNACK was sent.
        closed: nothing more is accepted; what is here may still be taken.
        backlog: the bytes of answers that wait.
    """

    def __init__(self, broker: Broker, on_output: Callable[[], None]) -> None:
        self.protocol: Protocol = MQTT_5
        self.client_id = ""
        self.session: Session | None = None
        self.receive_maximum = _UNLIMITED
        self.maximum_packet_size: int | None = None
        self.topic_alias_maximum = 0
        self.problem_information = True
        self.receiving: set[int] = set()
        self.opened: bool = False
        self.closed = False
        self.backlog: int = 0
        self.wake = on_output
        self._broker = broker
        self._answers: deque[tuple[Packet, bytes]] = deque()
        self._window: set[int] = set()  # our PUBLISHes of this connection that count (4.9)
        self._aliases: dict[str, int] = {}

    def answer(self, packet: Packet) -> None:
        """Send a packet as soon as possible, unless a test holds such packets back."""
        for hold in self._broker.holds:
            if hold.takes(self.client_id, packet):
                hold.keep(self, packet)
                return
        self.answer_now(packet)

    def answer_now(self, packet: Packet) -> None:
        """Send a packet as soon as possible."""
        if self.closed:
            return
        data = self._fit(packet)
        if data is None:
            return
        if isinstance(packet, ConnAck):
            self._answers.appendleft((packet, data))  # MQTT-3.2.0-1
            self.opened = True
        else:
            self._answers.append((packet, data))
        if isinstance(packet, PubAck | PubComp) or (
            isinstance(packet, PubRec) and packet.reason_code.is_failure
        ):
            self.receiving.discard(packet.packet_id)
        self.backlog += len(data)
        self.wake()

    def discard(self) -> None:
        """Forget what waits: the connection is gone."""
        self._answers.clear()
        self.backlog = 0

    def acknowledged(self, packet_id: int) -> None:
        """An acknowledgement that ends an exchange makes room in the window (4.9)."""
        self._window.discard(packet_id)
        self.wake()

    def take(self, now: float) -> bytes:
        """The next bytes to write; none if there is nothing to send for now."""
        if not self.opened and not (self._answers and isinstance(self._answers[0][0], Auth)):
            return b""  # MQTT-3.2.0-1
        chunks: list[bytes] = []
        size = 0
        while size < _BATCH:
            entry = self._answers.popleft() if self._answers else self._next_publish(now)
            if entry is None:
                break
            packet, data = entry
            if not isinstance(packet, Publish):
                self.backlog -= len(data)
            self._broker.log.add("sent", self.client_id, packet)
            chunks.append(data)
            size += len(data)
        return b"".join(chunks)

    def _fit(self, packet: Packet) -> bytes | None:
        """An answer in bytes, without what the Client has no room for or does not want."""
        if isinstance(packet, PingReq | PingResp) or not _explains(packet.properties):
            data = encode(packet, self.protocol)
        else:
            plain = attrs.evolve(packet.properties, reason_string=None, user_properties=())
            if not self.problem_information and not isinstance(packet, ConnAck | Disconnect):
                packet = attrs.evolve(packet, properties=plain)  # MQTT-3.1.2-29
            data = encode(packet, self.protocol)
            if self._too_large(data):
                # MQTT-3.2.2-19, MQTT-3.4.2-2, MQTT-3.9.2-1, MQTT-3.14.2-3 and their like
                data = encode(attrs.evolve(packet, properties=plain), self.protocol)
        return None if self._too_large(data) else data  # MQTT-3.1.2-24

    def _too_large(self, data: bytes) -> bool:
        return self.maximum_packet_size is not None and len(data) > self.maximum_packet_size

    def _next_publish(self, now: float) -> tuple[Packet, bytes] | None:
        session = self.session
        while session is not None and not self.closed:
            room = len(self._window) < self.receive_maximum  # MQTT-3.3.4-9
            if room and session.resend:
                packet_id = session.resend.popleft()
                again = session.unacknowledged.get(packet_id)
                if again is None:
                    continue
                entry = self._publish(again, packet_id, now, dup=True)  # MQTT-3.3.1-1
                if entry is None:
                    del session.unacknowledged[packet_id]  # MQTT-3.1.2-25
                    continue
                self._window.add(packet_id)
                return entry
            delivery = session.next_delivery(with_qos=room and not session.resend)
            if delivery is None:
                return None
            if delivery.message.expires_at <= now:
                continue  # MQTT-3.3.2-5
            packet_id = session.unused_packet_id() if delivery.qos else 0
            entry = self._publish(delivery, packet_id, now, dup=False)
            if entry is None:
                continue  # MQTT-3.1.2-25
            if packet_id:
                session.sent(packet_id, delivery)
                self._window.add(packet_id)
            return entry
        return None

    def _publish(
        self, delivery: Delivery, packet_id: int, now: float, *, dup: bool
    ) -> tuple[Packet, bytes] | None:
        """A PUBLISH and its bytes; None if the Client would not take one so large."""
        packet = delivery.packet(packet_id, now, dup=dup)
        if self.protocol is not MQTT_5:
            packet.properties = NO_PROPERTIES
        alias = self._alias(packet)
        data = encode(packet, self.protocol)
        if self._too_large(data):
            return None
        if alias:
            self._aliases[delivery.message.topic] = alias
        return packet, data

    def _alias(self, packet: Publish) -> int:
        """Use a Topic Alias if one is left, and return it; 0 for none (MQTT-3.1.2-26, -27)."""
        alias = self._aliases.get(packet.topic, 0)
        if alias:
            packet.topic = ""
        elif len(self._aliases) < self.topic_alias_maximum:
            alias = len(self._aliases) + 1
        if alias:
            packet.properties = attrs.evolve(packet.properties, topic_alias=alias)
        return alias


def _explains(properties: Properties) -> bool:
    """Whether there is a Reason String or a User Property, which an answer may leave out."""
    return properties.reason_string is not None or bool(properties.user_properties)
