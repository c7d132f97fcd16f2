"""The instruction counts: the works come through, and a work that became dearer is noticed."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.counted.works import REFERENCE, WORKS
from benchmarks.instructions import compare, excesses, table
from benchmarks.processes import ROOT


def test_all_works_come_through() -> None:
    command = [sys.executable, "-m", "benchmarks.counted", *WORKS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_more_than_a_twentieth_above_what_is_stored_is_too_much() -> None:
    stored = {REFERENCE: 100.0, "cheap": 1000.0, "dear": 1000.0}
    rows = compare({REFERENCE: 100.0, "cheap": 1049.0, "dear": 1051.0, "new": 9.0}, stored)
    assert excesses(rows) == ["dear"]
    lines = list(table(rows))
    assert "+5.1%" in lines[3]
    assert lines[4].split() == ["new", "9", "0.09"]


def test_another_build_of_python_makes_no_difference() -> None:
    stored = {REFERENCE: 100.0, "work": 1000.0}
    assert not excesses(compare({REFERENCE: 200.0, "work": 2000.0}, stored))
    assert excesses(compare({REFERENCE: 50.0, "work": 1000.0}, stored)) == ["work"]


def test_nothing_stored_is_no_excess() -> None:
    assert not excesses(compare({REFERENCE: 100.0, "work": 1000.0}, {}))
