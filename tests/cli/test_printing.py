"""How messages are printed, in this process: templates and the tree."""

from __future__ import annotations

import io
import os
import re
import threading

import click
import pytest
import trio
import trio.testing
from rich.console import Console

from tests.cli.support import LONG
from trio_mqtt import Message
from trio_mqtt._cli._output import Output
from trio_mqtt._cli._template import Layout, compile_template
from trio_mqtt._cli._tree import TopicTree
from trio_mqtt.packets import Properties

AT = 1_470_818_943_786_368_637
RAW = Layout(for_terminal=False)
SAFE = Layout(for_terminal=True)
MESSAGE = Message(
    "a/b",
    b"\x1bhi",
    1,
    retain=True,
    packet_id=7,
    properties=Properties(
        content_type="text",
        correlation_data=b"\xff",
        message_expiry_interval=60,
        payload_format_indicator=1,
        response_topic="r",
        user_properties=(("k", "v"), ("k", "w")),
    ),
)


@pytest.mark.parametrize(
    ("template", "raw", "safe"),
    [
        ("%t %p", b"a/b \x1bhi", b"a/b \\x1bhi"),
        ("\\e[1m%p\\\\", b"\x1b[1m\x1bhi\\", b"\x1b[1m\\x1bhi\\"),
        ("%q%r%l %m", b"113 7", b"113 7"),
        ("%x %X", b"1b6869 1B6869", b"1b6869 1B6869"),
        ("%C|%D|%E|%F|%R|%P|%A|%S", b"text|\xff|60|1|r|k:v k:w||", b"text|\\xff|60|1|r|k:v k:w||"),
        ("%5t|%-5t|%.1t|%5.2t|", b"  a/b|a/b  |a|   a/|", b"  a/b|a/b  |a|   a/|"),
        ("%U @N", b"1470818943.786368637 786368637", b"1470818943.786368637 786368637"),
        ("@Y%%@@", b"2016%@", b"2016%@"),
        ("\\0\\a\\n\\r\\t\\v", b"\0\a\n\r\t\v", b"\0\a\n\r\t\v"),
    ],
)
def test_templates(template: str, raw: bytes, safe: bytes) -> None:
    assert compile_template(template, RAW, b"\n")(MESSAGE, AT) == raw + b"\n"
    assert compile_template(template, SAFE, b"")(MESSAGE, AT) == safe


def test_json_of_mosquitto() -> None:
    line = _one("%j")
    start, _, rest = line.partition(',"topic"')
    assert re.fullmatch(r'\{"tst":"2016-08-\d\dT\d\d:\d\d:03\.786368[+-]\d{4}"', start)
    assert rest.startswith(':"a/b","qos":1,"retain":1,"payloadlen":3,"mid":7,"properties":{')
    assert rest.endswith(',"payload":"\\u001bhi"}')
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", _one("%I"))


def _one(template: str) -> str:
    return compile_template(template, RAW, b"")(MESSAGE, AT).decode()


def test_a_payload_that_is_no_json_is_told_and_leaves_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert compile_template("%J", RAW, b"\n")(MESSAGE, AT) == b"\n"
    assert "'a/b' is no JSON" in capsys.readouterr().err


@pytest.mark.parametrize("template", ["%", "%Z", "\\q", "\\", "@", "%5"])
def test_a_template_that_means_nothing(template: str) -> None:
    with pytest.raises(click.BadParameter):
        compile_template(template, RAW, b"")


def draw(tree: TopicTree, now: float, height: int = 40) -> list[str]:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    with console.capture() as capture:
        console.print(tree.render(now, height))
    return capture.get().splitlines()


def test_the_tree_counts_and_knows_rates() -> None:
    tree = TopicTree()
    draw(tree, 0)
    for number in range(20):
        tree.add(Message("home/hall", b"%d" % number))
    tree.add(Message("home", b""))
    tree.add(Message("/\x1b", b"\x1b[31m"))
    lines = draw(tree, 2)
    assert lines[0] == "22 messages to 3 topics, 11.0/s"
    assert lines[1].startswith("├── (empty)  1  ")
    assert lines[2].endswith("\\x1b[31m")
    assert lines[3].startswith("└── home  21  ")
    assert lines[3].endswith("(empty)")
    assert lines[4].startswith("    └── hall  20  ")
    assert lines[4].endswith("  19")
    draw(tree, 6)
    assert draw(tree, 20)[0].endswith(", 0.0/s")  # the window has passed


def test_the_tree_is_bounded() -> None:
    tree = TopicTree(most=10)
    for number in range(100):
        tree.add(Message(f"a/{number}", b"x"))
    lines = draw(tree, 1)
    assert lines[0].startswith("100 messages to 10 topics")
    assert lines[-1] == "90 messages to more than 10 topics not shown"
    assert len(lines) == 13


def test_the_tree_closes_what_it_has_no_room_for() -> None:
    tree = TopicTree()
    for level in "ab":
        for number in range(10):
            tree.add(Message(f"{level}/{number}", b"x"))
    lines = draw(tree, 1, height=16)
    assert len(lines) == 13
    assert lines[-1].endswith("10 topics")
    assert len(draw(tree, 1, height=10)) == 3


async def test_a_reader_that_is_slow_does_not_hold_the_connection_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = b"x" * 300_000  # more than a pipe holds
    source, target = os.pipe()
    went_on = threading.Event()
    found = b""

    def read() -> None:
        nonlocal found
        went_on.wait(LONG)
        with open(source, "rb") as file:  # noqa: PTH123 - a descriptor
            found = file.read()

    reader = threading.Thread(target=read)
    reader.start()
    with open(target, "w") as stream:  # noqa: ASYNC230, PTH123 - a descriptor
        monkeypatch.setattr("sys.stdout", stream)
        output = Output()
        assert not output.is_terminal
        with trio.fail_after(LONG / 2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(output.write, data)
                await trio.testing.wait_all_tasks_blocked()
                assert found == b""
                went_on.set()
    await trio.to_thread.run_sync(reader.join)
    assert found == data
