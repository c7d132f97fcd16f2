"""The Mosquitto that the tests of transports share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers import RealServer, run_mosquitto
from tests.transports.support import CA, CERTIFICATE, CLIENT

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@pytest.fixture(scope="package")
def mosquitto_with_tls(
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[tuple[Path, RealServer]]:
    """Mosquitto with listeners for TLS, with client certificates, WebSocket and WSS; its files."""
    directory = tmp_path_factory.mktemp("mosquitto")
    CA.cert_pem.write_to_path(directory / "ca.pem")
    CERTIFICATE.private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
    CLIENT.private_key_and_cert_chain_pem.write_to_path(directory / "client.pem")
    tls = (
        f"cafile {directory}/ca.pem\n"
        f"certfile {directory}/server.pem\n"
        f"keyfile {directory}/server.pem\n"
    )
    demanding = tls + "require_certificate true\n"
    websocket = "protocol websockets\n"
    listeners = [tls, demanding, websocket, websocket + tls, websocket + demanding]
    with run_mosquitto(directory, listeners) as server:
        yield directory, server
