"""Server URLs (``mqtt://user:password@host:1883``)."""

from __future__ import annotations

from typing import Final

import attrs

from trio_mqtt._transports.url_parts import (
    URLKind,
    URLParts,
    join_place,
    split_place,
    split_url,
    unquote_part,
)

DEFAULT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
UNIX: Final = "mqtt+unix"
DEFAULT_PATH: Final = "/mqtt"
"""Where most Servers expect WebSocket connections, if the URL does not say it."""

_WEBSOCKET: Final = ("ws", "wss")
_TLS: Final = ("mqtts", "wss")
_KIND: Final = URLKind(
    title="server URL",
    ports={**DEFAULT_PORTS, UNIX: 0},
    otherwise="; use the arguments of open_client",
    alike={
        "tcp": "mqtt",
        "ssl": "mqtts",
        "tls": "mqtts",
        "mqtt+ssl": "mqtts",
        "http": "ws",
        "https": "wss",
        "unix": UNIX,
    },
)


@attrs.frozen(kw_only=True)
class ServerAddress:
    """What a Server URL says.

    Attributes:
        scheme: the transport, such as ``mqtt``.
        host: a name or an IP address, without brackets; empty for a Unix socket.
        port: the port, given or usual for the scheme; 0 for a Unix socket.
        path: of the socket's file, unquoted; or what WebSocket asks for, still quoted; or empty.
        query: what WebSocket asks for behind the ``?``, still quoted; it may hold a signature.
        username: the User Name in the URL, or None.
        password: the Password in the URL, or None.
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    query: str = attrs.field(default="", repr=False)
    username: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The address for people, without credentials and query."""
        if self.scheme == UNIX:
            return f"{UNIX}://{self.path}"
        return f"{self.scheme}://{join_place(self.host, self.port)}{self.path}"

    @property
    def target(self) -> str:
        """Path and query, as WebSocket asks for them."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme in _TLS

    @property
    def is_websocket(self) -> bool:
        """Whether MQTT goes in WebSocket frames."""
        return self.scheme in _WEBSOCKET


def parse_url(url: str) -> ServerAddress:
    """Take a Server URL apart.

    Raises:
        TypeError: it is no str.
        ValueError: it is no URL of a Server. The text does not quote it.
    """
    parts = split_url(url, _KIND)
    if parts.scheme == UNIX:
        host, port, path = "", 0, _socket_path(parts)
    else:
        host, port = split_place(parts, _KIND)
        path = _path(parts)
    return ServerAddress(
        scheme=parts.scheme,
        host=host,
        port=port,
        path=path,
        query=parts.query,
        username=parts.username,
        password=parts.password,
    )


def _path(parts: URLParts) -> str:
    if parts.scheme in _WEBSOCKET:
        return parts.path or DEFAULT_PATH
    if parts.path not in ("", "/") or parts.query:
        _KIND.refuse(
            f"a path or query, which means nothing to {parts.scheme}://; it ends with the port"
        )
    return ""


def _socket_path(parts: URLParts) -> str:
    if parts.place:
        _KIND.refuse(f"a host; a Unix socket has none, and three slashes: {UNIX}:///path/of/socket")
    if parts.query:
        _KIND.refuse("a query; a Unix socket has none, and a ? in its path is %3F")
    path = unquote_part(parts.path, "path", _KIND)
    if path in ("", "/") or "\0" in path:
        _KIND.refuse(f"no path of a socket; it should look like {UNIX}:///path/of/socket")
    return path
