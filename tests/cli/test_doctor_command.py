"""`trio-mqtt doctor` as it is run: options, exit statuses, pipes, a terminal, JSON."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from tests.cli.support import Terminal, invoke, run
from tests.servers import RealServer, free_port, run_mosquitto
from tests.transports.support import CA, CERTIFICATE, CLIENT, OTHER_CA

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


def test_through_a_pipe(mosquitto: RealServer) -> None:
    done = run("doctor", "-p", str(mosquitto.port), "-h", "127.0.0.1", "-t", "doctor/test")
    assert (done.status, done.errors) == (0, "")
    lines = done.output.decode().splitlines()
    assert lines[0].startswith(f"ok       URL                 mqtt://127.0.0.1:{mosquitto.port} is")
    assert lines[1] == "skipped  name                the host '127.0.0.1' is an IP address"
    assert f"{'Receive Maximum':<34} 20" in done.output.decode()
    assert lines[-1] == "nothing is wrong"
    assert "\x1b" not in done.output.decode()


def test_on_a_terminal(mosquitto: RealServer) -> None:
    with Terminal("doctor", "-L", mosquitto.url, "-V", "5") as child:
        assert child.wait() == 0
    assert "\x1b[32mok" in child.raw.decode()
    assert "CONNACK" in child.text
    assert child.text.rstrip().endswith("nothing is wrong")
    assert all(len(line) <= 100 for line in child.text.splitlines())


def test_what_is_wrong_on_a_terminal() -> None:
    with Terminal("doctor", "-h", "127.0.0.1", "-p", str(free_port())) as child:
        assert child.wait() == 3
    assert "\x1b[1;31mfailed" in child.raw.decode()
    assert "-> check that the server runs" in child.text
    assert "CONNACK, limits, PINGREQ: not tried" in child.text
    assert child.text.rstrip().endswith("wrong: TCP")


def test_json(mosquitto: RealServer) -> None:
    done = run("doctor", mosquitto.url, "--json")
    assert done.status == 0
    found = json.loads(done.output.decode())
    assert found["status"] == "ok"
    steps = {step["name"]: step for step in found["steps"]}
    assert list(steps) == ["URL", "name", "TCP", "CONNACK", "limits", "PINGREQ"]
    assert steps["CONNACK"]["status"] == "ok"
    assert steps["CONNACK"]["seconds"] > 0
    assert steps["CONNACK"]["advice"] is None
    assert steps["limits"]["details"]["Topic Alias Maximum"] == 10
    broken = run("doctor", "-h", "127.0.0.1", "-p", str(free_port()), "--json")
    assert broken.status == 3
    found = json.loads(broken.output.decode())
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
    good = run("doctor", "-L", url, *ca, *pair, "-t", "a")
    assert good.status == 0
    assert "TLSv1.3 with" in good.output.decode()
    distrusted = run("doctor", "-L", url, *other, *pair)
    assert distrusted.status == 3
    assert "wrong: certificate\n" in distrusted.output.decode()
    assert "--cafile" in distrusted.output.decode()
    nobody = run("doctor", "-L", url, *ca)
    assert nobody.status == 3
    assert "--cert and --key" in nobody.output.decode()
    assert "wrong: client certificate\n" in nobody.output.decode()
    plain = run("doctor", "-L", f"mqtts://localhost:{server.port}", *ca)
    assert plain.status == 3
    assert f"-> use mqtt://localhost:{server.port}: that answers" in plain.output.decode()


def test_a_broker_of_our_own_that_refuses() -> None:
    with Terminal("broker", "-p", "0", "--account", "me:secret") as broker:
        broker.wait_for("for development")
        url = broker.text.split()[0]
        refused = run("doctor", "-L", url)
        assert refused.status == 4
        assert "wrong: CONNACK" in refused.output.decode()
        assert "-> check the user name (-u) and the password (-P)" in refused.output.decode()
        let_in = run("doctor", "-L", url, "-u", "me", "-P", "secret", "-t", "a")
        assert let_in.status == 0
        assert "secret" not in let_in.output.decode()


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
    done = run("doctor", *arguments)
    assert done.status == 2
    assert done.output.decode() == ""
    assert words in done.errors
    assert len(done.errors.splitlines()) == 1


def test_ctrl_c_while_it_waits() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with Terminal("doctor", "-h", "127.0.0.1", "-p", str(port)) as child:
            child.wait_for("TCP")
            child.type("\x03")
            assert child.wait() == 130
    assert "Traceback" not in child.text


def test_in_this_process(guarded: tuple[Path, RealServer]) -> None:
    directory, server = guarded
    assert invoke("doctor", server.url, "-t", "a").exit_code == 0
    url = f"mqtts://localhost:{server.more_ports[0]}"
    trusting = ("doctor", url, "--cafile", f"{directory}/ca.pem")
    refused = invoke(*trusting)
    assert refused.exit_code == 3
    assert refused.output.endswith("wrong: client certificate\n")
    pair = ("--cert", f"{directory}/client.pem", "--key", f"{directory}/client.pem")
    found = json.loads(invoke(*trusting, *pair, "--json").stdout)
    assert found["status"] == "ok"
    assert invoke("doctor", f"mqtts://127.0.0.1:{server.port}").exit_code == 3
    # What comes after CONNACK is a failure of another kind.
    limited = invoke("doctor", server.url, "-t", "$SYS/doctor", "-W", "0.3")
    assert limited.exit_code == 1
    assert limited.output.endswith("wrong: round trip\n")
