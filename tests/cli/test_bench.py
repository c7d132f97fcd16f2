"""`trio-mqtt bench` as it is run: options, exit statuses, pipes, a terminal, JSON, Ctrl-C."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
import trio

from tests.cli.support import Terminal, invoke, run
from tests.servers import free_port
from trio_mqtt import ReasonCode
from trio_mqtt.testing import open_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import RealServer
    from trio_mqtt.packets import Publish


def numbers(output: str) -> dict[str, int]:
    """The rows of the table of messages."""
    rows = re.findall(r"^(sent|received|lost|doubled|under way) +([\d,]+)", output, re.MULTILINE)
    return {name: int(number.replace(",", "")) for name, number in rows}


@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_through_a_pipe(mosquitto: RealServer, qos: str) -> None:
    done = run("bench", mosquitto.url, "-q", qos, "--messages", "300", "--histogram")
    assert (done.status, done.errors) == (0, "")
    assert done.output.decode().isascii()
    assert "\x1b" not in done.output.decode()
    first, *_ = done.output.decode().splitlines()
    assert first == (
        f"MQTT 5.0, QoS {qos}, 64 bytes, 1 publisher, 1 subscriber, as fast as they can"
    )
    assert numbers(done.output.decode()) == {"sent": 300, "received": 300, "lost": 0, "doubled": 0}
    assert re.search(r"min +p50 +p90 +p99 +p99.9 +max +mean", done.output.decode())
    assert "#####" in done.output.decode()
    assert "Traceback" not in done.output.decode()


def test_on_a_terminal(mosquitto: RealServer, tmp_path: Path) -> None:
    picture = tmp_path / "picture.svg"
    arguments = ("--duration", "1.2", "--rate", "200", "--histogram", "--plot", str(picture))
    with Terminal("bench", "-L", mosquitto.url, *arguments) as child:
        child.wait_for("under way")  # it is alive
        assert child.wait() == 0
    assert "\x1b[1m" in child.raw.decode()
    found = numbers(child.text.replace("\n\n", "\n"))
    assert found["sent"] == found["received"] > 100
    assert "█" in child.text
    table = child.text[child.text.rindex("Messages") :]
    assert all(len(line) <= 100 for line in table.splitlines())
    ET.parse(picture)  # noqa: S314 - our own


def test_json_of_many_clients(mosquitto: RealServer) -> None:
    counts = ("--publishers", "3", "--subscribers", "2", "--messages", "100", "--size", "16")
    done = run("bench", "-L", mosquitto.url, "-q", "1", "-V", "311", *counts, "--json")
    assert (done.status, done.errors) == (0, "")
    results = json.loads(done.output.decode())
    wanted = {"protocol": "MQTT 3.1.1", "sent": 100, "received": 200, "lost": 0, "doubled": 0}
    assert wanted.items() <= results.items()
    assert 0 < results["latency"]["p50"] <= results["latency"]["max"]


def test_ctrl_c_ends_it_early_and_shows_what_there_is(mosquitto: RealServer) -> None:
    arguments = ("-L", mosquitto.url, "--rate", "200", "--duration", "60", "-q", "1")
    with Terminal("bench", *arguments) as child:
        child.wait_for("under way")
        child.type("\x03")
        assert child.wait() == 130
    assert "stopped before its end" in child.text
    found = numbers(child.text)
    assert found["sent"] == found["received"]
    assert found["lost"] == 0
    assert "Traceback" not in child.text


def test_nothing_is_left_behind(mosquitto: RealServer) -> None:
    done = run("bench", "-L", mosquitto.url, "-t", "left/over", "--messages", "9")
    assert done.status == 0
    retained = subprocess.run(
        ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(mosquitto.port), "-t", "left/#", "-W", "1"],  # noqa: S607 - as in the PATH
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert (retained.returncode, retained.stdout) == (27, b"")


def test_the_broker_of_our_own() -> None:
    with Terminal("broker", "-p", "0") as broker:
        broker.wait_for("for development")
        done = run("bench", "-L", broker.text.split()[0], "-q", "2", "--messages", "50")
    assert done.status == 0
    assert numbers(done.output.decode()) == {"sent": 50, "received": 50, "lost": 0, "doubled": 0}


async def test_what_is_lost_or_refused_is_a_failure() -> None:
    def refuse(_client_id: str, _publish: Publish) -> ReasonCode:
        return ReasonCode.NOT_AUTHORIZED

    async with open_server(port=0) as server:
        server.authorize_publish = refuse
        assert server.url is not None
        arguments = ("bench", "-L", server.url, "--messages", "7", "-W", "0.1")
        lost = await trio.to_thread.run_sync(run, *arguments)
        refused = await trio.to_thread.run_sync(run, *arguments, "-q", "1")
    assert numbers(lost.output.decode()) == {"sent": 7, "received": 0, "lost": 7, "doubled": 0}
    assert lost.status == 1
    assert re.search(r"^refused by the server +7", refused.output.decode(), re.MULTILINE)
    assert "0x87 (not authorized)" in refused.output.decode()
    assert refused.status == 1


def test_a_server_that_is_not_there() -> None:
    done = run("bench", "-h", "127.0.0.1", "-p", str(free_port()))
    assert (done.status, done.output.decode()) == (3, "")
    assert done.errors.startswith("trio-mqtt: cannot connect to mqtt://127.0.0.1:")
    assert len(done.errors.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "15"], "15"),
        (["-i", "me"], "cannot share one -i"),
        (["-t", "a/#"], "without wildcards"),
        (["-t", "/"], "without wildcards"),
        (["--publishers", "0"], "0"),
        (["--plot", "/nowhere/at/all.svg"], "No such file or directory"),
    ],
)
def test_what_cannot_be_understood(arguments: list[str], words: str) -> None:
    done = run("bench", *arguments)
    assert done.status in {1, 2}
    assert done.output.decode() == ""
    assert words in done.errors
    assert len(done.errors.splitlines()) == 1


def test_in_this_process(mosquitto: RealServer, tmp_path: Path) -> None:
    picture = tmp_path / "picture.svg"
    counts = ("--messages", "50", "--publishers", "2", "-q", "1")
    done = invoke("bench", mosquitto.url, *counts, "--histogram", "--plot", str(picture))
    assert done.exit_code == 0
    assert numbers(done.output) == {"sent": 50, "received": 50, "lost": 0, "doubled": 0}
    ET.parse(picture)  # noqa: S314 - our own
    done = invoke("bench", mosquitto.url, *counts, "--json", "-t", "a/b/", "--duration", "20")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["received"] == 50
    for wrong in (("-t", "a/+"), ("-i", "me"), ("-L", "mqtt://localhost")):
        assert invoke("bench", mosquitto.url, *wrong).exit_code == 2
