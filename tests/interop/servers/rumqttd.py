"""rumqttd, which keeps nothing, within the package iotcore from PyPI."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import trio

from tests.interop.servers.installing import run
from tests.interop.servers.kind import (
    ANY_PATH,
    PASSWORD,
    PROTOCOLS,
    USERNAME,
    Deviation,
    Running,
    ServerKind,
)
from tests.interop.servers.process import Command, run_process
from trio_mqtt import MQTT_3_1_1, MQTT_5, ConnectFailed, ConnectionLost, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from tests.interop.servers.kind import Certificates, Transport
    from trio_mqtt import Protocol

VERSION: Final = "0.4.0"
INSTALL_TIMEOUT: Final = 120

LISTENERS: Final[Mapping[tuple[Transport, Protocol], str]] = {
    ("tcp", MQTT_3_1_1): "v4.1",
    ("tcp", MQTT_5): "v5.1",
    ("tls", MQTT_3_1_1): "v4.2",
    ("tls", MQTT_5): "v5.2",
    ("ws", MQTT_3_1_1): "ws.1",
    ("wss", MQTT_3_1_1): "ws.2",
}
"""The sections of its configuration: a listener takes one version alone."""


def _python(place: Path) -> Path:
    return place / "rumqttd" / "bin" / "python"


def _information(place: Path) -> Path | None:
    """Where the package tells of itself."""
    pattern = f"lib/python*/site-packages/iotcore-{VERSION}.dist-info"
    return next((place / "rumqttd").glob(pattern), None)


def _is_installed(place: Path) -> bool:
    # What is called RECORD, pip writes last.
    information = _information(place)
    complete = information is not None and (information / "RECORD").exists()
    return complete and _python(place).exists()


def _install(place: Path) -> None:
    if _is_installed(place):
        return
    shutil.rmtree(place / "rumqttd", ignore_errors=True)
    # Its machine code is for this version of Python alone.
    venv: list[str | Path] = [sys.executable, "-m", "venv", "--without-pip", place / "rumqttd"]
    run(venv, timeout=INSTALL_TIMEOUT)
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        _python(place),
        "--disable-pip-version-check",
    ]
    run([*pip, "--quiet", "install", f"iotcore=={VERSION}"], timeout=INSTALL_TIMEOUT)


def _version(place: Path) -> str:
    """What was compiled in, by the list of materials that the package has with it."""
    information = _information(place)
    assert information is not None
    materials = json.loads((information / "sboms" / "iotcore.cyclonedx.json").read_text())
    version: str = next(
        part["version"] for part in materials["components"] if part["name"] == "rumqttd"
    )
    return version


def _listener(section: str, port: int, tls: str) -> str:
    return (
        f"[{section}]\n"
        f'name = "{section}"\n'
        f'listen = "127.0.0.1:{port}"\n'
        "next_connection_delay_ms = 1\n"
        f"[{section}.connections]\n"
        "connection_timeout_ms = 30000\n"
        "max_payload_size = 9000000\n"
        "max_inflight_count = 100\n"
        "dynamic_filters = true\n"
        f"[{section}.connections.auth]\n"
        f'{USERNAME} = "{PASSWORD}"\n'
        f"{tls}"
    )


def _configuration(ports: Sequence[int], certificates: Certificates) -> str:
    tls = f'certpath = "{certificates.certificate}"\nkeypath = "{certificates.key}"\n'
    router = (
        "id = 0\n"
        "[router]\n"
        "id = 0\n"
        "max_connections = 1000\n"
        "max_outgoing_packet_count = 200\n"
        "max_segment_size = 104857600\n"
        "max_segment_count = 10\n"
    )
    listeners = (
        _listener(section, port, f"[{section}.tls]\n{tls}" if section.endswith("2") else "")
        for section, port in zip(LISTENERS.values(), ports, strict=True)
    )
    return router + "".join(listeners)


@contextmanager
def _run(place: Path, directory: Path, certificates: Certificates) -> Generator[Running]:
    def make(ports: Sequence[int]) -> Command:
        path = directory / "rumqttd.toml"
        path.write_text(_configuration(ports, certificates))
        options: list[str | Path] = ["--config", path, "--log-level", "CRITICAL"]
        return Command(
            # It does not answer who has no user name.
            arguments=[_python(place), "-m", "iotcore", *options],
            mqtt=(),
            listening=ports,
        )

    with run_process(len(LISTENERS), make, directory / "log") as (process, ports):
        yield Running(
            version=_version(place),
            ports=dict(zip(LISTENERS, ports, strict=True)),
            restart=process.restart,
        )


RUMQTTD: Final = ServerKind(
    name="rumqttd",
    offers={"tcp": PROTOCOLS, "tls": PROTOCOLS, "ws": (MQTT_3_1_1,), "wss": (MQTT_3_1_1,)},
    install=_install,
    is_installed=_is_installed,
    run=_run,
    absent="On WebSocket it speaks MQTT 3.1.1 alone.",
    deviations=(
        *(
            Deviation(
                check=check,
                reason="It closes the connection without CONNACK.",
                error=ConnectFailed,
            )
            for check in ("wrong_password", "unknown_user")
        ),
        ANY_PATH,
        Deviation(
            check="takeover_is_told",
            reason="It closes the connection of a client that is taken over without DISCONNECT.",
            error=AssertionError,
        ),
        Deviation(
            check="lower_qos",
            cases={"subscribed": (1,), "published": (0,)},
            reason="It delivers at the QoS of the subscription, also what was published at a "
            "lower one, against MQTT-3.8.4-8.",
            error=AssertionError,
        ),
        Deviation(
            check="payloads_in",
            transports=("ws", "wss"),
            cases={"size": (8_388_608,)},
            reason="A delivery of 8 MiB to a WebSocket client never comes; 4 MB do.",
            error=trio.TooSlowError,
            limit=3,
        ),
        Deviation(
            check="maximum_packet_size",
            reason="It sends packets larger than our Maximum Packet Size, against MQTT-3.1.2-24.",
            error=RemoteProtocolError,
        ),
        Deviation(
            check="receive_maximum",
            reason="It sends more messages than our Receive Maximum, against MQTT-3.3.4-9.",
            error=AssertionError,
        ),
        Deviation(
            check="unsubscribe_unknown",
            reason="It does not answer UNSUBSCRIBE of an unknown Topic Filter, against "
            "MQTT-3.10.4-5; at times it closes the connection instead.",
            error=(trio.TooSlowError, ConnectionLost),
            limit=2,
        ),
        Deviation(
            check="no_local",
            reason="It does not know No Local, against MQTT-3.8.3-3.",
            error=AssertionError,
        ),
        Deviation(
            check="retain_as_published",
            reason="It does not know Retain As Published, against MQTT-3.3.1-13.",
            error=AssertionError,
        ),
        Deviation(
            check="retain_handling_none",
            reason="It does not know Retain Handling, against MQTT-3.3.1-11.",
            error=AssertionError,
        ),
        Deviation(
            check="will_on_error",
            protocols=(MQTT_5,),
            reason="It publishes no will after a DISCONNECT with reason code 0x04, against "
            "MQTT-3.1.2-8.",
            error=trio.TooSlowError,
            limit=3,
        ),
        Deviation(
            check="session_discarded",
            protocols=(MQTT_5,),
            reason="It does not know the Session Expiry Interval of DISCONNECT.",
            error=AssertionError,
        ),
        Deviation(
            check="restart_keeps",
            reason="It keeps Sessions and retained messages in memory alone.",
            error=AssertionError,
        ),
    ),
)
