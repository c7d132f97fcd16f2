"""``trio-mqtt pub``, through pipes, at Mosquitto and at the in-process server."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
import trio

from tests.cli.support import (
    COMMAND,
    LONG,
    Outcome,
    environment,
    finish,
    interrupt,
    mosquitto_sub,
    new_topic,
    place,
    read_line,
    run,
    running,
    start,
)
from trio_mqtt import ReasonCode
from trio_mqtt.packets import Disconnect, PingReq, PubAck, Publish
from trio_mqtt.testing import After, Faults, ServerLimits, open_proxy, open_server

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from trio_mqtt.testing import LogEntry, Server


def received(url: str, topic: str, count: int, *publish: str, data: bytes = b"") -> list[str]:
    """What a subscriber prints of what one command publishes: QoS, and payload in hexadecimal."""
    arguments = ("-q", "2", "-C", str(count + 1), "-F", "%q %x")
    with mosquitto_sub(url, topic, *arguments) as subscriber:
        outcome = run("pub", *place(url), "-t", topic, *publish, data=data)
        assert (outcome.status, outcome.errors) == (0, "")
        return finish(subscriber).lines


@pytest.mark.parametrize(
    ("publish", "data", "expected"),
    [
        (["-m", "21.5"], b"", [b"21.5"]),
        (["-m", "-5", "-q", "1"], b"", [b"-5"]),
        (["-m", "a", "-m", "b", "-q", "2"], b"", [b"a", b"b"]),
        (["-n"], b"", [b""]),
        (["-s", "-q", "1"], b"a\nb\xff\n", [b"a\nb\xff\n"]),
        (["-l", "-q", "1"], b"a\n\nb\r\nc", [b"a", b"", b"b\r", b"c"]),
        (["-l", "-q", "2"], b"x" * 70_000 + b"\ny\n", [b"x" * 70_000, b"y"]),
        (["-l"], b"1\n2\n", [b"1", b"2"]),
        (["-m", "x", "--repeat", "3", "-q", "1"], b"", [b"x"] * 3),
        (["-s", "--repeat", "2", "--repeat-delay", "0.01", "-q", "1"], b"in", [b"in"] * 2),
    ],
)
def test_what_is_published_arrives(
    url: str, publish: list[str], data: bytes, expected: list[bytes]
) -> None:
    qos = publish[publish.index("-q") + 1] if "-q" in publish else "0"
    lines = received(url, new_topic(), len(expected), *publish, data=data)
    assert lines == [
        f"{qos} {payload.hex()}".rstrip() + " " * (not payload) for payload in expected
    ]


def test_files_are_messages_and_their_lines_too(url: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"a\nb")
    two.write_bytes(b"c\n")
    files = ("-f", str(one), "-f", str(two), "-q", "1")
    assert received(url, new_topic(), 2, *files) == ["1 610a62", "1 630a"]
    assert received(url, new_topic(), 3, "-l", *files) == ["1 61", "1 62", "1 63"]


def test_a_retained_message_stays_and_the_url_may_have_the_topic(url: str) -> None:
    topic = new_topic()
    assert run("pub", "-L", f"{url}/{topic}", "-m", "kept", "-r", "-q", "1").status == 0
    assert run("sub", "-L", f"{url}/{topic}", "-C", "1", "-W", "9").output == b"kept\n"
    assert run("sub", "-t", topic, "-C", "1", "-W", "9", MQTT_URL=url).output == b"kept\n"


def test_what_is_missing_is_told_on_one_line(url: str, tmp_path: Path) -> None:
    outcome = run("pub", *place(url), "-t", "a", "-f", str(tmp_path / "none"))
    assert outcome.status == 1
    assert outcome.errors == f"trio-mqtt: {tmp_path}/none: No such file or directory\n"


def test_no_server_is_exit_status_3() -> None:
    outcome = run("pub", "-p", "1", "-t", "a", "-m", "x")
    assert outcome.status == 3
    assert outcome.errors.startswith("trio-mqtt: cannot connect to mqtt://localhost:1: ")
    assert outcome.errors.count("\n") == 1
    quiet = run("pub", "-p", "1", "-t", "a", "-m", "x", "--quiet")
    assert (quiet.status, quiet.errors) == (3, "")
    traced = run("pub", "-p", "1", "-t", "a", "-m", "x", "--traceback")
    assert "Traceback" in traced.errors


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_while_standard_input_says_nothing(
    url: str, number: signal.Signals, status: int
) -> None:
    topic = new_topic()
    with (
        mosquitto_sub(url, topic) as subscriber,
        running("pub", *place(url), "-t", topic, "-l", "-q", "1") as publisher,
    ):
        assert publisher.stdin is not None
        publisher.stdin.write(b"line\n")
        publisher.stdin.flush()
        assert read_line(subscriber) == b"line\n"
        publisher.send_signal(number)
        assert publisher.wait(LONG) == status
        assert publisher.stderr is not None
        told = b"trio-mqtt: stopped at line 1 (1 read, 1 acknowledged)\n"
        assert publisher.stderr.read() == told


AS_TEXT = ("-D", "publish", "payload-format-indicator", "1")


def test_a_signal_before_the_first_line_needs_no_words(url: str) -> None:
    with running("pub", *place(url), "-t", "a", "-l", "-q", "1", "-d") as publisher:
        assert publisher.stderr is not None
        while b"connected" not in publisher.stderr.readline():
            pass
        publisher.send_signal(signal.SIGINT)
        assert publisher.wait(LONG) == 130
        assert b"stopped" not in publisher.stderr.read()


@pytest.mark.parametrize(
    ("qos", "data", "options", "status", "told"),
    [
        (0, b"1\n2\n\xff\n", AS_TEXT, 2, "3 read, 2 sent"),
        (1, b"1\n2\n\xff\n", AS_TEXT, 2, "3 read, 2 acknowledged"),
        (1, b"1\n2\n" + bytes(2000), (), 1, "3 read, 2 acknowledged"),
    ],
)
async def test_a_line_that_cannot_be_sent_is_named(
    qos: int, data: bytes, options: tuple[str, ...], status: int, told: str
) -> None:
    limits = ServerLimits(maximum_packet_size=1000)
    async with open_server(limits=limits, port=0) as server:
        arguments = ("-L", f"{server.url}/a", "-l", "-q", str(qos), *options)
        outcome = await run_in_trio("pub", *arguments, data=data)
    assert outcome.returncode == status, outcome.stderr
    assert outcome.stderr.endswith(f"; stopped at line 3 ({told})\n".encode())
    assert outcome.stderr.count(b"\n") == 1


async def start_with(data: bytes, *args: str) -> subprocess.Popen[bytes]:
    """Start the command, with this to read; more may come."""
    process = await trio.to_thread.run_sync(lambda: start(*args))
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()
    return process


async def test_a_connection_that_is_given_up_says_at_which_line() -> None:
    async with open_server(port=0) as server:
        arguments = ("pub", "-L", f"{server.url}/a", "-l", "-q", "1", "--give-up-after", "0.001")
        process = await start_with(b"1\n2\n", *arguments)
        with trio.fail_after(LONG):
            await server.wait_for(
                lambda entry: isinstance(entry.packet, PubAck) and entry.packet.packet_id == 2
            )
        with server.outage():
            status = await trio.to_thread.run_sync(process.wait, LONG)
        outcome = await trio.to_thread.run_sync(finish, process)
    assert status == 1
    assert outcome.errors.endswith("; stopped at line 2 (2 read, 2 acknowledged)\n")


async def test_a_window_of_one_waits_for_each_acknowledgement() -> None:
    async with open_server(port=0) as server:
        arguments = ("pub", "-L", f"{server.url}/a", "-l", "-q", "1", "-M", "1", "-k", "1")
        with server.holding(PubAck):
            process = await start_with(b"1\n2\n3\n", *arguments)
            with trio.fail_after(LONG):
                await server.wait_for(PingReq)
            server.assert_published("a", count=1)
        outcome = await trio.to_thread.run_sync(finish, process)
    assert (outcome.status, outcome.errors) == (0, "")


async def run_in_trio(*args: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the command beside a server of this process."""
    with trio.fail_after(LONG):
        return await trio.run_process(
            [*COMMAND, *args],
            stdin=data,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=environment(),
        )


