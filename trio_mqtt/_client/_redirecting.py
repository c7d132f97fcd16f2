"""Which other Servers a Server may refer to (4.11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trio_mqtt._transports.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio_mqtt._transports.url import ServerAddress

_MOST_REFERENCES: Final = 100
"""How many references of one list are looked at."""


class AllowList:
    """Allows a reference to a Server if its URL is on a list, and answers with that URL.

    So nothing of a reference is used but the choice: transport, path and credentials are those of
    the list.

    Args:
        urls: the URLs that are allowed.

    Attributes:
        addresses: what they say.

    Raises:
        TypeError: one is no str.
        ValueError: one cannot be read, or has no host.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = tuple(urls)
        self.addresses = [parse_url(url) for url in self._urls]
        if not all(address.host for address in self.addresses):
            message = "redirect has the URL of a Unix socket, which no Server Reference can name"
            raise ValueError(message)

    def __repr__(self) -> str:
        """The addresses, without credentials."""
        return repr([address.name for address in self.addresses])

    def __call__(self, reference: str) -> str | None:
        """The URL to use for a Server Reference, or None.

        It is a list of ``host`` or ``host:port`` with spaces between them, of which the first that
        is allowed is taken, or of URLs (4.11).
        """
        for each in reference.split(maxsplit=_MOST_REFERENCES)[:_MOST_REFERENCES]:
            for address, url in zip(self.addresses, self._urls, strict=True):
                if _names(each, address):
                    return url
        return None


def _names(reference: str, address: ServerAddress) -> bool:
    """Whether one reference means this address; without a port it may have any."""
    with_scheme = "://" in reference
    try:
        named = parse_url(reference if with_scheme else f"mqtt://{reference}")
        if named.host != address.host:
            return False
        if with_scheme:
            return (named.scheme, named.port) == (address.scheme, address.port)
        return named.port == address.port or parse_url(f"mqtts://{reference}").port != named.port
    except ValueError:
        return False


def as_rule(
    redirect: str | Sequence[str] | Callable[[str], str | None],
) -> Callable[[str], str | None]:
    """What says where a Server Reference leads: the caller's function, or that of a list."""
    if callable(redirect):
        return redirect
    return AllowList([redirect] if isinstance(redirect, str) else redirect)
