"""Aedes, which speaks MQTT 3.1.1 on every transport and keeps nothing, from npm."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tests.interop.servers.installing import find_program, packages_of, run
from tests.interop.servers.kind import (
    ANY_PATH,
    PASSWORD,
    TRANSPORTS,
    USERNAME,
    Deviation,
    Running,
    ServerKind,
    by_transport,
)
from tests.interop.servers.process import Command, run_process
from trio_mqtt import MQTT_3_1_1

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from tests.interop.servers.kind import Certificates

PACKAGES: Final = {"aedes-cli": "1.0.2", "aedes": "1.2.0"}
"""Its command line, and the server itself, of which that asks for less exactly."""
INSTALL_TIMEOUT: Final = 180


def _modules(place: Path) -> Path:
    return place / "aedes" / "node_modules"


def _version(place: Path, package: str) -> str:
    told = json.loads((_modules(place) / package / "package.json").read_text())
    version: str = told["version"]
    return version


def _is_installed(place: Path) -> bool:
    # npm writes this when all the rest is there.
    complete = (_modules(place) / ".package-lock.json").exists()
    return complete and all(_version(place, name) == PACKAGES[name] for name in PACKAGES)


def _install(place: Path) -> None:
    if _is_installed(place):
        return
    shutil.rmtree(place / "aedes", ignore_errors=True)
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
    run(["npm", "install", *options, "--prefix", place / "aedes", *wanted], timeout=INSTALL_TIMEOUT)


@contextmanager
def _run(place: Path, directory: Path, certificates: Certificates) -> Generator[Running]:
    program: list[str | Path] = [
        find_program("node"),
        _modules(place) / "aedes-cli" / "bin" / "aedes",
    ]
    users: list[str | Path] = ["--credentials", directory / "users.json"]
    subprocess.run(
        [*program, *users, "adduser", USERNAME, PASSWORD], check=True, capture_output=True
    )

    def make(ports: Sequence[int]) -> Command:
        tcp, tls, ws, wss = map(str, ports)
        return Command(
            arguments=[
                *(*program, "start", *users, "--protos", *TRANSPORTS, "--host", "127.0.0.1"),
                *("--key", certificates.key, "--cert", certificates.certificate),
                *("--port", tcp, "--tls-port", tls, "--ws-port", ws, "--wss-port", wss),
            ],
            mqtt=ports[:1],
            listening=ports[1:],
        )

    with run_process(len(TRANSPORTS), make, directory / "log") as (process, ports):
        yield Running(
            version=_version(place, "aedes"),
            ports=by_transport(ports, [MQTT_3_1_1]),
            restart=process.restart,
        )


AEDES: Final = ServerKind(
    name="Aedes",
    offers=dict.fromkeys(TRANSPORTS, (MQTT_3_1_1,)),
    packages=packages_of({"node": "nodejs", "npm": "npm"}),
    install=_install,
    is_installed=_is_installed,
    run=_run,
    absent="It speaks MQTT 3.1.1 alone.",
    deviations=(
        ANY_PATH,
        Deviation(
            check="restart_keeps",
            reason="It keeps Sessions and retained messages in memory alone.",
            error=AssertionError,
        ),
    ),
)
