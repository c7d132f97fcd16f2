"""Every interleaving within bounds: nothing is lost, and nothing of QoS 2 comes twice.

The number of states is printed. More is explored with TRIO_MQTT_EXAMPLES of 10,000 or more::

    TRIO_MQTT_EXAMPLES=10000 make pytest
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.budget import DRAWN_AFRESH, WANTED
from tests.protocol.bounds import Bounds
from tests.protocol.consumer import HastyReceiver
from tests.protocol.exploration import explore

if TYPE_CHECKING:
    from tests.protocol.exploration import Report

WORLDS: Final = {
    "two messages of QoS 2": (Bounds(last_identifier=2), 150_000),
    "two messages of QoS 1": (Bounds(qos=(1, 1), lazy=True), 10_000),
    "one of each": (Bounds(qos=(1, 2)), 25_000),
    "one Packet Identifier for both": (Bounds(identifiers=1, slow_disk=True), 10_000),
    "a slow and failing disk": (Bounds(qos=(2,), lazy=True, slow_disk=True, hesitates=True), 3_000),
    "refusals": (Bounds(qos=(2,), lazy=True, rejects=True, slow_disk=True), 5_000),
    "refusals at QoS 1": (Bounds(qos=(1,), lazy=True, rejects=True, slow_disk=True), 2_000),
    "work in the same transaction": (
        Bounds(qos=(2,), lazy=True, slow_disk=True, works=True),
        3_000,
    ),
    "the client opened again": (Bounds(qos=(2,), lazy=True, slow_disk=True, reopens=True), 2_000),
    "a window of one": (Bounds(qos=(2, 1, 2), window=1, breaks=2, crashes=0), 5_000),
    "without storage": (Bounds(qos=(2, 1, 2), durable=False, crashes=0, reopens=True), 2_000),
    "another order of answers": (Bounds(receiver=HastyReceiver, breaks=2, crashes=0), 10_000),
    "repeated packets": (Bounds(repeats=1, breaks=1, crashes=0, strict=False), 10_000),
    "strange packets": (Bounds(qos=(2,), strange=2, strict=False), 10_000),
    "strange packets at QoS 1": (Bounds(qos=(1,), strange=2, strict=False), 3_000),
}
"""What is explored each time, and how many states there are at least."""

LARGE_WORLDS: Final = {
    "two messages of QoS 2, slow and failing disks": (Bounds(slow_disk=True), 500_000),
    "three messages of QoS 2": (Bounds(qos=(2, 2, 2), breaks=1, crashes=2), 500_000),
    "work in the same transaction": (
        Bounds(slow_disk=True, works=True, breaks=1, crashes=1),
        300_000,
    ),
    "refusals": (Bounds(rejects=True), 500_000),
}
"""What is explored if more is wanted; it takes minutes."""


def check(report: Report, least: int) -> None:
    assert report.trace is None, "\n".join(("this must not happen:", *report.trace))
    assert report.states >= least


@pytest.mark.parametrize("name", WORLDS)
def test_every_interleaving(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    bounds, least = WORLDS[name]
    report = explore(bounds)
    with capsys.disabled():
        print(f"\n{name}: {report}", end=" ")  # noqa: T201 - how much was explored
    check(report, least)


@pytest.mark.skipif(WANTED < DRAWN_AFRESH, reason="takes minutes")
@pytest.mark.parametrize("name", LARGE_WORLDS)
def test_every_interleaving_in_larger_bounds(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    bounds, least = LARGE_WORLDS[name]
    report = explore(bounds)
    with capsys.disabled():
        print(f"\n{name}: {report}", end=" ")  # noqa: T201 - how much was explored
    check(report, least)
