"""What was found, for people and for machines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from trio_mqtt._cli._text import for_people
from trio_mqtt._cli.diagnosis.findings import NOT_TRIED, Status, Step

if TYPE_CHECKING:
    from rich.console import Console

    from trio_mqtt._cli.diagnosis.findings import Detail, Findings

_COLOURS: Final = {
    Status.OK: "green",
    Status.WARNING: "yellow",
    Status.FAILED: "bold red",
    Status.SKIPPED: "dim",
}
_WITH_DETAILS: Final = frozenset({"TCP", "certificate", "limits"})
"""The steps whose details tell people more than the line does."""
_STATUS_WIDTH: Final = 8
_NAME_WIDTH: Final = 19
_DETAIL_WIDTH: Final = 35
_ADVICE: Final = "-> "


class Printer:
    """Prints steps as they come, and a last line.

    Args:
        console: where; a terminal gets colours and folded lines, anything else plain lines.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._not_tried: list[str] = []

    def step(self, step: Step) -> None:
        """Print a step; those that were not tried come at the end, in one line."""
        if step.found == NOT_TRIED:
            self._not_tried.append(step.name)
            return
        time = "" if step.seconds is None else f"{step.seconds * 1000:.1f} ms"
        lines = [for_people(step.found)]
        if step.name in _WITH_DETAILS:
            lines += [
                f"  {for_people(name):<{_DETAIL_WIDTH}} {_text(value)}"
                for name, value in step.details.items()
            ]
        if step.advice:
            lines.append(_ADVICE + for_people(step.advice))
        if self._console.is_terminal:
            self._print_folded(step, lines, time)
        else:
            self._print_plain(step, lines, time)

    def _print_plain(self, step: Step, lines: list[str], time: str) -> None:
        first, *others = lines
        after = f" ({time})" if time else ""
        head = f"{step.status.value:<{_STATUS_WIDTH}} {step.name:<{_NAME_WIDTH}}"
        self._console.print(f"{head} {first}{after}")
        for line in others:
            self._console.print(" " * (len(head) + 1) + line)

    def _print_folded(self, step: Step, lines: list[str], time: str) -> None:
        from rich.table import Table  # noqa: PLC0415 - only a terminal needs it
        from rich.text import Text  # noqa: PLC0415

        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=_STATUS_WIDTH)
        table.add_column(width=_NAME_WIDTH)
        table.add_column(ratio=1, overflow="fold")
        table.add_column(justify="right", min_width=9)
        colour = _COLOURS[step.status]
        for number, line in enumerate(lines):
            is_first = number == 0
            style = "bold" if line.startswith(_ADVICE) else "dim" if not is_first else ""
            table.add_row(
                Text(step.status.value if is_first else "", style=colour),
                Text(step.name if is_first else ""),
                Text(line, style=style if step.status is not Status.SKIPPED else "dim"),
                Text(time if is_first else "", style="dim"),
            )
        self._console.print(table)

    def end(self, findings: Findings) -> None:
        """Print how it all came out."""
        if self._not_tried:
            names = ", ".join(self._not_tried)
            self._not_tried = []
            self.step(Step(name="the rest", status=Status.SKIPPED, found=f"{names}: not tried"))
        text, status = summary(findings)
        self._console.print(f"\n{text}", style=_COLOURS[status])


def summary(findings: Findings) -> tuple[str, Status]:
    """How it all came out, in a line."""
    for status, what in ((Status.FAILED, "wrong"), (Status.WARNING, "worth a look")):
        names = [step.name for step in findings.steps if step.status is status]
        if names:
            return f"{what}: {', '.join(names)}", status
    return "nothing is wrong", Status.OK


def _text(value: Detail) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    return for_people(", ".join(value) if isinstance(value, tuple) else str(value))


def as_json(findings: Findings) -> str:
    """All steps, as JSON."""
    steps = [
        {
            "name": step.name,
            "status": step.status.value,
            "seconds": None if step.seconds is None else round(step.seconds, 6),
            "found": step.found,
            "advice": step.advice or None,
            "details": dict(step.details),
        }
        for step in findings.steps
    ]
    return json.dumps({"status": summary(findings)[1].value, "steps": steps}, indent=2)
