"""The life of a client: connect, keep the connection, get another one, fail or close.

One task of the client's nursery supervises; the tasks of the Network Connection run inside it. On
a permanent failure the body of the block is cancelled first, which takes its waiting tasks out of
every queue; only then do those that still wait, outside the body, get the error.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

import trio
from trio.lowlevel import enable_ki_protection

from trio_mqtt._client._authenticating import Authenticating
from trio_mqtt._client._committing import Committer
from trio_mqtt._client._connecting import said_in
from trio_mqtt._client._farewell import Farewell, last_packet
from trio_mqtt._client._instrumented import INSTRUMENTED, PLAIN, watch
from trio_mqtt._client._link import Link
from trio_mqtt._client._message import Message
from trio_mqtt._client._outgoing import own_instance
from trio_mqtt._client._replies import Requester
from trio_mqtt._client._restoring import Restorer
from trio_mqtt._client._retrying import Retrying
from trio_mqtt._client._settling import settle_with
from trio_mqtt._client._story import tell_closed, tell_connected
from trio_mqtt._client._taking import make_takers
from trio_mqtt._enums import MQTT_5
from trio_mqtt._errors import ConnectionLost, MQTTError, SessionLost
from trio_mqtt._protocol.connection import Connection
from trio_mqtt._protocol.exchanges import OutgoingMessage
from trio_mqtt._protocol.server_info import ServerInfo
from trio_mqtt.events import Connected, Disconnected, PublishFailed, SessionReplaced

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Awaitable, Callable

    from trio_mqtt._client._deliveries import Deliveries
    from trio_mqtt._client._hooks import Hooks
    from trio_mqtt._client._itinerary import Itinerary, Place
    from trio_mqtt._client._options import ConnectOptions, Credentials
    from trio_mqtt._client._reconnecting import Reconnect
    from trio_mqtt._client._sending import Sending
    from trio_mqtt._client._session import Session
    from trio_mqtt._enums import Protocol
    from trio_mqtt._protocol.session import OnSessionLost, SessionState
    from trio_mqtt.packets import Connect, Disconnect

T = TypeVar("T")
_DRAIN_SHARE: Final = 0.8
"""The part of the close timeout for open exchanges; the rest is for DISCONNECT."""
_logger = logging.getLogger("trio_mqtt")


class Supervisor:
    """Connects, again and again, and keeps what publishers and subscriptions share.

    Args:
        itinerary: where to connect to.
        options: what the caller asked for.
        session: the Session, taken possession of.
        reconnect: how to get a connection back; None for not at all.
        on_session_lost: what becomes of messages under way then.
        credentials: returns User Name and Password for each attempt.
        new_credentials: whether they may be others each time.
        nursery: where background tasks run.
        hooks: the instruments.

    Attributes:
        session: the Session.
        sending: the way into it.
        deliveries: the way out.
        committer: the way to its disk.
        requester: who waits for replies.
        authenticating: the enhanced authentication.
        connected: set while there is a connection.
        connections: how many connections there were.
        farewell: what DISCONNECT is to say.
        leaving: what waits for an answer of the Server only as long as there is a connection.
        body_scope: cancelled when the client fails.
        settled: set once the body may begin, or the client has failed.
        error: why the client failed, or None.
    """

    def __init__(  # noqa: PLR0913 - the parts that a client is made of
        self,
        itinerary: Itinerary,
        options: ConnectOptions,
        session: Session,
        *,
        reconnect: Reconnect | None,
        on_session_lost: OnSessionLost,
        credentials: Callable[[Place], Awaitable[Credentials]],
        new_credentials: bool,
        nursery: trio.Nursery,
        hooks: Hooks,
    ) -> None:
        parts = INSTRUMENTED if hooks else PLAIN
        self.session = session
        self.state: SessionState = session._state
        self.committer: Committer = Committer(
            session, committed=self._committed, refused=self._give_up
        )
        self.deliveries: Deliveries = parts.deliveries(
            session,
            receive_maximum=options.receive_maximum,
            unclaimed_timeout=options.unclaimed_timeout,
            check_open=self.check_open,
            start=self._start,
        )
        protocol = options.protocol or session._protocol or MQTT_5
        self.sending: Sending = parts.sending(
            session,
            ServerInfo(protocol=protocol, client_id=session._client_id),
            itinerary.name,
            valve=self.deliveries.valve,
            check_open=self.check_open,
            dropped=self._give_up,
            events=self.deliveries.events,
            start=self._start,
        )
        self.sending._maker.unsupported = options.unsupported_properties
        self.deliveries.unsupported = options.unsupported_properties
        self.requester: Requester = Requester(self)
        self.connected: trio.Event = trio.Event()
        self.connections: int = 0
        self.farewell: Farewell = Farewell()
        self.leaving: dict[trio.CancelScope, None] = {}
        self.body_scope: trio.CancelScope = trio.CancelScope()
        self.settled: trio.Event = trio.Event()
        self.error: MQTTError | None = None
        self.authenticating: Authenticating = Authenticating(options, self)
        self._restorer = Restorer(session, self.sending, self.deliveries)
        self._retrying = Retrying(
            itinerary,
            reconnect,
            client_id=session.client_id,
            home=session._home,
            new_credentials=new_credentials,
        )
        self._dialer = parts.dialer(
            options,
            session,
            credentials,
            authenticating=self.authenticating,
            new_link=self._new_link,
            serve=self._serve,
            is_elsewhere=self._retrying.is_elsewhere,
        )
        self._takers = make_takers(
            self.deliveries, self.sending, self.authenticating, self._disconnected
        )
        watch(hooks, self.sending, self.deliveries, self._dialer)
        self._itinerary = itinerary
        self._options = options
        self._on_session_lost: OnSessionLost = on_session_lost
        self._nursery = nursery
        self._name = itinerary.name
        self._link: Link | None = None
        self._connected_at = 0.0
        self._scope = trio.CancelScope(shield=True)
        self._drained: trio.Event | None = None
        self._ended = trio.Event()

    @property
    def connection(self) -> Connection | None:
        """The protocol side of the connection, or None if there is none now."""
        link = self._link
        return None if link is None else link.connection

    def check_open(self) -> None:
        """Raise if the client has failed or is closed."""
        if self.error is not None:
            raise own_instance(self.error)
        if self.sending.is_closed:
            message = (
                f"the client of {self._name} is closed; use it inside the block of open_client"
            )
            raise trio.ClosedResourceError(message)

    async def wait_known(self) -> ServerInfo:
        """Wait for the first connection: what the Server can do decides what may be asked."""
        self.check_open()
        while not self.connections:
            await self.connected.wait()
            self.check_open()
        return self.sending.server

    async def wait_link(self) -> Link:
        """Wait until there is a connection; as `Client.wait_connected`."""
        await trio.lowlevel.checkpoint()
        self.check_open()
        while self._link is None:
            await self.connected.wait()
            self.check_open()
        return self._link

    # -- connecting ---------------------------------------------------------------------------

    @enable_ki_protection
    async def run(self) -> None:
        """Keep the client connected until it is closed or fails.

        What cancels the block does not reach the connection: it is still needed for closing, and
        `close` ends it.
        """
        try:
            if self._retrying.begins_offline:
                self._let_body_begin()
            self.sending.watch_expiry()  # of what an earlier client has left
            with self._scope:
                try:
                    await self._keep_connected()
                except MQTTError as error:
                    self._fail(error)
        finally:
            self._ended.set()  # whatever happens: `end` waits for it under a shield

    async def _keep_connected(self) -> None:
        retrying = self._retrying
        while True:
            connections = self.connections
            retrying.begin()
            deadline = trio.current_time() + self._options.connect_timeout
            try:
                place = await self._itinerary.next(deadline)
                self._name = place.name
                await self._dialer.run(place, deadline)
            except MQTTError as error:
                loss = error
            else:
                return
            if self.sending.is_closed and not self.state.unfinished:
                return  # everything was done; the Server was only quicker to hang up
            if self.connections > connections:
                retrying.lost(loss, trio.current_time() - self._connected_at)
                if self._retrying.can_go_on:
                    self.deliveries.events.put(Disconnected(server=self._name, error=loss))
            await retrying.pause(loss)

    def _let_body_begin(self) -> None:
        self.settled.set()
        self.deliveries.events.begin()

    def _new_link(
        self, name: str, stream: trio.abc.Stream, connect: Connect, protocol: Protocol
    ) -> Link:
        connection = Connection(
            self.state,
            connect,
            protocol,
            receive_maximum=self._options.receive_maximum,
            message_type=Message,
            on_session_lost=self._on_session_lost,
            hold=self._restorer.has_work,
            unheard=self.session._unheard,
            use_topic_aliases=self._options.use_topic_aliases,
        )
        journal = self.state.journal
        if journal is not None:
            connection.output.commit(journal.committed)
        return Link(
            name,
            stream,
            connection,
            valve=self.deliveries.valve,
            ping_timeout=self._options.ping_timeout,
            ack_timeout=self._options.ack_timeout,
            takers=self._takers,
            progress=self._progress,
        )

    async def _serve(self, link: Link) -> None:
        server = link.connection.server
        if server is None:  # pragma: no cover - only a connection that was accepted is served
            return
        had_one = self.session._record is not None
        self._link = link
        self._connected_at = trio.current_time()
        self._retrying.arrive(link.name)
        self.session._connected(server, link.name)
        self._tell_of_connection(link, server, had_one=had_one)
        self.deliveries.connected(link.connection, first=not self.connections)
        self.sending.connected(link, server)
        self.connections += 1
        try:
            if not link.connection.resumed:
                await self.committer.flush()  # before anything of the new Session is taken
            self._restorer.connected(link, self._nursery.start_soon)
            self.connected.set()
            self._let_body_begin()
            await link.run()
        finally:
            self._link = None
            self.connected = trio.Event()
            self.sending.disconnected()
            for scope in self.leaving:
                scope.cancel()
        if link.loss is not None:
            raise link.loss

    def _tell_of_connection(self, link: Link, server: ServerInfo, *, had_one: bool) -> None:
        connection = link.connection
        name = link.name
        tell_connected(
            name,
            server,
            keep_alive=self._options.keep_alive,
            again=bool(self.connections),
            after=self._retrying.after,
        )
        events = self.deliveries.events
        events.put(
            Connected(
                server=name,
                session_present=connection.resumed,
                attempts=self._retrying.attempts,
            )
        )
        is_5 = server.protocol is MQTT_5
        if is_5 and server.session_expiry_interval < self.session._expiry:
            text = "%s keeps the session for %d s only, not for %d s"
            _logger.warning(text, name, server.session_expiry_interval, self.session._expiry)
        if not connection.resumed and had_one:
            count = len(connection.doubtful)
            events.put(SessionReplaced(server=name, in_doubt=count))
            text = "%s has lost the session; subscriptions are made again, %d messages are in doubt"
            if not self.session._ephemeral or is_5:
                _logger.warning(text, name, count)
        for message in connection.doubtful:
            text = (
                f"{name} has lost the session while the QoS {message.qos} message to "
                f"{message.topic!r} was under way; it may or may not have it"
            )
            self._give_up(message, SessionLost(text))

    def _give_up(self, message: OutgoingMessage, error: MQTTError) -> None:
        """A message will not be sent: tell its publisher, and whoever watches."""
        message.failure = error
        self.deliveries.events.put(PublishFailed(message=message, error=error))
        message.tell()
        self._look_whether_drained()  # no packet may come that would tell

    # -- events of the connection -------------------------------------------------------------

    def _disconnected(self, packet: Disconnect) -> NoReturn:
        properties = packet.properties
        what = said_in(packet, self._options.auth)
        raise ConnectionLost(
            f"{self._name} ended the connection with {what}",
            reason_code=packet.reason_code,
            reason_string=properties.reason_string,
            server_reference=properties.server_reference,
            user_properties=properties.user_properties,
        )

    def _progress(self) -> None:
        self.sending.progress()
        self._look_whether_drained()

    def _look_whether_drained(self) -> None:
        if self._drained is not None and not self.state.unfinished:
            self._drained.set()

    def _committed(self) -> None:
        journal = self.state.journal
        link = self._link
        if journal is not None and link is not None:
            link.connection.output.commit(journal.committed)
        self._progress()

    def _start(self, task: Callable[[], Awaitable[None]]) -> None:
        if not self.sending.is_closed:
            self._nursery.start_soon(task)

    async def settle_with(self, message: Message, effect: Callable[[sqlite3.Connection], T]) -> T:
        """Commit an effect and the receipt of a message together; see `Session.settle`."""
        self.check_open()
        return await settle_with(self.session, self.deliveries, self.committer, message, effect)

    # -- the end ------------------------------------------------------------------------------

    def _fail(self, error: MQTTError) -> None:
        """End for good: the body first, then whoever waits outside it."""
        if self.sending.is_closed and not self.state.unfinished:
            return  # everything was done; the Server was only quicker to hang up
        why = "; ".join((str(error), *getattr(error, "__notes__", ())))
        _logger.info("the client has failed: %s", why)  # raised, so whoever cares is told
        self.error = error
        self.settled.set()
        self.body_scope.cancel()
        self._release_waiters(error)
        if self._drained is not None:
            self._drained.set()

    def _release_waiters(self, error: MQTTError) -> int:
        """Send away who waits for what is not over; says how many messages that is.

        A caller's Session keeps them, an ephemeral one is over.
        """
        messages = 0
        keeps = not self.session._ends
        for exchange in self.state.detach() if keeps else self.state.abandon():
            if exchange.failure is None:
                messages += isinstance(exchange, OutgoingMessage)
                exchange.failure = error
                exchange.tell()
        self.sending.close()
        self.deliveries.close()
        self.connected.set()
        return messages

    async def close(self, *, failed: bool) -> None:
        """Complete what is under way and disconnect, within the close timeout.

        Args:
            failed: whether the body raised an error of its own.
        """
        start = trio.current_time()
        if self._link is not None and not self.session._ends:
            self.requester.close()
        self.sending.is_closed = True
        timeout = self._options.close_timeout
        with trio.CancelScope(deadline=start + timeout, shield=True):
            if self.error is None:
                await self._drain(start + timeout * _DRAIN_SHARE)
            link = self._link
            if self.error is None and link is not None:
                self._say_goodbye(link, failed=failed)
                await self._ended.wait()
                tell_closed(self._name, connected=True)
                heard = link.connection.protocol is MQTT_5 and link.loss is None
                self.session._server_told = heard and self.session._ends
            elif self.error is None:
                tell_closed(self._name, connected=False)

    async def end(self) -> None:
        """End the connection, whatever its state, and tell of what could not be completed."""
        self.sending.is_closed = True
        if not self._ended.is_set():
            self._scope.cancel()
            with trio.CancelScope(shield=True):
                await self._ended.wait()
        self._report_lost()

    async def _drain(self, deadline: float) -> None:
        """Wait until every exchange is over."""
        self.sending.progress()
        if not self.state.unfinished:
            return  # a cancel scope costs as much as the rest of this
        with self.deliveries.valve, trio.move_on_at(deadline):
            while self.state.unfinished and self.error is None:
                self._drained = trio.Event()
                await self._drained.wait()

    def _say_goodbye(self, link: Link, *, failed: bool) -> None:
        protocol = link.connection.protocol
        packet = last_packet(
            self.farewell, protocol, self.session, self._options.will, failed=failed
        )
        if packet is None:
            link.drop()
        else:
            link.end(packet)  # MQTT-3.1.2-8

    def _report_lost(self) -> None:
        """Tell of what could not be completed in time."""
        timeout = self._options.close_timeout
        keeps = not self.session._ends
        fate = (
            "the Session keeps it and sends it when it is opened again"
            if keeps
            else "the server may or may not have it"
        )
        message = (
            f"the client of {self._name} was closed before this was acknowledged (it waited "
            f"{timeout:g} s, the close_timeout, for that); {fate}"
        )
        error = ConnectionLost(message) if keeps else SessionLost(message)
        left = self._release_waiters(error)
        if left and keeps:
            text = "%d messages stay in the session %r; they were not acknowledged yet"
            _logger.info(text, left, self.session._client_id)
        elif left:
            text = "%d messages were not acknowledged by %s within the close_timeout of %g s"
            _logger.warning(text, left, self._name, timeout)
