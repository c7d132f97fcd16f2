"""Processes that take part in a run: bounded in time, ended by their own id."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT: Final = Path(__file__).parent.parent
_MOST_OF_STDERR: Final = 2000


class RunFailed(Exception):
    """This run does not count."""


class Process:
    """A Python module that runs; talks by lines.

    Args:
        module: what to run.
        arguments: its command line.
        deadline: when it must be done, by `time.monotonic`.
        python: the interpreter.
    """

    def __init__(
        self, module: str, *arguments: str, deadline: float, python: str = sys.executable
    ) -> None:
        self._name = " ".join((module, *arguments))
        self.deadline = deadline
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - `end` closes it
        self._process = subprocess.Popen(  # noqa: S603 - a program of ours
            [python, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            process_group=0,  # so that what it starts itself is ended with it
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        if self._process.stdout is not None:
            for line in self._process.stdout:
                self._lines.put(line.strip())
        self._lines.put("")

    def line(self) -> str:
        """Its next line.

        Raises:
            RunFailed: it ended, or there was none in time.
        """
        try:
            line = self._lines.get(timeout=max(0.0, self.deadline - time.monotonic()))
        except queue.Empty:
            message = f"{self._name} was not done in time"
            raise RunFailed(message) from None
        if not line:
            self._process.wait()
            self._errors.seek(0)
            words = self._errors.read()[-_MOST_OF_STDERR:]
            message = f"{self._name} ended with {self._process.returncode}:\n{words}"
            raise RunFailed(message)
        return line

    def go(self, line: str = "go") -> None:
        """Write a line to it."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it has ended, as its next line tells
                self._process.stdin.write(f"{line}\n")
                self._process.stdin.flush()

    def end(self) -> None:
        """Have it ended, by force if need be."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._thread.join()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


@contextlib.contextmanager
def run_module(
    module: str, *arguments: str, deadline: float, python: str = sys.executable
) -> Generator[Process]:
    """Run a module of ours for the length of a block."""
    process = Process(module, *arguments, deadline=deadline, python=python)
    try:
        yield process
    finally:
        process.end()
