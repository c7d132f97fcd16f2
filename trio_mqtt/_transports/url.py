"""Server URLs (``mqtt://user:password@host:1883``)."""

from __future__ import annotations

from urllib.parse import SplitResult, unquote, urlsplit

import attrs

DEFAULT_PORTS = {"mqtt": 1883}


@attrs.frozen(kw_only=True)
class ServerAddress:
    """What a Server URL says.

    Attributes:
        scheme: the transport, such as ``mqtt``.
        host: a name or an IP address, without brackets.
        port: the port, given or usual for the scheme.
        username: the User Name in the URL, or None.
        password: the Password in the URL, or None.
    """

    scheme: str
    host: str
    port: int
    username: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The address for people, without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_url(url: str) -> ServerAddress:
    """Take a Server URL apart.

    Raises:
        ValueError: it is none, or its scheme is not supported. The text does not quote the URL,
            which may hold a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        message = f"the server URL cannot be read: {error}; it should look like mqtt://host:1883"
        raise ValueError(message) from None
    _check(parts)
    return ServerAddress(
        scheme=parts.scheme,
        host=parts.hostname or "",
        port=DEFAULT_PORTS[parts.scheme] if port is None else port,
        username=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )


def _check(parts: SplitResult) -> None:
    if parts.scheme not in DEFAULT_PORTS:
        known = ", ".join(f"{scheme}://" for scheme in DEFAULT_PORTS)
        message = f"the server URL has the scheme {parts.scheme!r}; supported are: {known}"
        raise ValueError(message)
    if not parts.hostname:
        message = "the server URL has no host; it should look like mqtt://host:1883"
        raise ValueError(message)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        message = f"a URL of {parts.scheme}:// ends with the port; a path or query means nothing"
        raise ValueError(message)
