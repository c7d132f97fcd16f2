"""Real servers to test against, each a process of its own on a free loopback port."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path
    from typing import Self

CONNECT_3_1_1: Final = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"
CONNACK: Final = b"\x20"
START_TIMEOUT: Final = 10.0
POLL_INTERVAL: Final = 0.05
ATTEMPTS: Final = 5
SYSTEM_PATH: Final = "/usr/local/sbin:/usr/sbin:/sbin"


@attrs.frozen(kw_only=True)
class RealServer:
    """A server that runs.

    Attributes:
        port: where it listens, on 127.0.0.1.
        log: what it has to say.
        more_ports: those of further listeners.
    """

    port: int
    log: Path
    more_ports: tuple[int, ...] = ()

    @property
    def url(self) -> str:
        """What a client connects to."""
        return f"mqtt://127.0.0.1:{self.port}"


class ServerDied(Exception):
    """The process ended before it took a connection, as it does when the port is taken."""


def find_mosquitto() -> str:
    """Find the program, or say how to get it."""
    path = os.environ.get("PATH", os.defpath) + os.pathsep + SYSTEM_PATH
    program = shutil.which("mosquitto", path=path)
    if program is None:
        message = (
            "these tests need the Mosquitto server, and this machine has none: install it "
            "('apt-get install mosquitto' on Debian), or let 'make test' do it"
        )
        raise FileNotFoundError(message)
    return program


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers_connect(port: int) -> bool:
    """Whether an MQTT server answers CONNECT there."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(CONNECT_3_1_1)
            return connection.recv(1) == CONNACK
    except OSError:
        return False


def wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return once the server takes connections.

    Raises:
        ServerDied: the process has ended.
        TimeoutError: it did neither.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while not answers_connect(port):
        if process.poll() is not None:
            message = f"it exited with {process.returncode}:\n{log.read_text()}"
            raise ServerDied(message)
        if time.monotonic() > deadline:
            message = f"no CONNACK within {START_TIMEOUT:.0f} s:\n{log.read_text()}"
            raise TimeoutError(message)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL_INTERVAL)


def start_mosquitto(
    directory: Path, listeners: Sequence[str] = ()
) -> tuple[subprocess.Popen[bytes], RealServer]:
    """Start Mosquitto in an empty directory, on another port if one is taken meanwhile.

    Args:
        directory: for all that it writes.
        listeners: the settings of further listeners, each with a port of its own.
    """
    program = find_mosquitto()
    log = directory / "mosquitto.log"
    for attempt in range(1, ATTEMPTS + 1):
        port = free_port()
        more_ports = tuple(free_port() for _ in listeners)
        configuration = directory / "mosquitto.conf"
        configuration.write_text(
            f"listener {port} 127.0.0.1\n"
            "allow_anonymous true\n"
            "persistence true\n"
            f"persistence_location {directory}/\n"
            "max_queued_messages 0\n"  # by default it drops what a burst exceeds
            "user root\n"  # which has no effect unless root starts it
            + "".join(
                f"listener {number} 127.0.0.1\n{settings}\n"
                for number, settings in zip(more_ports, listeners, strict=True)
            )
        )
        with log.open("wb") as output:
            process = subprocess.Popen(
                [program, "-c", configuration], stdout=output, stderr=subprocess.STDOUT
            )
        try:
            wait_until_ready(process, port, log)
        except BaseException as error:
            stop(process)
            if isinstance(error, ServerDied) and attempt < ATTEMPTS:
                continue
            raise
        return process, RealServer(port=port, log=log, more_ports=more_ports)
    raise AssertionError  # the last attempt returns or raises


class RestartableMosquitto:
    """A Mosquitto that keeps its port and its persistence when it is restarted.

    Args:
        directory: an empty one, for all that it writes.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process, self._server = start_mosquitto(directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        stop(self._process)

    @property
    def url(self) -> str:
        """What a client connects to."""
        return self._server.url

    def restart(self) -> None:
        """End it with SIGTERM, upon which it saves everything, and start it again."""
        stop(self._process)
        log = self._server.log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [find_mosquitto(), "-c", self._directory / "mosquitto.conf"],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_until_ready(self._process, self._server.port, log)


def stop(process: subprocess.Popen[bytes], timeout: float = 5) -> None:
    """End this process and no other; kill it if that takes longer."""
    process.terminate()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def run_mosquitto(directory: Path, listeners: Sequence[str] = ()) -> Generator[RealServer]:
    """Run Mosquitto for the length of a block; see `start_mosquitto`."""
    process, server = start_mosquitto(directory, listeners)
    try:
        yield server
    finally:
        stop(process)
