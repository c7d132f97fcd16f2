"""``trio-mqtt sub``, through pipes, at Mosquitto and at the in-process server."""

from __future__ import annotations

import json
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.support import (
    COMMAND,
    LONG,
    environment,
    finish,
    mosquitto_pub,
    new_topic,
    place,
    read_line,
    run,
    running,
    start,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

WITH_PROPERTIES = (
    "-V", "5", "-D", "publish", "content-type", "text", "-D", "publish", "user-property", "a", "b",
    "-D", "publish", "correlation-data", "id", "-D", "publish", "response-topic", "answer",
)  # fmt: skip


def retained(url: str, payloads: Sequence[bytes], *args: str) -> str:
    """Have the server keep messages below a new topic: ``TOPIC/1``, ``TOPIC/2``, ..."""
    topic = new_topic()
    for number, payload in enumerate(payloads, 1):
        how = ("-s", "-r", "-q", "1", *args)
        mosquitto_pub(url, f"{topic}/{number}", *how, data=payload)
    return topic


def test_bytes_are_written_as_they_are(url: str) -> None:
    topic = retained(url, [b"\x00\xff\x1b[2J", b"two"])
    plain = run("sub", *place(url), "-t", f"{topic}/+", "-C", "2", "-q", "2")
    assert (plain.status, plain.output) == (0, b"\x00\xff\x1b[2J\ntwo\n")
    verbose = run("sub", *place(url), "-t", f"{topic}/2", "-C", "1", "-v", "-N")
    assert verbose.output == f"{topic}/2 two".encode()


def test_json_lines_hold_everything(url: str) -> None:
    payloads = [b'{"a": 1}', "gr\u00fcn \x9b\n".encode(), b"\xff"]
    topic = retained(url, payloads, *WITH_PROPERTIES)
    before = datetime.now(UTC) - timedelta(seconds=1)
    outcome = run("sub", *place(url), "-t", f"{topic}/+", "-C", "3", "--format", "json", "-q", "1")
    assert outcome.status == 0
    assert b"\xc2\x9b" not in outcome.output  # a control of terminals, inside a string
    records: list[dict[str, Any]] = [json.loads(line) for line in outcome.lines]
    for record in records:
        received = datetime.fromisoformat(record.pop("received"))
        assert before <= received <= datetime.now(UTC)
        assert record.pop("properties") == {
            "content_type": "text",
            "response_topic": "answer",
            "correlation_data": "id",
            "correlation_data_encoding": "utf-8",
            "user_properties": [["a", "b"]],
        }
        assert (record.pop("qos"), record.pop("retain")) == (1, True)
    assert records == [
        {"topic": f"{topic}/1", "payload": '{"a": 1}', "encoding": "utf-8"},
        {"topic": f"{topic}/2", "payload": "gr\u00fcn \x9b\n", "encoding": "utf-8"},
        {"topic": f"{topic}/3", "payload": "/w==", "encoding": "base64"},
    ]
    parsed = run(
        "sub", *place(url), "-t", f"{topic}/1", "-C", "1", "--format", "json", "--parse"
    )  # fmt: skip
    record = json.loads(parsed.output)
    assert (record["payload"], record["encoding"]) == ({"a": 1}, "json")


def test_time_up_is_exit_status_27(url: str) -> None:
    outcome = run("sub", *place(url), "-t", new_topic(), "-W", "0.3")
    assert (outcome.status, outcome.output) == (27, b"")
    assert outcome.errors == "trio-mqtt: timed out: the 0.3 s of -W are up\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("count", "interrupted"), [((), False), (("-C", "2"), True)])
def test_a_signal_ends_it(
    url: str, number: signal.Signals, count: tuple[str, ...], *, interrupted: bool
) -> None:
    topic = retained(url, [b"ready"])
    with running("sub", *place(url), "-t", f"{topic}/1", *count) as process:
        assert read_line(process) == b"ready\n"
        process.send_signal(number)
        assert process.wait(LONG) == (128 + number if interrupted else 0)
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_a_closed_pipe_ends_it_quietly(url: str) -> None:
    topic = retained(url, [b"1", b"2", b"3"])
    process = start("sub", *place(url), "-t", f"{topic}/+")
    assert process.stdout is not None
    process.stdout.read(1)
    process.stdout.close()
    mosquitto_pub(url, f"{topic}/4", "-m", "after that")
    assert process.wait(LONG) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.stdin is not None
    process.stdin.close()


def test_a_reader_that_is_slow_gets_everything(url: str) -> None:
    topic = new_topic()
    payload = b"x" * 100_000
    mosquitto_pub(url, topic, "-s", "-r", "-q", "1", data=payload)
    script = '"$@" | { sleep 0.5; cat; }'
    words = [*COMMAND, "sub", *place(url), "-t", topic, "-C", "1", "-q", "1"]
    outcome = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *words],
        capture_output=True,
        timeout=LONG,
        check=True,
        env=environment(),
    )
    assert outcome.stdout == payload + b"\n"


