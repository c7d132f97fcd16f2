"""Cut at every byte: the exchange breaks anywhere, in either direction, resumes, and keeps faith.

`tests.client.cuts` has the exchange and what must hold. Side by side offsets differ in how the
connection ends and in how long a message is in hand; from TRIO_MQTT_EXAMPLES=10000 on each offset
is tried in all ways, and each pair of offsets over two connections, which takes about an hour.
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar, get_args

import attrs
import pytest
import trio

from tests.budget import DRAWN_AFRESH, WANTED
from tests.client.cuts import EXPIRY, LONG, SHORT, Case, Cut, OnSessionLost
from tests.client.lives import Kind, lives_in_memory, threads_in_turn
from tests.client.worlds import (
    cuts_of,
    exchange_in_memory,
    numbers,
    open_mosquitto,
    run,
    run_in_memory,
    varied,
)
from trio_mqtt import MQTT_3_1_1, MQTT_5, Protocol, Session, SQLiteStorage
from trio_mqtt.testing import Ending

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.client.worlds import Report
    from tests.servers import RealServer

IN_FULL: Final = WANTED >= DRAWN_AFRESH
SEED: Final = random.SystemRandom().randrange(2**32) if IN_FULL else 2_026
BOTH: Final = pytest.mark.parametrize("protocol", [MQTT_5, MQTT_3_1_1], ids=["5", "3.1.1"])
ANY_QOS: Final = pytest.mark.parametrize("qos", [0, 1, 2])
AT_ONCE: Final = 6
"""How many exchanges there are at a time with Mosquitto."""
REAL_PATIENCE: Final = 300

T = TypeVar("T")


def some(items: Iterable[T], number: int) -> list[T]:
    """A sample, the same at each run; or all of them."""
    everything = list(items)
    if IN_FULL or number >= len(everything):
        return everything
    chosen = random.Random(SEED).sample(range(len(everything)), number)  # noqa: S311 - no secret
    return [everything[each] for each in sorted(chosen)]


def ways(case: Case, cut: Cut) -> Iterator[Case]:
    """One way to break the connection at an offset, or all of them."""
    one = varied(case, cut)
    if not IN_FULL:
        yield one
        return
    for ending in get_args(Ending):
        for hold in (SHORT, LONG):
            yield attrs.evolve(one, ending=ending, hold=hold)


def conclude(what: str, reports: Iterable[Report], *, at_least: int) -> None:
    """Print how many exchanges were cut wherever they should be, and check that it is enough."""
    cut = sum(all(each.cut[: len(each.case.cuts)]) for each in reports)
    print(f"{what}: {cut} exchanges cut (seed {SEED})")  # noqa: T201 - for who runs it in full
    assert cut >= at_least


@BOTH
@ANY_QOS
def test_cut_at_every_byte(qos: int, protocol: Protocol) -> None:
    whole = run_in_memory(Case(qos=qos, protocol=protocol))
    reports = [
        run_in_memory(case, SEED + number)
        for number, cut in enumerate(cuts_of(whole))
        for case in ways(whole.case, cut)
    ]
    conclude(f"QoS {qos}, {protocol.title}", reports, at_least=sum(whole.lengths[0].values()))


@BOTH
@pytest.mark.parametrize("qos", [1, 2])
def test_cut_and_the_session_is_in_a_file(qos: int, protocol: Protocol, tmp_path: Path) -> None:
    def exchange(case: Case, seed: int = 0) -> Report:
        storage = SQLiteStorage(tmp_path / f"{next(numbers)}.db")
        session = Session(case.name, expiry=EXPIRY, storage=storage)
        with threads_in_turn():
            return run(partial(exchange_in_memory, case, session), seed)

    case = Case(qos=qos, protocol=protocol)
    cuts = some(cuts_of(exchange(case)), 25)
    reports = [
        exchange(each, SEED + number) for number, cut in enumerate(cuts) for each in ways(case, cut)
    ]
    conclude(f"SQLite, QoS {qos}, {protocol.title}", reports, at_least=24)


@BOTH
@pytest.mark.parametrize("window", [None, 1], ids=["any", "one"])
def test_cut_at_every_pair_of_bytes(protocol: Protocol, window: int | None) -> None:
    whole = run_in_memory(Case(qos=2, protocol=protocol, window=window))
    choose = random.Random(SEED)  # noqa: S311 - no secret
    reports: list[Report] = []
    for cut in some(cuts_of(whole), 30):
        first = run_in_memory(varied(whole.case, cut))
        second = list(cuts_of(first))
        if not IN_FULL:
            second = choose.sample(second, min(3, len(second)))
        reports += [run_in_memory(varied(first.case, each), SEED + each.offset) for each in second]
    conclude(f"pairs, {protocol.title}, window {window}", reports, at_least=75)


@BOTH
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("policy", get_args(OnSessionLost))
def test_cut_and_the_server_loses_the_session(
    policy: OnSessionLost, qos: int, protocol: Protocol
) -> None:
    case = Case(qos=qos, protocol=protocol, forget=True, on_session_lost=policy)
    cuts = some(cuts_of(run_in_memory(case)), 20)
    reports = [
        run_in_memory(each, SEED + number)
        for number, cut in enumerate(cuts)
        for each in ways(case, cut)
    ]
    doubtful = sum(each.doubtful for each in reports)
    assert bool(doubtful) == (policy == "fail" or (policy == "republish_certain" and qos == 2))
    conclude(f"lost, QoS {qos}, {protocol.title}, {policy}", reports, at_least=19)


@BOTH
@pytest.mark.parametrize("qos", [1, 2])
def test_cut_and_nobody_hears_that_the_session_is_lost(qos: int, protocol: Protocol) -> None:
    case = Case(qos=qos, protocol=protocol, forget=True)
    to_client = [each for each in cuts_of(run_in_memory(case)) if each.direction == "to_client"]
    connack = [Cut("to_client", offset) for offset in range(4)]
    pairs = some([(one, two) for one in to_client[4:] for two in connack], 30)
    reports = [
        run_in_memory(attrs.evolve(case, cuts=pair), SEED + number)
        for number, pair in enumerate(pairs)
    ]
    conclude(f"lost unheard, QoS {qos}, {protocol.title}", reports, at_least=30)


@BOTH
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize(
    ("kind", "dies"),
    [("object", False), ("shelf", False), ("shelf", True), ("file", False)],
    ids=["same session", "stored", "stored until it dies", "SQLite"],
)
def test_cut_and_another_client_goes_on_with_the_session(
    kind: Kind, dies: bool, qos: int, protocol: Protocol, tmp_path: Path
) -> None:
    def live(case: Case, seed: int = 0) -> Report:
        path = tmp_path / f"{next(numbers)}.db"
        return run(partial(lives_in_memory, case, kind, path, dies=dies), seed)

    case = Case(qos=qos, protocol=protocol)
    cuts = some(cuts_of(live(case)), 15 if kind == "file" else 40)
    reports = [
        live(each, SEED + number) for number, cut in enumerate(cuts) for each in ways(case, cut)
    ]
    title = f"{kind} {'dies' if dies else 'fails'}, QoS {qos}, {protocol.title}"
    conclude(title, reports, at_least=len(cuts) - 1)


@BOTH
@ANY_QOS
async def test_cut_at_every_byte_of_mosquitto(
    qos: int, protocol: Protocol, mosquitto: RealServer
) -> None:
    case = Case(qos=qos, protocol=protocol)
    reports: list[Report] = []
    with trio.fail_after(REAL_PATIENCE):
        async with open_mosquitto(mosquitto.url) as server:
            whole = await server.exchange(case)
            waiting = iter([each for cut in cuts_of(whole) for each in ways(case, cut)])

            async def work() -> None:
                for each in waiting:
                    reports.append(await server.exchange(each))  # noqa: PERF401

            async with trio.open_nursery() as nursery:
                for _ in range(AT_ONCE):
                    nursery.start_soon(work)
            server.check()
    expected = sum(whole.lengths[0].values())
    conclude(f"Mosquitto, QoS {qos}, {protocol.title}", reports, at_least=expected)
