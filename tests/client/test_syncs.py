"""What a packet reveals is on disk before the packet is sent, as the system calls show.

A SIGKILL does not test that: what was written and not synced survives it. So the system calls of a
program are traced, and from them it is worked out what the disk is sure to have at each moment:
what was written to a file before an fsync or fdatasync that had returned by then. At each send that
is put into files and opened, as after a loss of power: the records must be there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import pytest
import trio

from tests.storage.support import ROOT, records_in
from trio_mqtt._protocol.handshakes import SenderState
from trio_mqtt._protocol.records import (
    OUTGOING,
    PROGRESS,
    RECEIVED,
    SUBSCRIPTION,
    apply_progress,
    decode_message,
)
from trio_mqtt.packets import (
    PacketReader,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Subscribe,
)
from trio_mqtt.testing import open_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from trio_mqtt._protocol.exchanges import OutgoingMessage
    from trio_mqtt.abc import RecordKey
    from trio_mqtt.packets import Packet

COUNT: Final = 30
LONGEST_RUN: Final = 60
FILES: Final = ("", "-wal", "-journal")
CALLS: Final = (
    "write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,ftruncate,unlink,fsync,fdatasync"
)

_CALL: Final = re.compile(r'(\d+) +(\w+)\((?:\d+<([^>]*)>|"([^"]*)")(.*)')
_RESUMED: Final = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>")
_BUFFER: Final = re.compile(r', (?:\{.*?iov_base=)?"([^"]*)"(\.\.\.)?')
_OFFSET: Final = re.compile(r", (\d+)(?:\) += \d+| <unfinished \.\.\.>)$")


def find_strace() -> str:
    """The program that traces; where it may not, the test fails in CI and is skipped elsewhere."""
    if sys.platform != "linux":
        pytest.skip("strace is a program of Linux")
    program = shutil.which("strace")
    if program is None:
        message = (
            "this test needs strace, and this machine has none: install it ('apt-get install "
            "strace' on Debian), or let 'make test' do it"
        )
        raise FileNotFoundError(message)
    trial = subprocess.run(
        [program, "-f", "-o", os.devnull, sys.executable, "-c", ""],
        capture_output=True,
        text=True,
        check=False,
    )
    if trial.returncode:
        message = (
            "NOT TESTED that records are synced before packets reveal them: strace may not trace "
            f"on this machine ({trial.stderr.strip()}); permit ptrace, as with the option "
            "--cap-add=SYS_PTRACE of a container"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return program


@attrs.define
class Disk:
    """What a trace says of a database and the files beside it.

    Attributes:
        path: of the database.
        written: what is in each file now, by what is added to its name.
        synced: what is sure to be there after a loss of power.
        syncs: how many syncs there were.
    """

    path: str
    written: dict[str, bytearray] = attrs.field(factory=dict[str, bytearray])
    synced: dict[str, bytes] = attrs.field(factory=dict[str, bytes])
    syncs: int = 0
    _under_way: dict[str, tuple[str, bytes]] = attrs.field(factory=dict[str, tuple[str, bytes]])

    def enter(self, task: str, call: str, path: str, rest: str) -> None:
        """A system call begins; of writes it is taken for granted that they do all they should."""
        suffix = path.removeprefix(self.path)
        if not path.startswith(self.path) or suffix not in FILES:
            return
        if call == "unlink":
            self.written.pop(suffix, None)
            self.synced.pop(suffix, None)
            return
        content = self.written.setdefault(suffix, bytearray())
        if call in {"fsync", "fdatasync"}:
            self._under_way[task] = suffix, bytes(content)
        elif call == "ftruncate":
            size = int(rest.split(")", maxsplit=1)[0].strip(", "))
            del content[size:]
            self.synced[suffix] = self.synced.get(suffix, b"")[:size]
        else:
            assert call == "pwrite64", f"SQLite writes with {call}"
            offset = _OFFSET.search(rest)
            assert offset is not None, rest[-99:]
            data = buffer_of(rest)
            start = int(offset[1])
            content.extend(bytes(max(0, start - len(content))))
            content[start : start + len(data)] = data

    def leave(self, task: str) -> None:
        """A system call has returned."""
        if task in self._under_way:
            suffix, content = self._under_way.pop(task)
            self.synced[suffix] = content
            self.syncs += 1

    def records(self, directory: Path) -> dict[RecordKey, bytes]:
        """What a program finds that opens it after a loss of power."""
        directory.mkdir()
        for suffix, content in self.synced.items():
            (directory / f"a.db{suffix}").write_bytes(content)
        try:
            return records_in(directory / "a.db")
        finally:
            shutil.rmtree(directory)


def unescape(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def buffer_of(rest: str) -> bytes:
    """What a system call writes."""
    found = _BUFFER.match(rest)
    assert found is not None, rest[:99]
    assert not found[2], "strace has left something out"
    return unescape(found[1])


def follow(lines: Iterable[str], disk: Disk) -> Iterator[Packet]:
    """Each packet that the program sent; the disk is then as it was before."""
    readers: dict[str, PacketReader] = {}
    for line in lines:
        call = _CALL.match(line)
        resumed = _RESUMED.match(line)
        if call is not None:
            task, name, file, plain, rest = call.groups()
            path = unescape(file or plain).decode()
            disk.enter(task, name, path, rest)
            if path.startswith("socket:") and name in {"sendto", "sendmsg", "write", "writev"}:
                data = buffer_of(rest)
                if data.startswith(b"\x10"):
                    readers[path] = PacketReader(None)
                if path in readers:
                    readers[path].feed(data)
                    yield from readers[path].read_packets()
            if "<unfinished" not in line:
                disk.leave(task)
        elif resumed is not None:
            disk.leave(resumed[1])


def outgoing(records: Mapping[RecordKey, bytes]) -> dict[int, OutgoingMessage]:
    """The messages to be sent, by Packet Identifier."""
    messages: dict[int, OutgoingMessage] = {}
    for (kind, key), value in records.items():
        if kind == OUTGOING:
            message = decode_message(int(key), value, 0.0)
            if (PROGRESS, key) in records:
                apply_progress(message, records[PROGRESS, key])
            messages[message.packet_id] = message
    return messages


def _publish_is_covered(packet: Packet, records: Mapping[RecordKey, bytes]) -> bool:
    assert isinstance(packet, Publish)
    message = outgoing(records).get(packet.packet_id)
    return message is not None and message.payload == packet.payload


def _pubrel_is_covered(packet: Packet, records: Mapping[RecordKey, bytes]) -> bool:
    assert isinstance(packet, PubRel)
    message = outgoing(records).get(packet.packet_id)
    return message is not None and message.state is SenderState.AWAITING_PUBCOMP


def _pubrec_is_covered(packet: Packet, records: Mapping[RecordKey, bytes]) -> bool:
    assert isinstance(packet, PubRec)
    return (RECEIVED, packet.packet_id) in records


def _pubcomp_is_covered(packet: Packet, records: Mapping[RecordKey, bytes]) -> bool:
    assert isinstance(packet, PubComp)
    return (RECEIVED, packet.packet_id) not in records


def _subscribe_is_covered(packet: Packet, records: Mapping[RecordKey, bytes]) -> bool:
    assert isinstance(packet, Subscribe)
    return all((SUBSCRIPTION, each.topic_filter) in records for each in packet.requests)


COVERED: Final[dict[type[Packet], Callable[[Packet, Mapping[RecordKey, bytes]], bool]]] = {
    Publish: _publish_is_covered,
    PubRel: _pubrel_is_covered,
    PubRec: _pubrec_is_covered,
    PubComp: _pubcomp_is_covered,
    Subscribe: _subscribe_is_covered,
}
"""Whether the records on disk hold what a packet reveals."""


def uncovered(lines: Iterable[str], disk: Disk, directory: Path) -> dict[str, list[bool]]:
    """For each packet sent, by its kind, whether it revealed what was not on disk."""
    found: dict[str, list[bool]] = {}
    records: Mapping[RecordKey, bytes] = {}
    syncs = -1
    for packet in follow(lines, disk):
        is_covered = COVERED.get(type(packet))
        if is_covered is None:
            continue
        if syncs != disk.syncs:
            syncs = disk.syncs
            records = disk.records(directory)
        name = type(packet).__name__
        if isinstance(packet, Publish):
            name += f" {packet.qos:d}"
        found.setdefault(name, []).append(not is_covered(packet, records))
    return found


async def trace(path: Path) -> list[str]:
    """The system calls of a program."""
    output = path.with_suffix(".trace")
    command = [
        *[find_strace(), "-f", "-y", "-xx", "-s", "1000000", "-e", "signal=none"],
        *["-e", f"trace={CALLS}", "-o", str(output)],
        *[sys.executable, "-m", "tests.client.traced_child"],
    ]
    with trio.fail_after(LONGEST_RUN):
        async with open_server(port=0) as server, trio.open_nursery() as nursery:
            assert server.url is not None
            command += [server.url, str(path), str(COUNT)]
            nursery.start_soon(partial(trio.run_process, command, cwd=ROOT))
            await server.wait_for(Subscribe)
            for number in range(COUNT):
                server.publish("in", f"message {number}", qos=2)
    return output.read_text().splitlines()


async def test_records_are_synced_before_packets_reveal_them(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    lines = await trace(path)
    disk = Disk(str(path))
    found = uncovered(lines, disk, tmp_path / "after")
    assert {name: len(each) for name, each in found.items()} == {
        "Subscribe": 1,
        "Publish 1": COUNT,
        "Publish 2": COUNT,
        "PubRec": COUNT,
        "PubRel": COUNT,
        "PubComp": COUNT,
    }
    assert {name: sum(each) for name, each in found.items()} == dict.fromkeys(found, 0)
    assert disk.syncs > COUNT / 2

    # Would it be noticed? Without the last sync before each packet, none of them is safe.
    unsynced = [line for line in lines if "sync" not in line or "-wal" not in plain(line)]
    found = uncovered(unsynced, Disk(str(path)), tmp_path / "after")
    del found["PubComp"]  # where nothing is ever on disk, there is nothing to forget
    assert {name: sum(each) for name, each in found.items()} == {
        name: len(each) for name, each in found.items()
    }


def plain(line: str) -> str:
    """The line with its file name readable."""
    call = _CALL.match(line)
    return unescape(call[3] or call[4]).decode() if call else ""


def test_a_machine_that_permits_no_traces_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "strace"
    program.write_text("#!/bin/sh\necho not permitted >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(sys, "platform", "linux")
    words = r"NOT TESTED .*\(not permitted\)"
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=words):
        find_strace()
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match=words):
        find_strace()
