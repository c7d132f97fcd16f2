"""What the page about testing shows is what happens."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio_mqtt.testing

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["pytester"]

PAGE: Final = (Path(__file__).parent.parent.parent / "docs" / "testing.rst").read_text("utf-8")
BLOCK: Final = re.compile(r"\.\. code-block:: (\w+)\n\n((?:   .*\n|\n)+)")


def block(language: str, beginning: str) -> str:
    """The block of the page that begins so."""
    (found,) = (
        content
        for name, text in BLOCK.findall(PAGE)
        if name == language and (content := inspect.cleandoc(text)).startswith(beginning)
    )
    return found


def test_the_first_test_passes_as_the_page_configures_it(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml(block("toml", "[tool.pytest"))
    pytester.makepyfile(test_link=block("python", "from trio_mqtt.packets"))
    pytester.runpytest_inprocess("-W", "error").assert_outcomes(passed=1)


def test_the_first_test_is_ten_lines() -> None:
    lines = block("python", "from trio_mqtt.packets").splitlines()
    assert len([line for line in lines if line]) <= 10


def test_the_failure_looks_like_that(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
import pytest
from trio_mqtt import open_client
pytest_plugins = ["trio_mqtt.testing.fixtures"]

@pytest.mark.trio
async def test(mqtt_server, autojump_clock):
    async with open_client(connector=mqtt_server.connect, client_id="press") as client:
        await client.publish("press/status", "ready", qos=1, retain=True)
        for _ in range(2):
            await client.publish("press/done", "lid", qos=2)
        mqtt_server.assert_published("press/done", "lid", qos=2, count=1)
"""
    )
    output = pytester.runpytest_inprocess().stdout.str()
    shown = re.sub(r"^[\s|]*", "", output, flags=re.MULTILINE)
    for line in block("text", "AssertionError: ").splitlines():
        assert line.strip() in shown


def test_every_fixture_and_assertion_is_on_the_page() -> None:
    server = trio_mqtt.testing.Server
    assertions = {f"`~Server.{name}`" for name in dir(server) if name.startswith("assert_")}
    fixtures = {f"``{name}``\n" for name in ("mqtt_server", "faulty_network", "mqtt_client")}
    assert {name for name in assertions | fixtures if name not in PAGE} == set()
