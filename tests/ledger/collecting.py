"""Which tests show which statements, as pytest sees it.

A test says so itself: ``@pytest.mark.statement("MQTT-4.3.3-13")``, or ``marks=`` of one of its
cases. What this program prints is what pytest collects, so nothing is there that does not run::

    python -m tests.ledger.collecting
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).parent.parent.parent
MARKS: Final = ("mark.statement(", "tests.ledger.support import")
_SIGN: Final = "LEDGER "
_NEVER_RUN: Final = ("skip", "skipif", "xfail")


class Shown(NamedTuple):
    """A test that shows something.

    Attributes:
        test: its name in pytest, with the case in brackets.
        statements: the identifiers of what it shows.
        certain: whether it always runs and has to pass.
    """

    test: str
    statements: tuple[str, ...]
    certain: bool


class _Collector:
    """A pytest plugin that prints the marks of what was collected."""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        found: list[Shown] = []
        for item in session.items:
            names = [name for mark in item.iter_markers("statement") for name in mark.args]
            if names:
                certain = not any(item.get_closest_marker(name) for name in _NEVER_RUN)
                found.append(Shown(item.nodeid, tuple(names), certain))
        print(_SIGN + json.dumps(found), file=sys.__stdout__)


def files_with_marks(root: Path = ROOT) -> list[str]:
    """The test modules in which the mark stands at all."""
    return sorted(
        str(path.relative_to(root))
        for path in (root / "tests").rglob("test_*.py")
        if any(mark in path.read_text(encoding="utf-8") for mark in MARKS)
    )


def collect(root: Path = ROOT) -> list[Shown]:
    """What the tests below `root` say that they show.

    Raises:
        RuntimeError: they cannot be collected.
    """
    outcome = subprocess.run(
        [sys.executable, "-m", "tests.ledger.collecting"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    for line in outcome.stdout.splitlines():
        if line.startswith(_SIGN) and not outcome.returncode:
            rows = json.loads(line.removeprefix(_SIGN))
            return [Shown(test, tuple(names), certain) for test, names, certain in rows]
    raise RuntimeError(f"the tests cannot be collected:\n{outcome.stdout}{outcome.stderr}")


def by_statement(shown: list[Shown]) -> dict[str, list[str]]:
    """For each statement the tests that show it."""
    found: dict[str, list[str]] = {}
    for test, names, _ in shown:
        for name in names:
            found.setdefault(name, []).append(test)
    return found


def main() -> int:
    """Collect in this process, and print what was found."""
    options = ["--collect-only", "-qq", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov"]
    return pytest.main([*options, *files_with_marks()], plugins=[_Collector()])


if __name__ == "__main__":
    sys.exit(main())
