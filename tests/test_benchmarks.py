"""The benchmarks run, with few messages and nothing asserted about time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import attrs
import mqtt5
import pytest
import trio

from benchmarks import __main__ as command
from benchmarks import aliases, bound, codec, report, targets
from benchmarks.clients import BARE, CLIENTS, CPU
from benchmarks.jobs import PAYLOAD_SIZE, Job
from benchmarks.processes import RunFailed, run_module
from benchmarks.results import Results
from benchmarks.runs import run_once
from benchmarks.servers import run_canned
from benchmarks.wire import PUBACK, PUBREC, Splitter, publish_stream
from benchmarks.works import DUPLICATES, LATENCY, WORKS, Work
from trio_mqtt import MQTT_5
from trio_mqtt.packets import PubAck, Publish, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

OURS = next(iter(CLIENTS))


CANNED: Final = [
    attrs.evolve(work, subscriptions=min(work.subscriptions, 300))  # more than a read brings
    for work in WORKS
    if work.server == "canned" and work.size in {PAYLOAD_SIZE, 1 << 20}
]


@pytest.mark.parametrize(
    ("name", "work"),
    [
        (name, work)
        for name in (OURS, "paho")
        for work in CANNED
        if name == OURS or (work.qos == 1 and work.size == PAYLOAD_SIZE)
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_each_work_is_done(name: str, work: Work) -> None:
    job = attrs.evolve(work.job(1, 1.0), messages=3 if work.size > PAYLOAD_SIZE else 500)
    if work.kind in {"connect", LATENCY, "request"}:
        job = attrs.evolve(job, messages=5)
    figures = run_once(name, job, work.server)
    assert set(figures) == {*work.figures, CPU}
    assert all(value > 0 for value in figures.values())


@pytest.mark.parametrize("name", [OURS, "paho"])
def test_who_takes_a_message_sent_again_for_the_same(name: str) -> None:
    measured = Results(clients=(name,), rounds=1, environment={})
    command.probe_duplicates(measured)
    assert measured.duplicates == {name: True}


def test_a_client_that_hands_a_message_out_twice_is_found() -> None:
    deadline = time.monotonic() + 20
    job = attrs.evolve(DUPLICATES.job(1, 1.0), messages=5)
    with (
        run_canned(job, deadline) as server,
        run_module("benchmarks.run_client", "ours", deadline=deadline) as client,
    ):
        # A client that is done after the repetitions, as it took them for messages of their own.
        client.go(attrs.evolve(job, port=server.port, messages=4).to_json())
        with pytest.raises(RunFailed):
            server.check()


def test_bare_loop_receives() -> None:
    job = Job(kind="receive", qos=0, messages=3000)
    assert run_once(BARE, job, "canned")["rate"] > 0


@pytest.mark.parametrize("kind", ["receive", "publish"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mosquitto_between(kind: str, qos: int) -> None:
    assert run_once(OURS, Job(kind=kind, qos=qos, messages=40), "mosquitto")["rate"] > 0


def test_messages_lost_are_told() -> None:
    work = WORKS[0]
    measured = Results(clients=(OURS,), rounds=1, environment={})
    measured.figures[work, OURS, "rate"] = [1.0]
    measured.lost[work, OURS] = 1234
    assert report.cell(measured, work, OURS, "rate") == "lost 1,234"
    assert measured.median(work, OURS) is None


def test_table_of_a_few_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    stored = tmp_path / "results.json"
    arguments = ["--rounds", "2", "--messages", "40", "--only", "tasks", "--server", "canned"]
    arguments += ["--clients", OURS, "paho", "--cpu", "--results", str(stored)]
    status = command.main(arguments)
    printed = capsys.readouterr().out
    assert status == 0, printed
    first, second = (line.split() for line in printed.splitlines() if "tasks QoS 1" in line)
    assert len(first) == len(second) == len(["tasks", "QoS", "1", "ours", "theirs", "ratio"])
    measured = Results.load(stored)
    assert measured.clients == (OURS, "paho")
    assert [len(values) for values in measured.figures.values()] == [2] * 4
    measured.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == stored.read_text()


def test_codec_of_each_packet() -> None:
    for packet in codec.PACKETS.values():
        for run in codec.works(packet, mqtt5).values():
            run()


def test_targets_are_told() -> None:
    measured = Results(clients=(OURS, "gmqtt", BARE), rounds=1, environment={})
    work = next(work for work in WORKS if work.kind == "receive")
    for name, rate in zip(measured.clients, (300.0, 200.0, 1000.0), strict=True):
        measured.figures[work, name, "rate"] = [rate]
    told = [each.describe(measured)[2:] for each in targets.TARGETS]
    assert told[:3] == [("1.50", "met"), ("0.30", "not met"), ("-", "not measured")]


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


def test_what_the_bare_loop_has_to_add(capsys: pytest.CaptureFixture[str]) -> None:
    assert bound.main(["--messages", "2001", "--rounds", "1"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1] for line in printed[2:]] == list(bound.STEPS)


@pytest.mark.parametrize("step", bound.STEPS.values(), ids=list(bound.STEPS))
def test_each_step_takes_all_messages(step: Callable[[Sequence[bytes]], Awaitable[int]]) -> None:
    packet = encode(Publish("a/b", b"payload"), MQTT_5)
    assert trio.run(step, [packet * 100, packet, packet * 30]) == 131
