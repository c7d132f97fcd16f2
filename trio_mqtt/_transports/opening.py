"""From URL to byte stream, whatever the transport."""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar, cast

import attrs

from trio_mqtt._checks import call
from trio_mqtt._errors import ConnectFailed
from trio_mqtt._transports.progress import Progress
from trio_mqtt._transports.proxy_url import proxy_finder
from trio_mqtt._transports.tcp import open_tcp
from trio_mqtt._transports.tls import open_tls
from trio_mqtt._transports.unix import open_unix
from trio_mqtt._transports.url import UNIX

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    import trio

    from trio_mqtt._transports.proxy_url import ProxyAddress
    from trio_mqtt._transports.tls import TLSStream
    from trio_mqtt._transports.url import ServerAddress

    Headers = Sequence[tuple[str, str]]
    Transport = Callable[[Progress], AbstractAsyncContextManager[trio.abc.Stream]]

T = TypeVar("T")


def _proxy_finder(
    options: StreamOptions,
) -> Callable[[ServerAddress], ProxyAddress | None]:
    if options.proxy is not None:
        import_module("trio_mqtt._transports.proxies")  # an error now, if that is not installed
    return proxy_finder(options.proxy)


@attrs.frozen(kw_only=True)
class StreamOptions:
    """What a caller says of streams, beside the URL; see `open_client`."""

    ssl_context: ssl.SSLContext | Callable[[], Awaitable[ssl.SSLContext]] | None = None
    websocket_headers: Headers | Callable[[], Awaitable[Headers]] = attrs.field(
        default=(), repr=False
    )
    proxy: str | None = attrs.field(default=None, repr=False)
    find_proxy: Callable[[ServerAddress], ProxyAddress | None] = attrs.field(
        init=False, repr=False, default=attrs.Factory(_proxy_finder, takes_self=True)
    )

    def check(self, addresses: Sequence[ServerAddress]) -> None:
        """Raise if something was given that no address needs: it would silently do nothing.

        Raises:
            TypeError: the SSLContext is none.
            ValueError: no address uses it, a header cannot be sent, or what the environment has
                is not the URL of a proxy.
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
        if self.proxy is not None:
            with_tcp = [address for address in addresses if address.scheme != UNIX]
            if not with_tcp:
                message = (
                    "proxy needs a URL with TCP, such as mqtt:// or wss://; neither a connector "
                    "nor a Unix socket goes through it"
                )
                raise ValueError(message)
            for address in with_tcp:
                self.find_proxy(address)  # an error now, if the environment names none


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
    reach = _transport(address, options)
    if address.is_tls or address.is_websocket:
        return _open_layers(address, progress, options, reach)
    return reach(progress)  # nothing lies above it that would take memory


@asynccontextmanager
async def _open_layers(
    address: ServerAddress, progress: Progress, options: StreamOptions, reach: Transport
) -> AsyncGenerator[trio.abc.Stream]:
    # What the caller makes is asked for first, so that no open connection waits for it.
    headers = await _find_headers(address, progress, options) if address.is_websocket else ()
    context = await _find_context(address, progress, options) if address.is_tls else None
    async with AsyncExitStack() as layers:
        stream = await layers.enter_async_context(reach(progress))
        tls: TLSStream | None = None
        if context is not None:
            again = partial(reach, Progress(address.name, is_silent=True))
            stream = tls = await layers.enter_async_context(
                open_tls(stream, address, context, progress, reach=again)
            )
        if address.is_websocket:
            try:
                websocket = _open_websocket(stream, address, progress, headers)
                stream = await layers.enter_async_context(websocket)
            except ConnectFailed:
                if tls is not None and tls.refusal is not None:
                    # It came where the answer of WebSocket was expected.
                    raise tls.refusal from tls.refusal.__cause__
                raise
        yield stream


def _transport(address: ServerAddress, options: StreamOptions) -> Transport:
    """What makes the lowest layer: a Unix socket, or TCP, directly or through a proxy."""
    if address.scheme == UNIX:
        return partial(open_unix, address)
    proxy = options.find_proxy(address)
    if proxy is None:
        return partial(open_tcp, address)
    from trio_mqtt._transports.proxies import open_through  # noqa: PLC0415 - of an extra

    return partial(open_through, proxy, address)


def _open_websocket(
    stream: trio.abc.Stream, address: ServerAddress, progress: Progress, headers: Headers
) -> AbstractAsyncContextManager[trio.abc.Stream]:
    # Those who do not need trio-websocket do not wait for its import.
    from trio_mqtt._transports.websocket import open_websocket  # noqa: PLC0415

    progress.enter("WebSocket", f"asking for {address.path}")
    return open_websocket(stream, address, headers=headers)


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
        return await call(what, make)
    except (OSError, ValueError) as error:
        message = f"cannot connect to {address.name}: the callable `{what}` failed: {error}"
        raise ConnectFailed(message, stage=stage) from error
