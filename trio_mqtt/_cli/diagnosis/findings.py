"""What was found, step by step."""

from __future__ import annotations

import enum
import re
from time import perf_counter
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trio_mqtt._transports.url import ServerAddress

Detail = str | int | float | bool | None | tuple[str, ...]


class Status(enum.Enum):
    """How a step came out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@attrs.frozen(kw_only=True)
class Step:
    """One step and how it came out.

    Attributes:
        name: the step, such as ``TLS``.
        status: how it came out.
        found: what was found, for people.
        advice: what to do, or empty.
        seconds: how long it took, or None.
        details: what was found, by name; for people a line each, and for machines.
    """

    name: str
    status: Status
    found: str
    advice: str = ""
    seconds: float | None = None
    details: Mapping[str, Detail] = attrs.field(factory=dict[str, Detail])


NOT_TRIED: Final = "not tried, since a step before it has failed"
NO_DETAILS: Final[Mapping[str, Detail]] = {}


class Findings:
    """Takes down the steps, and how long each takes: since the one before, or since `begin`.

    Args:
        tell: is told each step at once.

    Attributes:
        steps: those so far.
    """

    def __init__(self, tell: Callable[[Step], None]) -> None:
        self.steps: list[Step] = []
        self._tell = tell
        self._begun = perf_counter()

    @property
    def failed(self) -> bool:
        """Whether a step has failed."""
        return any(step.status is Status.FAILED for step in self.steps)

    def begin(self) -> None:
        """The time of the next step counts from now on."""
        self._begun = perf_counter()

    def ok(self, name: str, found: str, details: Mapping[str, Detail] = NO_DETAILS) -> None:
        """Nothing is wrong."""
        self._add(name, Status.OK, found, "", details)

    def warn(
        self, name: str, found: str, advice: str, details: Mapping[str, Detail] = NO_DETAILS
    ) -> None:
        """It works, and yet."""
        self._add(name, Status.WARNING, found, advice, details)

    def fail(
        self, name: str, found: str, advice: str, details: Mapping[str, Detail] = NO_DETAILS
    ) -> None:
        """It does not work."""
        self._add(name, Status.FAILED, found, advice, details)

    def skip(self, name: str, why: str) -> None:
        """There is nothing to do, or no use in it."""
        self._tell_and_keep(Step(name=name, status=Status.SKIPPED, found=why))

    def _add(
        self, name: str, status: Status, found: str, advice: str, details: Mapping[str, Detail]
    ) -> None:
        step = Step(
            name=name,
            status=status,
            found=found,
            advice=advice,
            seconds=perf_counter() - self._begun,
            details=details,
        )
        self._tell_and_keep(step)

    def _tell_and_keep(self, step: Step) -> None:
        self.steps.append(step)
        self._tell(step)
        self.begin()


_TERM: Final = re.compile(r" \([A-Z0-9_]+\)$")
"""What OpenSSL calls a failure, which the library's errors have at their end."""
_AS_OPTIONS: Final = (
    ("ssl_context=make_ssl_context(ca_file=...)", "--cafile"),
    ("ssl_context=make_ssl_context(certificate=..., key=...)", "--cert and --key"),
    ("the certificate that the ssl_context has", "--cert"),
    ("unless the ssl_context says otherwise", "unless --tls-version says otherwise"),
    ("the `alpn` of the ssl_context", "--tls-alpn"),
    ("the argument proxy", "--proxy"),
)
"""What the library's errors say of its arguments, and the options of the command instead."""


def split_error(error: BaseException, address: ServerAddress) -> tuple[str, str]:
    """What an error of the library says has happened, and what to do about it."""
    text = str(error).removeprefix("cannot connect to ").removeprefix(address.name)
    text = text.removeprefix(": ").strip()
    for argument, option in _AS_OPTIONS:
        text = text.replace(argument, option)
    found, _, advice = text.partition("; ")
    term = _TERM.search(advice)
    if term is not None:
        return found + term[0], advice[: term.start()]
    return found, advice
