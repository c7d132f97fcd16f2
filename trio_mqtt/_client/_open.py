"""`open_client`: the block that owns everything."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, cast

import trio

from trio_mqtt._client._arguments import CredentialsSource, check_arguments
from trio_mqtt._client._client import Client
from trio_mqtt._client._hooks import Hooks
from trio_mqtt._client._itinerary import DEFAULT_URL, Itinerary
from trio_mqtt._client._managing import manager
from trio_mqtt._client._options import ConnectOptions
from trio_mqtt._client._outgoing import own_instance
from trio_mqtt._client._reconnecting import Reconnect
from trio_mqtt._client._session import Session
from trio_mqtt._client._supervisor import Supervisor
from trio_mqtt._errors import MQTTError
from trio_mqtt._transports.opening import StreamOptions

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence

    from trio_mqtt._client._options import Credentials, Will
    from trio_mqtt._enums import Protocol
    from trio_mqtt.abc import Authenticator, Connector, Instrument

_RECONNECT = Reconnect()
_logger = logging.getLogger("trio_mqtt")


@manager("open_client(...)", "client")
async def open_client(  # noqa: PLR0913 - the options of CONNECT, each by name
    url: str | Sequence[str] | Callable[[], Awaitable[str]] = DEFAULT_URL,
    *,
    connector: Connector | None = None,
    client_id: str | None = None,
    session: Session | None = None,
    protocol: Protocol | None = None,
    username: str | None = None,
    password: str | bytes | None = None,
    credentials: Callable[[], Awaitable[Credentials]] | None = None,
    auth: Authenticator | None = None,
    will: Will | None = None,
    ssl_context: ssl.SSLContext | Callable[[], Awaitable[ssl.SSLContext]] | None = None,
    websocket_headers: Sequence[tuple[str, str]]
    | Callable[[], Awaitable[Sequence[tuple[str, str]]]] = (),
    proxy: str | Literal["environment"] | None = None,  # noqa: PYI051 - for those who read it
    keep_alive: int = 60,
    reconnect: Reconnect | None = _RECONNECT,
    on_session_lost: Literal["republish_certain", "republish", "fail"] = "republish_certain",
    connect_timeout: float = 30,
    close_timeout: float = 5,
    ping_timeout: float = 10,
    ack_timeout: float | None = None,
    unclaimed_timeout: float = 30,
    receive_maximum: int = 1000,
    maximum_packet_size: int | None = None,
    topic_alias_maximum: int = 0,
    use_topic_aliases: bool = True,
    user_properties: Iterable[tuple[str, str]] = (),
    instruments: Iterable[Instrument] = (),
    request_problem_information: bool = True,
    unsupported_properties: Literal["refuse", "leave_out"] = "refuse",
) -> AsyncGenerator[Client]:
    """Connect to an MQTT Server for the time of an ``async with`` block, which gets a `Client`.

    A lost connection is made again in the background, as `reconnect` says: what was published
    just takes longer, and subscriptions go on.

    On exit what was accepted is completed, DISCONNECT is sent and everything is closed, within
    `close_timeout`, also if the block fails or is cancelled. If the connection fails for good, the
    block is cancelled and one `MQTTError` leaves it. An exception of the block itself leaves it
    unchanged; a failure of the connection is then a note on it.

    Cancelled while it enters, it closes what it has opened.

    Args:
        url: ``mqtt://host:port``, ``mqtts://`` for TLS, ``ws://`` and ``wss://`` for WebSocket
            without and with TLS, or ``mqtt+unix:///path``; user name and password may stand in
            it. Without a port it is 1883, 8883, 80 or 443, and a WebSocket URL without a path has
            ``/mqtt``. Or several, tried in order, that name one Server or a cluster; or an
            asynchronous callable that makes one at each attempt.
        connector: makes the byte stream; see `trio_mqtt.abc.Connector`. What the URL says, if one
            is given beside it, is used for credentials and in messages.
        client_id: the Client Identifier; by default 23 random letters and digits.
        session: a Session that goes on beyond this block; it has the Client Identifier. Without
            one the Session ends with the block.
        protocol: `MQTT_5`, `MQTT_3_1_1` or `MQTT_3_1`; None tries 5.0, then 3.1.1 if the Server
            does not speak that. A Session keeps to the version that it has spoken.
        username: the User Name, in place of that in the URL.
        password: the Password, in place of that in the URL.
        credentials: an asynchronous callable that returns both at each attempt, in place of them.
        auth: enhanced authentication, such as `trio_mqtt.scram.Scram`, beside user name and
            password or in place of them (4.12). It needs MQTT 5.0: no other version is tried.
        will: what the Server publishes when this client dies.
        ssl_context: what TLS trusts, and the client's own certificate, as `make_ssl_context` makes
            it; or an asynchronous callable that makes it at each attempt. By default what the
            system trusts is trusted, and the host name is checked.
        websocket_headers: more headers for the request of WebSocket; or an asynchronous callable
            that makes them at each attempt.
        proxy: what leads to the Server: ``socks5://user:password@host:port``, ``socks5h://``,
            which has the proxy look up the Server's name, or ``http://`` for HTTP CONNECT; or
            ``"environment"`` for what the variables ``all_proxy``, ``https_proxy``, ``http_proxy``
            and ``no_proxy`` say. It needs ``pip install 'trio-mqtt[proxy]'``.
        keep_alive: the Server is sent something at least this often, in seconds; 0 for never
            (3.1.2.10). MQTT 5.0 Servers may choose another interval.
        reconnect: how to get a lost connection back; None fails on the first loss.
        on_session_lost: what becomes of messages under way when the Server has lost the Session.
            ``"republish_certain"``: QoS 1 messages are published again, and QoS 2 messages that
            the Server may have had raise `SessionLost` at their publishers; ``"republish"``: those
            are published again, too, and may come twice; ``"fail"``: QoS 1 messages that the
            Server may have had raise `SessionLost`, too.
        connect_timeout: how long each attempt to connect may take in all, in seconds.
        close_timeout: how long closing may take in all, in seconds.
        ping_timeout: how long the Server may be silent after a PINGREQ, in seconds.
        ack_timeout: how long the Server may take for an acknowledgement before the connection is
            taken for dead, in seconds; None for as long as it likes.
        unclaimed_timeout: how long a message left unsettled waits for a subscription that takes
            it, before it is acknowledged, in seconds.
        receive_maximum: how many QoS 1 and 2 messages may be unsettled at once (3.1.2.11.3).
        maximum_packet_size: refuse larger packets, in bytes; None for no limit (3.1.2.11.4).
        topic_alias_maximum: how many Topic Aliases the Server may use (3.1.2.11.5).
        use_topic_aliases: whether Topic Names that come again and again are sent as Topic Aliases,
            where the Server allows any (3.2.2.3.8).
        user_properties: name and value pairs for CONNECT (MQTT 5.0).
        instruments: who is told what the client does, in order; see `trio_mqtt.abc.Instrument`.
        request_problem_information: whether the Server may explain its acknowledgements with
            Reason Strings and User Properties (3.1.2.11.7).
        unsupported_properties: what becomes of properties where an older version is spoken, which
            has none. ``"refuse"`` raises `FeatureNotSupported`; ``"leave_out"`` does without those
            that only inform: User Properties, Content Type and Reason String. The others are
            refused in any case.

    Raises:
        ImportError: there is a `proxy`, and what that needs is not installed.
        ValueError: a URL cannot be read, a number is out of range, or two arguments exclude
            each other.
        TypeError: an argument is of another type.
        RuntimeError: Trio does not run here, or this has been entered before.
        LocalProtocolError: the standard forbids what was asked for.
        FeatureNotSupported: the version of MQTT does not have it.
        ConnectFailed: no connection could be made; its `stage` says how far it came.
        ConnectRejected: the Server refused it.
        AuthenticationFailed: the Server did not prove who it is, as `auth` wants it.
        RemoteProtocolError: the Server broke the protocol.
        ConnectionLost: on leaving; the connection was lost, for good.
        StorageError: the storage of the Session cannot be read.
        StorageBusy: it is in use by another program.
        trio.BusyResourceError: the Session is in use by another client.
    """
    check_arguments(
        connector=connector,
        client_id=client_id,
        session=session,
        protocol=protocol,
        username=username,
        password=password,
        credentials=credentials,
        will=will,
        reconnect=reconnect,
        on_session_lost=on_session_lost,
    )
    if session is not None and client_id is not None:
        message = "give client_id or session, not both: a Session has its client_id"
        raise ValueError(message)
    if credentials is not None and (username is not None or password is not None):
        message = "give credentials, or username and password, not both"
        raise ValueError(message)
    options = ConnectOptions(
        protocol=protocol,
        will=will,
        keep_alive=keep_alive,
        connect_timeout=connect_timeout,
        close_timeout=close_timeout,
        ping_timeout=ping_timeout,
        ack_timeout=ack_timeout,
        unclaimed_timeout=unclaimed_timeout,
        receive_maximum=receive_maximum,
        maximum_packet_size=maximum_packet_size,
        topic_alias_maximum=topic_alias_maximum,
        use_topic_aliases=use_topic_aliases,
        user_properties=user_properties,
        request_problem_information=request_problem_information,
        unsupported_properties=unsupported_properties,
        auth=auth,
    )
    streams = StreamOptions(
        ssl_context=ssl_context, websocket_headers=websocket_headers, proxy=proxy
    )
    itinerary = Itinerary(url, connector, streams, (reconnect or _RECONNECT).redirect)
    hooks = Hooks(instruments)
    if session is None:
        session = Session._for_one_client(client_id, reconnects=reconnect is not None)

    # An exception of the body is caught inside the nursery, so that closing comes first and no
    # group forms around it, and raised again outside.
    body_error: BaseException | None = None
    supervisor: Supervisor | None = None
    background_error: BaseException | None = None
    await session._open()
    try:
        async with trio.open_nursery() as nursery:
            supervisor = Supervisor(
                itinerary,
                options,
                session,
                reconnect=reconnect,
                on_session_lost=on_session_lost,
                credentials=CredentialsSource(username, password, credentials).find,
                new_credentials=credentials is not None
                or callable(url)
                or (auth is not None and auth.retry_refused),
                nursery=nursery,
                hooks=hooks,
            )
            session._supervisor = supervisor
            supervisor.committer.start(nursery)
            nursery.start_soon(supervisor.run)
            try:
                await supervisor.settled.wait()
                if supervisor.error is None:
                    with supervisor.body_scope:
                        yield Client(supervisor)
            except BaseException as error:  # noqa: BLE001 - raised again below
                body_error = error
            crashed = nursery.cancel_scope.cancel_called  # then the body was only cancelled
            failed = crashed or (body_error is not None and not _is_cancellation(body_error))
            try:
                await supervisor.close(failed=failed)
            finally:
                await supervisor.end()
                await supervisor.committer.close()
                if nursery.child_tasks:  # to cancel nobody has its price, too
                    nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        background_error = _most_urgent(group)
    finally:
        await _close(session, other_error=body_error or background_error)
    _raise_outcome(supervisor, body_error, background_error)


async def _close(session: Session, *, other_error: BaseException | None) -> None:
    """Give the record back; a failure of that takes no other error's place."""
    try:
        await session._close()
    except MQTTError as error:
        if other_error is None:
            raise
        _logger.warning("the session could not be closed: %s", error)


