"""Making Network Connections: each attempt with its address, credentials and version of MQTT."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, cast

import trio

from trio_mqtt._client._options import SessionTerms
from trio_mqtt._client._reconnecting import REDIRECTIONS
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, Protocol, ReasonCode
from trio_mqtt._errors import ConnectFailed, ConnectRejected, MQTTError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mqtt._client._authenticating import Authenticating
    from trio_mqtt._client._itinerary import Place
    from trio_mqtt._client._link import Link
    from trio_mqtt._client._options import ConnectOptions, Credentials
    from trio_mqtt._client._session import Session
    from trio_mqtt.abc import Authenticator
    from trio_mqtt.packets import ConnAck, Connect, Disconnect


_logger = logging.getLogger("trio_mqtt")


class Dialer:
    """Makes one connection at a time and has it served.

    Args:
        options: what the caller asked for.
        session: the Session.
        credentials: returns User Name and Password for each attempt.
        authenticating: does enhanced authentication, if there is any.
        new_link: puts the MQTT connection on a stream.
        serve: serves a connection that the Server has accepted, to its end.
        is_elsewhere: whether a place has nothing of the Session, whatever is remembered.
    """

    def __init__(  # noqa: PLR0913 - what an attempt is made of
        self,
        options: ConnectOptions,
        session: Session,
        credentials: Callable[[Place], Awaitable[Credentials]],
        *,
        authenticating: Authenticating,
        new_link: Callable[[str, trio.abc.Stream, Connect, Protocol], Link],
        serve: Callable[[Link], Awaitable[None]],
        is_elsewhere: Callable[[str], bool],
    ) -> None:
        self._is_elsewhere = is_elsewhere
        self._options = options
        self._session = session
        self._credentials = credentials
        self._authenticating = authenticating
        self._new_link = new_link
        self._serve = serve
        self._link: Link | None = None
        self._loss: MQTTError | None = None  # what the attempt under way has come to
        self._over = False  # whether the attempt under way has come to its end

    async def run(self, place: Place, deadline: float) -> None:
        """Connect to a place, serve the connection, and return when it was ended on purpose.

        Args:
            place: where to.
            deadline: until when the Server must have accepted it.

        Raises:
            MQTTError: no connection could be made, or it was lost.
        """
        wanted = self._options.protocol or self._session._protocol
        if wanted is None and self._options.auth is not None:
            wanted = MQTT_5  # older versions would let the client in without it, or not at all
        if wanted is not None:
            await self._attempt(place, wanted, deadline)
            return
        try:
            await self._attempt(place, MQTT_5, deadline)
        except (ConnectFailed, ConnectRejected) as refusal:
            if not self._speaks_no_5(refusal):
                raise
            first = refusal
        else:
            return
        _logger.info("%s does not speak MQTT 5.0; trying MQTT 3.1.1", place.name)
        try:
            await self._attempt(place, MQTT_3_1_1, deadline)
        except (ConnectFailed, ConnectRejected) as refusal:
            refusal.add_note(f"MQTT 5.0 was tried before: {first}")
            raise

    def _speaks_no_5(self, refusal: ConnectFailed | ConnectRejected) -> bool:
        """Whether the answer to a CONNECT of MQTT 5.0 calls for an older version."""
        if isinstance(refusal, ConnectRejected):
            return refusal.reason_code is ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
        return self._link is not None and self._link.hung_up

    def _begin(self) -> None:
        self._link = None
        self._loss = None
        self._over = False

    async def _attempt(self, place: Place, protocol: Protocol, deadline: float) -> None:
        """Make one connection and serve it to its end."""
        self._begin()
        place.progress.begin()
        with trio.CancelScope(deadline=deadline) as scope:
            try:
                connect = await self._connect_packet(place, protocol)
                async with place.connector() as stream:
                    try:
                        await self._converse(place, stream, connect, protocol, scope)
                    except MQTTError as error:
                        # Kept from the connector: a nursery in it would make a group of it.
                        self._loss = error
                    self._over = True
                    scope.deadline = trio.current_time() + self._options.close_timeout
            except Exception as error:
                if not self._over:
                    self._loss = _connecting_failed(error, place.name)
                else:
                    text = "closing the byte stream to %s failed"
                    _logger.warning(text, place.name, exc_info=error)
        if self._loss is not None:
            raise self._loss
        if scope.cancelled_caught and not self._over:
            progress = place.progress
            limit = self._options.connect_timeout
            message = f"cannot connect to {place.name}: {progress.missing} within {limit:g} s"
            raise ConnectFailed(message, stage=progress.stage)

    async def _connect_packet(self, place: Place, protocol: Protocol) -> Connect:
        session = self._session
        terms = SessionTerms(
            client_id=session._client_id,
            clean_start=self._is_elsewhere(place.name) or session._starts_clean(protocol),
            expiry=session._expiry,
        )
        proof = await self._authenticating.begin(place, protocol)
        credentials = await self._credentials(place)
        return self._options.connect_packet(protocol, terms, credentials, proof)

    async def _converse(
        self,
        place: Place,
        stream: trio.abc.Stream,
        connect: Connect,
        protocol: Protocol,
        scope: trio.CancelScope,
    ) -> None:
        link = self._link = self._new_link(place.name, stream, connect, protocol)
        session = self._session
        place.progress.enter("CONNECT", f"saying {protocol.title}")
        try:
            unheard, session._unheard = session._unheard, True  # until there is an answer
            connack = await self._authenticating.handshake(link, place.progress)
            session._unheard = unheard
            _check_connack(place.name, connack, self._options.auth)
            session._unheard = False
            scope.deadline = float("inf")
            await self._serve(link)
        finally:
            link.connection.end()


def _connecting_failed(error: Exception, name: str) -> MQTTError:
    """What a failure to make the byte stream comes to; raises it if it is something else."""
    cause = error
    while isinstance(cause, ExceptionGroup):
        group = cast("ExceptionGroup[Exception]", cause)
        if len(group.exceptions) > 1:
            raise error
        cause = list(group.exceptions)[0]  # noqa: RUF015 - pyright takes the tuple for empty
    if isinstance(cause, MQTTError):
        return cause
    if not isinstance(cause, OSError):
        raise error
    failed = ConnectFailed(f"cannot connect to {name}: {cause}")
    failed.__cause__ = cause
    return failed


def _check_connack(name: str, connack: ConnAck, auth: Authenticator | None) -> None:
    """Raise unless the Server accepted the connection."""
    reason_code = connack.reason_code
    if not reason_code.is_failure:
        return
    properties = connack.properties
    raise ConnectRejected(
        f"{name} refused the connection with {said_in(connack, auth)}",
        reason_code=reason_code,
        reason_string=properties.reason_string,
        server_reference=properties.server_reference,
        user_properties=properties.user_properties,
    )


def said_in(packet: ConnAck | Disconnect, auth: Authenticator | None) -> str:
    """Why the Server wants no connection, in its words, and what to do about that."""
    code, properties = packet.reason_code, packet.properties
    words = f": {properties.reason_string}" if properties.reason_string else ""
    hint = _HINTS.get(code, "")
    if auth is not None:
        hint = _AUTH_HINTS.get(code, hint).format(auth.method)
    if code in REDIRECTIONS and properties.server_reference is not None:
        reference = properties.server_reference[:_LONGEST_REFERENCE]
        hint = f"; it refers to {reference!r}, and Reconnect(redirect=...) says where to go"
    return f"{code.describe()}{words}{hint}"


_LONGEST_REFERENCE: Final = 200
"""So much of a Server Reference stands in messages."""

_HINTS: Final = {
    ReasonCode.BAD_USER_NAME_OR_PASSWORD: "; check username and password",
    ReasonCode.NOT_AUTHORIZED: "; check username, password and what the server allows this client",
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID: "; choose another client_id",
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION: "; choose another protocol",
    ReasonCode.SESSION_TAKEN_OVER: (
        "; another client has connected with the same client_id: give each one of its own"
    ),
    ReasonCode.KEEP_ALIVE_TIMEOUT: "; nothing of ours came through in time",
}
"""What to do about some Reason Codes."""

_AUTH_HINTS: Final = {
    ReasonCode.BAD_AUTHENTICATION_METHOD: "; it does not know the method {!r} of auth",
    ReasonCode.BAD_USER_NAME_OR_PASSWORD: "; check what auth proves by the method {!r}",
    ReasonCode.NOT_AUTHORIZED: (
        "; check what auth proves, whether the server knows its method {!r}, and what it allows "
        "this client"
    ),
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION: "; auth needs MQTT 5.0",
}
"""What to do about some of them where there is enhanced authentication."""
