"""`trio-mqtt doctor` as it is run: options, exit statuses, pipes, a terminal, JSON."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from tests.cli.children import COLUMNS, run_piped, start_on_terminal
from tests.servers import RealServer, free_port, run_mosquitto
from tests.transports.support import CA, CERTIFICATE, CLIENT, OTHER_CA

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


def test_through_a_pipe(mosquitto: RealServer) -> None:
    done = run_piped("doctor", "-p", str(mosquitto.port), "-h", "127.0.0.1", "-t", "doctor/test")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"ok       URL                 mqtt://127.0.0.1:{mosquitto.port} is")
    assert lines[1] == "skipped  name                the host '127.0.0.1' is an IP address"
    assert f"{'Receive Maximum':<34} 20" in done.stdout
    assert lines[-1] == "nothing is wrong"
    assert "\x1b" not in done.stdout


def test_on_a_terminal(mosquitto: RealServer) -> None:
    with start_on_terminal("doctor", "-L", mosquitto.url, "-V", "5") as child:
        assert child.finish() == 0
    assert "\x1b[32mok" in child.output
    assert "CONNACK" in child.text
    assert child.text.rstrip().endswith("nothing is wrong")
    assert all(len(line) <= COLUMNS for line in child.text.splitlines())


def test_what_is_wrong_on_a_terminal() -> None:
    with start_on_terminal("doctor", "-h", "127.0.0.1", "-p", str(free_port())) as child:
        assert child.finish() == 3
    assert "\x1b[1;31mfailed" in child.output
    assert "-> check that the server runs" in child.text
    assert "CONNACK, limits, PINGREQ: not tried" in child.text
    assert child.text.rstrip().endswith("wrong: TCP")


def test_json(mosquitto: RealServer) -> None:
    done = run_piped("doctor", mosquitto.url, "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["status"] == "ok"
    steps = {step["name"]: step for step in found["steps"]}
    assert list(steps) == ["URL", "name", "TCP", "CONNACK", "limits", "PINGREQ"]
    assert steps["CONNACK"]["status"] == "ok"
    assert steps["CONNACK"]["seconds"] > 0
    assert steps["CONNACK"]["advice"] is None
    assert steps["limits"]["details"]["Topic Alias Maximum"] == 10
    broken = run_piped("doctor", "-h", "127.0.0.1", "-p", str(free_port()), "--json")
    assert broken.returncode == 3
    found = json.loads(broken.stdout)
    assert found["status"] == "failed"
    assert {step["name"]: step["status"] for step in found["steps"]} == {
        "URL": "ok",
        "name": "skipped",
        "TCP": "failed",
        "CONNACK": "skipped",
        "limits": "skipped",
        "PINGREQ": "skipped",
    }


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Path, RealServer]]:
    """Mosquitto with TLS that wants client certificates, and one that wants a password."""
    directory = tmp_path_factory.mktemp("guarded")
    CA.cert_pem.write_to_path(directory / "ca.pem")
    OTHER_CA.cert_pem.write_to_path(directory / "other.pem")
    CERTIFICATE.private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
    CLIENT.private_key_and_cert_chain_pem.write_to_path(directory / "client.pem")
    tls = (
        f"cafile {directory}/ca.pem\ncertfile {directory}/server.pem\n"
        f"keyfile {directory}/server.pem\nrequire_certificate true\n"
    )
    with run_mosquitto(directory, [tls]) as server:
        yield directory, server


def test_the_options_of_tls(guarded: tuple[Path, RealServer]) -> None:
    directory, server = guarded
    url = f"mqtts://localhost:{server.more_ports[0]}"
    ca, other = ("--cafile", f"{directory}/ca.pem"), ("--cafile", f"{directory}/other.pem")
    pair = ("--cert", f"{directory}/client.pem", "--key", f"{directory}/client.pem")
    good = run_piped("doctor", "-L", url, *ca, *pair, "-t", "a")
    assert good.returncode == 0
    assert "TLSv1.3 with" in good.stdout
    distrusted = run_piped("doctor", "-L", url, *other, *pair)
    assert distrusted.returncode == 3
    assert "wrong: certificate\n" in distrusted.stdout
    assert "--cafile" in distrusted.stdout
    nobody = run_piped("doctor", "-L", url, *ca)
    assert nobody.returncode == 3
    assert "--cert and --key" in nobody.stdout
    assert "wrong: client certificate\n" in nobody.stdout
    plain = run_piped("doctor", "-L", f"mqtts://localhost:{server.port}", *ca)
    assert plain.returncode == 3
    assert f"-> use mqtt://localhost:{server.port}: that answers" in plain.stdout


def test_a_broker_of_our_own_that_refuses() -> None:
    with start_on_terminal("broker", "-p", "0", "--account", "me:secret") as broker:
        broker.read_until("for development")
        url = broker.text.split()[0]
        refused = run_piped("doctor", "-L", url)
        assert refused.returncode == 4
        assert "wrong: CONNACK" in refused.stdout
        assert "-> check the user name (-u) and the password (-P)" in refused.stdout
        let_in = run_piped("doctor", "-L", url, "-u", "me", "-P", "secret", "-t", "a")
        assert let_in.returncode == 0
        assert "secret" not in let_in.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-L", "http://localhost"], "the server URL has the scheme 'http'"),
        (["-t", "a/#"], "wildcard"),
        (["-L", "mqtt://localhost", "-h", "localhost"], "one of them"),
        (["mqtt://localhost", "-h", "localhost"], "one of them"),
        (["mqtt://localhost", "-L", "mqtt://localhost"], "with -L or without"),
        (["--proxy", "ftp://localhost"], "the proxy URL has the scheme 'ftp'"),
    ],
)
def test_what_cannot_be_understood(arguments: list[str], words: str) -> None:
    done = run_piped("doctor", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_ctrl_c_while_it_waits() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with start_on_terminal("doctor", "-h", "127.0.0.1", "-p", str(port)) as child:
            child.read_until("TCP")
            child.interrupt()
            assert child.finish() == 130
    assert "Traceback" not in child.text
