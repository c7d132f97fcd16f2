"""The command line as a process of its own, through pipes and through a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Generator

PROGRAM: Final = (sys.executable, "-m", "trio_mqtt")
PATIENCE: Final = 60.0
"""No command of the tests takes so long, in seconds."""
COLUMNS: Final = 100
_CONTROL: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\r")


def _environment() -> dict[str, str]:
    left_out = ("MQTT_", "NO_COLOR", "FORCE_COLOR", "TTY_", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return {**kept, "TERM": "xterm-256color"}


def run_piped(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with pipes."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=_environment(),
    )


@attrs.define
class OnTerminal:
    """A command on a terminal.

    Attributes:
        process: the command.
        output: what it has printed so far.
    """

    process: subprocess.Popen[bytes]
    output: str
    _descriptor: int

    @property
    def text(self) -> str:
        """What it has printed, without what acts on the terminal."""
        return _CONTROL.sub("", self.output)

    def read_until(self, wanted: str) -> None:
        """Read until this was printed."""
        deadline = time.monotonic() + PATIENCE
        while wanted not in self.text:
            assert self._read(deadline), f"{wanted!r} is not in {self.text!r}"

    def finish(self) -> int:
        """Read to the end; the exit status."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self.process.wait(PATIENCE)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.write(self._descriptor, b"\x03")

    def read_some(self, deadline: float) -> None:
        """Read what comes until then, if anything does."""
        left = deadline - time.monotonic()
        if select.select([self._descriptor], [], [], max(0.0, left))[0]:
            self._read(deadline)

    def _read(self, deadline: float) -> bool:
        left = deadline - time.monotonic()
        readable, _, _ = select.select([self._descriptor], [], [], max(0.0, left))
        if not readable:
            message = f"nothing more came than {self.text!r}"
            raise TimeoutError(message)
        try:
            data = os.read(self._descriptor, 65_536)
        except OSError:  # nobody has the other side open any more
            return False
        self.output += data.decode()
        return bool(data)


@contextmanager
def start_on_terminal(*arguments: str) -> Generator[OnTerminal]:
    """Run a command on a terminal of its own for the time of a block."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", _IN_FRONT, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env=_environment(),
    )
    os.close(theirs)
    try:
        yield OnTerminal(process, "", ours)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
        os.close(ours)


# The terminal has to be that of the session, for Ctrl-C to be a signal.
_IN_FRONT: Final = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from trio_mqtt.__main__ import main
main()
"""