@pytest.mark.parametrize("qos", [1, 2])
async def test_no_line_is_lost_over_reconnections(qos: int) -> None:
    count = 300
    lines = b"".join(b"%d\n" % number for number in range(count))
    cuts = [Faults(cut_to_server=After(Publish, 50))] * 4
    async with open_server(port=0) as server:
        assert server.url is not None
        async with open_proxy(server.url, cuts) as proxy:
            arguments = ("-L", f"{proxy.url}/a", "-l", "-q", str(qos), "-M", "50")
            outcome = await run_in_trio("pub", *arguments, data=lines)
            connections = len(proxy.connections)
    assert outcome.returncode == 0
    assert b"the client tries to connect again" in outcome.stderr
    assert b"not acknowledged" not in outcome.stderr
    arrived = [
        int(entry.packet.payload)
        for entry in server.log
        if isinstance(entry.packet, Publish) and entry.direction == "received"
    ]
    assert connections == len(cuts) + 1
    assert sorted(set(arrived)) == list(range(count))


async def test_refused_lines_are_named_and_the_others_go_on() -> None:
    async with open_server(port=0) as server:

        def authorize(_client_id: str, publish: Publish) -> ReasonCode:
            bad = publish.payload in {b"2", b"4"}
            return ReasonCode.QUOTA_EXCEEDED if bad else ReasonCode.SUCCESS

        server.authorize_publish = authorize
        assert server.url is not None
        data = b"1\n2\n3\n4\n5\n"
        outcome = await run_in_trio("pub", "-L", f"{server.url}/a", "-l", "-q", "1", data=data)
        taken = {
            entry.packet.payload
            for entry in server.log
            if isinstance(entry.packet, Publish) and entry.direction == "received"
        }
    assert outcome.returncode == 4
    errors = outcome.stderr.decode()
    assert errors.startswith("trio-mqtt: refused: line 2 and 1 more: ")
    assert "0x97 (quota exceeded)" in errors
    assert errors.endswith("(5 read, 3 acknowledged)\n")
    assert taken == {b"1", b"2", b"3", b"4", b"5"}


