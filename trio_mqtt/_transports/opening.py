"""From URL to byte stream, whatever the transport."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar, cast

import attrs

from trio_mqtt._errors import ConnectFailed
from trio_mqtt._transports.tcp import open_tcp
from trio_mqtt._transports.tls import open_tls
from trio_mqtt._transports.unix import open_unix
from trio_mqtt._transports.url import UNIX

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    import trio

    from trio_mqtt._transports.progress import Progress
    from trio_mqtt._transports.url import ServerAddress

    Headers = Sequence[tuple[str, str]]

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class StreamOptions:
    """What a caller says of streams, beside the URL; see `open_client`."""

    ssl_context: ssl.SSLContext | Callable[[], Awaitable[ssl.SSLContext]] | None = None
    websocket_headers: Headers | Callable[[], Awaitable[Headers]] = attrs.field(
        default=(), repr=False
    )

    def check(self, addresses: Sequence[ServerAddress]) -> None:
        """Raise if something was given that no address needs: it would silently do nothing.

        Raises:
            TypeError: the SSLContext is none.
            ValueError: no address uses it, or a header cannot be sent.
        """
        context: object = self.ssl_context
        if context is not None:
            if not (isinstance(context, ssl.SSLContext) or callable(context)):
                kind = type(context).__name__
                message = (
                    f"ssl_context is an ssl.SSLContext, or an asynchronous callable that "
                    f"makes one, not {kind}"
                )
                raise TypeError(message)
            if not any(address.is_tls for address in addresses):
                message = "ssl_context needs a URL with TLS: mqtts:// or wss://"
                raise ValueError(message)
        headers = self.websocket_headers
        if headers:
            if not any(address.is_websocket for address in addresses):
                message = "websocket_headers needs a URL with WebSocket: ws:// or wss://"
                raise ValueError(message)
            if not callable(headers):
                from trio_mqtt._transports.websocket import check_headers  # noqa: PLC0415

                check_headers(headers)


def open_stream(
    address: ServerAddress, progress: Progress, options: StreamOptions
) -> AbstractAsyncContextManager[trio.abc.Stream]:
    """Open the byte stream for MQTT, and close it behind the block.

    Args:
        address: where to, and by which transport.
        progress: is told each stage.
        options: what the caller says of it.

    Raises:
        ConnectFailed: it could not be opened; its `stage` says how far it came.
    """
    return _OPENERS[address.scheme](address, progress, options)


@asynccontextmanager
async def _open_mqtt(
    address: ServerAddress, progress: Progress, _options: StreamOptions
) -> AsyncGenerator[trio.abc.Stream]:
    async with open_tcp(address, progress) as stream:
        yield stream


@asynccontextmanager
async def _open_mqtts(
    address: ServerAddress, progress: Progress, options: StreamOptions
) -> AsyncGenerator[trio.abc.Stream]:
    context = await _find_context(address, progress, options)
    async with (
        open_tcp(address, progress) as transport,
        open_tls(transport, address, context, progress) as stream,
    ):
        yield stream


@asynccontextmanager
async def _open_ws(
    address: ServerAddress, progress: Progress, options: StreamOptions
) -> AsyncGenerator[trio.abc.Stream]:
    headers = await _find_headers(address, progress, options)
    async with (
        open_tcp(address, progress) as transport,
        _open_websocket(transport, address, progress, headers) as stream,
    ):
        yield stream


@asynccontextmanager
async def _open_wss(
    address: ServerAddress, progress: Progress, options: StreamOptions
) -> AsyncGenerator[trio.abc.Stream]:
    headers = await _find_headers(address, progress, options)
    context = await _find_context(address, progress, options)
    async with (
        open_tcp(address, progress) as transport,
        open_tls(transport, address, context, progress) as tls,
    ):
        try:
            async with _open_websocket(tls, address, progress, headers) as stream:
                yield stream
        except ConnectFailed:
            if tls.refusal is not None:  # it came where the answer of WebSocket was expected
                raise tls.refusal from tls.refusal.__cause__
            raise


def _open_websocket(
    stream: trio.abc.Stream, address: ServerAddress, progress: Progress, headers: Headers
) -> AbstractAsyncContextManager[trio.abc.Stream]:
    # Those who do not need trio-websocket do not wait for its import.
    from trio_mqtt._transports.websocket import open_websocket  # noqa: PLC0415

    progress.enter("WebSocket", f"asking for {address.path}")
    return open_websocket(stream, address, headers=headers)


@asynccontextmanager
async def _open_unix(
    address: ServerAddress, progress: Progress, _options: StreamOptions
) -> AsyncGenerator[trio.abc.Stream]:
    async with open_unix(address, progress) as stream:
        yield stream


_OPENERS: Final = {
    "mqtt": _open_mqtt,
    "mqtts": _open_mqtts,
    "ws": _open_ws,
    "wss": _open_wss,
    UNIX: _open_unix,
}


async def _find_context(
    address: ServerAddress, progress: Progress, options: StreamOptions
) -> ssl.SSLContext:
    given = options.ssl_context
    if isinstance(given, ssl.SSLContext):
        return given
    if given is None:
        return _default_context()
    progress.enter("TLS", "asking for the SSLContext")
    context = await _ask(given, "ssl_context", address, "TLS")
    if not isinstance(cast("object", context), ssl.SSLContext):
        message = f"the callable `ssl_context` made {type(context).__name__}, no ssl.SSLContext"
        raise TypeError(message)
    return context


@cache
def _default_context() -> ssl.SSLContext:
    """What the system trusts; to read all its certificates takes 40 ms, so that is done once."""
    return ssl.create_default_context()


async def _find_headers(
    address: ServerAddress, progress: Progress, options: StreamOptions
) -> Headers:
    given = options.websocket_headers
    if not callable(given):
        return given
    progress.enter("WebSocket", "asking for the headers")
    return await _ask(given, "websocket_headers", address, "WebSocket")


async def _ask(
    make: Callable[[], Awaitable[T]], what: str, address: ServerAddress, stage: str
) -> T:
    """Have the caller make something anew; files being replaced may be gone or half written."""
    try:
        return await make()
    except (OSError, ValueError) as error:
        message = f"cannot connect to {address.name}: the callable `{what}` failed: {error}"
        raise ConnectFailed(message, stage=stage) from error
