"""Enhanced authentication: what the caller's `Authenticator` says to the Server, and when.

The exchange that begins a connection is a part of connecting, and bounded by its time. A later one
is begun by whoever asks for it; once its first AUTH is out it goes on in a task of its own, to its
end or that of the connection, whether or not somebody still waits for it. The reader only hands
over what has come.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

import attrs
import trio
from trio.lowlevel import enable_ki_protection

from trio_mqtt._client._options import check_auth_protocol
from trio_mqtt._enums import ReasonCode
from trio_mqtt._errors import AuthenticationFailed, ConnectionLost, LocalProtocolError, MQTTError
from trio_mqtt.abc import AuthData
from trio_mqtt.packets import Auth, Properties

if TYPE_CHECKING:
    from trio_mqtt._client._itinerary import Place
    from trio_mqtt._client._link import Link
    from trio_mqtt._client._options import ConnectOptions
    from trio_mqtt._client._supervisor import Supervisor
    from trio_mqtt._enums import Protocol
    from trio_mqtt._transports.progress import Progress
    from trio_mqtt.abc import AuthExchange
    from trio_mqtt.packets import ConnAck


@attrs.define(eq=False)
class _Renewal:
    """An exchange on a connection that was accepted before.

    Attributes:
        exchange: the caller's side of it.
        link: the connection.
        scope: cancelled when that ends.
        packet: the Server's AUTH that is to be dealt with, or None.
        came: set when there is one.
        accepted: whether the Server is content, and we are.
        over: set when there is nothing more to wait for.
    """

    exchange: AuthExchange
    link: Link
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    packet: Auth | None = None
    came: trio.Event = attrs.Factory(trio.Event)
    accepted: bool = False
    over: trio.Event = attrs.Factory(trio.Event)


class Authenticating:
    """Has the client authenticated, at each connection and whenever that is asked for.

    Args:
        options: what the caller asked for; the authenticator is among it.
        supervisor: knows the connection.
    """

    def __init__(self, options: ConnectOptions, supervisor: Supervisor) -> None:
        self._auth = options.auth
        self._step_timeout = options.connect_timeout
        self._ack_timeout = options.ack_timeout
        self._supervisor = supervisor
        self._connecting: AuthExchange | None = None
        self._begun = 0  # how many connections had an exchange begun for them
        self._renewal: _Renewal | None = None

    # -- at the beginning of a connection -----------------------------------------------------

    async def begin(self, place: Place, protocol: Protocol) -> AuthData | None:
        """What CONNECT says first; None without enhanced authentication.

        Raises:
            FeatureNotSupported: this version of MQTT has no such thing.
        """
        if self._auth is None:
            return None
        check_auth_protocol(protocol)
        self._begun += 1
        place.progress.missing = "auth had nothing to begin with"
        try:
            self._connecting = self._auth.begin()
            first = _as_data(await self._connecting.start())
        except AuthenticationFailed as error:
            raise _named(error, place.name) from error
        place.progress.begin()
        return first

    async def handshake(self, link: Link, progress: Progress) -> ConnAck:
        """Send CONNECT, and go on until the Server has accepted or refused it.

        Raises:
            AuthenticationFailed: it did not prove who it is, or asked what cannot be answered.
            ConnectFailed: it closed or broke the connection.
            RemoteProtocolError: it broke the protocol.
        """
        packet = await link.handshake()
        try:
            if self._connecting is not None:
                packet = await self._prove(self._connecting, link, progress, packet)
        except AuthenticationFailed as error:
            raise _named(error, link.name) from error
        return cast("ConnAck", packet)  # the protocol lets no uninvited AUTH through

    async def _prove(
        self, exchange: AuthExchange, link: Link, progress: Progress, packet: ConnAck | Auth
    ) -> ConnAck:
        while isinstance(packet, Auth):
            progress.missing = "auth did not answer what the server asked"
            answer = _as_data(await exchange.answer(_said_in(packet)))
            _send(link, answer)
            progress.enter("CONNECT", "answering with AUTH")
            packet = await link.handshake()
        if not packet.reason_code.is_failure:
            progress.missing = "auth did not check what the server said"
            await exchange.finish(_said_in(packet))
            link.connection.open(packet)
        return packet

    # -- later --------------------------------------------------------------------------------

    @enable_ki_protection
    async def reauthenticate(self) -> None:
        """See `Client.reauthenticate`."""
        if self._auth is None:
            message = "there is nothing to authenticate with; give open_client an auth"
            raise LocalProtocolError(message, statement="MQTT-4.12.0-7")
        begun = self._begun
        while True:
            link = await self._supervisor.wait_link()
            if self._begun > begun:
                return  # that has authenticated the client, since it was asked for
            if self._renewal is not None:
                await self._renewal.over.wait()
                continue
            renewal = self._renewal = _Renewal(self._auth.begin(), link)
            try:
                first = _as_data(await renewal.exchange.start())
                self._send_first(renewal, first)
            except BaseException:
                self._end(renewal)
                raise
            await renewal.over.wait()
            if renewal.accepted:
                return

    @enable_ki_protection
    def _send_first(self, renewal: _Renewal, first: AuthData) -> None:
        supervisor, link = self._supervisor, renewal.link
        supervisor.check_open()
        if link.connection is not supervisor.connection:
            self._end(renewal)
            return
        _send(link, first)
        supervisor.leaving[renewal.scope] = None
        supervisor._start(partial(self._go_on, renewal))

    def _end(self, renewal: _Renewal) -> None:
        self._supervisor.leaving.pop(renewal.scope, None)
        self._renewal = None
        renewal.over.set()

    def received(self, packet: Auth) -> None:
        """The Server has sent AUTH, in its turn."""
        if self._renewal is not None:
            self._renewal.packet = packet
            self._renewal.came.set()

    @enable_ki_protection
    async def _go_on(self, renewal: _Renewal) -> None:
        """Answer the Server to the end of the exchange, or of the connection."""
        link = renewal.link
        try:
            with renewal.scope:
                try:
                    while not renewal.accepted:
                        await self._step(renewal, await self._next(renewal))
                except (OSError, MQTTError) as error:
                    loss = _loss(error, link.name)
                    link.fail(loss, ReasonCode.UNSPECIFIED_ERROR, "the authentication failed")
                    await trio.sleep_forever()  # until the connection has ended, too
        finally:
            self._end(renewal)

    async def _next(self, renewal: _Renewal) -> Auth:
        """Wait for the Server's AUTH."""
        limit = self._ack_timeout
        with self._supervisor.deliveries.valve, trio.CancelScope() as scope:
            if limit is not None:
                scope.deadline = trio.current_time() + limit
            await renewal.came.wait()
        packet, renewal.packet, renewal.came = renewal.packet, None, trio.Event()
        if packet is None:
            message = (
                f"{renewal.link.name} has not answered AUTH within {limit:g} s, the ack_timeout; "
                "the connection is taken for dead"
            )
            raise ConnectionLost(message)
        return packet

    async def _step(self, renewal: _Renewal, packet: Auth) -> None:
        """Have the caller's side deal with it."""
        limit = self._step_timeout
        with trio.move_on_after(limit) as scope:
            if packet.reason_code is ReasonCode.SUCCESS:
                await renewal.exchange.finish(_said_in(packet))
                renewal.accepted = True
            else:
                answer = _as_data(await renewal.exchange.answer(_said_in(packet)))
                _send(renewal.link, answer)
        if scope.cancelled_caught:
            message = (
                f"auth has not answered {renewal.link.name} within {limit:g} s, the "
                "connect_timeout; the connection was given up"
            )
            raise ConnectionLost(message)


def _as_data(said: AuthData | bytes | None) -> AuthData:
    return said if isinstance(said, AuthData) else AuthData(said)


def _send(link: Link, data: AuthData) -> None:
    properties = Properties(
        authentication_method=link.connection.authentication.method,
        authentication_data=data.data,
        reason_string=data.reason_string,
        user_properties=data.user_properties,
    )
    link.connection.authenticate(properties)


def _said_in(packet: Auth | ConnAck) -> AuthData:
    properties = packet.properties
    return AuthData(
        properties.authentication_data,
        reason_string=properties.reason_string,
        user_properties=properties.user_properties,
    )


def _loss(error: OSError | MQTTError, name: str) -> MQTTError:
    """What the connection ends with when a later exchange fails; a new connection may do better."""
    if isinstance(error, AuthenticationFailed):
        loss: MQTTError = _named(error, name)
    elif isinstance(error, OSError):
        loss = ConnectionLost(f"the authentication with {name} could not go on: {error}")
    else:
        return error
    loss.__cause__ = error
    return loss


def _named(error: AuthenticationFailed, name: str) -> AuthenticationFailed:
    """The same error, from one who knows which Server it was."""
    return AuthenticationFailed(f"the authentication with {name} failed: {error}")