async def stopped_unacknowledged(server: Server, *args: str) -> Outcome:
    """Stop the command with Ctrl-C when three lines have come that nobody acknowledges."""
    seen = server.log[-1] if server.log else None
    with server.holding(PubAck):
        process = await start_with(b"1\n2\n3\n", *args)
        with trio.fail_after(LONG):
            await server.wait_for(
                lambda entry: getattr(entry.packet, "payload", b"") == b"3", after=seen
            )
        interrupt(process)
        return await trio.to_thread.run_sync(finish, process)


async def test_lines_without_acknowledgement_are_named_and_a_session_keeps_them(
    tmp_path: Path,
) -> None:
    session = ("-i", "logger", "--session", str(tmp_path / "queue.db"))
    async with open_server(port=0) as server:
        arguments = ("pub", "-L", f"{server.url}/a", "-l", "-q", "1", "--close-timeout", "0.5")
        outcome = await stopped_unacknowledged(server, *arguments)
        assert outcome.status == 130
        told = "trio-mqtt: stopped at line 3; not acknowledged: line 1 and 2 more; "
        assert told in outcome.errors
        assert outcome.errors.endswith("may or may not have got that (3 read, 0 acknowledged)\n")
        outcome = await stopped_unacknowledged(server, *arguments, *session)
        assert outcome.status == 130
        assert told in outcome.errors
        assert outcome.errors.endswith("next run with that sends it (3 read, 0 acknowledged)\n")
        # The next run waits for the acknowledgements, and not only as long as closing may take.
        brief = (*arguments, *session, "--close-timeout", "0.001", "-k", "1")
        seen = server.log[-1]
        with server.holding(PubAck):
            process = await trio.to_thread.run_sync(lambda: start(*brief))
            assert process.stdin is not None
            process.stdin.close()
            with trio.fail_after(LONG):
                entry = await server.wait_for(
                    lambda entry: isinstance(entry.packet, (PingReq, Disconnect)), after=seen
                )
            assert isinstance(entry.packet, PingReq)
        assert await trio.to_thread.run_sync(process.wait, LONG) == 0
        process.stdin = None
        await trio.to_thread.run_sync(finish, process)
        assert payloads_after(server, seen) == [b"1", b"2", b"3"]
        seen = server.log[-1]
        assert (await run_in_trio(*brief, data=b"4\n")).returncode == 0
        assert payloads_after(server, seen) == [b"4"]


def payloads_after(server: Server, seen: LogEntry) -> list[bytes]:
    return [
        entry.packet.payload
        for entry in server.log
        if entry.number > seen.number and isinstance(entry.packet, Publish)
    ]
