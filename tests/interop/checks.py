"""What makes a test one of the checks of the matrix."""

from __future__ import annotations

import math
from functools import wraps
from typing import TYPE_CHECKING, Final, ParamSpec

import attrs
import trio

from tests.client.support import open_once
from tests.interop.servers.kind import PASSWORD, PROTOCOLS, TRANSPORTS
from trio_mqtt import MQTT_3_1_1, Session, make_ssl_context
from trio_mqtt._transports.url import parse_url

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path
    from typing import Any

    from tests.interop.servers.kind import Running, Transport
    from trio_mqtt import Client, Protocol, Subscription

P = ParamSpec("P")


@attrs.frozen(kw_only=True)
class Target:
    """A server to test against, on one transport and in one version of MQTT.

    Attributes:
        running: the server.
        transport: how it is reached.
        protocol: the version.
        authority: the certificate of the authority that its TLS rests on.
        prefix: what names begin with, so that no test meets what another left.
        patience: how long a check may take where the server is expected to hang, in seconds.
    """

    running: Running
    transport: Transport
    protocol: Protocol
    authority: Path
    prefix: str
    patience: float = math.inf

    @property
    def url(self) -> str:
        """Where it is."""
        return self.running.url(self.transport, self.protocol)

    @property
    def best(self) -> Protocol:
        """The highest version that is spoken there."""
        ports = self.running.ports
        here = ports[self.transport, self.protocol]
        return max(
            protocol
            for (transport, protocol), port in ports.items()
            if transport == self.transport and port == here
        )

    def url_at(self, port: int, host: str = "127.0.0.1") -> str:
        """Where it is for those who reach it by another port, or another name."""
        address = parse_url(self.url)
        return f"{address.scheme}://{host}:{port}{address.target}"

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """What trusts it, if it is reached by TLS."""
        if self.transport in {"tcp", "ws"}:
            return None
        return make_ssl_context(ca_file=self.authority)

    def options(self, **more: Any) -> dict[str, Any]:
        """What `open_client` needs beside the URL, and more."""
        options = {
            "protocol": self.protocol,
            "username": self.running.username,
            "password": PASSWORD,
            "ssl_context": self.ssl_context,
        }
        return options | more

    def open(self, **options: Any) -> AbstractAsyncContextManager[Client]:
        """A client of it that fails on the first loss."""
        return open_once(self.url, **self.options(**options))

    def open_other(self) -> AbstractAsyncContextManager[Client]:
        """A client that reaches the server by plain TCP."""
        url = self.running.url("tcp", MQTT_3_1_1)
        return open_once(url, **self.options(protocol=MQTT_3_1_1, ssl_context=None))

    def session(self, name: str = "session") -> Session:
        """A Session of this test, to be kept by the server for some minutes."""
        return Session(self.client_id(name), expiry=600)

    def client_id(self, name: str) -> str:
        """A Client Identifier of this test, of letters and digits."""
        return f"{self.prefix}{name}"

    def topic(self, name: str) -> str:
        """A Topic Name, or a Topic Filter, of this test."""
        return f"{self.prefix}/{name}"


@attrs.frozen(kw_only=True)
class Check:
    """A row of the matrix.

    Attributes:
        title: what it shows, for the docs.
        transports: where it is made.
        protocols: in which versions.
    """

    title: str
    transports: tuple[Transport, ...]
    protocols: tuple[Protocol, ...]


CHECKS: Final[dict[str, Check]] = {}
"""All checks by the name of the test without ``test_``, in the order of the matrix."""


def check(
    title: str,
    *,
    transports: tuple[Transport, ...] = TRANSPORTS,
    protocols: tuple[Protocol, ...] = PROTOCOLS,
    limit: float = 20,
) -> Callable[
    [Callable[P, Awaitable[None]]],
    Callable[P, Coroutine[object, object, None]],
]:
    """Make an asynchronous test a check, to be made of every target.

    Args:
        title: what it shows, for the docs.
        transports: where it is made.
        protocols: in which versions.
        limit: how long it may take, in seconds.
    """

    def decorate(
        test: Callable[P, Awaitable[None]],
    ) -> Callable[P, Coroutine[object, object, None]]:
        name = test.__name__.removeprefix("test_")
        CHECKS[name] = Check(title=title, transports=transports, protocols=protocols)

        @wraps(test)
        async def bounded(*args: P.args, **kwargs: P.kwargs) -> None:
            target = kwargs["target"]
            assert isinstance(target, Target)
            with trio.fail_after(min(limit, target.patience)):
                await test(*args, **kwargs)

        return bounded

    return decorate


async def take(messages: Subscription, wanted: int) -> list[str]:
    """The texts of so many messages, each of them settled."""
    texts: list[str] = []
    while len(texts) < wanted:
        message = await messages.receive()
        texts.append(message.text())
        if message.qos:
            message.ack()
    return texts
