"""The way of messages and requests from callers into the session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import trio
from trio.lowlevel import enable_ki_protection

from trio_mqtt._client._outgoing import MessageMaker, own_instance
from trio_mqtt._client._waiting import Gate, Pacer
from trio_mqtt._errors import MQTTError, PacketTooLarge
from trio_mqtt._protocol.exchanges import OutgoingMessage, Request
from trio_mqtt._protocol.sender import OUTPUT_HIGH_WATER
from trio_mqtt.packets import SubAck, Subscribe, UnsubAck, Unsubscribe, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mqtt._client._link import Link
    from trio_mqtt._client._outgoing import Payload, PublishOptions
    from trio_mqtt._client._valve import Valve
    from trio_mqtt._protocol.server_info import ServerInfo
    from trio_mqtt._protocol.session import SessionState

MOST_QUEUED: Final = 1000
"""How many QoS 1 and 2 messages wait for a place in the window before publishers wait."""
MOST_QUEUED_BYTES: Final = 16 * 1024 * 1024
"""How much memory unacknowledged messages take before publishers wait."""


_GIVEN_UP: Final = MQTTError("the request was given up")


class Sending:
    """Admits messages and requests to the session, within its bounds.

    Args:
        session: what takes them over.
        server: what is assumed of the Server before its CONNACK.
        name: its address, for messages.
        valve: is told of tasks that await an answer of the Server.
        check_open: raises if the client is closed or has failed.

    Attributes:
        published: how many messages were admitted.
    """

    def __init__(
        self,
        session: SessionState,
        server: ServerInfo,
        name: str,
        *,
        valve: Valve,
        check_open: Callable[[], None],
    ) -> None:
        self.published = 0
        self._session = session
        self._valve = valve
        self._check_open = check_open
        self._pacer = Pacer()
        self._link: Link | None = None
        self._maker = MessageMaker(server, name)
        self._output_gate = Gate(self._output_has_room, check_open)
        self._queue_gate = Gate(self._queue_has_room, check_open)

    def connected(self, link: Link) -> None:
        """Send on this connection from now on."""
        self._link = link
        if link.connection.server is not None:
            self._maker.server = link.connection.server

    @property
    def server_name(self) -> str:
        """The Server's address, for messages."""
        return self._maker.server_name

    @property
    def server(self) -> ServerInfo:
        """What the Server granted last."""
        return self._maker.server

    def _output_has_room(self) -> bool:
        link = self._link
        return link is not None and link.connection.output.size < OUTPUT_HIGH_WATER

    def _queue_has_room(self) -> bool:
        session = self._session
        return len(session.queue) < MOST_QUEUED and session.outgoing_size < MOST_QUEUED_BYTES

    @enable_ki_protection
    def progress(self) -> None:
        """Move on what can move: something was sent or acknowledged, or has become due."""
        link = self._link
        if link is None:
            return
        connection = link.connection
        connection.sender.pump()
        if connection.output.size:
            link.wake_writer()
        self._queue_gate.update()
        self._output_gate.update()

    def close(self) -> None:
        """Send those who wait for room away."""
        self._queue_gate.close()
        self._output_gate.close()

    # -- messages -----------------------------------------------------------------------------

    def make(
        self,
        topic: str,
        payload: Payload,
        *,
        qos: int,
        retain: bool,
        options: PublishOptions,
    ) -> OutgoingMessage:
        """Check and prepare a message; raises as `Client.publish` says."""
        self._check_open()
        return self._maker.make(topic, payload, qos=qos, retain=retain, options=options)

    @enable_ki_protection
    async def admit(self, message: OutgoingMessage) -> None:
        """Wait for room and hand the message to the session; cancelled, nothing happened."""
        await self._pacer.checkpoint()
        gate = self._queue_gate if message.qos else self._output_gate
        if not gate.is_open:
            with self._valve:
                await gate.wait()
        self._check_open()
        self._accept(message)

    @enable_ki_protection
    def admit_nowait(self, message: OutgoingMessage) -> None:
        """Hand the message to the session.

        Raises:
            trio.WouldBlock: there is no room.
        """
        if not (self._queue_gate if message.qos else self._output_gate).is_open:
            raise trio.WouldBlock
        self._accept(message)

    @enable_ki_protection
    def _accept(self, message: OutgoingMessage) -> None:
        self.published += 1
        link = self._link
        if message.qos:
            self._session.accept(message)
            if link is not None:
                link.connection.sender.pump()
            self._queue_gate.update()
        elif link is not None:
            link.connection.sender.send(message)
            self._output_gate.update()
        if link is not None:
            link.wake_writer()

    @enable_ki_protection
    async def await_answer(self, event: trio.Event) -> None:
        """Wait for something that only an answer of the Server can bring about."""
        with self._valve:
            await event.wait()

    # -- requests -----------------------------------------------------------------------------

    @enable_ki_protection
    def request(
        self, packet: Subscribe | Unsubscribe, listener: Callable[[Request], object] | None = None
    ) -> Request:
        """Have a SUBSCRIBE or UNSUBSCRIBE sent.

        Args:
            packet: what to send; its Packet Identifier is set when that is done.
            listener: called once when the answer has come or the request has failed.

        Raises:
            LocalProtocolError: the standard forbids it.
            PacketTooLarge: the Server does not take so much.
        """
        server = self.server
        size = len(encode(attrs.evolve(packet, packet_id=1), server.protocol))
        limit = server.maximum_packet_size
        if limit is not None and size > limit:  # MQTT-3.2.2-15
            name = type(packet).__name__.upper()
            text = (
                f"the {name} would take {size} bytes, and {self.server_name} granted a Maximum "
                f"Packet Size of {limit}; use shorter Topic Filters"
            )
            raise PacketTooLarge(text, size=size, limit=limit)
        count = len(packet.requests if isinstance(packet, Subscribe) else packet.topic_filters)
        request = Request(packet, count, listener)
        self._session.requests.append(request)
        self.progress()
        return request

    @enable_ki_protection
    async def ask(self, packet: Subscribe | Unsubscribe) -> SubAck | UnsubAck:
        """Send a request and wait for its answer.

        Cancelled, only the waiting ends.
        """
        event = trio.Event()
        request = self.request(packet, lambda _request: event.set())
        await self.await_answer(event)
        if request.answer is None:
            raise own_instance(request.failure or _GIVEN_UP)
        return request.answer
