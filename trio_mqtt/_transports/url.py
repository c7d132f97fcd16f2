"""Server URLs (``mqtt://user:password@host:1883``).

A URL may hold a password, and its query a signature. So no message quotes more of it than the
scheme, and where the standard library's messages quote the URL they are replaced, not chained.
"""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import SplitResult, unquote, urlsplit

import attrs

if TYPE_CHECKING:
    from typing import NoReturn

DEFAULT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
UNIX: Final = "mqtt+unix"
DEFAULT_PATH: Final = "/mqtt"
"""Where most Servers expect WebSocket connections, if the URL does not say it."""

_WEBSOCKET: Final = ("ws", "wss")
_TLS: Final = ("mqtts", "wss")
_SCHEMES: Final = (*DEFAULT_PORTS, UNIX)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=://)")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f]")
_BAD_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MOST_PORT: Final = 65_535


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
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"

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
    if not isinstance(cast("object", url), str):
        message = f"a server URL is a str, not {type(url).__name__}"
        raise TypeError(message)
    scheme = _scheme(url)
    parts = _split(url)
    userinfo, at, place = parts.netloc.rpartition("@")
    username, password = _credentials(userinfo) if at else (None, None)
    if parts.fragment or url.endswith("#"):
        _refuse("a # in it; as part of a user name or password write %23")
    if scheme == UNIX:
        host, port, path = "", 0, _socket_path(parts, place)
    else:
        host, port = _host_and_port(place, scheme)
        path = _path(parts, scheme)
    return ServerAddress(
        scheme=scheme,
        host=host,
        port=port,
        path=path,
        query=parts.query,
        username=username,
        password=password,
    )


def _refuse(what: str) -> NoReturn:
    message = f"the server URL has {what}"
    raise ValueError(message)


def _scheme(url: str) -> str:
    match = _SCHEME.match(url)
    known = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
    if match is None:
        _refuse(f"no scheme; it has to begin with one of: {known}")
    scheme = match[0].lower()
    if scheme not in _SCHEMES:
        _refuse(f"the scheme {scheme!r}; supported are: {known}")
    if _UNPRINTABLE.search(url):
        _refuse("a space or control character in it; write it as %20 or so")
    return scheme


def _split(url: str) -> SplitResult:
    parts = None
    with suppress(ValueError):  # which may quote a password; not to be seen as the context, either
        parts = urlsplit(url)
    if parts is None:
        message = (
            "the server URL cannot be read: its host is malformed; it should look like "
            "mqtt://host:1883, or mqtt://[::1]:1883 with an IPv6 address"
        )
        raise ValueError(message)
    return parts


def _credentials(userinfo: str) -> tuple[str | None, str | None]:
    username, colon, password = userinfo.partition(":")
    return (
        _unquote(username, "user name") if userinfo else None,
        _unquote(password, "password") if colon else None,
    )


def _unquote(text: str, what: str) -> str:
    if _BAD_PERCENT.search(text):
        _refuse(f"a % in its {what} that is no %XX; write %25 for the character itself")
    unquoted = None
    with suppress(UnicodeDecodeError):  # which quotes the bytes
        unquoted = unquote(text, errors="strict")
    if unquoted is None:
        _refuse(f"a {what} that is not UTF-8 when unquoted; use the arguments of open_client")
    return unquoted


def _host_and_port(place: str, scheme: str) -> tuple[str, int]:
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        host = _ipv6(host)
        if rest and not rest.startswith(":"):
            _refuse("something other than a port behind the ]")
        digits = rest[1:]
    else:
        host, _, digits = place.partition(":")
        if ":" in digits:
            _refuse("several colons in its host; an IPv6 address stands in brackets: [::1]:1883")
    if not host:
        _refuse(f"no host; it should look like {scheme}://host:{DEFAULT_PORTS[scheme]}")
    if not digits:
        return host.lower(), DEFAULT_PORTS[scheme]
    if not (digits.isascii() and digits.isdigit() and 1 <= int(digits[:6]) <= _MOST_PORT):
        _refuse(
            f"a port that is no number from 1 to {_MOST_PORT}; in a user name or password, "
            "write / as %2F, ? as %3F, # as %23 and @ as %40"
        )
    return host.lower(), int(digits)


def _ipv6(text: str) -> str:
    address = unquote(text)  # the % before a zone is %25 in a URL (RFC 6874)
    is_one = True
    try:
        IPv6Address(address)
    except ValueError:
        is_one = False
    if not is_one:
        _refuse("something other than an IPv6 address between its brackets")
    return address


def _path(parts: SplitResult, scheme: str) -> str:
    if scheme in _WEBSOCKET:
        return parts.path or DEFAULT_PATH
    if parts.path not in ("", "/") or parts.query:
        _refuse(f"a path or query, which means nothing to {scheme}://; it ends with the port")
    return ""


def _socket_path(parts: SplitResult, place: str) -> str:
    if place:
        _refuse(f"a host; a Unix socket has none, and three slashes: {UNIX}:///path/of/socket")
    if parts.query:
        _refuse("a query; a Unix socket has none, and a ? in its path is %3F")
    path = _unquote(parts.path, "path")
    if path in ("", "/") or "\0" in path:
        _refuse(f"no path of a socket; it should look like {UNIX}:///path/of/socket")
    return path
