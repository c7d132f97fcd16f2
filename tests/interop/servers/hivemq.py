"""HiveMQ Community Edition, as a library in a few lines of Java, from Maven Central."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zipfile import ZipFile

import trio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
    pkcs12,
)

from tests.interop.servers.installing import find_program, packages_of, run
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

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from tests.interop.servers.kind import Certificates

SOURCE: Final = Path(__file__).parent / "embedded_hivemq"
FILES: Final = ("pom.xml", "src/main/java/EmbeddedServer.java")
INSTALL_TIMEOUT: Final = 240
END_TIMEOUT: Final = 30


def _is_installed(place: Path) -> bool:
    # What was built last is written down when all is there.
    built = place / "hivemq" / "built"
    return all(
        (built / name).is_file() and (built / name).read_bytes() == (SOURCE / name).read_bytes()
        for name in FILES
    )


def _install(place: Path) -> None:
    if _is_installed(place):
        return
    directory = place / "hivemq"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(SOURCE, directory)
    goals = ["compile", "dependency:copy-dependencies", "-DoutputDirectory=target/libraries"]
    run(["mvn", "-q", "-B", *goals], timeout=INSTALL_TIMEOUT, directory=directory)
    shutil.copytree(SOURCE, directory / "built")


def _write_key_store(path: Path, certificates: Certificates) -> None:
    """Put key and certificate where Java looks for them."""
    key = load_pem_private_key(certificates.key.read_bytes(), None)
    chain = x509.load_pem_x509_certificates(certificates.certificate.read_bytes())
    assert isinstance(key, EllipticCurvePrivateKey)
    store = pkcs12.serialize_key_and_certificates(
        b"server", key, chain[0], chain[1:], BestAvailableEncryption(PASSWORD.encode())
    )
    path.write_bytes(store)


def _version(built: Path) -> str:
    # As a library it takes itself for a snapshot; what it was packed as says more.
    (library,) = (built / "libraries").glob("hivemq-community-edition-embedded-*.jar")
    with ZipFile(library) as packed:
        manifest = packed.read("META-INF/MANIFEST.MF").decode()
    said = re.search(r"^HiveMQ-Version: (\S+)", manifest, re.MULTILINE)
    assert said is not None
    return said[1]


def _listener(kind: str, port: int, tls: str = "") -> str:
    return (
        f"<{kind}><port>{port}</port><bind-address>127.0.0.1</bind-address>"
        f"<name>{port}</name>{tls}</{kind}>"
    )


def _configuration(ports: Sequence[int], key_store: Path) -> str:
    tls = (
        f"<tls><keystore><path>{key_store}</path><password>{PASSWORD}</password>"
        f"<private-key-password>{PASSWORD}</private-key-password></keystore></tls>"
    )
    listeners = (
        _listener("tcp-listener", ports[0])
        + _listener("tls-tcp-listener", ports[1], tls)
        + _listener("websocket-listener", ports[2])
        + _listener("tls-websocket-listener", ports[3], tls)
    )
    return (
        f"<hivemq><listeners>{listeners}</listeners>"
        # By default it drops what exceeds 1,000 messages for a client.
        "<mqtt><queued-messages><max-queue-size>100000</max-queue-size></queued-messages></mqtt>"
        # It does not answer who asks for another path, and closes 10 s later by default.
        "<restrictions><no-connect-idle-timeout>3000</no-connect-idle-timeout></restrictions>"
        "<anonymous-usage-statistics><enabled>false</enabled></anonymous-usage-statistics>"
        "<persistence><mode>file</mode></persistence></hivemq>"
    )


@contextmanager
def _run(place: Path, directory: Path, certificates: Certificates) -> Generator[Running]:
    key_store = directory / "server.p12"
    _write_key_store(key_store, certificates)
    for name in ("data", "extensions"):
        (directory / name).mkdir()
    built = place / "hivemq" / "target"

    def make(ports: Sequence[int]) -> Command:
        (directory / "config.xml").write_text(_configuration(ports, key_store))
        classes = f"{built / 'classes'}{os.pathsep}{built / 'libraries' / '*'}"
        options = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classes]
        return Command(
            arguments=[
                find_program("java"),
                *options,
                "EmbeddedServer",
                directory,
                USERNAME,
                PASSWORD,
            ],
            mqtt=ports[:1],
            listening=ports[1:],
            end=partial(stop, timeout=END_TIMEOUT),
        )

    with run_process(len(TRANSPORTS), make, directory / "log") as (process, ports):
        yield Running(
            version=_version(built),
            ports=by_transport(ports),
            restart=process.restart,
        )


HIVEMQ: Final = ServerKind(
    name="HiveMQ",
    offers=dict.fromkeys(TRANSPORTS, PROTOCOLS),
    packages=packages_of({"javac": "default-jdk-headless", "mvn": "maven"}),
    install=_install,
    is_installed=_is_installed,
    run=_run,
    deviations=(
        Deviation(
            check="shared",
            reason="It may send as many messages as its window has, and then none of those that "
            "wait for a shared subscription, though all were acknowledged (its issue 558).",
            error=trio.TooSlowError,
            when="sometimes",
            limit=10,
        ),
    ),
)
