"""The arguments of `open_client` whose types Python would find wrong only later, and elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import attrs

from trio_mqtt._checks import call, check_callable, check_choice, check_kind
from trio_mqtt._client._options import Will
from trio_mqtt._client._reconnecting import Reconnect
from trio_mqtt._client._session import Session
from trio_mqtt._enums import Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mqtt._client._itinerary import Place
    from trio_mqtt._client._options import Credentials

_KINDS: Final[dict[str, tuple[type | tuple[type, ...], str]]] = {
    "client_id": (str, "a str"),
    "session": (Session, 'a Session, such as Session("gateway-7", expiry=3600)'),
    "protocol": (Protocol, "MQTT_5, MQTT_3_1_1, MQTT_3_1 or None"),
    "username": (str, "a str"),
    "password": ((str, bytes), "a str or bytes"),
    "will": (Will, 'a Will, such as Will(topic="status/gateway-7", payload="offline")'),
    "reconnect": (Reconnect, "a Reconnect, or None to fail on the first loss"),
}


def check_arguments(
    *, connector: object, credentials: object, on_session_lost: str, **given: object
) -> None:
    """Refuse what is of another type.

    Raises:
        TypeError: an argument is.
        ValueError: `on_session_lost` is none of its words.
    """
    for name, value in given.items():
        if value is not None:
            check_kind(name, value, *_KINDS[name])
    function = "a function that returns an asynchronous context manager of a byte stream"
    check_callable("connector", connector, function)
    function = "an asynchronous function that returns user name and password"
    check_callable("credentials", credentials, function)
    choices = ("republish_certain", "republish", "fail")
    check_choice("on_session_lost", on_session_lost, choices)


def check_credentials(made: Credentials) -> Credentials:
    """Refuse what the callable `credentials` has returned unless it is of use.

    Raises:
        TypeError: it is no pair, or user name or password are of another type.
    """
    if not isinstance(cast("object", made), tuple | list) or len(made) != 2:  # noqa: PLR2004
        kind = type(made).__name__
        raise TypeError(f"the callable `credentials` has to return two: it made {kind}")
    for name, value in zip(("username", "password"), made, strict=True):
        check_kind(f"the {name} that `credentials` made", value, *_KINDS[name])
    return made


@attrs.frozen
class CredentialsSource:
    """Where User Name and Password come from, at each attempt.

    Attributes:
        username: what the caller gave for all attempts, or None for what the URL says.
        password: likewise.
        make: what makes both, in place of them, or None.
    """

    username: str | None = attrs.field(repr=False)
    password: str | bytes | None = attrs.field(repr=False)
    make: Callable[[], Awaitable[Credentials]] | None = attrs.field(repr=False)

    async def find(self, place: Place) -> Credentials:
        """Those for this attempt.

        Raises:
            TypeError: the callable made something else.
        """
        if self.make is not None:
            return check_credentials(await call("credentials", self.make))
        return (
            place.username if self.username is None else self.username,
            place.password if self.password is None else self.password,
        )
