"""Where to connect to: the URLs of a client, in order."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import attrs
import trio

from trio_mqtt._checks import call
from trio_mqtt._client._redirecting import AllowList
from trio_mqtt._errors import ConnectFailed
from trio_mqtt._transports.opening import open_stream
from trio_mqtt._transports.progress import Progress
from trio_mqtt._transports.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from trio_mqtt._transports.opening import StreamOptions
    from trio_mqtt.abc import Connector

    URL = str | Sequence[str] | Callable[[], Awaitable[str]]

DEFAULT_URL: Final = "mqtt://localhost:1883"


@attrs.define
class Place:
    """Where to connect to.

    Attributes:
        name: the address for people, without credentials.
        connector: makes the byte stream.
        progress: how far that has come.
        username: the User Name of the URL, or None.
        password: the Password of the URL, or None.
    """

    name: str
    connector: Connector
    progress: Progress
    username: str | None = attrs.field(repr=False)
    password: str | None = attrs.field(repr=False)


class Itinerary:
    """Which place is tried next: the URLs in order, round and round, unless a Server redirects.

    Args:
        url: one URL, several, or an asynchronous callable that makes one at each attempt.
        connector: makes the byte stream instead of what the URL says, or None.
        options: what is said of the byte stream beside the URL.
        redirect: where a Server may refer to.

    Raises:
        TypeError: an option is of another type.
        ValueError: a URL cannot be read, or there is none; or nothing needs an option, as far as
            is known.
    """

    def __init__(
        self,
        url: URL,
        connector: Connector | None,
        options: StreamOptions,
        redirect: Callable[[str], str | None],
    ) -> None:
        elsewhere = redirect.addresses if isinstance(redirect, AllowList) else None
        if connector and elsewhere:
            message = (
                "a connector goes to no URL, so redirect has to be a function beside it: one that "
                "sees to it where the connector goes, and returns a URL with the credentials there"
            )
            raise ValueError(message)
        self._connector = connector
        self._options = options
        self._make: Callable[[], Awaitable[str]] | None = None
        self._places: list[Place] = []
        self._position = 0
        self._detour: Place | None = None
        self._hops = 0
        if isinstance(url, str):
            url = [url]
        given = cast("object", url)
        if isinstance(given, bytes) or not (callable(given) or isinstance(given, Iterable)):
            kind = type(url).__name__
            message = (
                f'url is a str such as "{DEFAULT_URL}", several of them, or an asynchronous '
                f"function that returns one, not {kind}"
            )
            raise TypeError(message)
        if callable(url):
            self._make = url
        else:
            self._places = [self._place(each) for each in url]
            if not self._places:
                message = "url is empty; give at least one URL of a server, such as " + DEFAULT_URL
                raise ValueError(message)
            if elsewhere is not None:
                urls = [] if connector else [parse_url(each) for each in url]
                options.check(urls + elsewhere)

    def __len__(self) -> int:
        """How many places there are to try."""
        return max(1, len(self._places))

    @property
    def name(self) -> str:
        """The address of the next place, for people."""
        place = self._detour or (self._places[self._position] if self._places else None)
        return "the server" if place is None else place.name

    def _place(self, url: str) -> Place:
        address = parse_url(url)
        own = self._connector
        name = "the server" if own and url == DEFAULT_URL else address.name
        progress = Progress(name)
        return Place(
            name,
            own or partial(open_stream, address, progress, self._options),
            progress,
            address.username,
            address.password,
        )

    async def next(self, deadline: float) -> Place:
        """The place to try now.

        Args:
            deadline: until when it must be known, where a callable says it.

        Raises:
            ConnectFailed: the callable could not say it.
        """
        if self._detour is not None:
            return self._detour
        if self._make is None:
            return self._places[self._position]
        why = "it took too long"
        cause: OSError | None = None
        try:
            with trio.CancelScope(deadline=deadline):
                return self._place(await call("url", self._make))
        except OSError as error:
            why = str(error)
            cause = error
        message = f"cannot connect: the callable `url` has made no URL: {why}"
        raise ConnectFailed(message, stage="resolve") from cause

    def move_on(self) -> bool:
        """Try another place next time; says whether that is none of this round."""
        self._detour = None
        if not self._places:
            return True
        self._position = (self._position + 1) % len(self._places)
        return self._position == 0

    def forget_hops(self) -> None:
        """Count redirections anew."""
        self._hops = 0

    def redirect(self, url: str, most: int) -> bool:
        """Try this place next time; says whether that is allowed, after so many of the kind."""
        self._hops += 1
        if self._hops > most:
            return False
        self._detour = self._place(url)
        return True
