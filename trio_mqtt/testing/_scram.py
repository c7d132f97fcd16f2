"""The Server's side of SCRAM, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mqtt._enums import ReasonCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_mqtt.packets import Connect
    from trio_mqtt.testing._policy import AuthenticationStep, BeginAuthentication


def scram_users(
    passwords: Mapping[str, str],
    method: str = "SCRAM-SHA-256",
    *,
    iterations: int | None = None,
) -> BeginAuthentication:
    """Let in who proves by SCRAM to know a password; it needs ``pip install 'trio-mqtt[scram]'``.

    Example::

        server.authentication_methods["SCRAM-SHA-256"] = scram_users({"alice": "secret"})

    Args:
        passwords: by user name.
        method: ``SCRAM-SHA-1``, ``SCRAM-SHA-256`` or ``SCRAM-SHA-512``.
        iterations: how much work it is to try a password; by default the least that is allowed.
    """
    from scramp import ScramException, ScramMechanism  # noqa: PLC0415 - only who uses it needs it

    mechanism = ScramMechanism(method)
    known = {
        username: mechanism.make_auth_info(password, iterations)
        for username, password in passwords.items()
    }

    def begin(_connect: Connect) -> AuthenticationStep:
        server = mechanism.make_server(known.get)
        begun = False

        def step(data: bytes | None) -> tuple[ReasonCode, bytes | None]:
            nonlocal begun
            try:
                text = (data or b"").decode()
                if begun:
                    server.set_client_final(text)
                    return ReasonCode.SUCCESS, server.get_server_final().encode()
                begun = True
                server.set_client_first(text)
                return ReasonCode.CONTINUE_AUTHENTICATION, server.get_server_first().encode()
            except (ScramException, UnicodeDecodeError):
                return ReasonCode.NOT_AUTHORIZED, None

        return step

    return begin