def _most_urgent(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception of a group that matters most: KeyboardInterrupt, a bug, Cancelled."""
    leaves = list(_leaves(group))
    for kind in (KeyboardInterrupt, SystemExit, Exception):
        for error in leaves:
            if isinstance(error, kind):
                return error
    return leaves[0]


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    group = cast("BaseExceptionGroup[BaseException]", error)
    return [leaf for member in group.exceptions for leaf in _leaves(member)]


def _is_cancellation(error: BaseException) -> bool:
    return all(isinstance(leaf, trio.Cancelled) for leaf in _leaves(error))


def _raise_outcome(
    supervisor: Supervisor | None,
    body_error: BaseException | None,
    background_error: BaseException | None,
) -> None:
    """Raise the one exception that leaves the block, if any."""
    failure = None if supervisor is None else supervisor.error
    if isinstance(background_error, KeyboardInterrupt | SystemExit):
        raise background_error
    if body_error is not None and not _is_cancellation(body_error):
        if failure is not None:
            body_error.add_note(f"the client had failed, too: {failure}")
        raise body_error
    if isinstance(background_error, Exception):
        raise background_error  # a bug, or an error of the caller's connector
    if failure is not None:
        raise own_instance(failure)
    if body_error is not None:
        raise body_error
    if background_error is not None:
        raise background_error
