"""ejabberd, from Debian's package: a server for XMPP that speaks MQTT, too."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.interop.servers.installing import find_program, package_version
from tests.interop.servers.kind import (
    PASSWORD,
    PROTOCOLS,
    TRANSPORTS,
    USERNAME,
    Deviation,
    Running,
    ServerKind,
    by_transport,
)
from tests.interop.servers.process import Command, run_process
from tests.servers import stop
from trio_mqtt import FeatureNotSupported, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from tests.interop.servers.kind import Certificates

PACKAGE: Final = "ejabberd"
HOST: Final = "localhost"
END_TIMEOUT: Final = 30
READY: Final = b"ready with its user"
REGISTER: Final = (
    f'_ = ejabberd_auth:try_register(<<"{USERNAME}">>, <<"{HOST}">>, <<"{PASSWORD}">>), '
    f'io:format("{READY.decode()}~n").'
)
SETTINGS: Final = """\
hosts: [{host}]
loglevel: warning
certfiles: ["{both}"]
acme:
  auto: false
auth_method: internal
modules:
  mod_mqtt:
    max_queue: unlimited  # by default it ends a connection that has 5,000 to come
    session_expiry: 1 hour
listen:
  -
    port: {tcp}
    ip: 127.0.0.1
    module: mod_mqtt
  -
    port: {tls}
    ip: 127.0.0.1
    module: mod_mqtt
    tls: true
  -
    port: {ws}
    ip: 127.0.0.1
    module: ejabberd_http
    request_handlers:
      /mqtt: mod_mqtt
  -
    port: {wss}
    ip: 127.0.0.1
    module: ejabberd_http
    tls: true
    request_handlers:
      /mqtt: mod_mqtt
"""


def _find_libraries() -> Path | None:
    """The directory of Debian's Erlang libraries, ejabberd's among them."""
    found = sorted(Path("/usr/lib").glob("*/ejabberd-*/ebin/ejabberd.app"))
    return found[0].parents[2] if found else None


def _is_installed(_place: Path) -> bool:
    return _find_libraries() is not None


def _install(_place: Path) -> None:
    """The package is all."""


@contextmanager
def _run(_place: Path, directory: Path, certificates: Certificates) -> Generator[Running]:
    # Not by its script, which makes a node with a name known to all of the machine.
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(directory),
        "ERL_LIBS": str(_find_libraries()),
        "EJABBERD_CONFIG_PATH": str(directory / "ejabberd.yml"),
        "EJABBERD_LOG_PATH": str(directory / "ejabberd.log"),
    }

    def make(ports: Sequence[int]) -> Command:
        numbers = dict(zip(TRANSPORTS, ports, strict=True))
        (directory / "ejabberd.yml").write_text(
            SETTINGS.format(host=HOST, both=certificates.both, **numbers)
        )
        return Command(
            arguments=[
                *(find_program("erl"), "-noinput", "+sbwt", "none"),
                *("-mnesia", "dir", f'"{directory}/mnesia"'),
                *("-s", "ejabberd", "-eval", REGISTER),
            ],
            environment=environment,
            mqtt=(),  # its WebSocket listeners come later
            listening=ports,
            says=READY,
            end=partial(stop, timeout=END_TIMEOUT),
        )

    with run_process(len(TRANSPORTS), make, directory / "log") as (process, ports):
        yield Running(
            version=package_version(PACKAGE),
            ports=by_transport(ports),
            restart=process.restart,
            username=f"{USERNAME}@{HOST}",
        )


EJABBERD: Final = ServerKind(
    name="ejabberd",
    offers=dict.fromkeys(TRANSPORTS, PROTOCOLS),
    packages=(PACKAGE,),
    install=_install,
    is_installed=_is_installed,
    run=_run,
    deviations=(
        Deviation(
            check="unknown_path",
            transports=("ws", "wss"),
            reason="It takes WebSocket connections to any path below its own.",
            error=pytest.fail.Exception,
        ),
        Deviation(
            check="maximum_packet_size",
            reason="It sends packets larger than our Maximum Packet Size, against MQTT-3.1.2-24.",
            error=RemoteProtocolError,
        ),
        Deviation(
            check="shared",
            reason="It has no shared subscriptions, as its CONNACK says.",
            error=FeatureNotSupported,
        ),
        Deviation(
            check="restart_keeps",
            reason="It keeps Sessions in memory alone, and retained messages on disk.",
            error=AssertionError,
        ),
    ),
)
