"""Commands whose input, output or terminal is not as it should be, and payloads meant to break."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
import trio

from tests.cli.support import (
    COMMAND,
    LONG,
    environment,
    finish,
    mosquitto_pub,
    new_topic,
    place,
    run,
    start,
)
from tests.cli.test_pub import payloads_after
from trio_mqtt.packets import Disconnect, PingReq, UnsubAck
from trio_mqtt.testing import open_server

if TYPE_CHECKING:
    from pathlib import Path


def shell(script: str, *args: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a shell script, where it is ``"$@"``."""
    return subprocess.run(
        ["/bin/sh", "-c", script, "sh", *COMMAND, *args],
        capture_output=True,
        timeout=LONG,
        check=False,
        env=environment(),
    )


async def test_what_is_sent_at_qos_0_is_waited_for_however_long_it_takes() -> None:
    payload = b"x" * 50_000  # a pipe takes it at once
    async with open_server(port=0) as server:
        brief = ("pub", "-L", f"{server.url}/a", "-s", "--close-timeout", "0.001", "-k", "1")
        with server.holding(UnsubAck):
            process = await trio.to_thread.run_sync(lambda: start(*brief))
            assert process.stdin is not None
            process.stdin.write(payload)
            process.stdin.close()
            process.stdin = None
            with trio.fail_after(LONG):
                entry = await server.wait_for(
                    lambda entry: isinstance(entry.packet, (PingReq, Disconnect))
                )
            assert isinstance(entry.packet, PingReq)
        outcome = await trio.to_thread.run_sync(finish, process)
        assert (outcome.status, outcome.errors) == (0, "")
        assert payloads_after(server, server.log[0]) == [payload]


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize("options", [("--format", "json", "--parse"), ("-F", "%J")])
@pytest.mark.parametrize("pretty", [(), ("--pretty",)])
def test_no_json_ends_it(broker: str, options: tuple[str, ...], pretty: tuple[str, ...]) -> None:
    topic = new_topic()
    # Somewhere below the limit of Python, JSON can be read but not written again.
    payloads = [deep(levels) for levels in range(900, 1000, 2)]
    payloads += [b'{"a":1e999}', b"NaN", b"-Infinity", b'{"a":1.5}']
    for number, payload in enumerate(payloads):
        mosquitto_pub(broker, f"{topic}/{number:02}", "-s", "-r", data=payload)
    count = ("-C", str(len(payloads)))
    outcome = run("sub", *place(broker), "-t", f"{topic}/+", *count, *options, *pretty)
    assert outcome.status == 0
    assert "Traceback" not in outcome.errors
    assert b":Infinity" not in b"".join(outcome.output.split())
    assert b":NaN" not in b"".join(outcome.output.split())
    if options[0] == "--format" and not pretty:
        assert len(outcome.lines) == len(payloads)
        assert [json.loads(line)["payload"] for line in outcome.lines[-4:]] == [
            '{"a":1e999}', "NaN", "-Infinity", {"a": 1.5},
        ]  # fmt: skip


def test_pipes_that_do_not_block(broker: str) -> None:
    topic = new_topic()
    payload = b"x" * 300_000
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    words = [*COMMAND, "pub", *place(broker), "-t", topic, "-r", "-q", "1"]
    process = subprocess.Popen(
        [*words, "-s", "-d"], stdin=reader, stderr=subprocess.PIPE, env=environment()
    )
    os.close(reader)
    assert process.stderr is not None
    assert process.stderr.readline()  # it runs, with nothing to read yet
    with os.fdopen(writer, "wb") as file:
        file.write(payload)
    assert finish(process).status == 0

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    words = [*COMMAND, "sub", *place(broker), "-t", topic, "-C", "1"]
    process = subprocess.Popen(words, stdout=writer, stderr=subprocess.PIPE, env=environment())
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert file.read() == payload + b"\n"
    assert finish(process).status == 0


@pytest.mark.parametrize(
    ("script", "arguments", "status", "error"),
    [
        ('"$@" <&-', ("pub", "-l"), 1, b"trio-mqtt: standard input is closed, so there is "),
        ('"$@" <&-', ("pub", "-s"), 1, b"trio-mqtt: standard input is closed, so there is "),
        ('"$@" <&- >&-', ("pub", "-m", "x"), 0, b""),
        ('"$@" >&-', ("sub",), 1, b"trio-mqtt: standard output is closed, so nothing can be "),
        ('"$@" 2>&-', ("pub", "-m", "x", "-f", "x", "--progress"), 2, b""),
        ('"$@" 2>&-', ("sub", "-W", "0.2", "-d"), 27, b""),
        ('"$@" >/dev/full', ("pub", "--help"), 1, b"trio-mqtt: No space left on device\n"),
    ],
)
def test_standard_streams_that_are_closed_or_full(
    broker: str, script: str, arguments: tuple[str, ...], status: int, error: bytes
) -> None:
    result = shell(script, *arguments, *place(broker), "-t", new_topic())
    assert (result.returncode, result.stdout) == (status, b"")
    assert result.stderr.startswith(error)
    assert result.stderr.count(b"\n") == (1 if error else 0)


@pytest.mark.parametrize("command", ["pub", "sub", "request", "doctor", "bench", "broker"])
def test_a_url_in_the_wrong_place_is_not_shown(command: str) -> None:
    url = "mqtt://joe:s3cret@localhost"
    outcome = run(command, url, url, "-t", "a") if command != "broker" else run(command, url)
    assert (outcome.status, outcome.output) == (2, b"")
    assert "s3cret" not in outcome.errors
    if command in {"pub", "sub", "request", "broker"}:
        assert "a URL stands where none belongs" in outcome.errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pub", "-m", "hello", "world"), "'world' belongs to no option; quote what has spaces"),
        (("pub", "-m", "x", "-D", "publish", "payload-format-indicator", "7"), "is no value of"),
        (("sub", "-F", "%99999999999t"), "a width is 10000 at the most"),
    ],
)
def test_what_makes_no_sense_is_told(broker: str, arguments: tuple[str, ...], words: str) -> None:
    outcome = run(*arguments, *place(broker), "-t", "a")
    assert outcome.status == 2
    assert words in outcome.errors
    assert outcome.errors.count("\n") == 1


def test_bytes_of_arguments_arrive_as_they_are(broker: str, tmp_path: Path) -> None:
    topic = new_topic()
    script = f"""
        "$@" pub -h 127.0.0.1 -p {place(broker)[3]} -t {topic} -r -q 1 -m "$(printf '\\377')" \\
            -D publish correlation-data "$(printf '\\376')"
        "$@" sub -h 127.0.0.1 -p {place(broker)[3]} -t {topic} -C 1 -F '%p %D' > {tmp_path}/out
    """
    result = shell(script)
    assert (result.returncode, result.stderr) == (0, b"")
    assert (tmp_path / "out").read_bytes() == b"\xff \xfe\n"


def test_an_empty_variable_is_as_none() -> None:
    outcome = run("pub", "-t", "a", "-m", "x", "--connect-timeout", "5", MQTT_URL="")
    assert "no scheme" not in outcome.errors
