"""What the errors of TLS mean, and what to do."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_mqtt._transports.url import ServerAddress

_EXPIRED: Final = 10
_NOT_YET_VALID: Final = 9
_WRONG_NAME: Final = 62
_WRONG_IP_ADDRESS: Final = 64
WORTH_A_LOOK: Final = frozenset((_EXPIRED, _NOT_YET_VALID, _WRONG_NAME, _WRONG_IP_ADDRESS))
"""Verification errors of OpenSSL for which the certificate itself tells more."""

_TRUST: Final = "if it is the right one, trust it with ssl_context=make_ssl_context(ca_file=...)"
_AUTHORITY: Final = (
    "is signed by an authority that is not trusted here; if it is the right one, trust it with "
    "ssl_context=make_ssl_context(ca_file=...)"
)

VERIFICATION: Final[Mapping[int, str]] = {
    9: "is not valid yet{dates}; check the clocks of both machines",
    10: "has expired{dates}; the server needs a new one, unless this machine's clock is wrong",
    18: f"is self-signed and not trusted here; {_TRUST}",
    19: _AUTHORITY,
    20: _AUTHORITY,
    21: _AUTHORITY,
    23: "was revoked",
    26: "is not meant for servers",
    62: "is for another host name{names}; use one of its names in the URL",
    64: "is for another address{names}; use one of its names in the URL",
    66: "has a key that is too weak",
    67: "is signed with a key that is too weak",
    68: "is signed with an algorithm that is too weak",
}
"""What is wrong with the Server's certificate, by OpenSSL's X509_V_ERR_ number."""

_TEXT: Final = re.compile(r"\[SSL\] (.+) \(_ssl\.c:\d+\)")
_NO_TLS: Final = "it does not speak TLS there; is it {plain}:// on that port?"
_OLD: Final = (
    "there is no version of TLS that both sides accept; here that is 1.2 or later, unless the "
    "ssl_context says otherwise"
)
_GIVE_ONE: Final = "give one with ssl_context=make_ssl_context(certificate=..., key=...)"
_CHECK: Final = "check the certificate that the ssl_context has"

REASONS: Final[Mapping[str, str]] = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "UNSUPPORTED_PROTOCOL": _OLD,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD,
    "NO_PROTOCOLS_AVAILABLE": _OLD,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": f"the server wants a client certificate; {_GIVE_ONE}",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (
        "the server refused the handshake: it wants a client certificate, or accepts no cipher "
        f"of ours; {_GIVE_ONE}"
    ),
    "TLSV1_ALERT_UNKNOWN_CA": (
        f"the server does not know the authority that signed the client certificate; {_CHECK}"
    ),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": f"the client certificate has expired; {_CHECK}",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": f"the client certificate was revoked; {_CHECK}",
    "SSLV3_ALERT_BAD_CERTIFICATE": f"the server refused the client certificate; {_CHECK}",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": f"the server refused the client certificate; {_CHECK}",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": f"the server refused the client certificate; {_CHECK}",
    "TLSV1_ALERT_DECRYPT_ERROR": f"the server refused the client certificate; {_CHECK}",
    "TLSV1_ALERT_ACCESS_DENIED": f"the server lets this client certificate not in; {_CHECK}",
    "TLSV1_UNRECOGNIZED_NAME": "the server has no certificate for {host!r}; check the host name",
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": (
        "the server speaks none of the ALPN protocols that were offered; check the `alpn` of the "
        "ssl_context"
    ),
}
"""What has happened, by the reason that the standard library gives."""


def describe_failure(
    address: ServerAddress, cause: BaseException, certificate: Mapping[str, Any] | None
) -> str:
    """Why a handshake has failed, and what to do.

    Args:
        address: the Server.
        cause: the error of the standard library, or of the stream beneath.
        certificate: what the certificate says, as `ssl.SSLSocket.getpeercert` has it, or None.
    """
    plain = "ws" if address.is_websocket else "mqtt"
    if isinstance(cause, ssl.SSLCertVerificationError):
        text = VERIFICATION.get(cause.verify_code, "was refused")
        text = text.format(dates=_dates(certificate), names=_names(certificate))
        return f"the server's certificate {text} ({cause.verify_message})"
    orderly = isinstance(cause, ssl.SSLZeroReturnError)  # which it cannot be so early
    if isinstance(cause, ssl.SSLError) and not orderly and not is_end(cause):
        reason = _reason(cause)
        text = REASONS.get(reason, "the TLS handshake failed")
        return f"{text.format(plain=plain, host=address.host)} ({reason})"
    return (
        "the server ended the connection during the TLS handshake; does it speak TLS on that "
        f"port, or is it {plain}://?"
    )


def is_end(cause: BaseException) -> bool:
    """Whether this says that the connection has ended without a word of TLS."""
    if isinstance(cause, ssl.SSLEOFError):
        return True
    # For which some versions of Python have no class.
    return isinstance(cause, ssl.SSLError) and _reason(cause) == "UNEXPECTED_EOF_WHILE_READING"


def describe_loss(cause: BaseException, *, heard: bool) -> str:
    """How a connection with TLS has broken.

    Args:
        cause: the error of the standard library, or of the stream beneath.
        heard: whether anything had come from the Server after the handshake.
    """
    if is_end(cause):
        text = "the server closed the connection without a close_notify of TLS"
    elif isinstance(cause, ssl.SSLError):
        text = f"TLS failed ({_reason(cause)})"
    else:
        text = str(cause)
    if heard:
        return text
    return f"{text}; some servers do that if they want a client certificate, or another one"


def _reason(error: ssl.SSLError) -> str:
    """The name of the reason; the standard library knows only some, and the text of all."""
    words = _TEXT.match(str(error))
    return error.reason or (words[1].upper().replace(" ", "_") if words else str(error))


def _names(certificate: Mapping[str, Any] | None) -> str:
    names = [value for _, value in (certificate or {}).get("subjectAltName", ())]
    return f" (it is for {', '.join(names)})" if names else ""


def _dates(certificate: Mapping[str, Any] | None) -> str:
    if not certificate:
        return ""
    return f" (it is valid from {certificate['notBefore']} to {certificate['notAfter']})"
