"""The life of a client: connect, keep the connection, fail or close.

One task of the client's nursery supervises; the tasks of the Network Connection run inside it. On
a permanent failure the body of the block is cancelled first, which takes its waiting tasks out of
every queue; only then do those that still wait, outside the body, get the error.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import trio
from trio.lowlevel import enable_ki_protection

from trio_mqtt._client._deliveries import Deliveries
from trio_mqtt._client._link import Link
from trio_mqtt._client._message import Message
from trio_mqtt._client._outgoing import own_instance
from trio_mqtt._client._sending import Sending
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, Protocol, ReasonCode
from trio_mqtt._errors import (
    ConnectFailed,
    ConnectionLost,
    ConnectRejected,
    MQTTError,
    RemoteProtocolError,
    SessionLost,
)
from trio_mqtt._protocol.connection import Connection, Event
from trio_mqtt._protocol.exchanges import OutgoingMessage, Request
from trio_mqtt._protocol.server_info import ServerInfo
from trio_mqtt._protocol.session import SessionState
from trio_mqtt.packets import Disconnect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mqtt._client._options import ConnectOptions
    from trio_mqtt.abc import Connector
    from trio_mqtt.packets import ConnAck, Connect

_DRAIN_SHARE: Final = 0.8
"""The part of the close timeout for open exchanges; the rest is for DISCONNECT."""
_logger = logging.getLogger("trio_mqtt")


class Supervisor:
    """Connects, and keeps what the client, its publishers and its subscriptions share.

    Args:
        name: the Server's address, for messages.
        connector: makes the byte stream.
        options: what the caller asked for.
        nursery: where background tasks run.

    Attributes:
        session: the Session State.
        sending: the way into it.
        deliveries: the way out.
        body_scope: cancelled when the client fails.
        settled: set once the connection is open, or has failed.
        error: why the client failed, or None.
    """

    def __init__(
        self, name: str, connector: Connector, options: ConnectOptions, nursery: trio.Nursery
    ) -> None:
        self.session = SessionState()
        self.deliveries = Deliveries(
            receive_maximum=options.receive_maximum,
            unclaimed_timeout=options.unclaimed_timeout,
            check_open=self.check_open,
            acknowledged=self._acknowledged,
            start=self._start,
        )
        self.sending = Sending(
            self.session,
            ServerInfo(protocol=options.protocol or MQTT_5, client_id=options.client_id),
            name,
            valve=self.deliveries.valve,
            check_open=self.check_open,
        )
        self.body_scope = trio.CancelScope()
        self.settled = trio.Event()
        self.error: MQTTError | None = None
        self._nursery = nursery
        self._name = name
        self._connector = connector
        self._options = options
        self._link: Link | None = None
        self._closed = False
        self._scope = trio.CancelScope(shield=True)
        self._drained = trio.Event()
        self._ended = trio.Event()

    @property
    def connection(self) -> Connection | None:
        """The protocol side of the connection, or None if there is none yet."""
        return None if self._link is None else self._link.connection

    def check_open(self) -> None:
        """Raise if the client has failed or is closed."""
        if self.error is not None:
            raise own_instance(self.error)
        if self._closed:
            message = f"the client of {self._name} is closed; use it inside its block"
            raise trio.ClosedResourceError(message)

    # -- connecting ---------------------------------------------------------------------------

    @enable_ki_protection
    async def run(self) -> None:
        """Connect, serve the connection, and tell of its loss.

        What cancels the block does not reach the connection: it is still needed for closing, and
        `close` ends it.
        """
        with self._scope:
            try:
                await self._connect_and_serve()
            except MQTTError as error:
                self._fail(error)
            finally:
                self._ended.set()

    async def _connect_and_serve(self) -> None:
        deadline = trio.current_time() + self._options.connect_timeout
        wanted = self._options.protocol
        if wanted is not None:
            await self._attempt(wanted, deadline)
            return
        try:
            await self._attempt(MQTT_5, deadline)
        except (ConnectFailed, ConnectRejected) as refusal:
            if not self._speaks_no_5(refusal):
                raise
            first = refusal
        else:
            return
        _logger.info("%s does not speak MQTT 5.0; trying MQTT 3.1.1", self._name)
        try:
            await self._attempt(MQTT_3_1_1, deadline)
        except (ConnectFailed, ConnectRejected) as refusal:
            refusal.add_note(f"MQTT 5.0 was tried before: {first}")
            raise

    def _speaks_no_5(self, refusal: ConnectFailed | ConnectRejected) -> bool:
        """Whether the answer to a CONNECT of MQTT 5.0 calls for an older version."""
        if isinstance(refusal, ConnectRejected):
            return refusal.reason_code is ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
        return self._link is not None and self._link.hung_up

    async def _attempt(self, protocol: Protocol, deadline: float) -> None:
        """Make one connection and serve it to its end."""
        connect = self._options.connect_packet(protocol)
        self._link = None
        with trio.CancelScope(deadline=deadline) as scope:
            try:
                async with self._connector() as stream:
                    link = self._link = self._new_link(stream, connect, protocol)
                    connection = link.connection
                    self._check_connack(await link.handshake(), connection.protocol, protocol)
                    scope.deadline = float("inf")
                    await self._serve(link)
            except OSError as error:
                if isinstance(error, MQTTError):
                    raise
                message = f"cannot connect to {self._name}: {error}"
                raise ConnectFailed(message) from error
        if scope.cancelled_caught:
            stage = "connect" if self._link is None else "CONNECT"
            what = "no connection was made" if self._link is None else "the server did not answer"
            message = (
                f"cannot connect to {self._name}: {what} within {self._options.connect_timeout:g} s"
            )
            raise ConnectFailed(message, stage=stage)

    def _new_link(self, stream: trio.abc.Stream, connect: Connect, protocol: Protocol) -> Link:
        connection = Connection(
            self.session,
            connect,
            protocol,
            receive_maximum=self._options.receive_maximum,
            message_type=Message,
        )
        return Link(
            self._name,
            stream,
            connection,
            valve=self.deliveries.valve,
            ping_timeout=self._options.ping_timeout,
            deliver=self._deliver,
            progress=self._progress,
        )

    def _check_connack(self, connack: ConnAck, answered: Protocol, asked: Protocol) -> None:
        """Raise unless the Server accepted the connection, in the version asked for."""
        reason_code = connack.reason_code
        if not reason_code.is_failure:
            if answered is not asked:
                message = f"{self._name} answered a CONNECT of MQTT 5.0 in the form of MQTT 3.1.1"
                raise RemoteProtocolError(message, statement="3.2.2")
            return
        properties = connack.properties
        words = f": {properties.reason_string}" if properties.reason_string else ""
        hint = _HINTS.get(reason_code, "")
        message = f"{self._name} refused the connection with {reason_code.describe()}{words}{hint}"
        raise ConnectRejected(
            message,
            reason_code=reason_code,
            reason_string=properties.reason_string,
            server_reference=properties.server_reference,
            user_properties=properties.user_properties,
        )

    async def _serve(self, link: Link) -> None:
        self.deliveries.connected(link.connection.receiver)
        self.sending.connected(link)
        server = self.sending.server
        title = server.protocol.title
        _logger.info("connected to %s with %s as %r", self._name, title, server.client_id)
        self.settled.set()
        await link.run()
        if link.loss is not None:
            raise link.loss

    # -- events of the connection -------------------------------------------------------------

    def _deliver(self, event: Event) -> None:
        if isinstance(event, Message):
            self.deliveries.deliver(event)
        elif isinstance(event, OutgoingMessage | Request):
            event.tell()
        elif isinstance(event, Disconnect):
            raise self._disconnected(event)

    def _disconnected(self, packet: Disconnect) -> ConnectionLost:
        properties = packet.properties
        words = f": {properties.reason_string}" if properties.reason_string else ""
        hint = _HINTS.get(packet.reason_code, "")
        what = packet.reason_code.describe()
        message = f"{self._name} ended the connection with {what}{words}{hint}"
        return ConnectionLost(
            message,
            reason_code=packet.reason_code,
            reason_string=properties.reason_string,
            server_reference=properties.server_reference,
            user_properties=properties.user_properties,
        )

    def _progress(self) -> None:
        self.sending.progress()
        if not self.session.unfinished:
            self._drained.set()

    def _start(self, task: Callable[[], Awaitable[None]]) -> None:
        if not self._closed:
            self._nursery.start_soon(task)

    def _acknowledged(self) -> None:
        link = self._link
        if link is not None and link.connection.output.size:
            link.wake_writer()

    # -- the end ------------------------------------------------------------------------------

    def _fail(self, error: MQTTError) -> None:
        """End for good: the body first, then whoever waits outside it."""
        if self._closed and not self.session.unfinished:
            return  # everything was done; the Server was only quicker to hang up
        _logger.info("the client has failed: %s", error)  # raised, so whoever cares is told
        self.error = error
        self.settled.set()
        self.body_scope.cancel()
        self._release_waiters(error)
        self._drained.set()

    def _release_waiters(self, error: MQTTError) -> int:
        """Give up what is not over; each that waits for it is told. Says how many messages."""
        messages = 0
        for exchange in self.session.abandon():
            messages += isinstance(exchange, OutgoingMessage)
            exchange.failure = error
            exchange.tell()
        self.sending.close()
        self.deliveries.close()
        return messages

    async def close(self, *, failed: bool) -> None:
        """Complete what is under way and disconnect, within the close timeout.

        Args:
            failed: whether the body raised an error of its own.
        """
        start = trio.current_time()
        self._closed = True
        timeout = self._options.close_timeout
        with trio.CancelScope(deadline=start + timeout, shield=True):
            link = self._link
            if self.error is None and link is not None and link.connection.server is not None:
                with trio.move_on_at(start + timeout * _DRAIN_SHARE):
                    await self._drain()
                self._say_goodbye(link, failed=failed)
                await self._ended.wait()

    def end(self) -> None:
        """End the connection, whatever its state, and tell of what could not be completed."""
        self._closed = True
        self._scope.cancel()
        self._report_lost()

    async def _drain(self) -> None:
        """Wait until every exchange is over."""
        with self.deliveries.valve:
            self.sending.progress()
            while self.session.unfinished:
                self._drained = trio.Event()
                await self._drained.wait()

    def _say_goodbye(self, link: Link, *, failed: bool) -> None:
        will = self._options.will
        if not (failed and will is not None and will.on_error):
            link.end()
        elif link.connection.protocol is MQTT_5:
            link.end(Disconnect(ReasonCode.DISCONNECT_WITH_WILL_MESSAGE))  # MQTT-3.1.2-8
        else:
            link.drop()

    def _report_lost(self) -> None:
        """Tell of what could not be completed in time."""
        timeout = self._options.close_timeout
        message = (
            f"the client of {self._name} was closed before this was acknowledged (it waited "
            f"{timeout:g} s, the close_timeout, for that); the server may or may not have it"
        )
        lost = self._release_waiters(SessionLost(message))
        if lost:
            text = "%d messages were not acknowledged by %s within the close_timeout of %g s"
            _logger.warning(text, lost, self._name, timeout)


_HINTS: Final = {
    ReasonCode.BAD_USER_NAME_OR_PASSWORD: "; check username and password",
    ReasonCode.NOT_AUTHORIZED: "; check username, password and what the server allows this client",
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID: "; choose another client_id",
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION: "; choose another protocol",
    ReasonCode.SESSION_TAKEN_OVER: "; another client has connected with the same client_id",
    ReasonCode.KEEP_ALIVE_TIMEOUT: "; nothing of ours came through in time",
}
"""What to do about some Reason Codes."""
