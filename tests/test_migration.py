"""The programs of the migration pages do the same with either library.

Each is a process of its own, with a server in this one. What stands beside ours of aiomqtt and of
gmqtt, which the tests do not install, is compiled; ``python tools/migration.py`` runs all of them.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import pytest
import trio

import trio_mqtt
from tests.transports.support import CA, demanding_context, encrypted_key, open_tls_server
from trio_mqtt.packets import PubAck, Publish
from trio_mqtt.testing import Server, open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

PAGES: Final = Path(__file__).parent.parent / "docs" / "migration"
PROGRAMS: Final = PAGES / "programs"
LIBRARIES: Final = ("trio_mqtt", "paho", "aiomqtt", "gmqtt")
RUN_HERE: Final = ("trio_mqtt", "paho")
LONGEST_RUN: Final = 30.0
PATH: Final = f"{Path(__file__).parent.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"


@attrs.define
class Program:
    """A program of a migration page, to be run.

    Attributes:
        source: what stands on the page.
        directory: for what it makes.
        python: the interpreter that has its library.
    """

    source: str
    directory: Path
    python: str = sys.executable
    lines: list[str] = attrs.Factory(list[str])

    @asynccontextmanager
    async def running(self, port: int) -> AsyncGenerator[trio.Process]:
        """Run it with the server at this port, and kill it at the end if it is still there."""
        place = trio.Path(self.directory) / "program.py"
        source = self.source.replace("s://localhost", f"s://localhost:{port}")
        source = source.replace("mqtt://localhost", f"mqtt://127.0.0.1:{port}")
        await place.write_text(re.sub(r"\b[18]883\b", str(port), source))
        process = await trio.lowlevel.open_process(
            [self.python, "-u", str(place)],
            stdout=-1,  # a pipe
            cwd=str(self.directory),
            env={**os.environ, "PYTHONPATH": PATH},
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
            if process.stdout is not None:
                await process.stdout.aclose()

    async def prints(self, process: trio.Process, *wanted: str) -> None:
        """Read its lines until these have come, in this order, others between them or not."""
        assert process.stdout is not None
        missing = list(wanted)
        unfinished = b""
        while missing:
            chunk = await process.stdout.receive_some()
            assert chunk, f"it ended after {self.lines}, without {missing}"
            *lines, unfinished = (unfinished + chunk).split(b"\n")
            for line in lines:
                self.lines.append(line.decode().strip())
                if missing and self.lines[-1] == missing[0]:
                    del missing[0]


# -- what each has to do -------------------------------------------------------------------------


def port_of(server: Server) -> int:
    assert server.url is not None
    return int(server.url.rpartition(":")[2])


async def subscribed(server: Server, *filters: str) -> str:
    """Wait until a client has all these subscriptions, and return its identifier."""

    def who() -> str | None:
        for client_id, session in server.sessions.items():
            if session.connected and set(filters) <= set(session.subscriptions):
                return client_id
        return None

    await server.wait_until(lambda: who() is not None)
    found = who()
    assert found is not None
    return found


async def publish_one(program: Program, server: Server, port: int) -> Publish:
    async with program.running(port) as process:
        await program.prints(process, "acknowledged")
        assert await process.wait() == 0
    packet = (await server.wait_for(Publish)).packet
    assert isinstance(packet, Publish)
    return packet


async def check_publish(program: Program, server: Server) -> None:
    packet = await publish_one(program, server, port_of(server))
    assert (packet.topic, packet.payload, packet.qos) == ("sensor/hall", b"21.5", 1)


async def check_subscribe(program: Program, server: Server) -> None:
    async with program.running(port_of(server)) as process:
        await subscribed(server, "sensors/+/temperature", "alarms/#")
        server.publish("sensors/hall/temperature", "21.5", 1)
        await program.prints(process, "temperature 21.5")
        server.publish("alarms/smoke", "3", 1)
        await program.prints(process, "alarm alarms/smoke")
    assert len(program.lines) == 2


async def check_will(program: Program, server: Server) -> None:
    async with (
        trio_mqtt.open_client(server.url or "") as client,
        client.subscribe("devices/pump", qos=1) as states,
        program.running(port_of(server)) as process,
    ):
        assert (await states.receive()).text() == "alive"
        process.kill()
        assert (await states.receive()).text() == "dead"


async def check_tls(program: Program, server: Server) -> None:
    directory = trio.Path(program.directory)
    await (directory / "authority.pem").write_bytes(CA.cert_pem.bytes())
    certificate = CA.issue_cert("client.test")
    await (directory / "client.pem").write_bytes(certificate.cert_chain_pems[0].bytes())
    await (directory / "client.key").write_bytes(encrypted_key(certificate, b"open sesame"))
    async with open_tls_server(demanding_context()) as tls_server:
        packet = await publish_one(program, tls_server.server, tls_server.port)
        assert packet.topic == "sensor/hall"
    assert not server.log


async def check_reconnect(program: Program, server: Server) -> None:
    async with program.running(port_of(server)) as process:
        client_id = await subscribed(server, "sensors/#")
        server.publish("sensors/hall", "before", 1)
        await program.prints(process, "sensors/hall before")
        server.drop(client_id)
        await program.prints(process, "disconnected", "connected")
        await subscribed(server, "sensors/#")
        server.publish("sensors/hall", "after", 1)
        await program.prints(process, "sensors/hall after")


async def check_work(program: Program, server: Server) -> None:
    async with program.running(port_of(server)) as process:
        await subscribed(server, "jobs")
        server.publish("jobs", "17", 1)
        await program.prints(process, "done 17")
        await server.wait_for(PubAck)


async def check_exactly_once(program: Program, server: Server) -> None:
    packet = await publish_one(program, server, port_of(server))
    assert (packet.topic, packet.qos) == ("payments", 2)
    assert "till-7" in server.sessions


async def check_properties(program: Program, server: Server) -> None:
    properties = (await publish_one(program, server, port_of(server))).properties
    assert properties.message_expiry_interval == 60
    assert properties.content_type == "application/json"
    assert properties.user_properties == (("unit", "7"),)


async def check_shared(program: Program, server: Server) -> None:
    async with program.running(port_of(server)) as process:
        await subscribed(server, "$share/pool/jobs")
        server.publish("jobs", "17", 1)
        await program.prints(process, "job 17")


async def check_tasks(program: Program, server: Server) -> None:
    async with program.running(port_of(server)) as process:
        await subscribed(server, "pump/interval")
        alive = await server.wait_for(Publish)
        server.publish("pump/interval", "0.01")
        await program.prints(process, "interval 0.01")
        await server.wait_for(lambda entry: is_alive(entry.packet), after=alive)


def is_alive(packet: object) -> bool:
    return isinstance(packet, Publish) and packet.topic == "pump/alive"


async def check_session(program: Program, server: Server) -> None:
    async with program.running(port_of(server)):
        assert await subscribed(server, "orders") == "reader-7"
    await server.wait_until(lambda: not server.sessions["reader-7"].connected)
    server.publish("orders", "while it was away", 1)
    async with program.running(port_of(server)) as process:
        await program.prints(process, "order while it was away")


CHECKS: Final[dict[str, Callable[[Program, Server], Coroutine[None, None, None]]]] = {
    "publish": check_publish,
    "subscribe": check_subscribe,
    "will": check_will,
    "tls": check_tls,
    "reconnect": check_reconnect,
    "work": check_work,
    "exactly_once": check_exactly_once,
    "properties": check_properties,
    "shared": check_shared,
    "tasks": check_tasks,
    "session": check_session,
}


async def run_check(name: str, program: Program) -> None:
    with trio.fail_after(LONGEST_RUN):
        async with open_server(port=0) as server:
            await CHECKS[name](program, server)


@pytest.mark.parametrize("library", RUN_HERE)
@pytest.mark.parametrize("name", CHECKS)
async def test_a_program_does_what_its_page_says(name: str, library: str, tmp_path: Path) -> None:
    source = await trio.Path(PROGRAMS / library / f"{name}.py").read_text()
    await run_check(name, Program(source, tmp_path))


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_library_has_each_program(library: str) -> None:
    programs = {path.stem: path for path in (PROGRAMS / library).glob("*.py")}
    assert programs.keys() == CHECKS.keys()
    for path in programs.values():
        compile(path.read_text(), path, "exec")


@pytest.mark.parametrize("library", [each for each in LIBRARIES if each != "trio_mqtt"])
def test_a_page_shows_each_program_beside_ours(library: str) -> None:
    page = (PAGES / f"{library}.rst").read_text()
    shown = re.findall(r"literalinclude:: programs/(\w+)/(\w+)\.py", page)
    assert sorted(shown) == sorted(
        (each, name) for each in (library, "trio_mqtt") for name in CHECKS
    )
