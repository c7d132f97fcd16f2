"""What the tests know of a kind of server: where to get it, how to run it, its ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import attrs
import pytest

from trio_mqtt import MQTT_3_1_1, MQTT_5

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from trio_mqtt import Protocol

Transport = Literal["tcp", "tls", "ws", "wss"]
TRANSPORTS: Final[tuple[Transport, ...]] = ("tcp", "tls", "ws", "wss")
PROTOCOLS: Final = (MQTT_3_1_1, MQTT_5)
SCHEMES: Final[Mapping[Transport, str]] = {
    "tcp": "mqtt",
    "tls": "mqtts",
    "ws": "ws",
    "wss": "wss",
}

USERNAME: Final = "ci"
PASSWORD: Final = "correct-horse"


@attrs.frozen(kw_only=True)
class Certificates:
    """Files for a server's TLS, for ``localhost`` and 127.0.0.1.

    Attributes:
        authority: the certificate of the authority.
        certificate: the server's, with its chain.
        key: its private key.
        both: key and certificate in one file.
    """

    authority: Path
    certificate: Path
    key: Path
    both: Path


@attrs.frozen(kw_only=True)
class Running:
    """A server that runs.

    Attributes:
        version: its own words for it.
        ports: where it listens on 127.0.0.1, by transport and version.
        username: a user that it knows, whose password is `PASSWORD`.
        restart: ends it in good order and starts it again on the same ports; returns when it is
            ready.
        path: what WebSocket asks for.
    """

    version: str
    ports: Mapping[tuple[Transport, Protocol], int]
    restart: Callable[[], None]
    username: str = USERNAME
    path: str = "/mqtt"

    def url(self, transport: Transport, protocol: Protocol, host: str = "127.0.0.1") -> str:
        """Where a client connects to."""
        path = self.path if transport in {"ws", "wss"} else ""
        return f"{SCHEMES[transport]}://{host}:{self.ports[transport, protocol]}{path}"


@attrs.frozen(kw_only=True, eq=False)
class Deviation:
    """A check that a server does not pass.

    Attributes:
        check: the name of the test, without ``test_``.
        reason: what the server does, in a sentence for the docs.
        error: what the test ends with; anything else is a failure.
        when: whether a pass is a failure, too.
        transports: where.
        protocols: in which versions.
        cases: with which of the test's parameters; each has to be among these.
        limit: how long to wait where the server hangs, in seconds; None for as long as else.
    """

    check: str
    reason: str
    error: type[BaseException] | tuple[type[BaseException], ...]
    when: Literal["always", "sometimes"] = "always"
    transports: tuple[Transport, ...] = TRANSPORTS
    protocols: tuple[Protocol, ...] = PROTOCOLS
    cases: Mapping[str, tuple[object, ...]] = attrs.field(factory=dict[str, tuple[object, ...]])
    limit: float | None = None

    def holds(self, transport: Transport, protocol: Protocol, case: Mapping[str, object]) -> bool:
        """Whether it is expected there."""
        return (
            transport in self.transports
            and protocol in self.protocols
            and all(case.get(name) in values for name, values in self.cases.items())
        )


ANY_PATH: Final = Deviation(
    check="unknown_path",
    transports=("ws", "wss"),
    reason="It takes WebSocket connections to any path.",
    error=pytest.fail.Exception,
)


def by_transport(
    ports: Sequence[int], protocols: Sequence[Protocol] = PROTOCOLS
) -> dict[tuple[Transport, Protocol], int]:
    """The ports of a server that has one for each transport, in their order, for all versions."""
    return {
        (transport, protocol): port
        for transport, port in zip(TRANSPORTS, ports, strict=True)
        for protocol in protocols
    }


@attrs.frozen(kw_only=True, eq=False)
class ServerKind:
    """A kind of server.

    Attributes:
        name: its name.
        offers: which versions it speaks on which transport.
        packages: Debian's packages that it needs.
        install: puts the rest into a directory that goes on from run to run; quick when all is
            there. Raises `installing.CannotInstall`.
        is_installed: whether it can be started, with what is in that directory.
        run: runs it for the length of a block: where it was installed, an empty directory for all
            that it writes, certificates.
        deviations: what it does differently.
        absent: why it lacks a transport or a version, in a sentence for the docs.
    """

    name: str
    offers: Mapping[Transport, tuple[Protocol, ...]]
    packages: tuple[str, ...] = ()
    install: Callable[[Path], None]
    is_installed: Callable[[Path], bool]
    run: Callable[[Path, Path, Certificates], AbstractContextManager[Running]]
    deviations: tuple[Deviation, ...] = ()
    absent: str = ""
