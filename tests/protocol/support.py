"""What the tests of the protocol share: a Connection, fed with packets, and what it sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.packets.support import drain
from trio_mqtt._enums import MQTT_5, Protocol
from trio_mqtt._errors import RemoteProtocolError
from trio_mqtt._protocol.connection import Connection
from trio_mqtt._protocol.exchanges import IncomingMessage, OutgoingMessage, Request
from trio_mqtt._protocol.session import SessionState
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Packet,
    PacketReader,
    Publish,
    Subscribe,
    SubscriptionRequest,
    Unsubscribe,
    encode,
)
from trio_mqtt.packets._encoder import encode_topic

if TYPE_CHECKING:
    from trio_mqtt._protocol.connection import Event

ACCEPTED = ConnAck()


def outgoing(
    qos: int = 1, payload: bytes = b"", protocol: Protocol = MQTT_5, topic: str = "t"
) -> OutgoingMessage:
    """A message to send, as the client makes it."""
    return OutgoingMessage(
        topic=topic,
        topic_field=encode_topic(topic),
        payload=payload,
        qos=qos,
        retain=False,
        properties=b"\0" if protocol is MQTT_5 else b"",
        size=100 + len(payload),
    )


def subscribe(count: int = 1) -> Request:
    requests = tuple(SubscriptionRequest(f"t/{number}") for number in range(count))
    return Request(Subscribe(0, requests), count)


def unsubscribe(count: int = 1) -> Request:
    return Request(Unsubscribe(0, tuple(f"t/{number}" for number in range(count))), count)


def publish(
    packet_id: int = 0, qos: int = 1, *, payload: bytes = b"", dup: bool = False
) -> Publish:
    """A PUBLISH of the Server."""
    return Publish("t", payload, qos, dup=dup, packet_id=packet_id)


class Wire:
    """A Connection and the Server's end of it.

    Args:
        protocol: the version of MQTT in CONNECT.
        connect: the CONNECT.
        connack: its answer, or None to leave that to the test.
        receive_maximum: how many QoS 1 and 2 messages the Server may have unacknowledged.
        session: the Session, if it is not a new one.
        use_topic_aliases: whether to use the Topic Aliases that CONNACK allows.
    """

    def __init__(
        self,
        protocol: Protocol = MQTT_5,
        *,
        connect: Connect | None = None,
        connack: ConnAck | None = ACCEPTED,
        receive_maximum: int = 65535,
        session: SessionState | None = None,
        use_topic_aliases: bool = False,
    ) -> None:
        self.protocol = protocol
        self.session = SessionState() if session is None else session
        self.connection = Connection(
            self.session,
            Connect("c") if connect is None else connect,
            protocol,
            receive_maximum=receive_maximum,
            use_topic_aliases=use_topic_aliases,
        )
        self._reader = PacketReader(None)
        if connack is not None:
            assert self.feed(connack) == [connack]
            if self.connection.server is None and not connack.reason_code.is_failure:
                self.connection.open(connack)
            self.sent()

    def feed(self, *packets: Packet) -> list[Event]:
        """Everything that happens when these packets arrive together."""
        return self.feed_bytes(b"".join(map(self.encoded, packets)))

    def encoded(self, packet: Packet) -> bytes:
        return encode(packet, self.protocol)

    def feed_bytes(self, data: bytes) -> list[Event]:
        self.connection.receive_data(data)
        return self.events()

    def events(self) -> list[Event]:
        found: list[Event] = []
        while events := self.connection.next_events():
            found += events
        return found

    def receive(self, *packets: Packet) -> list[IncomingMessage]:
        """The messages among what happens, and nothing else may happen."""
        messages: list[IncomingMessage] = []
        for event in self.feed(*packets):
            assert isinstance(event, IncomingMessage)
            messages.append(event)
        return messages

    def refuses(self, *packets: Packet) -> RemoteProtocolError:
        """The error about these packets, which comes at once, and then again and again."""
        return self.refuses_bytes(b"".join(map(self.encoded, packets)))

    def refuses_bytes(self, data: bytes) -> RemoteProtocolError:
        with pytest.raises(RemoteProtocolError) as first:
            self.feed_bytes(data)
        with pytest.raises(RemoteProtocolError) as again:
            self.feed_bytes(b"")
        assert str(again.value) == str(first.value)
        assert again.value.statement == first.value.statement
        return first.value

    def sent(self) -> list[Packet]:
        """What was sent since this was last asked."""
        for chunk in self.connection.output.take():
            self._reader.feed(chunk)
        found = drain(self._reader)
        assert self._reader.buffered == 0
        return found

    def publish(self, qos: int = 1, payload: bytes = b"") -> OutgoingMessage:
        """Have a message accepted and, if there is room, sent."""
        message = outgoing(qos, payload, self.protocol)
        self.session.accept(message)
        self.connection.sender.pump()
        return message

    def request(self, request: Request) -> Request:
        """Have a SUBSCRIBE or UNSUBSCRIBE sent, if there is room."""
        self.session.requests.append(request)
        self.connection.sender.pump()
        return request
