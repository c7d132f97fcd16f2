"""The last program of the page about a durable gateway is one: it survives what is done to it."""

from __future__ import annotations

import os
import re
import signal
import sys
import textwrap
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from trio_mqtt.packets import Publish
from trio_mqtt.testing import LogEntry, Server, open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "gateway.rst"
BLOCK: Final = re.compile(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)")
LONGEST_RUN: Final = 30.0


def program(port: int) -> str:
    """The last program of the page, quicker and at a port of its own."""
    source = textwrap.dedent(BLOCK.findall(PAGE.read_text())[-1])
    assert "await trio.sleep(1)" in source
    return source.replace("localhost", f"127.0.0.1:{port}").replace("sleep(1)", "sleep(0.01)")


@asynccontextmanager
async def gateway(directory: Path, port: int) -> AsyncGenerator[trio.Process]:
    """Run it, and kill it at the end if it is still there."""
    await trio.Path(directory / "gateway.py").write_text(program(port))
    process = await trio.lowlevel.open_process(
        [sys.executable, "-u", "gateway.py"],
        stdout=-1,  # a pipe
        cwd=str(directory),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def lines_until(process: trio.Process, last: str) -> list[str]:
    """What it prints, up to this line."""
    assert process.stdout is not None
    output = b""
    while last not in output.decode().splitlines():
        chunk = await process.stdout.receive_some()
        assert chunk, output
        output += chunk
    return output.decode().splitlines()


def reading(entry: LogEntry) -> bool:
    packet = entry.packet
    return isinstance(packet, Publish) and packet.topic == "plant/7/readings"


def readings(server: Server) -> list[int]:
    """Those received, without what was sent again."""
    packets = [entry.packet for entry in server.log if reading(entry)]
    return [int(each.payload) for each in packets if isinstance(each, Publish) and not each.dup]


async def test_readings_taken_offline_arrive_although_the_gateway_was_killed(
    tmp_path: Path,
) -> None:
    with trio.fail_after(LONGEST_RUN):
        async with open_server(port=0) as server:
            assert server.url is not None
            port = int(server.url.rpartition(":")[2])
            server.accepting = False
            database = trio.Path(tmp_path / "gateway.db-wal")
            async with gateway(tmp_path, port) as process:
                size = 0
                while size < 60_000:
                    await trio.sleep(0.01)  # a file tells nobody that it grows
                    size = (await database.stat()).st_size if await database.exists() else 0
                process.kill()
            server.accepting = True
            async with gateway(tmp_path, port):
                await server.wait_until(lambda: readings(server).count(1) > 1)
            numbers = readings(server)
            first_run = numbers[: numbers.index(1, 1)]
            assert len(first_run) > 3
            assert first_run == list(range(1, len(first_run) + 1))


async def test_it_takes_commands_and_leaves_in_order(tmp_path: Path) -> None:
    with trio.fail_after(LONGEST_RUN):
        async with open_server(port=0) as server:
            assert server.url is not None
            port = int(server.url.rpartition(":")[2])
            async with gateway(tmp_path, port) as process:
                await server.wait_for(reading)
                await server.wait_until(lambda: bool(server.sessions["gateway-7"].subscriptions))
                server.publish("plant/7/commands", "open valve 3", 2)
                lines = await lines_until(process, "command: open valve 3")
                process.send_signal(signal.SIGTERM)
                lines += await lines_until(process, "stopped")
                assert await process.wait() == 0
            assert "connected" in lines
            server.publish("plant/7/commands", "while it was away", 2)
            async with gateway(tmp_path, port) as process:
                await lines_until(process, "command: while it was away")
