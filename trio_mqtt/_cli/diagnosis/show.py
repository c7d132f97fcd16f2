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
_IN_THE_LINE: Final = frozenset({"subject", "issuer"})
"""Details that stand in the line itself."""
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
        elif self._console.is_terminal:
            self._print_folded(step)
        else:
            self._print_plain(step)

    def _print_plain(self, step: Step) -> None:
        time = _time(step)
        after = f" ({time})" if time else ""
        head = f"{step.status.value:<{_STATUS_WIDTH}} {step.name:<{_NAME_WIDTH}} "
        self._console.print(f"{head}{for_people(step.found)}{after}")
        details = _details(step)
        width = max((len(name) for name, _ in details), default=0)
        for name, value in details:
            self._console.print(f"{'':<{len(head) + 2}}{name:<{width}} {value}")
        if step.advice:
            self._console.print(f"{'':<{len(head)}}{_ADVICE}{for_people(step.advice)}")

    def _print_folded(self, step: Step) -> None:
        from rich.console import Group, RenderableType  # noqa: PLC0415 - only a terminal needs it
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        style = _COLOURS[step.status]
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=_STATUS_WIDTH)
        table.add_column(width=_NAME_WIDTH)
        table.add_column(ratio=1, overflow="fold")
        table.add_column(justify="right", min_width=9)
        dim = "dim" if step.status is Status.SKIPPED else ""
        texts: list[RenderableType] = [Text(for_people(step.found), style=dim)]
        details = _details(step)
        if details:
            grid = Table.grid(padding=(0, 1))
            grid.add_column()
            grid.add_column(ratio=1, overflow="fold")
            for name, value in details:
                grid.add_row(Text(f"  {name}", style="dim"), Text(value, style="dim"))
            texts.append(grid)
        if step.advice:
            texts.append(Text(_ADVICE + for_people(step.advice), style="bold"))
        time = Text(_time(step), style="dim")
        table.add_row(Text(step.status.value, style=style), step.name, Group(*texts), time)
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


def _time(step: Step) -> str:
    return "" if step.seconds is None else f"{step.seconds * 1000:.1f} ms"


def _details(step: Step) -> list[tuple[str, str]]:
    """What people are told beside the line; not what that says already."""
    if step.name not in _WITH_DETAILS:
        return []
    items = step.details.items()
    return [(for_people(name), _text(value)) for name, value in items if name not in _IN_THE_LINE]


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
