"""Mosquitto, from Debian's package: the reference."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import trio

from tests.interop.servers.installing import find_program
from tests.interop.servers.kind import (
    ANY_PATH,
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
from tests.servers import find_mosquitto
from trio_mqtt import MQTT_5

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from tests.interop.servers.kind import Certificates


def _is_installed(_place: Path) -> bool:
    try:
        find_mosquitto()
    except FileNotFoundError:
        return False
    return True


def _install(_place: Path) -> None:
    """The package is all."""


def _version() -> str:
    # Asked for help, it says its version first and exits with 3.
    said = subprocess.run([find_mosquitto(), "-h"], capture_output=True, text=True, check=False)
    return said.stdout.split()[2]


@contextmanager
def _run(_place: Path, directory: Path, certificates: Certificates) -> Generator[Running]:
    users = directory / "users"
    subprocess.run(
        [find_program("mosquitto_passwd"), "-c", "-b", users, USERNAME, PASSWORD], check=True
    )
    tls = (
        f"cafile {certificates.authority}\n"
        f"certfile {certificates.certificate}\n"
        f"keyfile {certificates.key}\n"
    )
    web = "protocol websockets\n"
    settings = ("", tls, web, web + tls)

    def make(ports: Sequence[int]) -> Command:
        configuration = directory / "mosquitto.conf"
        configuration.write_text(
            "allow_anonymous false\n"
            f"password_file {users}\n"
            "persistence true\n"
            f"persistence_location {directory}/\n"
            "max_queued_messages 0\n"  # by default it drops what a burst exceeds
            "user root\n"  # which has no effect unless root starts it
            + "".join(
                f"listener {port} 127.0.0.1\n{text}"
                for port, text in zip(ports, settings, strict=True)
            )
        )
        return Command(
            arguments=[find_mosquitto(), "-c", configuration],
            mqtt=ports[:1],
            listening=ports[1:],
        )

    with run_process(len(settings), make, directory / "log") as (process, ports):
        yield Running(
            version=_version(),
            ports=by_transport(ports),
            restart=process.restart,
        )


MOSQUITTO: Final = ServerKind(
    name="Mosquitto",
    offers=dict.fromkeys(TRANSPORTS, PROTOCOLS),
    packages=("mosquitto",),
    install=_install,
    is_installed=_is_installed,
    run=_run,
    deviations=(
        Deviation(
            check="takeover_is_told",
            protocols=(MQTT_5,),
            reason="It closes the connection of a client that is taken over without DISCONNECT "
            "(as of 2.0.11).",
            error=AssertionError,
        ),
        ANY_PATH,
        Deviation(
            check="payloads_in",
            transports=("ws", "wss"),
            cases={"size": (1_048_576, 8_388_608)},
            reason="A delivery of more than 64 kB to a WebSocket client hangs (as of 2.0.11).",
            error=trio.TooSlowError,
            limit=3,
        ),
    ),
)
