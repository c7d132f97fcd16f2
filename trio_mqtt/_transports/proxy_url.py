"""Which proxy leads to a Server: the one given, or one that the environment names."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final, cast
from urllib.request import getproxies_environment

import attrs

from trio_mqtt._transports.url_parts import URLKind, join_place, split_place, split_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mqtt._transports.url import ServerAddress

ENVIRONMENT: Final = "environment"
"""The value of the argument `proxy` that leaves it to the environment."""

_PORTS: Final = {"socks5": 1080, "socks5h": 1080, "http": 80}
_GIVEN: Final = URLKind(title="proxy URL", ports=_PORTS)
_VARIABLES: Final = {
    "mqtt": ("all",),
    "mqtts": ("https", "all"),
    "ws": ("http", "all"),
    "wss": ("https", "all"),
}
"""The variables that count for a scheme, without the ``_proxy`` that they end with, in order."""
_SEPARATORS: Final = re.compile(r"[\s,]+")
_MOST_SOCKS: Final = 255
"""How long user name and password may be in SOCKS5, in bytes (RFC 1929)."""


@attrs.frozen(kw_only=True)
class ProxyAddress:
    """What the URL of a proxy says.

    Attributes:
        scheme: ``socks5``, ``socks5h`` or ``http``.
        host: a name or an IP address, without brackets.
        port: the port.
        username: for the proxy, or None.
        password: for the proxy, or None.
    """

    scheme: str
    host: str
    port: int
    username: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The address for people, without credentials."""
        return f"{self.scheme}://{join_place(self.host, self.port)}"

    @property
    def is_http(self) -> bool:
        """Whether it is asked by HTTP CONNECT; otherwise by SOCKS5."""
        return self.scheme == "http"

    @property
    def resolves_names(self) -> bool:
        """Whether the proxy looks up the Server's name; otherwise this machine does."""
        return self.scheme != "socks5"


def parse_proxy_url(url: str, kind: URLKind = _GIVEN) -> ProxyAddress:
    """Take the URL of a proxy apart.

    Raises:
        TypeError: it is no str.
        ValueError: it is no URL of a proxy. The text does not quote it.
    """
    parts = split_url(url, kind)
    host, port = split_place(parts, kind)
    if parts.path not in ("", "/") or parts.query:
        kind.refuse("a path or query, which means nothing to a proxy; it ends with the port")
    proxy = ProxyAddress(
        scheme=parts.scheme,
        host=host,
        port=port,
        username=parts.username,
        password=parts.password,
    )
    _check_credentials(proxy, kind)
    return proxy


def _check_credentials(proxy: ProxyAddress, kind: URLKind) -> None:
    """Raise for credentials that python-socks would fail to send, or not send."""
    username, password = proxy.username, proxy.password
    if username is None and password is None:
        return
    if not (username and password):
        kind.refuse("a user name without a password, or the reverse; give both or none")
    if proxy.is_http:
        if ":" in username:
            kind.refuse("a : in its user name, which HTTP does not allow")  # RFC 7617, 2
    elif not (username.isascii() and password.isascii()):
        kind.refuse("a user name or password beyond ASCII, which cannot be sent by SOCKS5")
    elif max(len(username), len(password)) > _MOST_SOCKS:
        kind.refuse(f"a user name or password longer than {_MOST_SOCKS}, the most for SOCKS5")


def proxy_finder(proxy: str | None) -> Callable[[ServerAddress], ProxyAddress | None]:
    """A function that says which proxy leads to a Server, if any.

    The environment is read now. The function raises ValueError if a variable that counts for the
    Server is not the URL of a proxy.

    Args:
        proxy: its URL, `ENVIRONMENT`, or None for no proxy.

    Raises:
        TypeError: it is no str.
        ValueError: it is no URL of a proxy.
    """
    if not isinstance(cast("object", proxy), str | None):
        message = f'proxy is a URL, "{ENVIRONMENT}" or None, not {type(proxy).__name__}'
        raise TypeError(message)
    if proxy == ENVIRONMENT:
        variables = getproxies_environment()
        return lambda address: _find_in_environment(address, variables)
    fixed = None if proxy is None else parse_proxy_url(proxy)
    return lambda _address: fixed


def _find_in_environment(address: ServerAddress, variables: dict[str, str]) -> ProxyAddress | None:
    names = [name for name in _VARIABLES.get(address.scheme, ()) if name in variables]
    if not names or _is_exempt(address, variables.get("no", "")):
        return None
    url = variables[names[0]]
    if "://" not in url:  # as curl and others take it
        url = f"http://{url}"
    kind = attrs.evolve(_GIVEN, title=f"environment variable {names[0]}_proxy")
    return parse_proxy_url(url, kind)


def _is_exempt(address: ServerAddress, no_proxy: str) -> bool:
    """Whether an entry of the variable ``no_proxy`` is about this Server."""
    host = address.host.partition("%")[0].rstrip(".")
    return any(
        _is_about(entry, host, address.port) for entry in _SEPARATORS.split(no_proxy.lower())
    )


def _is_about(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    if entry.startswith("["):
        entry, _, digits = entry[1:].partition("]")
        digits = digits.removeprefix(":")
    elif entry.count(":") == 1:
        entry, _, digits = entry.partition(":")
    else:
        digits = ""
    if digits and digits != str(port):
        return False
    try:
        number = ip_address(host)
    except ValueError:
        domain = entry.removeprefix("*").strip(".")
        return bool(domain) and f".{host}".endswith(f".{domain}")
    try:
        return number in ip_network(entry, strict=False)
    except ValueError:
        return False
