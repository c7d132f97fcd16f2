"""What docs/command_line.rst shows is what happens, and it tells all there is."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
from typing import TYPE_CHECKING, Final

from tests.cli.support import COMMAND, LONG, ROOT, environment
from trio_mqtt._cli._exit import MEANINGS
from trio_mqtt._cli._main import COMMANDS
from trio_mqtt._cli._template import _ESCAPES, _FIELDS

if TYPE_CHECKING:
    from pathlib import Path

PAGE: Final = (ROOT / "docs" / "command_line.rst").read_text()
BLOCK: Final = re.compile(r"\.\. code-block:: (console|sh)\n\n((?:   .*\n|\n)+)")


def blocks(language: str) -> list[str]:
    found = [inspect.cleandoc(block) for name, block in BLOCK.findall(PAGE) if name == language]
    assert found
    return found


def shell(line: str, directory: Path, url: str, program: str = "/bin/sh") -> str:
    """Run a line with the command in the PATH, and return what it prints."""
    path = directory / "trio-mqtt"
    path.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    path.chmod(0o755)
    variables = environment(MQTT_URL=url)
    done = subprocess.run(
        [program, "-c", line],
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
        cwd=directory,
        env={**variables, "PATH": f"{directory}:{variables['PATH']}"},
    )
    assert done.returncode == 0, (line, done.stderr)
    return done.stdout


def test_the_examples_print_what_the_page_says(broker: str, tmp_path: Path) -> None:
    for block in blocks("console"):
        for example in block.split("$ ")[1:]:
            line, _, expected = example.partition("\n")
            assert shell(line, tmp_path, broker).strip() == expected.strip(), line


def test_completion_works(tmp_path: Path) -> None:
    first = blocks("sh")[0].splitlines()[0]
    assert "bash" in first
    script = f"{first}\ncomplete -p trio-mqtt"
    assert "trio-mqtt" in shell(script, tmp_path, "mqtt://localhost", "/bin/bash")
    ask = (
        "COMP_WORDS='trio-mqtt pub --ret' COMP_CWORD=2 _TRIO_MQTT_COMPLETE=bash_complete trio-mqtt"
    )
    assert shell(ask, tmp_path, "mqtt://localhost").split() == ["plain,--retain", "plain,--retry"]


def test_every_exit_status_is_there_as_the_help_says_it() -> None:
    rows = re.findall(r"^   \* - (\d+)\n     - (.*)$", PAGE, re.MULTILINE)
    assert rows == [(str(int(status)), meaning) for status, meaning in MEANINGS]


def test_every_command_and_every_sequence_of_the_template_is_there() -> None:
    for name in COMMANDS:
        assert f"``trio-mqtt {name}``" in PAGE
    for field in [*_FIELDS, "p", "j", "J"]:
        assert f"``%{field}``" in PAGE
    for escape in _ESCAPES:
        assert f"``\\{escape}``" in PAGE
