"""Runs the command as users do: through pipes, and through a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
from click.testing import CliRunner

from trio_mqtt._cli._main import main

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from typing import Self

    from click.testing import Result

LONG: Final = 30.0
"""Longer than anything here takes, in seconds."""

COMMAND: Final = (sys.executable, "-m", "trio_mqtt")
ROOT: Final = Path(__file__).parent.parent.parent
_OF_THIS_RUN: Final = ("MQTT_", "COLUMNS", "LINES")
_ENVIRONMENT: Final = {
    name: value for name, value in os.environ.items() if not name.startswith(_OF_THIS_RUN)
} | {"TERM": "xterm", "PYTHONPATH": str(ROOT)}
_POLL: Final = 0.05
_ANSI: Final = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[@-_])")


@attrs.frozen
class Outcome:
    """How a command ended.

    Attributes:
        status: the exit status.
        output: what it wrote to standard output.
        errors: what it wrote to standard error.
    """

    status: int
    output: bytes
    errors: str

    @property
    def lines(self) -> list[str]:
        return self.output.decode().splitlines()


def environment(**more: str) -> Mapping[str, str]:
    return {**_ENVIRONMENT, **more}


def new_topic() -> str:
    """A topic that nobody else has."""
    return f"test/{uuid.uuid4().hex}"


def place(url: str) -> tuple[str, ...]:
    """The options that name a server, as mosquitto_pub has them."""
    return ("-h", "127.0.0.1", "-p", url.rpartition(":")[2])


def start(*args: str, **more: str) -> subprocess.Popen[bytes]:
    """Start the command with pipes."""
    return subprocess.Popen(
        [*COMMAND, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(**more),
    )


def finish(process: subprocess.Popen[bytes], data: bytes | None = None) -> Outcome:
    """Wait for a command's end; it is killed if that takes too long."""
    try:
        output, errors = process.communicate(data, timeout=LONG)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Outcome(process.returncode, output, errors.decode())


def run(*args: str, data: bytes = b"", **more: str) -> Outcome:
    """Run the command through pipes."""
    return finish(start(*args, **more), data)


def invoke(*args: str, data: bytes = b"") -> Result:
    """Run the command in this process."""
    return CliRunner(env={"MQTT_URL": None}).invoke(main, args, input=data)


@contextmanager
def running(*args: str, **more: str) -> Generator[subprocess.Popen[bytes]]:
    """A command that runs while the block does."""
    process = start(*args, **more)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def mosquitto_pub(url: str, topic: str, *args: str, data: bytes = b"") -> None:
    """Publish with another program."""
    words = ("mosquitto_pub", *place(url), "-t", topic, *args)
    subprocess.run(words, input=data, timeout=LONG, check=True)


@contextmanager
def mosquitto_sub(url: str, topic: str, *args: str) -> Generator[subprocess.Popen[bytes]]:
    """Subscribe with another program; it has subscribed when the block begins."""
    ready = new_topic()
    mosquitto_pub(url, ready, "-m", "ready", "-r")
    words = ("mosquitto_sub", *place(url), "-t", ready, "-t", topic, *args)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        read_line(process)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def read_line(process: subprocess.Popen[bytes]) -> bytes:
    """Wait for one line of standard output, and no byte more."""
    assert process.stdout is not None
    return _read_until(process.stdout.fileno(), b"\n")


def _read_until(descriptor: int, end: bytes) -> bytes:
    deadline = time.monotonic() + LONG
    found = b""
    while not found.endswith(end):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        byte = os.read(descriptor, 1) if ready else b""
        assert byte, f"only {found!r} has come"
        found += byte
    return found


class Terminal:
    """The command on a pseudo-terminal, which is its controlling one.

    Args:
        args: the command's arguments.
        columns: how wide the terminal is.
        rows: how high.
    """

    def __init__(self, *args: str, columns: int = 100, rows: int = 30) -> None:
        # The end of the command stays open here, so that reading does not fail before it opens it.
        self._master, self._slave = pty.openpty()
        name = os.ttyname(self._slave)
        words = " ".join(map(shlex.quote, [*COMMAND, *args]))
        script = f"stty rows {rows} cols {columns} < {name}; exec {words} < {name} > {name} 2>&1"
        # The first terminal that the leader of a session opens becomes its controlling one.
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", script], env=environment(), start_new_session=True
        )
        self.raw = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._slave)
        os.close(self._master)

    @property
    def text(self) -> str:
        """What was written so far, without colours and movements."""
        return _ANSI.sub("", self.raw.decode(errors="replace")).replace("\r\n", "\n")

    def type(self, keys: str) -> None:
        """Type something; ``\\x03`` is Ctrl-C."""
        os.write(self._master, keys.encode())

    def wait_for(self, text: str) -> None:
        """Wait until this was written."""
        deadline = time.monotonic() + LONG
        while text not in self.text:
            if not self._read(_POLL):
                alive = self._process.poll() is None and time.monotonic() < deadline
                assert alive, f"{text!r} has not come, but {self.text!r}"

    def wait(self) -> int:
        """Wait for the end; the exit status, less than 0 for a signal."""
        deadline = time.monotonic() + LONG
        while self._process.poll() is None:
            self._read(_POLL)
            assert time.monotonic() < deadline, f"it goes on after {self.text!r}"
        while self._read(0):
            pass
        return self._process.returncode

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], seconds)
        if ready:
            self.raw += os.read(self._master, 65_536)
        return bool(ready)


def interrupt(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
