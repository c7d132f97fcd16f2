"""The command on a pseudo-terminal: safe, live, and ended by Ctrl-C."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import trio

from tests.cli.support import Terminal, mosquitto_pub, mosquitto_sub, new_topic, place, read_line
from trio_mqtt import Message, open_client

if TYPE_CHECKING:
    from pathlib import Path


def test_controls_in_payloads_and_topics_are_shown_not_sent(url: str) -> None:
    topic = new_topic()
    nasty = f"{topic}/\x1b]0;title\x07\x9b"
    mosquitto_pub(url, topic, "-s", "-r", data=b"\x1b[31mred\x07\ttab\nline\xff")
    with Terminal("sub", *place(url), "-t", topic, "-C", "1") as terminal:
        assert terminal.wait() == 0
    assert b"\x1b[31m" not in terminal.raw
    assert terminal.text == "\\x1b[31mred\\x07\ttab\nline\\xff\n"
    mosquitto_pub(url, topic, "-m", "\u202egpj.exe", "-r")
    with Terminal("sub", *place(url), "-t", topic, "-C", "1", "-F", "\\e[1m%p\\e[0m") as terminal:
        assert terminal.wait() == 0
    assert b"\x1b[1m\\u202egpj.exe\x1b[0m" in terminal.raw
    with Terminal("pub", *place(url), "-t", nasty + "/+", "-m", "x") as terminal:
        assert terminal.wait() == 2
    assert "\x1b]0" not in terminal.raw.decode()


def test_the_tree_is_live_and_ends_with_ctrl_c(url: str) -> None:
    topic = new_topic()
    top, name = topic.split("/")
    mosquitto_pub(url, f"{topic}/kitchen/temperature", "-m", "21.5", "-r")
    with Terminal("sub", *place(url), "-t", f"{topic}/#", "--format", "tree") as terminal:
        terminal.wait_for("21.5")
        mosquitto_pub(url, f"{topic}/kitchen/temperature", "-m", "22.5")
        mosquitto_pub(url, f"{topic}/hall/lamp", "-m", "\x1b[31mon")
        terminal.wait_for("3 messages to 2 topics")
        terminal.wait_for("22.5")
        terminal.wait_for("lamp")
        terminal.type("\x03")
        assert terminal.wait() == 0
    last = terminal.text.rpartition("3 messages to 2 topics")[2]
    for word in (top, name, "kitchen  2", "temperature  2", "22.5", "hall  1", "\\x1b[31mon"):
        assert word in last
    assert b"\x1b[31m" not in terminal.raw
    assert terminal.raw.rindex(b"\x1b[?25h") > terminal.raw.rindex(b"\x1b[?25l")  # the cursor


def test_a_tree_that_has_no_room_closes_its_branches(broker: str) -> None:
    topic = new_topic()
    lines = b"".join(b"%d\n" % number for number in range(3))
    for level in "abc":
        for number in range(6):
            mosquitto_pub(broker, f"{topic}/{level}/{number}", "-l", "-r", data=lines)
    arguments = ("sub", *place(broker), "-t", f"{topic}/#", "--format", "tree")
    with Terminal(*arguments, rows=12) as terminal:
        terminal.wait_for("18 messages to 18 topics")
        terminal.wait_for("c  6  ")
        terminal.type("\x03")
        assert terminal.wait() == 0
    last = terminal.text.rpartition("18 messages to 18 topics")[2]
    assert "6 topics" in last
    assert len(last.splitlines()) <= 12


def test_a_progress_bar_is_shown_on_a_terminal_alone(url: str, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("line\n" * 500)
    topic = new_topic()
    arguments = ("pub", *place(url), "-t", topic, "-l", "-f", str(path), "-q", "1", "--progress")
    with Terminal(*arguments) as terminal:
        assert terminal.wait() == 0
    assert "500 messages" in terminal.text
    assert "2.5/2.5 kB" in terminal.text


@pytest.mark.parametrize("qos", ["0", "1"])
def test_lines_typed_are_published_until_ctrl_c(url: str, qos: str) -> None:
    topic = new_topic()
    with (
        mosquitto_sub(url, topic) as subscriber,
        Terminal("pub", *place(url), "-t", topic, "-l", "-q", qos) as terminal,
    ):
        terminal.type("typed\r")
        assert read_line(subscriber) == b"typed\n"
        terminal.type("\x03")
        assert terminal.wait() == 130
    assert "Traceback" not in terminal.text


def test_the_end_of_what_is_typed_ends_it(url: str) -> None:
    with Terminal("pub", *place(url), "-t", new_topic(), "-l", "-q", "1") as terminal:
        terminal.type("typed\r\x04")
        assert terminal.wait() == 0


async def test_request_shows_the_reply(url: str) -> None:
    topic = new_topic()

    async def shout(request: Message) -> bytes:
        return request.payload.upper()

    def ask() -> str:
        with Terminal("request", *place(url), "-t", topic, "-m", "hello") as terminal:
            assert terminal.wait() == 0
        return terminal.text

    async with open_client(url) as client, trio.open_nursery() as nursery:
        await nursery.start(client.serve, topic, shout)
        assert (await trio.to_thread.run_sync(ask)).splitlines() == ["HELLO"]
        nursery.cancel_scope.cancel()


def test_doctor_and_bench_find_either_server_well(url: str) -> None:
    with Terminal("doctor", "-L", url) as terminal:
        assert terminal.wait() == 0
    assert terminal.text.rstrip().endswith("nothing is wrong")
    with Terminal("bench", "-L", url, "--messages", "200", "-q", "1") as terminal:
        assert terminal.wait() == 0
    assert re.search(r"received +200\b", terminal.text)


def test_request_and_broker_end_with_ctrl_c(broker: str) -> None:
    with Terminal("request", *place(broker), "-t", new_topic(), "-m", "x", "-d") as terminal:
        terminal.wait_for("connected to")
        terminal.type("\x03")
        assert terminal.wait() == 130
    assert "Traceback" not in terminal.text
    with Terminal("broker", "-p", "0") as terminal:
        terminal.wait_for("for development")
        terminal.type("\x03")
        assert terminal.wait() == 0
    assert "Traceback" not in terminal.text
