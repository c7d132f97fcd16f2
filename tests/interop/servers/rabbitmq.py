"""RabbitMQ 4, from a newer Debian than most machines have, in a directory that becomes its root."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from tests.interop.servers.installing import CannotInstall, find_program, package_version, run
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
from trio_mqtt import (
    MQTT_3_1_1,
    MQTT_5,
    ConnectRejected,
    FeatureNotSupported,
    RemoteProtocolError,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from tests.interop.servers.kind import Certificates

PACKAGE: Final = "rabbitmq-server"
RELEASE: Final = "trixie"
INSTALL_TIMEOUT: Final = 300
END_TIMEOUT: Final = 30
EPMD: Final = "/usr/bin/epmd"
SERVER: Final = "/usr/lib/rabbitmq/bin/rabbitmq-server"
READY: Final = b"Server startup complete"
SETTINGS: Final = f"""\
listeners.tcp = none
anonymous_login_user = none
default_user = {USERNAME}
default_pass = {PASSWORD}
vm_memory_calculation_strategy = erlang
vm_memory_high_watermark.absolute = 4GB
"""
"""No AMQP, nobody without a password, and nothing to be read from /proc, which is not there."""


def find_root(place: Path) -> Path:
    """The directory that becomes the server's root."""
    return place / RELEASE


def is_installed(place: Path) -> bool:
    """Whether it is there, and this user may change to another root."""
    return os.geteuid() == 0 and find_root(place).exists()


def _install(place: Path) -> None:
    if os.geteuid() != 0:
        raise CannotInstall("it runs with another root directory, which takes the user root")
    root = find_root(place)
    if root.exists():
        return
    unfinished = root.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    include = f"--include={PACKAGE}"
    run(
        ["mmdebstrap", "--quiet", "--variant=essential", include, RELEASE, unfinished],
        timeout=INSTALL_TIMEOUT,
    )
    (unfinished / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
    unfinished.rename(root)


@contextmanager
def make_home(root: Path) -> Generator[Path]:
    """An empty directory inside of the server's root, for all that it writes."""
    with tempfile.TemporaryDirectory(dir=root / "srv") as home:
        yield Path(home)


@contextmanager
def run_port_mapper(root: Path, log: Path) -> Generator[int]:
    """Run what tells nodes of one another, for these alone: a daemon otherwise, one a machine."""

    def make(ports: Sequence[int]) -> Command:
        return Command(
            arguments=[
                find_program("chroot"),
                root,
                EPMD,
                "-address",
                "127.0.0.1",
                "-port",
                str(ports[0]),
            ],
            mqtt=(),
            listening=ports,
        )

    with run_process(1, make, log) as (_process, ports):
        yield ports[0]


def make_node(
    root: Path,
    home: Path,
    *,
    name: str,
    settings: str,
    plugins: str,
    port_mapper: int,
    port: int,
) -> tuple[list[str | Path], Mapping[str, str]]:
    """Write a node's configuration.

    Args:
        root: the server's root directory.
        home: a directory in it, shared by the nodes of a cluster.
        name: the node's, before the at sign.
        settings: what is particular, as text of the configuration.
        plugins: their names, with commas.
        port_mapper: the port of what tells nodes of one another.
        port: where other nodes reach it.

    Returns:
        the arguments that start it and its environment. The process is the server itself.
    """
    (home / f"{name}.conf").write_text(SETTINGS + settings)
    (home / f"{name}.plugins").write_text(f"[{plugins}].\n")
    inside = Path("/") / home.relative_to(root)
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(inside),
        "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the server, and keeps no shell
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(port_mapper),
        "RABBITMQ_NODENAME": f"{name}@localhost",
        "RABBITMQ_DIST_PORT": str(port),
        "RABBITMQ_CONFIG_FILE": f"{inside}/{name}.conf",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{inside}/{name}.plugins",
        "RABBITMQ_MNESIA_BASE": f"{inside}/data",
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none"
        ),
    }
    return [find_program("chroot"), root, SERVER], environment


