"""A program with a durable Session that is killed at any instant loses and doubles nothing."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from functools import partial
from subprocess import PIPE
from typing import TYPE_CHECKING, Final

import attrs
import pytest
import trio

import trio_mqtt
from tests.budget import USUAL, WANTED
from tests.storage.support import ROOT, query
from trio_mqtt import MQTT_3_1_1, MQTT_5, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.servers import RealServer

KILLS: Final = min(WANTED, 2000) if WANTED > USUAL else 20
LONGEST_RUN: Final = 60 + KILLS
EVERY: Final = 0.015
"""How often something comes in, in seconds."""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the program that kills needs signals")


@attrs.define
class Outside:
    """What the world sees of the program.

    Attributes:
        sent: the names of the messages published for it.
        arrived: how often each message of it has come.
        deaths: where it has died, and how often.
    """

    sent: list[str] = attrs.Factory(list[str])
    arrived: Counter[str] = attrs.Factory(Counter[str])
    deaths: dict[str, int] = attrs.Factory(dict[str, int])

    async def publish(self, client: trio_mqtt.Client, topic: str) -> None:
        """Publish for it, for ever."""
        while True:
            for qos in (1, 2):
                name = f"{qos}-{len(self.sent)}"
                await client.enqueue(f"{topic}/in/{qos}", name, qos=qos)
                self.sent.append(name)  # cancelled before, it would not be
            await trio.sleep(EVERY)

    async def collect(self, messages: trio_mqtt.Subscription) -> None:
        """Count what comes from it, up to the end."""
        async for message in messages:
            name = message.text()
            if name == "end":
                return
            self.arrived[name] += 1

    async def watch(self, process: trio.Process, client: trio_mqtt.Client, topic: str) -> None:
        """Do what it needs from outside until it is done."""
        assert process.stdout is not None
        lines = b""
        with trio.CancelScope() as publishing:
            async with trio.open_nursery() as nursery:
                async for data in process.stdout:
                    lines += data
                    if lines == b"ready\n":
                        nursery.start_soon(self.publish, client, topic)
                    if lines.count(b"\n") == 2:
                        publishing.cancel()
        ready, deaths, *_ = lines.split(b"\n")
        assert ready == b"ready"
        self.deaths = json.loads(deaths)
        for qos in (1, 2):
            self.sent.append(f"{qos}-end")
            await client.publish(f"{topic}/in/{qos}", f"{qos}-end", qos=qos)
        rest = b"".join([data async for data in process.stdout])
        assert rest == b"done\n"


async def kill(url: str, directory: Path, *how: str) -> Outside:
    """Let the program run and die, again and again; what is seen of that."""
    outside = Outside()
    topic = directory.name
    command = [sys.executable, "-m", "tests.client.kill_child", url, str(directory), str(KILLS)]
    with trio.fail_after(LONGEST_RUN):
        async with (
            trio_mqtt.open_client(url) as client,
            client.subscribe(f"{topic}/out/+", qos=2) as messages,
            trio.open_nursery() as nursery,
        ):
            run = partial(trio.run_process, [*command, *how], stdout=PIPE, cwd=ROOT)
            process: trio.Process = await nursery.start(run)
            nursery.start_soon(outside.collect, messages)
            await outside.watch(process, client, topic)
            await client.publish(f"{topic}/out/1", "end", qos=1)  # it comes after all others
    return outside


def report(**numbers: object) -> None:
    print(*(f"{name}: {number}" for name, number in numbers.items()), sep="\n")  # noqa: T201


def doubled(names: Iterable[str], qos: int) -> list[str]:
    return [
        name for name, count in Counter(names).items() if name.startswith(f"{qos}-") and count > 1
    ]


def check_sent(directory: Path, outside: Outside) -> dict[str, object]:
    """Every message that was accepted has come, those of QoS 2 once."""
    accepted = (directory / "accepted").read_text().split()
    assert len(accepted) == len(set(accepted))
    assert not set(accepted) - set(outside.arrived), "accepted messages are lost"
    assert doubled(outside.arrived.elements(), 2) == []
    return {
        "accepted": len(accepted),
        "arrived at QoS 1": sum(name.startswith("1-") for name in outside.arrived),
        "arrived at QoS 2": sum(name.startswith("2-") for name in outside.arrived),
        "of these not reported as accepted": len(set(outside.arrived) - set(accepted)),
        "doubled at QoS 1": len(doubled(outside.arrived.elements(), 1)),
    }


def check_spread(outside: Outside) -> None:
    """It has died at many different places."""
    assert sum(outside.deaths.values()) == KILLS
    found = " ".join(outside.deaths)
    assert all(place in found for place in ("connecting", "send", "received", "committing"))
    assert all(count <= KILLS // 2 for count in outside.deaths.values())


@pytest.mark.parametrize("protocol", [MQTT_5, MQTT_3_1_1], ids=lambda each: each.title)
async def test_effects_in_the_transaction_that_settles(
    mosquitto: RealServer, tmp_path: Path, protocol: Protocol
) -> None:
    start = time.monotonic()
    outside = await kill(mosquitto.url, tmp_path, "1", "transaction", str(protocol.value))
    rows = query(tmp_path / "session.db", "SELECT name FROM effects")
    names = [str(row[0]) for row in rows]
    report(
        kills=sum(outside.deaths.values()),
        died=outside.deaths,
        **check_sent(tmp_path, outside),
        **{"received": len(outside.sent), "effects doubled at QoS 1": len(doubled(names, 1))},
        seconds=round(time.monotonic() - start, 1),
    )
    check_spread(outside)
    assert set(names) == set(outside.sent)
    assert doubled(names, 2) == []


def repeated_after_each_kill(directory: Path) -> tuple[list[str], list[int]]:
    """What the plain loop has handled, and how much of each run at QoS 2 came again later.

    Only the last messages of a run may: those whose settling was not on disk when it died.
    """
    handled: dict[int, dict[str, str]] = {}  # by run: the Packet Identifier of each, in order
    durable: dict[int, set[str]] = {}  # by run: those whose settling is known to be on disk
    names: list[str] = []
    for line in (directory / "handled").read_text().splitlines():
        number, what, *words = line.split()
        run = handled.setdefault(int(number), {})
        safe = durable.setdefault(int(number), set())
        if what == "handled":
            name, packet_id = words
            names.append(name)
            if name.startswith("2-"):
                run[name] = packet_id
        else:
            safe.update(name for name, packet_id in run.items() if packet_id in words)
    counts: list[int] = []
    seen_later: set[str] = set()
    for which, run in sorted(handled.items(), reverse=True):
        again = seen_later & set(run)
        assert not again & durable[which], "what was durably settled was handed over again"
        assert again == set(list(run)[len(run) - len(again) :]), "not the last ones"
        counts.append(len(again))
        seen_later |= set(run)
    return names, counts


@pytest.mark.parametrize("protocol", [MQTT_5, MQTT_3_1_1], ids=lambda each: each.title)
async def test_effects_before_settling(
    mosquitto: RealServer, tmp_path: Path, protocol: Protocol
) -> None:
    start = time.monotonic()
    outside = await kill(mosquitto.url, tmp_path, "2", "loop", str(protocol.value))
    names, counts = repeated_after_each_kill(tmp_path)
    report(
        kills=sum(outside.deaths.values()),
        died=outside.deaths,
        **check_sent(tmp_path, outside),
        **{
            "received": len(outside.sent),
            "effects doubled at QoS 1": len(doubled(names, 1)),
            "effects doubled at QoS 2": len(doubled(names, 2)),
            "most after one kill": max(counts),
        },
        seconds=round(time.monotonic() - start, 1),
    )
    check_spread(outside)
    assert set(names) == set(outside.sent)
    # The message in hand, and sometimes the one before, whose settling was on its way to the disk.
    assert sum(counts) <= 2 * KILLS
