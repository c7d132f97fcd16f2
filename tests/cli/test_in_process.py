"""The commands in this process, at a server in another: what they do, step by step."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cli.support import invoke, mosquitto_pub, new_topic, place, running

if TYPE_CHECKING:
    from pathlib import Path


def test_pub_and_sub(broker: str, tmp_path: Path) -> None:
    server, topic = place(broker), new_topic()
    file = tmp_path / "file"
    file.write_bytes(b"in\na file\n")
    with running("sub", *server, "-c", "-i", topic, "-q", "2", "-t", topic, "-E") as subscriber:
        assert subscriber.wait(30) == 0
    pub = ("pub", *server, "-t", topic, "-q", "2", "-D", "disconnect", "reason-string", "done")
    text = ("-D", "publish", "payload-format-indicator", "1")
    assert invoke(*pub, "-m", "text", *text).exit_code == 0
    assert invoke(*pub, "-n").exit_code == 0
    assert invoke(*pub, "-s", "--repeat", "2", "--repeat-delay", "0.01", data=b"in").exit_code == 0
    assert invoke(*pub, "-l", "--progress", data=b"line\nlast").exit_code == 0
    assert invoke(*pub, "-l", "-f", str(file)).exit_code == 0
    assert invoke(*pub, "-f", str(file), "--session", str(tmp_path / "s"), "-i", "p").exit_code == 0
    sub = ("sub", *server, "-c", "-i", topic, "-q", "2", "-t", topic, "-C", "9", "-F", "%F%p")
    result = invoke(*sub, "-D", "disconnect", "user-property", "a", "b", "-U", new_topic())
    assert result.exit_code == 0
    assert result.output == "1text\n\nin\nin\nline\nlast\nin\na file\nin\na file\n\n"


def test_sub_chooses_and_prints(broker: str) -> None:
    server, topic = place(broker), new_topic()
    for name, payload in (("a", '{"x": NaN}'), ("b", ""), ("c", "3"), ("d", "text")):
        mosquitto_pub(broker, f"{topic}/{name}", "-s", "-r", data=(payload or "-").encode())
    sub = ("sub", *server, "-t", f"{topic}/+", "-W", "9")
    result = invoke(*sub, "--format", "json", "--parse", "-C", "3", "-T", f"{topic}/b")
    records = [json.loads(line) for line in result.output.splitlines()]
    assert [(each["encoding"], each["payload"]) for each in records] == [
        ("utf-8", '{"x": NaN}'),
        ("json", 3),
        ("utf-8", "text"),
    ]
    assert invoke(*sub, "-v", "-C", "1", "--format", "text").output == f'{topic}/a {{"x": NaN}}\n'
    assert invoke(*sub[:-1], "0.3", "--random-filter", "0").exit_code == 27
    assert invoke(*sub[:-1], "0.3", "-R").exit_code == 27
    assert invoke(*sub, "--remove-retained", "--retained-only", "-C", "4").exit_code == 0
    assert invoke(*sub[:-1], "0.3", "--quiet").output == ""
    assert invoke("sub", *server, "-U", topic).exit_code == 0
    assert invoke("sub", *server, "-t", "a", "-R", "--retained-only").exit_code == 2


def test_request_and_its_errors(broker: str) -> None:
    server, topic = place(broker), new_topic()
    mosquitto_pub(broker, f"{topic}/reply", "-m", "yes", "-r")
    ask = ("request", *server, "-t", topic, "-D", "disconnect", "reason-string", "done")
    assert invoke(*ask, "-m", "?", "-e", f"{topic}/reply", "-v").output == f"{topic}/reply yes\n"
    late = invoke(*ask, "-n", "-e", f"{topic}/reply", "-R", "-W", "0.3")
    assert (late.exit_code, "timed out" in late.output) == (27, True)
    assert invoke(*ask, "-n", "-W", "0.3").exit_code == 27
    assert "-e TOPIC" in invoke("request", *server, "-t", "a", "-n", "-V", "311").output
    assert invoke("request", *server, "-n").exit_code == 2


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (("-t", "a/+", "-m", "x"), 2, "wildcard"),
        (("-t", "a", "-f", "/nonexistent"), 1, "/nonexistent: No such file"),
        (("-t", "a", "-l", "--repeat", "2"), 2, "does not go with -l"),
        (("-m", "x"), 2, "give a topic"),
        (("-t", "a"), 2, "to say what to publish"),
        (("-t", "a", "-m", "x", "--cafile", "/nonexistent"), 1, "No such file"),
        (("-t", "a", "-m", "x", "-V", "31", "-D", "publish", "content-type", "x"), 1, "MQTT 3.1"),
    ],
)
def test_errors_of_pub(broker: str, args: tuple[str, ...], status: int, words: str) -> None:
    result = invoke("pub", *place(broker), *args)
    assert result.exit_code == status
    assert words in result.output
    assert result.output.startswith("trio-mqtt: ")
