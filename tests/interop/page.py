"""Writes the page of the docs about servers: ``python -m tests.interop.page RESULTS PAGE``."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict, TypeVar, cast

import attrs

from tests.interop.checks import CHECKS
from tests.interop.servers import SERVERS
from tests.interop.servers.kind import TRANSPORTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tests.interop.servers.kind import Deviation, ServerKind, Transport
    from trio_mqtt import Protocol

T = TypeVar("T")

for _topic in ("connecting", "messages", "subscriptions", "sessions"):
    importlib.import_module(f"tests.interop.test_{_topic}")  # it enters its checks

HEAD: Final = """\
.. This page is written by "make interop"; edit tests/interop/page.py instead.

Servers
=======

The same checks are made of each of these servers, on each transport and in each version of MQTT
that it offers. Where one differs from the standard, or lacks a part of it that is optional, that
is expected by name; anything else that differs fails the run, and so does a difference that is no
more.

"""
MATRIX: Final = """
The checks
----------

✓
    passes on all transports and in all versions that the server offers
(✓)
    passes on some of them
✗
    is not passed
(✗)
    is passed at some times and not at others
—
    nothing to check: the server offers no transport or version with it

The numbers lead to the reasons below.

"""
REASONS: Final = """
What differs
------------

Where nothing is said, all transports and versions that the check is made of are meant.

"""
NAMES: Final[Mapping[Transport, str]] = {
    "tcp": "TCP",
    "tls": "TLS",
    "ws": "WebSocket",
    "wss": "WebSocket over TLS",
}


class Row(TypedDict):
    """What came of one test."""

    server: str
    transport: str
    protocol: str
    check: str
    deviation: int | None
    outcome: str
    version: str | None


@attrs.frozen
class Results:
    """What came of all tests.

    Args:
        rows: a row for each.
    """

    rows: Sequence[Row]

    def of(self, kind: ServerKind, check: str) -> list[Row]:
        """Those of one check and server."""
        return [row for row in self.rows if (row["server"], row["check"]) == (kind.name, check)]

    def problems(self) -> Iterator[str]:
        """Why no page can be made of it."""
        for row in self.rows:
            if row["outcome"] not in {"passed", "deviates"}:
                yield f"{row['check']} of {row['server']}: {row['outcome']}"
        for kind in SERVERS:
            if not any(row["server"] == kind.name for row in self.rows):
                yield f"{kind.name}: it was not run"
                continue
            for name, check in CHECKS.items():
                wanted = {
                    (transport, protocol.name)
                    for transport, protocols in kind.offers.items()
                    for protocol in protocols
                    if transport in check.transports and protocol in check.protocols
                }
                made = {(row["transport"], row["protocol"]) for row in self.of(kind, name)}
                if wanted != made:
                    yield f"{name} of {kind.name}: not all of it was run"

    def version(self, kind: ServerKind) -> str:
        """Which version of the server it was."""
        return next(
            row["version"] for row in self.rows if row["server"] == kind.name and row["version"]
        )


def write_page(results: Results) -> str:
    """The text of the page, in reStructuredText."""
    numbers = {
        (kind, deviation): number for number, (kind, deviation) in enumerate(_deviations(), start=1)
    }

    def cell(kind: ServerKind, check: str) -> str:
        rows = results.of(kind, check)
        if not rows:
            return "—"
        found = sorted({row["deviation"] for row in rows if row["deviation"] is not None})
        if not found:
            return "✓"
        deviations = [kind.deviations[number] for number in found]
        told = ", ".join(str(numbers[kind, deviation]) for deviation in deviations)
        if any(deviation.when == "sometimes" for deviation in deviations):
            sign = "(✗)"
        elif all(row["deviation"] is not None for row in rows):
            sign = "✗"
        else:
            sign = "(✓)"
        return f"{sign} {told}"

    matrix = [
        [check.title, *(cell(kind, name) for kind in SERVERS)] for name, check in CHECKS.items()
    ]
    return "".join(
        [
            HEAD,
            *_table(["Server", "Version", *NAMES.values()], _offers(results)),
            *(f"\n{kind.name}: {kind.absent}\n" for kind in SERVERS if kind.absent),
            MATRIX,
            *_table(["Check", *(kind.name for kind in SERVERS)], matrix),
            REASONS,
            *(
                f"{number}. {reason(kind, deviation)}\n"
                for (kind, deviation), number in numbers.items()
            ),
        ]
    )


def _deviations() -> Iterator[tuple[ServerKind, Deviation]]:
    for kind in SERVERS:
        for deviation in kind.deviations:
            yield kind, deviation


def reason(kind: ServerKind, deviation: Deviation) -> str:
    """What a server does differently, and where."""
    title = CHECKS[deviation.check].title
    when = "sometimes. " if deviation.when == "sometimes" else ""
    return f"**{kind.name}**, *{title}*{_where(kind, deviation)}: {when}{deviation.reason}"


def _where(kind: ServerKind, deviation: Deviation) -> str:
    """Where it is, as far as that is less than where the check is made."""
    check = CHECKS[deviation.check]
    transports: list[Transport] = [name for name in check.transports if name in kind.offers]
    protocols = [
        protocol
        for protocol in check.protocols
        if any(protocol in kind.offers[name] for name in transports)
    ]
    told = [
        *_some(transports, deviation.transports, _transport_name),
        *_some(protocols, deviation.protocols, _version_name),
        *(
            f"{name} {' or '.join(map(_case_name, values))}"
            for name, values in deviation.cases.items()
        ),
    ]
    return f" ({'; '.join(told)})" if told else ""


def _some(every: Sequence[T], those: Sequence[T], name: Callable[[T], str]) -> list[str]:
    found = [each for each in every if each in those]
    return [] if len(found) == len(every) else [" and ".join(map(name, found))]


def _case_name(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _transport_name(transport: Transport) -> str:
    return NAMES[transport]


def _version_name(protocol: Protocol) -> str:
    return protocol.name.removeprefix("MQTT_").replace("_", ".")


def _offers(results: Results) -> list[list[str]]:
    return [
        [
            kind.name,
            results.version(kind),
            *(
                ", ".join(map(_version_name, kind.offers.get(transport, ()))) or "—"
                for transport in TRANSPORTS
            ),
        ]
        for kind in SERVERS
    ]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield ".. list-table::\n   :header-rows: 1\n\n"
    for row in (header, *rows):
        for index, text in enumerate(row):
            yield f"   {' ' if index else '*'} - {text}\n"


def main(results_file: str, page_file: str) -> int:
    """Write the page, unless something was not run or did not pass."""
    rows = cast("list[Row]", json.loads(Path(results_file).read_text(encoding="utf-8")))
    results = Results(rows)
    problems = list(results.problems())
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    if problems:
        sys.stderr.write(f"{page_file} stays as it is\n")
        return 0  # the tests themselves have failed, or were skipped, as they should be here
    Path(page_file).write_text(write_page(results), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
