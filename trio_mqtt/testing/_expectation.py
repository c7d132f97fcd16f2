"""An expectation of a test about what clients do, and how it says what did happen instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

import attrs

from trio_mqtt._topics import topic_matches
from trio_mqtt.testing._history import Connected, F, show_payload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_mqtt.testing._history import History

_MOST_SHOWN = 20


@attrs.frozen(kw_only=True)
class Expectation(Generic[F]):
    """What a test expects.

    Attributes:
        kind: which facts.
        title: what they are called, in the plural.
        fields: what their fields must be; None for anything. Without a Reason Code, success.
        count: how many; None for at least one.
    """

    kind: type[F]
    title: str
    fields: Mapping[str, object]
    count: int | None

    def is_met_by(self, found: int, *, knows_all: bool) -> bool:
        """Whether so many facts are as many as expected; if some are forgotten, who knows."""
        return found > 0 if self.count is None else knows_all and found == self.count

    def accepts(self, fact: F) -> bool:
        """Whether a fact is one of those."""
        if self.fields["reason_code"] is None and fact.reason_code.is_failure:
            return False
        return all(
            wanted is None or _fits(name, wanted, getattr(fact, name))
            for name, wanted in self.fields.items()
        )

    def find(self, history: History, number: int = 0) -> list[F]:
        """The facts that fit, behind the first so many of their kind."""
        return [fact for fact in history.since(self.kind, number) if self.accepts(fact)]

    def explain(self, history: History, within: float | None, *, knows_all: bool) -> str:
        """What was expected, and what did happen."""
        facts = list(history.since(self.kind))
        number = "at least 1" if self.count is None else str(self.count)
        time = "" if within is None else f" within {within:g} s"
        wanted = ", ".join(
            f"{name}={show_payload(value) if isinstance(value, bytes) else repr(value)}"
            for name, value in self.fields.items()
            if value is not None
        )
        title = f"{self.title} with {wanted}" if wanted else self.title
        lines = [
            f"expected {number} of {title}{time}, found {len(self.find(history))}",
            f"  all {self.title} so far, > marks what fits:",
        ]
        if len(facts) > _MOST_SHOWN:
            lines.append(f"    ... {len(facts) - _MOST_SHOWN} before these")
        if self.count is not None and not knows_all:
            lines.append(
                f"    ... and before all these {history.total(self.kind) - len(facts)} that are "
                "forgotten; a count has to be asserted earlier"
            )
        lines += [f"  {'>' if self.accepts(fact) else ' '} {fact}" for fact in facts[-_MOST_SHOWN:]]
        if not facts:
            connected = any(True for _ in history.since(Connected))
            lines.append("    none" if connected else "    none; no client has connected")
        return "\n".join(lines)


def _fits(name: str, wanted: object, actual: object) -> bool:
    if wanted == actual:
        return True
    if name != "topic" or not isinstance(wanted, str) or not isinstance(actual, str):
        return False
    return ("+" in wanted or "#" in wanted) and topic_matches(wanted, actual)
