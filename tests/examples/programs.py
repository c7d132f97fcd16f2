"""Runs the programs in examples/, each as a process of its own."""

from __future__ import annotations

import os
import re
import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import trio_mqtt

ROOT: Final = Path(__file__).parent.parent.parent
EXAMPLES: Final = ROOT / "examples"
LONGEST_RUN: Final = 40.0  # on a busy machine it takes seconds until a program has begun
_PATH: Final = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
ENVIRONMENT: Final = {
    name: value for name, value in os.environ.items() if name not in {"MQTT_URL", "COLUMNS"}
} | {
    "PYTHONPATH": _PATH,  # this tree, whatever is installed
    "PYTHONUNBUFFERED": "1",
    "PYTHONIOENCODING": "utf-8",
    "TERM": "xterm",
}


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(EXAMPLES / name), *arguments]


async def output_of(name: str, *arguments: str, status: int = 0, **environment: str) -> str:
    """Run an example to its end, and return what it printed."""
    with trio.fail_after(LONGEST_RUN):
        process = await trio.run_process(
            command(name, *arguments),
            capture_stdout=True,
            stderr=STDOUT,
            check=False,
            env=ENVIRONMENT | environment,
        )
    text = process.stdout.decode().replace("\r\n", "\n")
    assert process.returncode == status, text
    return text


class Running:
    """An example that runs.

    Attributes:
        text: what it has printed and was read.
    """

    def __init__(self, process: trio.Process) -> None:
        self.text = ""
        self._process = process
        self._position = 0

    async def prints(self, line: str) -> None:
        """Wait until it has printed this, at any time."""
        while f"{line}\n" not in self.text:
            await self._read()

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait for a line that matches, behind the one that was found last."""
        line = re.compile(f"^(?:{pattern})$(?=\n)", re.MULTILINE)
        while (match := line.search(self.text, self._position)) is None:
            await self._read()
        self._position = match.end()
        return match

    async def _read(self) -> None:
        output = self._process.stdout
        assert output is not None
        data = await output.receive_some()
        assert data, f"it ended after {self.text!r}"
        self.text += data.decode()

    async def ends(self, signal_number: int) -> int:
        """End it with a signal, and return its exit status."""
        self._process.send_signal(signal_number)
        return await self._process.wait()


@asynccontextmanager
async def running(
    name: str, *arguments: str, longest: float = LONGEST_RUN
) -> AsyncGenerator[Running]:
    """Run an example while the block runs."""
    with trio.fail_after(longest):
        async with trio.open_nursery() as nursery:
            start = partial(
                trio.run_process,
                command(name, *arguments),
                stdout=PIPE,
                check=False,
                env=ENVIRONMENT,
            )
            process = await nursery.start(start)
            yield Running(process)
            nursery.cancel_scope.cancel()


async def next_payload(messages: trio_mqtt.Subscription) -> str:
    with trio.fail_after(LONGEST_RUN):
        return (await messages.receive()).text()
