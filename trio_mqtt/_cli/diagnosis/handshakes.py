"""TLS handshakes for the sake of a look: what is there, even if it is refused.

OpenSSL keeps nothing of a certificate that it refuses, and the standard library parses none that
it has not checked. So there are several handshakes, each with another idea of what is trusted: the
last trusts the very certificate that the Server has shown, and so has all that it says.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from trio_mqtt._errors import ConnectFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

_NO_CHECK_TIME: Final = 0x20_0000
"""X509_V_FLAG_NO_CHECK_TIME, which the standard library does not name."""
_EVEN_WEAK: Final = "DEFAULT:@SECLEVEL=0"
"""Also keys and algorithms too weak for the client, so that they can be told."""
_MOST_KEPT: Final = 64
"""How much of the first bytes of a Server is kept."""


@attrs.define
class Look:
    """What came of a handshake.

    Attributes:
        tls: the state of TLS, if the handshake came to its end.
        error: why it did not, or None.
        first: the first bytes that came.
    """

    tls: ssl.SSLObject | None = None
    error: Exception | None = None
    first: bytes = b""

    @property
    def verify_code(self) -> int | None:
        """What OpenSSL has against the certificate, or None."""
        return getattr(self.error, "verify_code", None)


async def look(
    reach: Callable[[], AbstractAsyncContextManager[trio.abc.Stream]],
    context: ssl.SSLContext,
    name: str,
) -> Look:
    """Connect, do a TLS handshake and close.

    Args:
        reach: makes a connection without TLS.
        context: what is trusted.
        name: the name for SNI, and for the certificate if the context wants that.
    """
    seen = Look()
    try:
        async with reach() as stream:
            await _shake_hands(stream, context, name, seen)
    except (ssl.SSLError, ssl.CertificateError, OSError, trio.BrokenResourceError) as error:
        seen.error = _reason(error)
    return seen


def _reason(error: Exception) -> Exception:
    if isinstance(error, trio.BrokenResourceError | ConnectFailed):
        return error.__cause__ if isinstance(error.__cause__, Exception) else error
    return error


async def _shake_hands(
    stream: trio.abc.Stream, context: ssl.SSLContext, name: str, seen: Look
) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    while True:
        failure: ssl.SSLError | None = None
        wants_more = False
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            wants_more = True
        except ssl.SSLError as error:
            failure = error
        if outgoing.pending:  # of a failure, too: an alert, so that the Server knows
            await _send(stream, outgoing.read(), failure)
        if failure is not None:
            raise failure
        if not wants_more:
            seen.tls = tls
            return
        data = await stream.receive_some()
        seen.first = (seen.first + data)[:_MOST_KEPT]
        if data:
            incoming.write(data)
        else:
            incoming.write_eof()


async def _send(stream: trio.abc.Stream, data: bytes, failure: ssl.SSLError | None) -> None:
    try:
        await stream.send_all(data)
    except trio.BrokenResourceError:
        if failure is None:
            raise


def accept_anything(context: ssl.SSLContext) -> ssl.SSLContext:
    """Let a context accept any certificate; nothing secret may be sent then."""
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(_EVEN_WEAK)
    return context


def accept_only(
    context: ssl.SSLContext, certificate: bytes, *, check_name: bool = False
) -> ssl.SSLContext:
    """Let a context trust one certificate, whatever its dates.

    Args:
        context: is changed.
        certificate: in DER.
        check_name: whether it must have the right name.
    """
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = check_name
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    context.set_ciphers(_EVEN_WEAK)
    context.load_verify_locations(cadata=certificate)
    return context


def chain_length(tls: ssl.SSLObject) -> int | None:
    """How many certificates the Server has sent; None if this version of Python does not say."""
    get: Any = getattr(tls, "get_unverified_chain", None)  # from Python 3.13 on
    if get is None:
        # The same, without a public name: all that is lost with it is this number.
        get = getattr(getattr(tls, "_sslobj", None), "get_unverified_chain", None)
    chain = None if get is None else get()
    return None if chain is None else len(chain)
