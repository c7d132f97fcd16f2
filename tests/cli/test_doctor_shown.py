"""How `trio-mqtt doctor` shows what it has found."""

from __future__ import annotations

import io
import json
import re

from rich.console import Console

from trio_mqtt._cli.diagnosis.findings import NOT_TRIED, Findings
from trio_mqtt._cli.diagnosis.show import Printer, as_json, summary


def show(*, terminal: bool, width: int = 200) -> tuple[Findings, str]:
    """Findings of every kind, and what is printed of them."""
    output = io.StringIO()
    console = Console(
        file=output, force_terminal=terminal, width=width, markup=False, highlight=False,
        color_system="standard" if terminal else None, soft_wrap=not terminal, _environ={},
    )  # fmt: skip
    printer = Printer(console)
    findings = Findings(printer.step)
    findings.ok("TCP", "connected", {"127.0.0.1": "connected", "127.0.0.2": "refused"})
    findings.warn("dates", "expires [bold]soon[/bold]", "renew it", {"clock": "noon"})
    findings.fail("CONNACK", "it says \x1b]0;title\x07 " + "word " * 20, "ask it")
    findings.ok("limits", "fine", {"a": True, "b": None, "c": ("x", "\x9by"), "d": 4})
    findings.skip("name", "an IP address")
    findings.skip("PINGREQ", NOT_TRIED)
    findings.skip("round trip", NOT_TRIED)
    printer.end(findings)
    return findings, output.getvalue()


def test_lines_of_a_pipe_are_plain() -> None:
    _, text = show(terminal=False)
    lines = text.splitlines()
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert lines[0].startswith("ok       TCP                 connected (")
    assert lines[1] == f"{'':29}  127.0.0.1 connected"
    assert lines[3].startswith("warning  dates               expires [bold]soon[/bold] (")
    assert lines[4] == f"{'':29}-> renew it"
    assert "\\x1b]0;title\\x07" in lines[5]
    assert f"{'':29}  a yes\n{'':31}b none\n{'':31}c x, \\x9by\n" in text
    assert lines[-4] == "skipped  name                an IP address"
    assert lines[-3] == "skipped  the rest            PINGREQ, round trip: not tried"
    assert lines[-1] == "wrong: CONNACK"


def test_a_terminal_gets_colours_and_folded_lines() -> None:
    _, text = show(terminal=True, width=60)
    assert "\x1b[1;31mfailed" in text
    assert "\x1b[33mwarning" in text
    assert "\x1b]0;" not in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(len(line) for line in plain.splitlines()) <= 60
    assert "[bold]soon[/bold]" in plain


def test_what_machines_get() -> None:
    findings, _ = show(terminal=False)
    found = json.loads(as_json(findings))
    assert found["status"] == "failed"
    assert [step["status"] for step in found["steps"]] == [
        "ok", "warning", "failed", "ok", "skipped", "skipped", "skipped"
    ]  # fmt: skip
    assert found["steps"][1]["advice"] == "renew it"
    assert found["steps"][3]["details"] == {"a": True, "b": None, "c": ["x", "\x9by"], "d": 4}


def test_the_last_line() -> None:
    findings = Findings(lambda _step: None)
    assert summary(findings)[0] == "nothing is wrong"
    findings.warn("URL", "", "")
    assert summary(findings)[0] == "worth a look: URL"
    findings.fail("TCP", "", "")
    findings.fail("TLS", "", "")
    assert summary(findings)[0] == "wrong: TCP, TLS"
