"""The test server: the broker core on Trio, over memory streams and a loopback port."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mqtt._enums import MQTT_5, Protocol, ReasonCode
from trio_mqtt.packets import NO_PROPERTIES, Packet, Properties, Publish, encode
from trio_mqtt.testing._assertions import Assertions
from trio_mqtt.testing._background import open_background
from trio_mqtt.testing._broker import Broker
from trio_mqtt.testing._holding import Answer, Held
from trio_mqtt.testing._limits import ServerLimits
from trio_mqtt.testing._link import Link
from trio_mqtt.testing._log import LogEntry, PacketLog
from trio_mqtt.testing._memory import DEFAULT_CAPACITY, MemoryStream, memory_stream_pair

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping

    from trio_mqtt.testing._policy import (
        Authenticate,
        AuthorizePublish,
        AuthorizeSubscribe,
        BeginAuthentication,
    )
    from trio_mqtt.testing._session import Session
    from trio_mqtt.testing._subscriptions import Subscription

_LOG_SIZE = 10_000


@attrs.frozen(kw_only=True)
class SessionSnapshot:
    """A Session of the test server at one moment.

    Attributes:
        client_id: the Client Identifier.
        connected: whether it has a Network Connection.
        protocol: the version of MQTT spoken, or None if it is not connected.
        subscriptions: as they were granted, by Topic Filter.
        queued: how many messages wait for their first transmission.
        inflight: how many QoS 1 and 2 messages were sent and are not completed.
        received: how many QoS 2 messages were received and not yet released.
        dropped: how many messages found the queue full.
    """

    client_id: str
    connected: bool
    protocol: Protocol | None
    subscriptions: Mapping[str, Subscription]
    queued: int
    inflight: int
    received: int
    dropped: int


def _snapshot(session: Session) -> SessionSnapshot:
    connection = session.connection
    return SessionSnapshot(
        client_id=session.client_id,
        connected=connection is not None,
        protocol=None if connection is None else connection.protocol,
        subscriptions=MappingProxyType(dict(session.subscriptions)),
        queued=session.queued,
        inflight=session.in_flight,
        received=len(session.received),
        dropped=session.dropped,
    )


class Server(Assertions):
    """A small but complete MQTT server for tests; `open_server` makes one.

    Attributes:
        limits: what it grants; a change holds for connections made from then on.
        authenticate: decides about each CONNECT, or None to let all in.
        authentication_methods: begin an exchange of enhanced authentication, by Authentication
            Method; a CONNECT with another method is refused with 0x8C. `authenticate` decides
            before they do.
        authorize_publish: decides about each PUBLISH and each Will Message, or None.
        authorize_subscribe: decides about each Topic Filter, or None.
        accepting: set it to False and every new connection is refused.
        url: where it listens, such as ``mqtt://127.0.0.1:40001``; None without a port.
    """

    def __init__(self, limits: ServerLimits, nursery: trio.Nursery) -> None:
        super().__init__()
        self.limits = limits
        self.authenticate: Authenticate | None = None
        self.authentication_methods: dict[str, BeginAuthentication] = {}
        self.authorize_publish: AuthorizePublish | None = None
        self.authorize_subscribe: AuthorizeSubscribe | None = None
        self.accepting: bool = True
        self.url: str | None = None
        self._nursery = nursery
        self._timers = trio.lowlevel.ParkingLot()
        self._log = PacketLog(_LOG_SIZE, self._note_change)
        self._broker = Broker(self, self._log, self._history, self._note_timer)
        self._links: set[Link] = set()
        self._outages = 0  # that have begun and not ended
        nursery.start_soon(self._run_timers)

    # Connections

    @asynccontextmanager
    async def connect(
        self,
        *,
        capacity: int = DEFAULT_CAPACITY,
        chunk: int | Callable[[], int] | None = None,
    ) -> AsyncGenerator[MemoryStream]:
        """Connect in memory; the block gets the client's end, which is closed behind it.

        The method itself is a connector: ``open_client(connector=server.connect)``.

        Args:
            capacity: how many bytes each direction holds.
            chunk: see `memory_stream_pair`.

        Raises:
            ConnectionRefusedError: the server is closed, or not accepting.
        """
        if self._is_down or self._nursery.cancel_scope.cancel_called:
            raise ConnectionRefusedError("the test server accepts no connections now")
        client_end, server_end = memory_stream_pair(capacity=capacity, chunk=chunk)
        self._nursery.start_soon(self.serve, server_end)
        try:
            yield client_end
        finally:
            with trio.CancelScope(shield=True):  # closing by force waits for nothing
                await trio.aclose_forcefully(client_end)

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one client over any stream, and close it; returns when the connection is over."""
        if self._is_down:
            await trio.aclose_forcefully(stream)
            return
        link = Link(stream, self._broker)
        self._links.add(link)
        try:
            await link.run()
        except Exception:
            self._nursery.cancel_scope.cancel()  # before a client sees that it was left alone
            raise
        finally:
            self._links.remove(link)
            await link.aclose()
            self._note_change()

    async def disconnect(
        self,
        client_id: str,
        reason_code: ReasonCode = ReasonCode.ADMINISTRATIVE_ACTION,
        *,
        properties: Properties = NO_PROPERTIES,
    ) -> None:
        """End a client's connection with a DISCONNECT, below MQTT 5.0 without, and wait for it.

        Args:
            client_id: which client; KeyError if it is not connected.
            reason_code: what the DISCONNECT says.
            properties: those of the DISCONNECT.
        """
        link = self._link(client_id)
        link.connection.disconnect(reason_code, trio.current_time(), properties)
        await link.ended.wait()

    def drop(self, client_id: str, *, reset: bool = False) -> None:
        """Close a client's connection without a word.

        Args:
            client_id: which client; KeyError if it is not connected.
            reset: break it, so that the client gets an error instead of the end of the stream.
        """
        self._link(client_id).drop(reset=reset)

    @contextmanager
    def outage(self, *, reset: bool = False, keep_state: bool = True) -> Generator[None]:
        """The server is down while the block runs: all connections end, and none is made.

        What it has taken from clients stays, as in a server with storage; a Will is due as after
        any lost connection. Of several outages at a time the last one ends them.

        Args:
            reset: break the connections, so that clients get an error instead of the end.
            keep_state: False forgets all Sessions, with their Wills, and all retained messages.
        """
        self._outages += 1
        if not keep_state:
            self._broker.forget()
        for link in tuple(self._links):
            link.drop(reset=reset)
        try:
            yield
        finally:
            self._outages -= 1

    async def restart(
        self, *, seconds: float = 1, reset: bool = False, keep_state: bool = True
    ) -> None:
        """Be down for some time, as in `outage`; cancelled, it is up again.

        Args:
            seconds: how long, by Trio's clock.
            reset: as in `outage`.
            keep_state: as in `outage`.
        """
        with self.outage(reset=reset, keep_state=keep_state):
            await trio.sleep(seconds)

    def pause_reading(self, client_id: str) -> None:
        """Read nothing from this client until `resume_reading`; its Keep Alive stands still."""
        self._link(client_id).pause_reading()

    def resume_reading(self, client_id: str) -> None:
        """Read from this client again."""
        self._link(client_id).resume_reading()

    # Watching

    @property
    def log(self) -> tuple[LogEntry, ...]:
        """The last packets received and sent, at most 10,000, oldest first."""
        return tuple(self._log.since(0))

    @property
    def sessions(self) -> Mapping[str, SessionSnapshot]:
        """All Sessions as they are now, by Client Identifier."""
        return {
            client_id: _snapshot(session) for client_id, session in self._broker.sessions.items()
        }

    @property
    def retained(self) -> Mapping[str, bytes]:
        """The payloads of the retained messages, by Topic Name."""
        return {topic: message.payload for topic, message in self._broker.retained.items()}

    async def wait_for(
        self,
        wanted: type[Packet] | Callable[[LogEntry], bool],
        *,
        after: LogEntry | None = None,
    ) -> LogEntry:
        """Wait for a packet, and return its entry in the log.

        Args:
            wanted: the class of the packet, or what says of an entry whether it is the one.
            after: look only behind this entry; None begins with the oldest.
        """
        fits = partial(_is_a, wanted) if isinstance(wanted, type) else wanted
        number = 0 if after is None else after.number
        await trio.lowlevel.checkpoint()
        while True:
            for entry in self._log.since(number):
                if fits(entry):
                    return entry
            number = self._log.total
            await self._changed.park()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is tried after each packet and each connection's end."""
        await trio.lowlevel.checkpoint()
        while not condition():
            await self._changed.park()

    # Acting

    def publish(
        self,
        topic: str,
        payload: bytes | str = b"",
        qos: int = 0,
        *,
        retain: bool = False,
        properties: Properties = NO_PROPERTIES,
    ) -> bool:
        """Publish a message to all that subscribe; whether there is any subscriber.

        Raises:
            LocalProtocolError: the standard forbids such a message.
        """
        data = payload.encode() if isinstance(payload, str) else bytes(payload)
        packet = Publish(topic, data, qos, retain, properties=properties)
        encode(attrs.evolve(packet, packet_id=1 if qos else 0), MQTT_5)
        return not self._broker.publish(packet, None, trio.current_time())

    def forget_session(self, client_id: str) -> None:
        """Lose a Session, as a server does that restarts without its storage.

        Args:
            client_id: which one; KeyError if there is none, or it is connected.
        """
        session = self._broker.sessions[client_id]
        if session.connection is not None:
            message = f"client {client_id!r} is connected"
            raise KeyError(message)
        self._broker.end_session(session, trio.current_time())

    @contextmanager
    def holding(self, *packet_types: type[Answer], client_id: str | None = None) -> Generator[Held]:
        """Hold the server's answers of these types back while the block runs, then send them.

        Args:
            packet_types: such as PubAck, SubAck, PingResp; ConnAck holds everything back.
            client_id: hold back those to one client only.
        """
        held = Held(packet_types, client_id)
        self._broker.holds.append(held)
        try:
            yield held
        finally:
            self._broker.holds.remove(held)
            held.release()

    # Inside

    @property
    def _is_down(self) -> bool:
        return not self.accepting or self._outages > 0

    def _link(self, client_id: str) -> Link:
        for link in self._links:
            if link.connection.client_id == client_id and not link.connection.closed:
                return link
        message = f"no client {client_id!r} is connected"
        raise KeyError(message)

    def _note_timer(self) -> None:
        self._timers.unpark_all()

    async def _run_timers(self) -> None:
        """Publish Wills and end Sessions when their time has come."""
        while True:
            with trio.move_on_at(self._broker.next_timer()):
                await self._timers.park()
            self._broker.tick(trio.current_time())
            self._note_change()


def _is_a(packet_type: type[Packet], entry: LogEntry) -> bool:
    return isinstance(entry.packet, packet_type)


@asynccontextmanager
async def open_server(
    *, limits: ServerLimits | None = None, port: int | None = None
) -> AsyncGenerator[Server]:
    """Run an MQTT server in this process while the block runs.

    Example::

        async with open_server() as server, open_client(connector=server.connect) as client:
            ...

    It speaks MQTT 5.0, 3.1.1 and 3.1, uses Trio's clock alone, and keeps nothing. An error in one
    of the functions that a test gave it cancels the block and leaves it.

    Args:
        limits: what it grants; None for everything.
        port: listen on this port of 127.0.0.1, 0 for any that is free; None for connections in
            memory only.
    """
    async with open_background("errors in the test server") as nursery:
        server = Server(limits or ServerLimits(), nursery)
        if port is not None:
            listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
            address = listeners[0].socket.getsockname()
            server.url = f"mqtt://127.0.0.1:{address[1]}"
            nursery.start_soon(
                partial(trio.serve_listeners, server.serve, listeners, handler_nursery=nursery)
            )
        yield server