@contextmanager
def _run(place: Path, directory: Path, certificates: Certificates) -> Generator[Running]:
    root = find_root(place)
    with make_home(root) as home, run_port_mapper(root, directory / "epmd.log") as port_mapper:
        inside = Path("/") / home.relative_to(root)
        for path in (certificates.authority, certificates.certificate, certificates.key):
            shutil.copy(path, home)

        def make(ports: Sequence[int]) -> Command:
            node, tcp, tls, ws, wss = ports
            files = {
                "cacertfile": inside / certificates.authority.name,
                "certfile": inside / certificates.certificate.name,
                "keyfile": inside / certificates.key.name,
            }
            settings = [
                f"mqtt.listeners.tcp.1 = 127.0.0.1:{tcp}",
                f"mqtt.listeners.ssl.1 = 127.0.0.1:{tls}",
                "web_mqtt.ws_path = /mqtt",
                "web_mqtt.tcp.ip = 127.0.0.1",
                f"web_mqtt.tcp.port = {ws}",
                "web_mqtt.ssl.ip = 127.0.0.1",
                f"web_mqtt.ssl.port = {wss}",
                *(f"ssl_options.{name} = {path}" for name, path in files.items()),
                *(f"web_mqtt.ssl.{name} = {path}" for name, path in files.items()),
            ]
            arguments, environment = make_node(
                root,
                home,
                name="one",
                settings="\n".join(settings) + "\n",
                plugins="rabbitmq_mqtt,rabbitmq_web_mqtt",
                port_mapper=port_mapper,
                port=node,
            )
            return Command(
                arguments=arguments,
                environment=environment,
                mqtt=(),  # one without a password is refused, but only after 3 s
                listening=[tcp, tls, ws, wss],
                says=READY,
                end=partial(stop, timeout=END_TIMEOUT),
            )

        with run_process(5, make, directory / "log") as (process, ports):
            yield Running(
                version=package_version(PACKAGE, root),
                ports=by_transport(ports[1:]),
                restart=process.restart,
            )


def _without_qos_2() -> Iterator[Deviation]:
    """What follows from a Maximum QoS of 1."""
    yield Deviation(
        check="messages_at_each_qos",
        cases={"qos": (2,)},
        reason="It grants QoS 1 at most.",
        error=AssertionError,
    )
    for check, parameter in (
        ("lower_qos", "published"),
        ("session_resumes", "qos"),
        ("cuts", "qos"),
    ):
        yield Deviation(
            check=check,
            protocols=(MQTT_5,),
            cases={parameter: (2,)},
            reason="Its Maximum QoS is 1, which publishers are told before a byte is sent.",
            error=FeatureNotSupported,
        )
        yield Deviation(
            check=check,
            protocols=(MQTT_3_1_1,),
            cases={parameter: (2,)},
            reason="It answers a PUBLISH of QoS 2 with PUBACK, against MQTT-4.3.3-2.",
            error=RemoteProtocolError,
        )


RABBITMQ: Final = ServerKind(
    name="RabbitMQ",
    offers=dict.fromkeys(TRANSPORTS, PROTOCOLS),
    packages=("debian-archive-keyring", "mmdebstrap"),
    install=_install,
    is_installed=is_installed,
    run=_run,
    deviations=(
        *_without_qos_2(),
        Deviation(
            check="shared",
            reason="It has no shared subscriptions, as its CONNACK says.",
            error=FeatureNotSupported,
        ),
        Deviation(
            check="retained_wildcard",
            reason="It sends retained messages to Topic Filters without wildcards only.",
            error=trio.TooSlowError,
            limit=2,
        ),
        Deviation(
            check="session_discarded",
            protocols=(MQTT_5,),
            reason="It ends a Session some milliseconds after the DISCONNECT that discards it; who "
            "connects until then finds it, or is refused with 0x83.",
            error=(AssertionError, ConnectRejected),
            when="sometimes",
        ),
        Deviation(
            check="restart_reconnects",
            transports=("ws", "wss"),
            reason="While it stops, its WebSocket listeners go on and refuse clients with 0x87 "
            "(not authorized), not 0x88 or 0x89, which ends a client that has a fixed password.",
            error=ConnectRejected,
            when="sometimes",
        ),
    ),
)
