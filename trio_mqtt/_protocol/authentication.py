"""Enhanced authentication as a table (4.12): who has to speak, and which AUTH may come when.

The rules behind the rows:

- Without an Authentication Method in CONNECT there is no AUTH (MQTT-4.12.0-6, MQTT-4.12.0-7).
- The sides take turns: each AUTH of the Server asks for one of ours, until CONNACK ends the first
  authentication and AUTH 0x00 a later one.
- A later one is begun by the Client, with AUTH 0x19 (MQTT-4.12.1-1); the Server has no such packet
  (3.15.2.1).
- Every AUTH, and the CONNACK that accepts, names the method of CONNECT (MQTT-4.12.0-5).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from trio_mqtt._enums import ReasonCode
from trio_mqtt._errors import LocalProtocolError, RemoteProtocolError
from trio_mqtt.packets import NO_PROPERTIES, Auth, ConnAck

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_mqtt.packets import Properties


class AuthState(enum.Enum):
    """Where the authentication of a Network Connection stands."""

    OFF = "CONNECT had no Authentication Method"
    CONNECTING = "it awaits the server's answer, before CONNACK"
    CHALLENGED = "the server awaits our answer, before CONNACK"
    DONE = "the server has accepted us"
    RENEWING = "it awaits the server's answer, in an authentication begun after CONNACK"
    RENEWAL_CHALLENGED = "the server awaits our answer, in one begun after CONNACK"


_S, _R = AuthState, ReasonCode
_SUCCESS, _CONTINUE, _AGAIN = _R.SUCCESS, _R.CONTINUE_AUTHENTICATION, _R.RE_AUTHENTICATE

RECEIVED: Final[Mapping[tuple[AuthState, ReasonCode], AuthState | str]] = {
    (_S.OFF, _SUCCESS): "MQTT-4.12.0-6",
    (_S.OFF, _CONTINUE): "MQTT-4.12.0-6",
    (_S.OFF, _AGAIN): "MQTT-4.12.0-6",
    (_S.CONNECTING, _SUCCESS): "MQTT-4.12.0-2",  # CONNACK is what says so
    (_S.CONNECTING, _CONTINUE): _S.CHALLENGED,
    (_S.CONNECTING, _AGAIN): "MQTT-4.12.0-2",
    (_S.CHALLENGED, _SUCCESS): "MQTT-4.12.0-2",
    (_S.CHALLENGED, _CONTINUE): "4.12",  # it is our turn
    (_S.CHALLENGED, _AGAIN): "MQTT-4.12.0-2",
    (_S.DONE, _SUCCESS): "4.12.1",  # the answer to nothing
    (_S.DONE, _CONTINUE): "4.12.1",
    (_S.DONE, _AGAIN): "3.15.2.1",  # only a Client begins
    (_S.RENEWING, _SUCCESS): _S.DONE,
    (_S.RENEWING, _CONTINUE): _S.RENEWAL_CHALLENGED,
    (_S.RENEWING, _AGAIN): "3.15.2.1",
    (_S.RENEWAL_CHALLENGED, _SUCCESS): "4.12.1",  # it is our turn
    (_S.RENEWAL_CHALLENGED, _CONTINUE): "4.12.1",
    (_S.RENEWAL_CHALLENGED, _AGAIN): "3.15.2.1",
}
"""What follows from the Server's AUTH, by its Reason Code: a state, or what it violates."""

SENT: Final[Mapping[AuthState, tuple[ReasonCode, AuthState]]] = {
    _S.CHALLENGED: (_CONTINUE, _S.CONNECTING),  # MQTT-4.12.0-3
    _S.DONE: (_AGAIN, _S.RENEWING),  # MQTT-4.12.1-1
    _S.RENEWAL_CHALLENGED: (_CONTINUE, _S.RENEWING),
}
"""Our AUTH, where one may be sent: its Reason Code, and the state afterwards."""


class Authentication:
    """The enhanced authentication of one Network Connection, or that there is none.

    Args:
        method: the Authentication Method of CONNECT, or None.

    Attributes:
        method: the same.
        state: where it stands.
    """

    def __init__(self, method: str | None) -> None:
        self.method = method
        self.state = AuthState.OFF if method is None else AuthState.CONNECTING

    def on_auth(self, packet: Auth) -> None:
        """The Server has sent AUTH.

        Raises:
            RemoteProtocolError: it may send none, or no such one, now.
        """
        code = packet.reason_code
        follows = RECEIVED[self.state, code]
        if isinstance(follows, str):
            message = f"the Server sent AUTH {code.describe()}, and {self.state.value}"
            raise RemoteProtocolError(message, statement=follows)
        if packet.properties != NO_PROPERTIES:  # which 3.15.2.1 lets a success leave out
            self._check_method("AUTH", packet.properties)
        self.state = follows

    def on_connack(self, packet: ConnAck) -> None:
        """The Server has accepted the connection.

        Raises:
            RemoteProtocolError: it does so by another Authentication Method than that of CONNECT,
                or before it has our answer.
        """
        if self.state is AuthState.CHALLENGED:
            message = f"the Server sent CONNACK, and {self.state.value}"
            raise RemoteProtocolError(message, statement="4.12")
        self._check_method("CONNACK", packet.properties)
        if self.state is AuthState.CONNECTING:
            self.state = AuthState.DONE

    def _check_method(self, packet: str, properties: Properties) -> None:
        method = properties.authentication_method
        if method == self.method:
            return
        if self.method is None:
            message = f"{packet} has an Authentication Method, and CONNECT had none"
            raise RemoteProtocolError(message, statement="MQTT-4.12.0-6")
        has = "none" if method is None else repr(method)
        message = f"CONNECT had the Authentication Method {self.method!r}, and {packet} has {has}"
        raise RemoteProtocolError(message, statement="MQTT-4.12.0-5")

    def make_packet(self, properties: Properties) -> Auth:
        """The AUTH that may be sent now; `sent` says that it was.

        Raises:
            LocalProtocolError: none may.
        """
        if self.state not in SENT:
            message = f"no AUTH may be sent now: {self.state.value}"
            statement = "MQTT-4.12.0-7" if self.state is AuthState.OFF else "4.12"
            raise LocalProtocolError(message, statement=statement)
        return Auth(SENT[self.state][0], properties)

    def sent(self) -> None:
        """What `make_packet` made is on its way."""
        self.state = SENT[self.state][1]
