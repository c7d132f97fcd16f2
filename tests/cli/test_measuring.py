"""The parts of `trio-mqtt bench`: what counts, what times, and what draws."""

from __future__ import annotations

import io
import json
import re
import struct
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from trio_mqtt import FeatureNotSupported, ReasonCode, Reconnect, open_client
from trio_mqtt._cli.measuring.histogram import Histogram
from trio_mqtt._cli.measuring.plot import draw
from trio_mqtt._cli.measuring.rates import MOST_SAMPLES, Rates
from trio_mqtt._cli.measuring.run import Measurement, Plan
from trio_mqtt._cli.measuring.sequences import MOST_GAPS, Sequence
from trio_mqtt._cli.measuring.show import (
    as_json,
    histogram_lines,
    live_line,
    milliseconds,
    print_results,
)
from trio_mqtt.packets import Publish
from trio_mqtt.testing import Server, ServerLimits, open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

    from trio_mqtt import Client

LONG = 30.0

# -- the histogram --------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10**13), min_size=1), st.floats(0.001, 100))
def test_a_percentile_is_right_to_two_percent(values: list[int], part: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    rank = max(1, -int(-len(values) * part // 100))
    exact = sorted(values)[rank - 1]
    assert abs(histogram.percentile(part) - exact) <= exact * 0.016
    assert histogram.percentile(100) <= histogram.maximum == max(values)
    assert histogram.minimum == min(values)
    assert histogram.mean == sum(values) / len(values)


@given(st.lists(st.integers(0, 10**13)), st.integers(1, 30))
def test_rows_hold_every_value_in_order(values: list[int], most: int) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    rows = list(histogram.rows(most))
    assert len(rows) <= most
    assert sum(count for _, _, count in rows) == len(values)
    for start, end, count in rows:
        assert count == sum(start <= value < end for value in values)
    assert all(before[1] == after[0] for before, after in pairwise(rows))


def test_a_histogram_does_not_grow() -> None:
    histogram = Histogram()
    histogram.add(-5)
    histogram.add(10**30)
    assert (histogram.minimum, histogram.count) == (0, 2)
    assert histogram.percentile(100) <= 1 << 50
    assert len(histogram._counts) < 3000


# -- what has come --------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 60), max_size=200))
def test_each_message_counts_once(numbers: list[int]) -> None:
    sequence = Sequence()
    seen: set[int] = set()
    late = 0
    for number in numbers:
        is_late = number not in seen and number < max(seen, default=-1)
        late += is_late
        assert sequence.take(number) is (number not in seen)
        seen.add(number)
    assert sequence.received == len(seen)
    assert sequence.doubled == len(numbers) - len(seen)
    assert sequence.late == late


def test_gaps_have_a_bound() -> None:
    sequence = Sequence()
    for number in range(0, 4 * MOST_GAPS, 2):
        sequence.take(number + 1)
    assert len(sequence._starts) == len(sequence._ends) == MOST_GAPS
    assert sequence.received == 2 * MOST_GAPS
    assert sequence.take(0) is False  # given up long ago
    assert sequence.take(4 * MOST_GAPS - 2) is True


# -- rates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "factor"), [(1, 1), (MOST_SAMPLES - 1, 1), (MOST_SAMPLES, 2), (MOST_SAMPLES * 3, 32)]
)
def test_samples_have_a_bound_and_keep_the_sum(count: int, factor: int) -> None:
    rates = Rates(0.25)
    for number in range(1, count + 1):
        rates.sample(number * 10, number * 5)
    assert len(rates.sent) == len(rates.received) < MOST_SAMPLES
    assert rates.interval == 0.25 * factor
    assert (sum(rates.sent), sum(rates.received)) == (count * 10, count * 5)


# -- a measurement --------------------------------------------------------------------------------


async def measure(server: Server, *, messages: int | None = 200, **options: Any) -> Measurement:
    def connect() -> AbstractAsyncContextManager[Client]:
        return open_client(connector=server.connect, close_timeout=1)

    measured = Measurement(Plan(open=connect, messages=messages, **options))
    with trio.fail_after(LONG):
        await measured.run(lambda _measured: None)
    return measured


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_all_arrive_at_each_subscriber(qos: int) -> None:
    async with open_server() as server:
        measured = await measure(server, qos=qos, publishers=3, subscribers=2, size=100)
        sent = [
            entry.packet
            for entry in server.log
            if entry.direction == "received" and isinstance(entry.packet, Publish)
        ]
        assert server.sessions == {}
    assert (measured.sent, measured.received, measured.expected) == (200, 400, 400)
    assert (measured.lost, measured.doubled, measured.late, measured.rejected) == (0, 0, 0, 0)
    assert (measured.complete, measured.interrupted, measured.connections) == (True, False, 0)
    assert measured.latencies.count == 400
    assert 0 < measured.latencies.minimum <= measured.latencies.maximum < LONG * 1e9
    assert len(sent) == 200
    assert {len(packet.payload) for packet in sent} == {100}
    assert {packet.qos for packet in sent} == {qos}
    assert not any(packet.retain for packet in sent)
    assert len({packet.topic for packet in sent if packet.topic}) == 3


async def test_what_a_server_swallows_is_lost() -> None:
    swallowed = 0

    def authorize(_client_id: str, publish: Publish) -> ReasonCode:
        nonlocal swallowed
        swallowed += 1
        return ReasonCode.NOT_AUTHORIZED if swallowed % 10 == 0 else ReasonCode.SUCCESS

    async with open_server() as server:
        server.authorize_publish = authorize
        measured = await measure(server, patience=0.1)
        assert (measured.received, measured.lost, measured.rejected) == (180, 20, 0)
        swallowed = 0
        measured = await measure(server, qos=1, patience=0.1)
    # At QoS 1 the server says so: these are not lost.
    assert (measured.received, measured.lost, measured.rejected) == (180, 0, 20)
    assert "0x87 (not authorized)" in measured.refusal


@asynccontextmanager
async def flood(server: Server, *payloads: bytes) -> AsyncGenerator[None]:
    """Publish these to the topic ``same/0``, again and again."""

    async def publish_all(client: Client) -> None:
        while True:
            for payload in payloads:
                await client.publish("same/0", payload)

    async with open_client(connector=server.connect) as client, trio.open_nursery() as nursery:
        nursery.start_soon(publish_all, client)
        yield
        nursery.cancel_scope.cancel()


async def test_what_comes_twice_is_doubled() -> None:
    repeated = struct.pack(">IIQ", 0, 1, 0)
    async with open_server() as server, flood(server, repeated):
        measured = await measure(server, messages=3, rate=20, prefix="same")
    assert (measured.received, measured.lost) == (3, 0)
    assert measured.doubled > 0


async def test_a_rate_is_kept_by_all_publishers_together() -> None:
    async with open_server() as server:
        measured = await measure(server, messages=40, rate=400, publishers=4)
    assert measured.sent == measured.received == 40
    assert 0.09 < measured.sending_seconds < 5


async def test_it_ends_after_its_time() -> None:
    async with open_server() as server:
        measured = await measure(server, messages=None, duration=0.2, qos=1)
    assert measured.sent == measured.received > 0
    assert not measured.interrupted
    assert measured.sending_seconds >= 0.2


async def test_it_can_be_stopped_and_still_waits_for_the_rest() -> None:
    def connect() -> AbstractAsyncContextManager[Client]:
        return open_client(connector=server.connect, close_timeout=1)

    async with open_server() as server:
        measured = Measurement(Plan(open=connect, duration=LONG))

        def stop_early(running: Measurement) -> None:
            if running.received:
                running.stop()

        with trio.fail_after(LONG / 2):
            await measured.run(stop_early)
    assert measured.sent == measured.received > 0
    assert measured.interrupted
    assert measured.complete


async def test_connections_that_are_lost_on_the_way() -> None:
    def connect() -> AbstractAsyncContextManager[Client]:
        return open_client(
            connector=server.connect, reconnect=Reconnect(delay=0.01, max_delay=0.01)
        )

    cut = False

    def cut_all(running: Measurement) -> None:
        nonlocal cut
        if running.received and not cut:
            cut = True
            for client_id in server.sessions:
                server.drop(client_id)

    async with open_server() as server:
        measured = Measurement(Plan(open=connect, messages=300, rate=300, qos=1))
        with trio.fail_after(LONG):
            await measured.run(cut_all)
    assert cut
    assert (measured.sent, measured.received, measured.lost) == (300, 300, 0)
    assert measured.connections == 2
    shown = io.StringIO()
    print_results(Console(file=shown, width=150), measured, histogram=True)
    assert "connections lost" in shown.getvalue()


async def test_publishing_alone() -> None:
    async with open_server() as server:
        measured = await measure(server, subscribers=0, qos=1)
    assert (measured.sent, measured.received, measured.lost) == (200, 0, 0)
    assert json.loads(as_json(measured))["latency"] is None
    ET.fromstring(draw(measured))  # noqa: S314 - our own


async def test_an_error_is_no_group() -> None:
    async with open_server(limits=ServerLimits(maximum_qos=0)) as server:
        with pytest.raises(FeatureNotSupported):
            await measure(server, qos=1, publishers=2)


async def test_messages_of_others_do_not_count() -> None:
    async with open_server() as server, flood(server, b"short", b"\xff" * 16):
        measured = await measure(server, rate=1000, prefix="same", qos=1)
    assert (measured.received, measured.doubled, measured.lost) == (200, 0, 0)


# -- what is shown --------------------------------------------------------------------------------


async def test_results_for_machines_and_pictures() -> None:
    async with open_server() as server:
        measured = await measure(server, qos=1, size=20)
    results = json.loads(as_json(measured))
    wanted = {"protocol": "MQTT 5.0", "qos": 1, "size": 20, "sent": 200, "received": 200, "lost": 0}
    assert wanted.items() <= results.items()
    latency = results["latency"]
    assert list(latency) == ["min", "p50", "p90", "p99", "p99.9", "max", "mean"]
    assert latency["min"] <= latency["p50"] <= latency["p99"] <= latency["max"] < LONG
    picture = ET.fromstring(draw(measured))  # noqa: S314 - our own
    texts = [element.text or "" for element in picture.iter() if element.tag.endswith("text")]
    assert "MQTT 5.0, QoS 1, 20 bytes, 1 publisher, 1 subscriber, as fast as they can" in texts
    assert any(text.startswith("p99.9 ") for text in texts)
    lines = list(histogram_lines(measured, 50, plain=True))
    assert sum(int(line.split()[4].replace(",", "")) for line in lines) == 200
    assert max(line.count("#") for line in lines) == 50
    assert all(line.isascii() for line in lines)
    fine = list(histogram_lines(measured, 50, plain=False))
    assert max(line.count("█") for line in fine) == 50


def test_rows_for_what_went_wrong() -> None:
    measured = Measurement(Plan(open=open_client, messages=1000, subscribers=2, rate=10.5))
    assert live_line(measured).startswith("sent 0 of 1,000 (0/s)")
    measured.sent, measured.rejected, measured.dropped = 100, 10, 3
    measured.protocol = "MQTT 5.0"
    measured.refusal = "it said \x1b[2J no"
    measured.interrupted = True
    measured.rates.sample(50, 25)
    assert live_line(measured) == ("sent 100 of 1,000 (200/s)  received 0 (100/s)  under way 180")
    measured._sequences[0][0].take(1)
    measured._sequences[0][0].take(0)
    shown = io.StringIO()
    print_results(Console(file=shown, width=150), measured, histogram=True)
    text = shown.getvalue()
    assert "10.5 messages a second; stopped before its end" in text
    for row in (
        "refused by the server +10 *$",
        "lost in this program +3 ",
        "out of order +1 +0.556 %",
    ):
        assert re.search(row, text, re.MULTILINE), (row, text)
    assert re.search("under way +178 +98.9 %", text)
    assert "\\x1b[2J" in text
    measured.complete = True
    print_results(Console(file=shown, width=150), measured, histogram=False)
    assert re.search("lost +178 ", shown.getvalue())


def test_rates_are_drawn_even_if_there_are_none() -> None:
    measured = Measurement(Plan(open=open_client, messages=1))
    ET.fromstring(draw(measured))  # noqa: S314 - our own


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(1_500, "0.002 ms"), (1_234_567, "1.235 ms"), (12_345_678, "12.3 ms"), (1.5e9, "1,500 ms")],
)
def test_latencies_have_about_three_digits(nanoseconds: float, text: str) -> None:
    assert milliseconds(nanoseconds) == text
