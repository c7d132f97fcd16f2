"""SCRAM (RFC 5802, RFC 7677) as an Authentication Method, by scramp: the extra ``scram``.

The password never goes over the network, and the Server proves that it knows it, too. Where each
message goes is in 4.12 of the standard: client-first in CONNECT, server-first and client-final in
AUTH, server-final in CONNACK; later on all in AUTH.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import trio
from attrs import validators

from trio_mqtt._errors import AuthenticationFailed
from trio_mqtt.abc import Authenticator, AuthExchange

try:
    from scramp import ScramClient, ScramException
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "trio_mqtt.scram needs scramp: pip install 'trio-mqtt[scram]'", name=_missing.name
    ) from _missing

if TYPE_CHECKING:
    from trio_mqtt.abc import AuthData

__all__ = ["Scram"]

_METHODS: Final = ("SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512")
_QUICK: Final = 5_000
"""So many iterations are done at once, in some milliseconds; more in a thread."""
_UNPROVEN: Final = "the server has accepted this client without proving that it knows the password"


def _check_text(_scram: Scram, attribute: attrs.Attribute[str], value: object) -> None:
    if not isinstance(value, str):
        message = f"{attribute.name} is a str, not {type(value).__name__}"
        raise TypeError(message)


def _check_password(scram: Scram, attribute: attrs.Attribute[str], value: object) -> None:
    _check_text(scram, attribute, value)
    scram._client()  # noqa: SLF001 - it is the validator of that class


@attrs.frozen
class Scram(Authenticator):
    """Proves by SCRAM that both sides know a password; the argument `auth` of `open_client`.

    Attributes:
        username: who the client is; prepared by SASLprep, as the password (RFC 4013).
        password: the password; it is in no repr.
        method: ``"SCRAM-SHA-1"``, ``"SCRAM-SHA-256"`` or ``"SCRAM-SHA-512"``, as the Server wants.

    Raises:
        ValueError: there is no such method, or the user name or password has characters that
            SASLprep forbids.
        TypeError: one of them is no str.
    """

    username: str = attrs.field(validator=_check_text)
    method: str = attrs.field(
        default="SCRAM-SHA-256", validator=validators.in_(_METHODS), kw_only=True
    )
    password: str = attrs.field(repr=False, validator=_check_password)

    def begin(self) -> AuthExchange:
        """Begin an exchange, with a nonce of its own."""
        return _Exchange(self._client())

    def _client(self) -> ScramClient:
        try:
            return ScramClient([self.method], self.username, self.password)
        except ScramException as error:
            message = f"the user name or the password cannot be used for SCRAM: {error}"
            raise ValueError(message) from error


class _Exchange(AuthExchange):
    """One exchange, by the client's side of scramp, which checks the order of the messages."""

    def __init__(self, client: ScramClient) -> None:
        self._client = client

    async def start(self) -> bytes:
        """client-first-message."""
        return self._client.get_client_first().encode()

    async def answer(self, challenge: AuthData) -> bytes:
        """client-final-message, for the server-first-message."""
        try:
            first = _text(challenge)
            self._client.set_server_first(first)
            if _iterations(first) <= _QUICK:
                return self._client.get_client_final().encode()
            final = await trio.to_thread.run_sync(
                self._client.get_client_final, abandon_on_cancel=True
            )
        except ScramException as error:
            message = f"the server's part of SCRAM cannot be answered: {error}"
            raise AuthenticationFailed(message) from error
        return final.encode()

    async def finish(self, outcome: AuthData) -> None:
        """Check the server-final-message: the server's signature."""
        if outcome.data is None:
            raise AuthenticationFailed(_UNPROVEN)
        try:
            self._client.set_server_final(_text(outcome))
        except ScramException as error:
            message = f"{_UNPROVEN}: {error}"
            raise AuthenticationFailed(message) from error


def _text(said: AuthData) -> str:
    try:
        return (said.data or b"").decode()
    except UnicodeDecodeError as error:
        raise AuthenticationFailed("the server's part of SCRAM is no UTF-8") from error


def _iterations(first: str) -> int:
    """The iteration count in a server-first-message, which scramp has checked."""
    return next(int(part[2:]) for part in first.split(",") if part.startswith("i="))
