"""What the pages about `doctor` and `bench` show works, and they tell all there is."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.cli.support import COMMAND, LONG, run
from trio_mqtt._cli import _bench, _doctor
from trio_mqtt._cli._command import Option

if TYPE_CHECKING:
    import click

    from tests.servers import RealServer

DOCS: Final = Path(__file__).parent.parent.parent / "docs"
COMMANDS: Final = {"doctor": _doctor.command, "bench": _bench.command}
EXAMPLE: Final = re.compile(r"^   \$ trio-mqtt (.*)$", re.MULTILINE)

each_page = pytest.mark.parametrize("name", COMMANDS)


@each_page
def test_the_examples_of_a_page_run(name: str, mosquitto: RealServer, tmp_path: Path) -> None:
    examples = EXAMPLE.findall((DOCS / f"{name}.rst").read_text())
    assert examples
    program = " ".join(map(shlex.quote, COMMAND))
    for example in examples:
        line = example.replace("mqtt://localhost", mosquitto.url)
        done = subprocess.run(  # noqa: S602 - our own documentation
            f"{program} {line}", shell=True, cwd=tmp_path, timeout=LONG, check=False
        )
        assert done.returncode == 0, example


@each_page
def test_every_option_and_exit_status_is_in_the_page(name: str) -> None:
    text = (DOCS / f"{name}.rst").read_text()
    command: click.Command = COMMANDS[name]
    own = [
        each
        for each in command.params
        if isinstance(each, Option)
        and each.section in {"Options", "Messages", "Results"}
        and not each.hidden
    ]
    assert own
    for option in own:
        assert any(f"``{each}" in text for each in option.opts), option.opts
    statuses = set(re.findall(r"^   \* - (\d+)$", text, re.MULTILINE))
    assert statuses == {"0", "1", "2", "3", "4", "130"}


@each_page
def test_the_help_is_complete(name: str) -> None:
    done = run(name, "--help")
    assert done.status == 0
    assert f"trio-mqtt {name} [OPTIONS] [URL]" in done.output.decode()
    assert "--cafile" in done.output.decode()
