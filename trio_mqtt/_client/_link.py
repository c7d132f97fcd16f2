"""One Network Connection at work: the stream, the tasks that read and write, and the alarm.

Only the writer calls `send_all`, so no packet is ever torn by a cancelled publisher; whoever has
something to send appends it to the connection's output and wakes the writer. What is short may go
out before the writer has its turn, if that needs no waiting. Only the reader takes bytes from the
stream. Each task turns its own failures into the one `loss` of the link, so that no exception group
arises.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio
from trio.lowlevel import enable_ki_protection

from trio_mqtt._client._alarms import Alarm
from trio_mqtt._client._waiting import Wakeup
from trio_mqtt._enums import MQTT_5
from trio_mqtt._errors import ConnectFailed, ConnectionLost, MQTTError, RemoteProtocolError
from trio_mqtt._protocol.connection import in_order
from trio_mqtt._protocol.exchanges import OutgoingMessage
from trio_mqtt._protocol.sender import OUTPUT_HIGH_WATER
from trio_mqtt._transports.plain_socket import PlainSocket, without_detours
from trio_mqtt.packets import Auth, ConnAck, Disconnect, Properties

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mqtt._client._taking import Takers
    from trio_mqtt._client._valve import Valve
    from trio_mqtt._enums import ReasonCode
    from trio_mqtt._protocol.connection import Connection, Event, Run

_JOINED: Final = 64 * 1024
"""Chunks are joined for sending up to about this many bytes; larger ones are not copied."""
_AT_ONCE: Final = 1024 * 1024
"""So much is given to the stream in one call."""
_KEEP_ALIVE_SHARE: Final = 0.9
"""The part of the Keep Alive after which PINGREQ goes out, so that it is there in time."""
_TICKS: Final = 64
"""Into how many ticks the time between PINGREQs is divided, at least."""
_FAREWELL_TIMEOUT: Final = 1.0
_MOST_OUTPUT: Final = 4 * 1024 * 1024
"""Nothing is read while so many bytes wait to be sent."""
_LOOKS: Final = 4
"""How often overdue acknowledgements are looked for within the ack_timeout."""
_LARGE_PACKET: Final = 4096
"""With such packets under way, more is read from a socket at once than Trio does by itself."""
_LARGE_READ: Final = 256 * 1024
_TLS_ALERT: Final = b"\x15\x03"
"""How a Server with TLS begins its answer to a CONNECT without; MQTT has no such packet."""
_GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError)
"""How a stream fails; the second if whoever made it, a tunnel perhaps, closes it under us."""
_logger = logging.getLogger("trio_mqtt")


class Link:
    """A stream with the MQTT connection on it.

    Args:
        name: the Server's address, for messages.
        stream: the bytes.
        connection: the protocol.
        valve: says when the reader must pause.
        ping_timeout: how long the Server may be silent after a PINGREQ, in seconds.
        ack_timeout: how long an acknowledgement may take, in seconds, or None.
        takers: who takes what happens.
        progress: called when a batch of events was delivered and when output was sent.

    Attributes:
        name: the Server's address, for messages.
        connection: the protocol.
        hung_up: whether the Server ended the connection before it sent a byte.
        loss: why the connection ended, or None if it goes on or we ended it.
        wake_writer: to be called when the output is closed; when there is some, it is called.
    """

    def __init__(  # noqa: PLR0913 - the parts that a connection is made of
        self,
        name: str,
        stream: trio.abc.Stream,
        connection: Connection,
        *,
        valve: Valve,
        ping_timeout: float,
        ack_timeout: float | None,
        takers: Takers,
        progress: Callable[[], None],
    ) -> None:
        self.name = name
        self.connection = connection
        self.hung_up: bool = False
        self.loss: MQTTError | None = None
        self.wake_writer: Wakeup = Wakeup()
        connection.output.on_ready = self.wake_writer
        self._stream = without_detours(stream)
        self._may_hasten = False
        self._valve = valve
        self._ping_timeout = ping_timeout
        self._ack_timeout = ack_timeout
        self._output_is_low = Wakeup()
        # Other streams have parts of their own, which a number would cut.
        self._large_read = _LARGE_READ if isinstance(stream, trio.SocketStream) else None
        self._takers = takers
        self._progress = progress
        self._scope = trio.CancelScope()
        self._broken: ConnectionLost | None = None  # why no more can be written
        self._last_sent = self._last_received = trio.current_time()
        self._heard = False
        self._pinged = -math.inf
        self._unanswered: float | None = None  # since when there is no sign of life to a PINGREQ
        self._paused_before = 0.0
        self._oldest: tuple[object, float, float] = (None, 0.0, 0.0)

    # -- CONNECT and CONNACK ------------------------------------------------------------------

    async def handshake(self) -> ConnAck | Auth:
        """Send CONNECT, or AUTH, and wait for the answer, whatever it is.

        Raises:
            ConnectFailed: the Server closed or broke the connection, or refused it in TLS.
            RemoteProtocolError: it sent something else.
        """
        connection = self.connection
        heard_before = False
        data: bytes | bytearray = b""
        how = "closed the connection"
        what = ""
        cause: BaseException | None = None
        try:
            await self._stream.send_all(b"".join(connection.output.take()))
            while True:
                for event in connection.next_events():
                    if isinstance(event, ConnAck | Auth):
                        self._last_sent = self._last_received = trio.current_time()
                        return event
                data = await self._stream.receive_some()
                if not data:
                    break
                heard_before, self._heard = self._heard, True
                connection.receive_data(data)
        except RemoteProtocolError as error:
            what_happened = f"cannot connect to {self.name}, which broke the protocol"
            if not heard_before and data.startswith(_TLS_ALERT):
                what_happened += " (it speaks TLS there; the URL has to begin with mqtts://)"
            elif not heard_before and data.startswith(b"HTTP/"):
                what_happened += " (it speaks HTTP there; with WebSocket the URL begins with ws://)"
            raise _told_of(error, what_happened) from error
        except _GONE as error:
            if isinstance(error.__cause__, ConnectFailed):  # the transport knows better
                raise error.__cause__ from error.__cause__.__cause__
            how = "broke the connection"
            what = f" ({_cause(error)})"
            cause = error
        self.hung_up = not self._heard
        when = "in the middle of its answer" if self._heard else "before it sent a byte"
        tls = ", without TLS" if self.name.startswith("mqtt://") and not self._heard else ""
        message = (
            f"cannot connect to {self.name}: the server {how} {when}{what}; is it an MQTT server, "
            f"and does it speak {connection.protocol.title}{tls}?"
        )
        raise ConnectFailed(message, stage="CONNECT") from cause

    # -- life ---------------------------------------------------------------------------------

    @enable_ki_protection
    async def run(self) -> None:
        """Read, write and keep alive until the connection is lost, or DISCONNECT was sent."""
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            nursery.start_soon(self._write)
            with Alarm(self._look, self._look(trio.current_time())):
                try:
                    await self._read()
                except RemoteProtocolError as error:
                    self._refuse(error)
                except ConnectionLost as error:
                    self._lose(error if error.reason_code is not None else self._broken or error)
        if self.loss is None:
            self.loss = self._broken

    def end(self, packet: Disconnect | None = None) -> None:
        """Send what waits, then DISCONNECT; `run` returns once that is done."""
        self.connection.disconnect(packet)
        self.wake_writer()

    def drop(self) -> None:
        """Send what waits, then close without a DISCONNECT, so that the will is published."""
        self.connection.output.close()
        self.wake_writer()

    def fail(self, error: MQTTError, reason_code: ReasonCode, why: str | None = None) -> None:
        """The connection is of no use any more: tell the Server, if that is possible, and end.

        Args:
            error: what is to be said of it here.
            reason_code: what is said to the Server.
            why: the same in words, or None.
        """
        if self.loss is None:
            self.loss = error
        if self.connection.protocol is not MQTT_5:
            self._scope.cancel()  # MQTT-4.8.0-1 of 3.1.1
            return
        self.end(Disconnect(reason_code, Properties(reason_string=why and why[:200])))
        self._scope.deadline = trio.current_time() + _FAREWELL_TIMEOUT

    def hasten(self) -> None:
        """Send what is short before the writer has its turn, for a task that awaits the answer.

        Only while the writer sleeps, so that no packet comes in the middle of another, and once
        until it sleeps again: what many tasks have to send goes out together.
        """
        stream = self._stream
        if not self._may_hasten or not isinstance(stream, PlainSocket):
            return
        self._may_hasten = False
        output = self.connection.output
        # Where more waits, others may wait for room, whom the writer wakes.
        if not output.ready or output.size > _JOINED or self._scope.cancel_called:
            return
        data = b"".join(output.take())
        try:
            sent = stream.send_at_once(data)
        except _GONE as error:
            self._cannot_write(error)
            return
        if sent:
            self._last_sent = trio.current_time()
        if sent < len(data):
            output.put_back(data[sent:])  # for the writer, who can wait

    def _lose(self, error: MQTTError) -> None:
        if self.loss is None:
            self.loss = error
        self._scope.cancel()

    @enable_ki_protection
    async def _read(self) -> None:
        connection = self.connection
        data: bytes | bytearray = b""
        finish, blockers = self._takers.one[OutgoingMessage], self._valve.blockers
        self._progress()  # what was accepted before
        while True:
            # What came with CONNACK is looked at before more is read.
            while (events := connection.next_runs()) is not None:
                if len(events) == 1 and isinstance(events[0], OutgoingMessage) and not blockers:
                    finish(events[0])  # it was published by itself, and calls for no pause
                elif events:
                    await self._take_events(events)
                self._progress()
            while connection.output.size > _MOST_OUTPUT:
                # A Server that takes no answers gets nothing to answer read, either.
                await self._output_is_low.sleep()
            data = b""  # not kept while nothing comes: it may be large
            most = self._large_read if connection.needed >= _LARGE_PACKET else None
            try:
                data = await self._stream.receive_some(most)
            except _GONE as error:
                message = f"the connection to {self.name} broke while reading: {_cause(error)}"
                raise ConnectionLost(message) from error
            if not data:
                message = f"{self.name} closed the connection without a DISCONNECT"
                raise ConnectionLost(message)
            self._last_received = trio.current_time()
            connection.receive_data(data)

    @enable_ki_protection
    async def _take_events(self, events: list[Event | Run]) -> None:
        """Have each taken, in order; between two of them, pause for the valve."""
        valve = self._valve
        take_one, take_run = self._takers.one, self._takers.run
        number = start = 0  # of the event, and of the first message left of a run
        try:
            while number < len(events):
                event = events[number]
                one: Event | None = None
                if isinstance(event, list):
                    if len(event) > 1:  # tasks that this wakes send what goes out together
                        self._may_hasten = False
                    count = take_run[event.__class__](event, start)
                    if not count:
                        one = event[start]
                    start += count or 1
                    if start >= len(event):
                        number, start = number + 1, 0
                else:
                    one = event
                    number += 1
                if one is not None:
                    take_one[one.__class__](one)
                if valve.blockers and not valve.awaited:
                    self._progress()
                    await valve.wait()
        finally:
            # If the connection ends in a pause: what has happened has happened.
            left = in_order(events[number:])[start:] if number < len(events) else ()
            for event in left:
                with suppress(ConnectionLost):
                    take_one[event.__class__](event)

    def _refuse(self, error: RemoteProtocolError) -> None:
        """Tell the Server what it did wrong, if that is possible, and end (4.13.1)."""
        what_happened = f"{self.name} broke the protocol, which ended the connection"
        _logger.info("%s broke the protocol: %s", self.name, error)
        self.fail(_told_of(error, what_happened), error.reason_code, str(error))

    @enable_ki_protection
    async def _write(self) -> None:
        output = self.connection.output
        try:
            while self._broken is None:
                if size := output.ready:
                    was_full = output.size >= OUTPUT_HIGH_WATER
                    chunks = output.take()
                    if size <= _JOINED:
                        await self._stream.send_all(b"".join(chunks))
                    else:
                        await self._send(chunks)
                    self._last_sent = trio.current_time()
                    self._output_is_low()
                    if was_full:  # else nothing can have waited for room in it
                        self._progress()
                        await trio.lowlevel.checkpoint()  # it may be full again, and so on
                elif output.closed and not output.size:
                    self._scope.cancel()  # DISCONNECT is out
                    return
                else:
                    self._may_hasten = True
                    try:
                        await self.wake_writer.sleep()
                    finally:
                        self._may_hasten = False
        except _GONE as error:
            self._cannot_write(error)

    def _cannot_write(self, error: Exception) -> None:
        message = f"the connection to {self.name} broke while writing: {_cause(error)}"
        self._broken = ConnectionLost(message)
        self._broken.__cause__ = error
        # The Server may have said before why it ended the connection: the reader comes to it.
        self._scope.deadline = trio.current_time() + _FAREWELL_TIMEOUT

    async def _send(self, chunks: list[bytes]) -> None:
        """Send chunks with as few calls as is possible without copying large ones."""
        small: list[bytes] = []
        size = 0
        for chunk in chunks:
            if size and size + len(chunk) > _JOINED:
                await self._send_parts(b"".join(small))
                small.clear()
                size = 0
            small.append(chunk)
            size += len(chunk)
        data = small[0] if len(small) == 1 else b"".join(small)
        await (self._stream.send_all(data) if size <= _AT_ONCE else self._send_parts(data))

    async def _send_parts(self, data: bytes) -> None:
        """Send data in parts that take little memory: TLS keeps two copies of what it is given."""
        view = memoryview(data)
        for start in range(0, len(view), _AT_ONCE):
            await self._stream.send_all(view[start : start + _AT_ONCE])

    def _look(self, now: float) -> float:
        """Whether all is well; rung by the alarm, and returns when to look again."""
        return min(self._keep_alive(now), self._watch_answers(now))

    def _keep_alive(self, now: float) -> float:
        """Send PINGREQ when nothing was sent or nothing came; notice when nothing comes back.

        What is sent says nothing of the Server: a client that publishes all the time to a dead
        connection would never learn of that.
        """
        server = self.connection.server
        interval = server.keep_alive * _KEEP_ALIVE_SHARE if server else 0
        if not interval:
            return math.inf
        paused = self._valve.paused_until_now()
        unanswered = self._unanswered
        if unanswered is not None and self._last_received >= unanswered:
            unanswered = self._unanswered = None  # any byte is a sign of life
        idle_since = min(self._last_sent, self._last_received)
        ping_at = _tick_before(max(idle_since, self._pinged) + interval, interval)
        if now >= ping_at:  # MQTT-3.1.2-20
            self.connection.ping()
            self._pinged = now
            ping_at = _tick_before(now + interval, interval)
            if unanswered is None:
                unanswered = self._unanswered = now
                self._paused_before = paused
        if unanswered is None:
            return ping_at
        # What the reader spent in a pause does not count: nothing could be heard then.
        overdue_at = unanswered + self._ping_timeout + paused - self._paused_before
        if now >= overdue_at:
            self._lose(self._silence())
            return math.inf
        return min(ping_at, overdue_at)

    def _watch_answers(self, now: float) -> float:
        """Take the connection for dead when the oldest exchange does not go on."""
        limit = self._ack_timeout
        if limit is None:
            return math.inf
        paused = self._valve.paused_until_now()
        current = self.connection.sender.oldest()
        oldest, since, paused_before = self._oldest
        if current != oldest:
            self._oldest = current, now, paused
        elif oldest is not None and now >= since + limit + paused - paused_before:
            message = (
                f"{self.name} has not acknowledged what was sent {limit:g} s ago, the "
                "ack_timeout; the connection is taken for dead"
            )
            self._lose(ConnectionLost(message))
            return math.inf
        return now + limit / _LOOKS

    def _silence(self) -> ConnectionLost:
        message = (
            f"{self.name} has sent nothing for {self._ping_timeout:g} s after a PINGREQ; "
            "the connection is taken for dead"
        )
        return ConnectionLost(message)


def _tick_before(time: float, interval: float) -> float:
    """The last tick before a time, of a clock that all connections share.

    Where a program has thousands of them, many have something to do at once, and that costs less.
    """
    tick = 2.0 ** math.floor(math.log2(interval / _TICKS))
    return math.floor(time / tick) * tick


def _told_of(error: RemoteProtocolError, what_happened: str) -> RemoteProtocolError:
    """The same error, from one who knows which Server it was and what came of it."""
    told = type(error)(
        f"{what_happened}: {error}", reason_code=error.reason_code, statement=error.statement
    )
    told.__cause__ = error
    return told


def _cause(error: Exception) -> str:
    return str(error.__cause__ or error) or type(error).__name__