def test_a_session_keeps_what_comes_in_the_meantime_and_nothing_else_is_taken(url: str) -> None:
    topic = new_topic()
    session = ("-c", "-i", topic.replace("/", "-"), "-q", "1", "-t", topic)
    assert run("sub", *place(url), *session, "-E").status == 0
    for payload in ("1", "2", "3"):
        mosquitto_pub(url, topic, "-m", payload, "-q", "1")
    assert run("sub", *place(url), *session, "-C", "1", "-W", "9").output == b"1\n"
    assert run("sub", *place(url), *session, "-C", "2", "-W", "9").output == b"2\n3\n"
    forget = ("-c", "-i", session[2], "-U", topic)
    assert run("sub", *place(url), *forget).status == 0
    mosquitto_pub(url, topic, "-m", "4", "-q", "1")
    other = ("-t", new_topic(), "-W", "0.5")
    assert run("sub", *place(url), "-c", "-i", session[2], *other).output == b""


def test_retained_messages_are_removed_on_request(url: str) -> None:
    topic = retained(url, [b"1", b"2", b"3"])
    arguments = ("-t", f"{topic}/#", "-v", "--retained-only")
    outcome = run(
        "sub", *place(url), *arguments, "--remove-retained", "-T", f"{topic}/2", "-C", "2"
    )
    assert outcome.lines == [f"{topic}/1 1", f"{topic}/3 3"]
    assert run("sub", *place(url), "-t", f"{topic}/#", "-W", "0.5").output == b"2\n"
    assert run("sub", *place(url), "-t", f"{topic}/#", "-R", "-W", "0.5").output == b""


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["-t", "a/#/b"], 2, "'#' that is not the whole last level"),
        ([], 2, "give a topic filter"),
        (["-t", "a", "-F", "%Z"], 2, "%Z means nothing"),
        (["-t", "a", "--format", "tree"], 2, "needs a terminal"),
        (["-t", "a", "--format", "json", "-v"], 2, "--format text only"),
        (["-t", "a", "-c"], 2, "give -i, too"),
        (["-t", "a", "-D", "publish", "content-type", "x"], 2, "no packet whose properties"),
        (["-t", "a", "--psk", "abcd"], 2, "use certificates"),
    ],
)
def test_what_cannot_be_is_told_on_one_line(
    broker: str, arguments: list[str], status: int, words: str
) -> None:
    outcome = run("sub", *place(broker), *arguments)
    assert (outcome.status, outcome.output) == (status, b"")
    assert words in outcome.errors
    assert outcome.errors.startswith("trio-mqtt: ")
    assert outcome.errors.count("\n") == 1


def test_it_goes_on_after_a_reconnection(url: str) -> None:
    topic = retained(url, [b"ready"])
    client_id = topic.replace("/", "-")
    arguments = ("-t", f"{topic}/1", "-i", client_id, "-V", "311", "-q", "1", "-C", "3")
    with running("sub", *place(url), *arguments) as process:
        assert read_line(process) == b"ready\n"
        # Another client with its identifier takes its connection.
        run("sub", *place(url), "-i", client_id, "-t", topic, "-E")
        assert read_line(process) == b"ready\n"  # retained, since it has subscribed again
        mosquitto_pub(url, f"{topic}/1", "-m", "again", "-q", "1")
        outcome = finish(process)
    assert (outcome.status, outcome.output) == (0, b"again\n")
    assert "the client tries to connect again" in outcome.errors
