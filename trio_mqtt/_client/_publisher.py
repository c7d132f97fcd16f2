"""Pipelined publishing."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final, Unpack

import trio
from trio.lowlevel import checkpoint_if_cancelled, enable_ki_protection

from trio_mqtt._client._outgoing import Payload, PublishOptions, Tally, result_of
from trio_mqtt._client._waiting import MOST_CALLS
from trio_mqtt._enums import is_qos
from trio_mqtt._errors import LocalProtocolError, PublishRejected

if TYPE_CHECKING:
    from trio_mqtt._client._sending import Sending
    from trio_mqtt._protocol.exchanges import OutgoingMessage

_MOST_REJECTIONS: Final = 100


class Publisher:
    """Sends messages without waiting for each acknowledgement; made by `Client.open_publisher`.

    Messages leave in the order of the calls of `send`.

    Attributes:
        sent: how many messages `send` has taken.
        pending: how many of them have no acknowledgement yet.
        rejected: how many the Server refused.
        rejections: the first 100 refusals.
        in_doubt: how many the client gave up when it failed, with no word of the Server on them.
    """

    def __init__(self, sending: Sending, qos: int) -> None:
        if not is_qos(qos):
            message = f"qos is {qos!r}; it must be 0, 1 or 2"
            raise LocalProtocolError(message, statement="MQTT-3.3.1-4")
        self.sent: int = 0
        self.pending: int = 0
        self.rejected: int = 0
        self.in_doubt: int = 0
        self.rejections: list[PublishRejected] = []
        self._sending = sending
        self._qos = qos
        self._failure: Exception | None = None
        self._done = trio.Event()
        self._closed = False
        self._tally = Tally(self._accepted, self._finish)

    @enable_ki_protection
    async def send(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        retain: bool = False,
        **options: Unpack[PublishOptions],
    ) -> None:
        """Hand over one message, once there is room for it; see `Client.publish`.

        At QoS 1 and 2 it waits in the client's bounded queue for its place in the Server's window,
        and `send` waits only while that queue is full. At QoS 0 `send` waits while too many bytes
        are still to be written.

        Cancelled, nothing was sent.

        Raises:
            LocalProtocolError: the standard forbids the message.
            FeatureNotSupported: this Server or version of MQTT does not have what it needs.
            PacketTooLarge: the Server does not take so much.
            TypeError: the payload is neither bytes-like nor str.
            trio.ClosedResourceError: the block of the publisher was left.
            MQTTError: the client has failed.
        """
        sending = self._sending
        pacer = sending.pacer
        # As `Pacer.is_due` says, but for the call.
        pacer.calls += 1
        if pacer.calls >= MOST_CALLS or perf_counter() >= pacer.deadline:
            await pacer.pause()
        else:
            await checkpoint_if_cancelled()
        if self._closed:
            message = "the block of this publisher was left; send inside it"
            raise trio.ClosedResourceError(message)
        qos = self._qos
        plain = not retain and not options
        if qos:
            if not plain or sending.publish_plain(topic, payload, qos, self._tally) is None:
                await self._send_any(topic, payload, retain, options)
            self.pending += 1
        elif not plain or not sending.send_plain(topic, payload):
            await self._send_any(topic, payload, retain, options)
        self.sent += 1

    @enable_ki_protection
    async def _send_any(
        self,
        topic: str,
        payload: Payload,
        retain: bool,  # noqa: FBT001 - as in `MessageMaker.make`
        options: PublishOptions,
    ) -> None:
        """Hand over a message that is not like most, or for which there is no room yet."""
        sending = self._sending
        message = sending.make(topic, payload, self._qos, retain, options)
        if self._qos:
            message.listener = self._tally
        if not sending.accept_at_once(message):
            await sending.admit(message)

    def _accepted(self, count: int) -> None:
        pending = self.pending = self.pending - count
        if not pending:
            self._done.set()

    def _finish(self, message: OutgoingMessage) -> None:
        acknowledgement = message.acknowledgement
        if acknowledgement is None or acknowledgement.reason_code:
            try:
                result_of(message, self._sending.server_name)
            except PublishRejected as error:
                self.rejected += 1
                if len(self.rejections) < _MOST_REJECTIONS:
                    self.rejections.append(error)
            except Exception as error:  # noqa: BLE001 - told to whoever waits, in `_settle`
                self.in_doubt += 1
                self._failure = error
        self._accepted(1)

    async def _settle(self) -> None:
        """Wait for every acknowledgement, then tell of refusals."""
        self._closed = True
        while self.pending:
            self._done = trio.Event()
            await self._sending.await_answer(self._done)
        if self._failure is not None:
            note = f"{self.in_doubt} of {self.sent} messages are in doubt: the server may have them"
            self._failure.add_note(note)
            raise self._failure
        if self.rejections:
            error = self.rejections[0]
            if self.rejected > 1:
                error.add_note(f"and {self.rejected - 1} more of {self.sent} messages were refused")
            raise error
