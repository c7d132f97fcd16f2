"""`open_client`: the block that owns everything."""

from __future__ import annotations

import secrets
import string
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import trio

from trio_mqtt._client._client import Client
from trio_mqtt._client._managing import protected_manager
from trio_mqtt._client._options import ConnectOptions
from trio_mqtt._client._outgoing import own_instance
from trio_mqtt._client._supervisor import Supervisor
from trio_mqtt._transports.tcp import open_tcp
from trio_mqtt._transports.url import parse_url

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from trio_mqtt._client._options import Will
    from trio_mqtt._enums import Protocol
    from trio_mqtt.abc import Connector

DEFAULT_URL: Final = "mqtt://localhost:1883"
_ALPHABET: Final = string.ascii_letters + string.digits
_ID_LENGTH: Final = 23  # what every Server takes (MQTT-3.1.3-5)


def _generated_client_id() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))


@protected_manager
async def open_client(  # noqa: PLR0913 - the options of CONNECT, each by name
    url: str = DEFAULT_URL,
    *,
    connector: Connector | None = None,
    client_id: str | None = None,
    protocol: Protocol | None = None,
    username: str | None = None,
    password: str | bytes | None = None,
    will: Will | None = None,
    keep_alive: int = 60,
    connect_timeout: float = 30,
    close_timeout: float = 5,
    ping_timeout: float = 10,
    unclaimed_timeout: float = 30,
    receive_maximum: int = 1000,
    maximum_packet_size: int | None = None,
    topic_alias_maximum: int = 0,
    user_properties: Iterable[tuple[str, str]] = (),
) -> AsyncGenerator[Client]:
    """Connect to an MQTT Server for the time of an ``async with`` block, which gets a `Client`.

    On exit what was accepted is completed, DISCONNECT is sent and everything is closed, within
    `close_timeout`, also if the block fails or is cancelled. If the connection fails for good, the
    block is cancelled and one `MQTTError` leaves it. An exception of the block itself leaves it
    unchanged; a failure of the connection is then a note on it.

    Cancelled while it enters, it closes what it has opened.

    Args:
        url: ``mqtt://host:port``; user name and password may stand in it.
        connector: makes the byte stream; see `trio_mqtt.abc.Connector`. What the URL says, if one
            is given beside it, is used for credentials and in messages.
        client_id: the Client Identifier; by default 23 random letters and digits.
        protocol: `MQTT_5`, `MQTT_3_1_1` or `MQTT_3_1`; None tries 5.0, then 3.1.1 if the Server
            does not speak that.
        username: the User Name, in place of that in the URL.
        password: the Password, in place of that in the URL.
        will: what the Server publishes when this client dies.
        keep_alive: the Server is sent something at least this often, in seconds; 0 for never
            (3.1.2.10).
        connect_timeout: how long connecting may take in all, in seconds.
        close_timeout: how long closing may take in all, in seconds.
        ping_timeout: how long the Server may be silent after a PINGREQ, in seconds.
        unclaimed_timeout: how long a message left unsettled waits for a subscription that takes
            it, before it is acknowledged, in seconds.
        receive_maximum: how many QoS 1 and 2 messages may be unsettled at once (3.1.2.11.3).
        maximum_packet_size: refuse larger packets, in bytes; None for no limit (3.1.2.11.4).
        topic_alias_maximum: how many Topic Aliases the Server may use (3.1.2.11.5).
        user_properties: name and value pairs for CONNECT (MQTT 5.0).

    Raises:
        ValueError: the URL cannot be read, or a number is out of range.
        LocalProtocolError: the standard forbids what was asked for.
        FeatureNotSupported: the version of MQTT does not have it.
        ConnectFailed: no connection could be made; its `stage` says how far it came.
        ConnectRejected: the Server refused it.
        RemoteProtocolError: the Server broke the protocol.
        ConnectionLost: on leaving; the connection was lost.
    """
    address = parse_url(url)
    name = "the server" if connector and url == DEFAULT_URL else address.name
    connector = connector or partial(open_tcp, address)
    username = address.username if username is None else username
    password = address.password if password is None else password
    options = ConnectOptions(
        client_id=_generated_client_id() if client_id is None else client_id,
        protocol=protocol,
        username=username,
        password=password.encode() if isinstance(password, str) else password,
        will=will,
        keep_alive=keep_alive,
        connect_timeout=connect_timeout,
        close_timeout=close_timeout,
        ping_timeout=ping_timeout,
        unclaimed_timeout=unclaimed_timeout,
        receive_maximum=receive_maximum,
        maximum_packet_size=maximum_packet_size,
        topic_alias_maximum=topic_alias_maximum,
        user_properties=user_properties,
    )
    # An exception of the body is caught inside the nursery, so that closing comes first and no
    # group forms around it, and raised again outside.
    body_error: BaseException | None = None
    supervisor: Supervisor | None = None
    background_error: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            supervisor = Supervisor(name, connector, options, nursery)
            nursery.start_soon(supervisor.run)
            try:
                await supervisor.settled.wait()
                if supervisor.error is None:
                    with supervisor.body_scope:
                        yield Client(supervisor)
            except BaseException as error:  # noqa: BLE001 - raised again below
                body_error = error
            failed = body_error is not None and not _is_cancellation(body_error)
            try:
                await supervisor.close(failed=failed)
            finally:
                supervisor.end()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        background_error = _most_urgent(group)
    _raise_outcome(supervisor, body_error, background_error)


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
