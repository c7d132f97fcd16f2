"""A server's process, on ports that were free, started again on the same ones."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Final

import attrs

from tests.interop.servers.family import MARK, end_family
from tests.servers import ATTEMPTS, ServerDied, answers_connect, free_port, stop

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from pathlib import Path

START_TIMEOUT: Final = 60.0
POLL_INTERVAL: Final = 0.05

numbers = itertools.count()


@attrs.frozen(kw_only=True)
class Command:
    """How to start a server, once its ports are known.

    Attributes:
        arguments: the program and its arguments.
        mqtt: the ports that answer CONNECT when it is ready.
        listening: the other ports, which have to accept connections.
        says: what it prints when it is ready; empty if that says nothing.
        environment: its whole environment; None for ours.
        end: ends it in good order instead of SIGTERM, and waits for that.
    """

    arguments: Sequence[str | Path]
    mqtt: Sequence[int]
    listening: Sequence[int] = ()
    says: bytes = b""
    environment: Mapping[str, str] | None = None
    end: Callable[[subprocess.Popen[bytes]], None] = stop


class ServerProcess:
    """A server's process; it can be restarted, and ends with all that it started.

    Args:
        command: how to start it.
        log: takes what it prints.
    """

    def __init__(self, command: Command, log: Path) -> None:
        self._command = command
        self._log = log
        self._mark = f"{os.getpid()}-{next(numbers)}"
        self._said = 0
        self._process = self._start()

    def restart(self) -> None:
        """End it in good order, unless it was killed, and start it; returns when it is ready."""
        self.end()
        self._process = self._start()

    def end(self) -> None:
        """End it, and wait for that."""
        self._end(self._process)

    def kill(self) -> None:
        """End it as a power cut does."""
        self._process.kill()
        self._process.wait()
        end_family(self._mark)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        try:
            self._command.end(process)
        finally:
            end_family(self._mark)

    def _start(self) -> subprocess.Popen[bytes]:
        environment = self._command.environment
        environment = os.environ if environment is None else environment
        with self._log.open("ab") as output:
            self._said = output.tell()
            process = subprocess.Popen(
                self._command.arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**environment, MARK: self._mark},
            )
        try:
            self._wait_until_ready(process)
        except BaseException:
            self._end(process)
            raise
        return process

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self._is_ready():
            if process.poll() is not None:
                message = f"it exited with {process.returncode}:\n{self._last_words()}"
                raise ServerDied(message)
            if time.monotonic() > deadline:
                message = f"it is not ready after {START_TIMEOUT:.0f} s:\n{self._last_words()}"
                raise TimeoutError(message)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_INTERVAL)

    def _is_ready(self) -> bool:
        return (
            all(map(answers_connect, self._command.mqtt))
            and all(map(_accepts, self._command.listening))
            and self._command.says in self._log.read_bytes()[self._said :]
        )

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def run_process(
    ports: int, make: Callable[[Sequence[int]], Command], log: Path
) -> Generator[tuple[ServerProcess, Sequence[int]]]:
    """Run a server for the length of a block, on other ports if some are taken meanwhile.

    Args:
        ports: how many it needs.
        make: writes its configuration for these ports and says how to start it.
        log: takes what it prints.
    """
    for attempt in range(1, ATTEMPTS + 1):
        found = [free_port() for _ in range(ports)]
        try:
            process = ServerProcess(make(found), log)
        except ServerDied:
            if attempt == ATTEMPTS:
                raise
        else:
            break
    else:
        raise AssertionError  # the last attempt ends the loop
    try:
        yield process, found
    finally:
        process.end()
