"""What is to be looked at, and what is known of it beforehand."""

from __future__ import annotations

import secrets
import ssl
import string
from typing import TYPE_CHECKING, Final

import attrs

from trio_mqtt._transports.opening import StreamOptions
from trio_mqtt._transports.progress import Progress
from trio_mqtt._transports.tcp import open_tcp
from trio_mqtt._transports.unix import open_unix
from trio_mqtt._transports.url import UNIX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    import trio

    from trio_mqtt._enums import Protocol
    from trio_mqtt._transports.proxy_url import ProxyAddress
    from trio_mqtt._transports.url import ServerAddress

_ALPHABET: Final = string.ascii_letters + string.digits
_LONGEST_IDENTIFIER: Final = 23
"""What every Server accepts, in letters and digits (MQTT-3.1.3-5)."""


def make_client_id() -> str:
    """A Client Identifier that no other client has."""
    beginning = "doctor"
    rest = (secrets.choice(_ALPHABET) for _ in range(_LONGEST_IDENTIFIER - len(beginning)))
    return beginning + "".join(rest)


@attrs.frozen(kw_only=True)
class Target:
    """What is to be looked at; see `trio_mqtt.open_client` for what is not explained.

    Attributes:
        address: the Server.
        make_context: makes the SSLContext anew, as the client would have it.
        websocket_headers: for the request of WebSocket.
        proxy: the URL of a proxy, ``environment``, or None.
        username: in place of that in the URL, or None.
        password: in place of that in the URL, or None.
        client_id: the Client Identifier of another client that is to be tried, or None.
        protocol: the version of MQTT, or None to negotiate.
        keep_alive: in seconds.
        topic: where to publish a message and get it back, or None.
        qos: of that message.
        timeout: how long each step may take, in seconds.
    """

    address: ServerAddress
    make_context: Callable[[], ssl.SSLContext] = ssl.create_default_context
    websocket_headers: Sequence[tuple[str, str]] = attrs.field(default=(), repr=False)
    proxy: str | None = attrs.field(default=None, repr=False)
    username: str | None = None
    password: str | bytes | None = attrs.field(default=None, repr=False)
    client_id: str | None = None
    protocol: Protocol | None = None
    keep_alive: int = 60
    topic: str | None = None
    qos: int = 1
    timeout: float = 10.0

    @property
    def credentials(self) -> tuple[str | None, str | bytes | None]:
        """User Name and Password."""
        address = self.address
        return (
            address.username if self.username is None else self.username,
            address.password if self.password is None else self.password,
        )

    def options(self, context: ssl.SSLContext | None = None) -> StreamOptions:
        """What is said of the byte stream beside the URL."""
        return StreamOptions(
            ssl_context=context, websocket_headers=self.websocket_headers, proxy=self.proxy
        )

    def find_proxy(self) -> ProxyAddress | None:
        """The proxy that leads to the Server, or None.

        Raises:
            ValueError: the environment names one whose URL cannot be read.
            ModuleNotFoundError: what it needs is not installed.
        """
        return None if self.address.scheme == UNIX else self.options().find_proxy(self.address)

    def reach(self) -> AbstractAsyncContextManager[trio.abc.Stream]:
        """Connect to the Server, with nothing above TCP or the Unix socket yet.

        Raises:
            ConnectFailed: that did not work.
        """
        progress = Progress(self.address.name, is_silent=True)
        if self.address.scheme == UNIX:
            return open_unix(self.address, progress)
        proxy = self.find_proxy()
        if proxy is None:
            return open_tcp(self.address, progress)
        from trio_mqtt._transports.proxies import open_through  # noqa: PLC0415 - of an extra

        return open_through(proxy, self.address, progress)
