"""TLS, by `trio.SSLStream`."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_mqtt._errors import ConnectFailed
from trio_mqtt._transports.tls_failures import (
    WORTH_A_LOOK,
    describe_failure,
    describe_loss,
    is_end,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

    from trio_mqtt._transports.progress import Progress
    from trio_mqtt._transports.url import ServerAddress

_GOODBYE_TIMEOUT: Final = 1.0
"""How long close_notify may take to leave, in seconds; a dead connection does not take it."""
_LOOK_TIMEOUT: Final = 2.0
"""How long a look at a refused certificate may take, in seconds."""
_NO_CHECK_TIME: Final = 0x20_0000
"""X509_V_FLAG_NO_CHECK_TIME, which the standard library does not name."""


class _Transport(trio.abc.Stream):
    """What is beneath TLS, which keeps a failure to send to itself until something has come.

    A Server that refuses us says so and closes. If that is quicker than what we send first, that
    cannot be sent any more, but what the Server has said can still be read: it tells more.

    Args:
        stream: the stream.

    Attributes:
        lenient: whether a failure to send waits until the stream is read.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.lenient = False
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            if not self.lenient:
                raise

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


class TLSStream(trio.abc.Stream):
    """A `trio.SSLStream` after its handshake, which tells why it breaks.

    From TLS 1.3 on a Server judges the client's certificate after the handshake of the client is
    over, so that a refusal comes when the first bytes are read.

    Args:
        stream: the stream.
        address: the Server, for messages.

    Attributes:
        refusal: the error for a connection that broke by TLS before anything came, or None.
    """

    def __init__(self, stream: trio.SSLStream[_Transport], address: ServerAddress) -> None:
        self.refusal: ConnectFailed | None = None
        self._stream = stream
        self._transport = stream.transport_stream
        self._transport.lenient = True
        self._address = address
        self._heard = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive as `trio.SSLStream` does."""
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError as error:
            lost = self._lost(error)
            raise lost from lost.__cause__
        self._heard = True
        self._transport.lenient = False
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send as `trio.SSLStream` does."""
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as error:
            lost = self._lost(error)
            raise lost from lost.__cause__

    async def wait_send_all_might_not_block(self) -> None:
        """Wait as `trio.SSLStream` does."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Send close_notify if that takes little time, and close."""
        with trio.move_on_after(_GOODBYE_TIMEOUT), suppress(ssl.SSLError):
            await self._stream.aclose()

    def _lost(self, error: trio.BrokenResourceError) -> trio.BrokenResourceError:
        """The same error, with the reason as its cause: `refusal`, if it is one."""
        found = error.__cause__ or error
        reason: Exception
        if self._heard or not isinstance(found, ssl.SSLError) or is_end(found):
            reason = ConnectionError(describe_loss(found, heard=self._heard))
            reason.__cause__ = found
        else:
            reason = self.refusal = _failed(self._address, found, None)
        broken = trio.BrokenResourceError(str(reason))
        broken.__cause__ = reason
        return broken


@asynccontextmanager
async def open_tls(
    transport: trio.abc.Stream,
    address: ServerAddress,
    context: ssl.SSLContext,
    progress: Progress,
    *,
    reach: Callable[[], AbstractAsyncContextManager[trio.abc.Stream]],
) -> AsyncGenerator[TLSStream]:
    """Speak TLS on a stream.

    Args:
        transport: the stream.
        address: the Server, whose name the certificate has to have.
        context: what is trusted, and who we are.
        progress: is told the stage.
        reach: makes another transport to the Server, for a look at a refused certificate.

    Raises:
        ConnectFailed: the handshake has failed (stage ``TLS``).
    """
    progress.enter("TLS", "the handshake begins")
    stream = trio.SSLStream(_Transport(transport), context, server_hostname=certified_name(address))
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as error:
        cause = error.__cause__ or error
        certificate = None
        if getattr(cause, "verify_code", None) in WORTH_A_LOOK:
            # A Server may take one handshake at a time, and Trio has not sent it the alert.
            await trio.aclose_forcefully(transport)
            certificate = await _look_at_certificate(reach, address, context)
        raise _failed(address, cause, certificate) from cause
    cipher = stream.cipher() or ("none",)
    protocol = stream.selected_alpn_protocol()
    progress.note(
        f"{stream.version()} with {cipher[0]}" + (f", ALPN {protocol}" if protocol else "")
    )
    async with TLSStream(stream, address) as told:
        yield told


def certified_name(address: ServerAddress) -> str:
    """The name for SNI and for the certificate: without the final dot, and the zone of IPv6."""
    return address.host.partition("%")[0].rstrip(".")


def _failed(
    address: ServerAddress, cause: BaseException, certificate: dict[str, Any] | None
) -> ConnectFailed:
    what = describe_failure(address, cause, certificate)
    failed = ConnectFailed(f"cannot connect to {address.name}: {what}", stage="TLS")
    failed.__cause__ = cause
    return failed


async def _look_at_certificate(
    reach: Callable[[], AbstractAsyncContextManager[trio.abc.Stream]],
    address: ServerAddress,
    context: ssl.SSLContext,
) -> dict[str, Any] | None:
    """What a certificate says that has another name or is out of date; None if that fails, too.

    OpenSSL keeps nothing of a certificate that it refuses. So there is another connection, for
    which name and date do not matter; it is closed after the handshake.
    """
    lax = ssl.create_default_context()
    lax.check_hostname = False
    lax.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    for authority in context.get_ca_certs(binary_form=True):
        lax.load_verify_locations(cadata=authority)
    left = trio.current_effective_deadline() - trio.current_time()
    with (
        trio.move_on_after(min(_LOOK_TIMEOUT, left / 2)),  # the refusal is to be told in time
        suppress(ConnectFailed, trio.BrokenResourceError, ssl.SSLError),
    ):
        async with reach() as transport:
            stream = trio.SSLStream(transport, lax, server_hostname=certified_name(address))
            await stream.do_handshake()
            found: dict[str, Any] | None = stream.getpeercert()
            return found
    return None
