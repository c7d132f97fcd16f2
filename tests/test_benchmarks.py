"""The benchmarks run, with few messages and nothing asserted about time."""

from __future__ import annotations

import time

import attrs
import pytest

from benchmarks import __main__ as command
from benchmarks import aliases
from benchmarks.clients import CLIENTS
from benchmarks.jobs import Job
from benchmarks.processes import RunFailed, run_module
from benchmarks.servers import run_canned
from benchmarks.wire import PUBACK, PUBREC, Splitter, publish_stream
from benchmarks.works import WORKS
from trio_mqtt import MQTT_5
from trio_mqtt.packets import PubAck, Publish, encode

OURS = next(iter(CLIENTS))


def test_table_of_all_works(capsys: pytest.CaptureFixture[str]) -> None:
    status = command.main(["--rounds", "1", "--messages", "40", "--clients", OURS])
    printed = capsys.readouterr().out
    assert status == 0, printed
    rows = [line for line in printed.splitlines() if line.startswith("  ")][-len(WORKS) :]
    assert len(rows) == len(WORKS)
    for row, work in zip(rows, WORKS, strict=True):
        assert work.name in row
        assert int(row.split()[-1].replace(",", "")) > 0


def test_run_that_loses_a_message_does_not_count() -> None:
    deadline = time.monotonic() + 20
    job = Job(kind="publish", qos=1, messages=10)
    with run_canned(job, deadline) as server:
        fewer = attrs.evolve(job, messages=9, port=server.port)
        module = CLIENTS[OURS].module
        with run_module("benchmarks.run_client", module, deadline=deadline) as client:
            client.go(fewer.to_json())
            client.line()
            with pytest.raises(RunFailed, match="counted"):
                server.check()


def test_table_of_topic_aliases(capsys: pytest.CaptureFixture[str]) -> None:
    assert aliases.main(["--rounds", "1", "--messages", "40"]) == 0
    rows = capsys.readouterr().out.splitlines()[-len(aliases.PATTERNS) :]
    without, ten, _many = (float(part) for part in rows[0].split()[-7::3])
    assert ten < without


@pytest.mark.parametrize("chunk", [1, 7, 100, 10_000])
def test_splitter_finds_every_packet_in_any_chunks(chunk: int) -> None:
    stream, size = publish_stream(Job(kind="publish", qos=1, messages=70), MQTT_5)
    other = encode(PubAck(300), MQTT_5)
    large = encode(Publish("a", b"y" * 300, 2, packet_id=5), MQTT_5)
    data = stream + other + other + large + stream
    splitter = Splitter()
    runs = [
        run
        for start in range(0, len(data), chunk)
        for run in splitter.feed(data[start : start + chunk])
    ]
    assert b"".join(run.data for run in runs) == data
    assert sum(len(run) for run in runs) == 70 + 2 + 1 + 70
    answers = b"".join(run.answer(PUBACK) for run in runs if run.size == size)
    expected = b"".join(encode(PubAck(number), MQTT_5) for number in range(1, 71))
    assert answers == expected * 2
    assert [run.answer(PUBREC) for run in runs if run.size == len(large)] == [b"\x50\x02\x00\x05"]
