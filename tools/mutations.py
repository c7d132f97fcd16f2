"""Break each numbered statement of the standards in the code, and see its tests notice.

    python tools/mutations.py                 # all of them
    python tools/mutations.py MQTT-4.3.3-     # those of statements with this in their identifier

What is broken, and where, stands in tests/ledger/mutations/*.toml, beside the ledger that says
which tests show which statement. Only these tests are run, in copies of the project.
"""

from __future__ import annotations

import os
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mutants import ROOT, Mutant, Outcome, copied, run_all

sys.path.insert(0, str(ROOT))

from tests.ledger.collecting import by_statement, collect

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA: Final = ROOT / "tests" / "ledger" / "mutations"


def read_mutations() -> list[tuple[str, Mapping[str, str], tuple[str, ...]]]:
    """The name, the change and the statements of each mutation."""
    found: list[tuple[str, Mapping[str, str], tuple[str, ...]]] = []
    for path in sorted(DATA.glob("*.toml")):
        for name, row in tomllib.loads(path.read_text(encoding="utf-8")).items():
            found.append((name, row, tuple(row["statements"])))
    return found


def problem_of(outcome: Outcome) -> str | None:
    """What is wrong with a mutation, or None."""
    if outcome.broken:
        return f"its tests cannot be run:\n{outcome.broken}"
    if outcome.hung:
        return None
    if not outcome.ran and not outcome.failed:
        return "no test was run"
    shown = {name for names in outcome.failed.values() for name in names}
    missed = [name for name in outcome.mutant.statements if name not in shown]
    return f"no test notices for {' '.join(missed)}" if missed else None


def main() -> int:
    """Try every mutation that has the argument in one of its statements."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    tests = by_statement(collect())
    mutants: list[Mutant] = []
    files: set[str] = set()
    for name, row, statements in read_mutations():
        if not any(wanted in statement for statement in statements):
            continue
        own = {test.partition("::")[0] for each in statements for test in tests.get(each, ())}
        files |= own
        mutants.append(
            Mutant(
                name,
                row["file"],
                row["code"],
                row["without"],
                tuple(sorted(own)),
                tuple(s for s in statements if wanted in s),
            )
        )
    if not mutants:
        print(f"there is no mutation for {wanted!r}")
        return 1
    count = os.cpu_count() or 1
    failures = 0
    with tempfile.TemporaryDirectory() as folder, copied(Path(folder), count) as copies:
        intact = [Mutant("intact", "", "", "", tuple(sorted(files)), ("",)) for _ in copies]
        every = tuple(sorted(tests))
        for outcome in run_all([each._replace(statements=every) for each in intact], copies):
            if outcome.noticed:
                print(f"without any mutation: {outcome.failed} {outcome.broken}")
                return 1
        for outcome in run_all(mutants, copies):
            problem = problem_of(outcome)
            failures += problem is not None
            print(
                f"{'ok  ' if problem is None else 'FAIL'} {outcome.mutant.name}: "
                f"{problem or ' '.join(outcome.mutant.statements)}"
                f"{' (its tests hang)' if outcome.hung else ''}",
                flush=True,
            )
    print(f"{len(mutants) - failures} of {len(mutants)} mutations are noticed by their tests")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
