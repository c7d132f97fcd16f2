"""What was measured, and how it is stored."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import statistics
from importlib import metadata
from typing import TYPE_CHECKING

import attrs

from benchmarks.clients import CLIENTS
from benchmarks.peers import version
from benchmarks.works import Work

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


Key = tuple[Work, str, str]
"""A work, a client and a figure."""


@attrs.define(kw_only=True)
class Results:
    """The figures of all runs.

    Attributes:
        clients: whose; the first is compared with the others.
        rounds: how often each run was repeated.
        environment: what the figures depend on, by name.
        figures: of each round.
        lost: the most messages that did not arrive in a run.
        duplicates: whether a client takes a QoS 2 message that is sent again for the same.
        codec: packets a second of codecs alone; see `benchmarks.codec`.
        failures: what else went wrong.
        seconds: how long all took.
    """

    clients: tuple[str, ...]
    rounds: int
    environment: dict[str, str]
    figures: dict[Key, list[float]] = attrs.field(factory=dict[Key, list[float]])
    lost: dict[tuple[Work, str], int] = attrs.field(factory=dict[tuple[Work, str], int])
    duplicates: dict[str, bool] = attrs.field(factory=dict[str, bool])
    codec: dict[str, dict[str, list[float]]] = attrs.field(
        factory=dict[str, dict[str, list[float]]]
    )
    failures: list[str] = attrs.field(factory=list[str])
    seconds: float = 0.0

    def median(self, work: Work, client: str, figure: str = "rate") -> float | None:
        """Of all rounds; None if there is none, or a run lost messages."""
        values = self.figures.get((work, client, figure))
        return statistics.median(values) if values and (work, client) not in self.lost else None

    def works(self) -> list[Work]:
        """All that somebody has done, in order."""
        return list(dict.fromkeys([key[0] for key in self.figures] + [key[0] for key in self.lost]))

    def save(self, path: Path) -> None:
        """As JSON, a row a line."""
        rows = [
            {"work": attrs.asdict(work), "client": client, "figure": figure, "values": values}
            for (work, client, figure), values in self.figures.items()
        ]
        lost = [
            {"work": attrs.asdict(work), "client": client, "lost": count}
            for (work, client), count in self.lost.items()
        ]
        plain = attrs.asdict(self, filter=attrs.filters.exclude("figures", "lost"))
        head = json.dumps(plain, indent=1)[:-2]
        parts = [
            f' "{name}": [\n' + ",\n".join(f"  {json.dumps(row)}" for row in each) + "\n ]"
            for name, each in (("figures", rows), ("lost", lost))
        ]
        path.write_text(",\n".join([head, *parts]) + "\n}\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Results:
        """From JSON."""
        stored = json.loads(path.read_text(encoding="utf-8"))
        figures = {
            (Work(**row["work"]), row["client"], row["figure"]): row["values"]
            for row in stored.pop("figures")
        }
        lost = {(Work(**row["work"]), row["client"]): row["lost"] for row in stored.pop("lost")}
        clients = tuple(stored.pop("clients"))
        return cls(clients=clients, figures=figures, lost=lost, **stored)


def load() -> str:
    """How busy the machine is; the run itself counts."""
    return f"load {os.getloadavg()[0]:.1f}"


def environment(clients: Sequence[str], mosquitto: str) -> dict[str, str]:
    """What the figures depend on."""
    found = {name: version(CLIENTS[name]) for name in clients}
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} CPUs, {platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "trio": metadata.version("trio"),
        "mosquitto": mosquitto,
        **{name: text for name, text in found.items() if text},
    }
