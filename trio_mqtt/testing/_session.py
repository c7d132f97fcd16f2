"""Session State as the Server keeps it (4.1): queued messages and the QoS exchanges (4.3)."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import attrs

from trio_mqtt.packets import NO_PROPERTIES, Properties, Publish

if TYPE_CHECKING:
    from trio_mqtt.packets import WillMessage
    from trio_mqtt.testing._connection import Connection
    from trio_mqtt.testing._subscriptions import Subscription

_MOST_PACKET_IDS = 65_535


@attrs.frozen(kw_only=True)
class ApplicationMessage:
    """An Application Message that the Server has taken ownership of.

    Attributes:
        topic: the Topic Name.
        payload: the payload.
        qos: the QoS it was published with.
        retain: the RETAIN flag it was published with.
        properties: those that are forwarded unaltered.
        publisher: the Client Identifier of its publisher, or None.
        expires_at: when the Message Expiry Interval has passed.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: Properties
    publisher: str | None
    expires_at: float

    @classmethod
    def take(cls, packet: Publish, publisher: str | None, now: float) -> ApplicationMessage:
        """Make it of a PUBLISH whose Topic Name is complete."""
        properties = packet.properties
        interval = properties.message_expiry_interval
        if properties.topic_alias is not None:
            properties = attrs.evolve(properties, topic_alias=None)
        return cls(
            topic=packet.topic,
            payload=packet.payload,
            qos=packet.qos,
            retain=packet.retain,
            properties=properties,
            publisher=publisher,
            expires_at=math.inf if interval is None else now + interval,
        )

    def remaining(self, now: float) -> int | None:
        """The Message Expiry Interval to forward, never below 1 (MQTT-3.3.2-6)."""
        if self.expires_at == math.inf:
            return None
        return max(1, math.ceil(self.expires_at - now))


@attrs.frozen(kw_only=True)
class Delivery:
    """A copy of an Application Message on its way to one Session.

    Attributes:
        message: what is delivered.
        qos: the QoS of this copy.
        retain: the RETAIN flag of this copy.
        identifiers: the Subscription Identifiers of this copy.
    """

    message: ApplicationMessage
    qos: int
    retain: bool
    identifiers: tuple[int, ...] = ()

    def packet(self, packet_id: int, now: float, *, dup: bool) -> Publish:
        """The PUBLISH that carries it, with all properties of MQTT 5.0."""
        message = self.message
        remaining = message.remaining(now)
        properties = message.properties
        if self.identifiers or remaining is not None:
            properties = attrs.evolve(
                properties,
                subscription_identifiers=self.identifiers,
                message_expiry_interval=remaining,
            )
        return Publish(
            message.topic, message.payload, self.qos, self.retain, dup, packet_id, properties
        )


class Session:
    """The Session of one Client Identifier.

    Args:
        client_id: the Client Identifier.
        maximum_queued: how many messages may wait.

    Attributes:
        expiry: the Session Expiry Interval in seconds; infinite for never.
        connection: the Network Connection, or None.
        subscriptions: by Topic Filter.
        will: the Will Message not yet published or deleted, or None.
        will_at: when it is due, once the connection is closed.
        ends_at: when the Session ends, once the connection is closed.
        received: Packet Identifiers of QoS 2 messages received and not yet released.
        unacknowledged: by Packet Identifier in the order of sending, PUBLISHes sent and not
            acknowledged by PUBACK or PUBREC.
        released: Packet Identifiers whose PUBREL awaits PUBCOMP, in the order of the PUBRECs.
        resend: Packet Identifiers of PUBLISHes to be sent again on this connection.
        dropped: how many messages found the queue full.
    """

    def __init__(self, client_id: str, maximum_queued: int) -> None:
        self.client_id = client_id
        self.expiry: float = 0.0
        self.connection: Connection | None = None
        self.subscriptions: dict[str, Subscription] = {}
        self.will: WillMessage | None = None
        self.will_at: float = math.inf
        self.ends_at: float = math.inf
        self.received: set[int] = set()
        self.unacknowledged: dict[int, Delivery] = {}
        self.released: dict[int, None] = {}
        self.resend: deque[int] = deque()
        self.dropped: int = 0
        self._maximum_queued = maximum_queued
        self._order = 0
        # QoS 0 apart from the rest, since it may pass when Receive Maximum stops the rest.
        self._queues: tuple[deque[tuple[int, Delivery]], ...] = (deque(), deque())
        self._last_packet_id = 0

    @property
    def queued(self) -> int:
        """How many messages wait for their first transmission."""
        return len(self._queues[0]) + len(self._queues[1])

    @property
    def in_flight(self) -> int:
        """How many QoS 1 and 2 messages were sent and are not completed."""
        return len(self.unacknowledged) + len(self.released)

    def enqueue(self, delivery: Delivery) -> None:
        """Add a message to the Session State (MQTT-4.5.0-1), or drop it if the queue is full."""
        if self.queued >= self._maximum_queued:
            self.dropped += 1
            return
        self._order += 1
        self._queues[delivery.qos > 0].append((self._order, delivery))
        if self.connection is not None:
            self.connection.outbox.wake()

    def next_delivery(self, *, with_qos: bool) -> Delivery | None:
        """Take the oldest message from the queue, only a QoS 0 one unless `with_qos`."""
        unordered, acknowledged = self._queues
        with_qos = with_qos and bool(acknowledged) and self.in_flight < _MOST_PACKET_IDS
        if with_qos and not (unordered and unordered[0][0] < acknowledged[0][0]):
            return acknowledged.popleft()[1]
        return unordered.popleft()[1] if unordered else None

    def drop_unacknowledgeable(self) -> None:
        """Forget the QoS 0 messages that wait."""
        self._queues[0].clear()

    def unused_packet_id(self) -> int:
        """The next Packet Identifier that no exchange of ours uses (MQTT-2.2.1-4)."""
        packet_id = self._last_packet_id
        while True:
            packet_id = packet_id % _MOST_PACKET_IDS + 1
            if packet_id not in self.unacknowledged and packet_id not in self.released:
                return packet_id

    def sent(self, packet_id: int, delivery: Delivery) -> None:
        """A PUBLISH of ours is on its way (MQTT-4.3.2-3, MQTT-4.3.3-3)."""
        self.unacknowledged[packet_id] = delivery
        self._last_packet_id = packet_id


def forwarded(properties: Properties) -> Properties:
    """What of the Will Properties is forwarded with the Will Message (3.1.3.2)."""
    if properties.will_delay_interval is None:
        return properties
    evolved = attrs.evolve(properties, will_delay_interval=None)
    return NO_PROPERTIES if evolved == NO_PROPERTIES else evolved
