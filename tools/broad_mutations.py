"""Change trio_mqtt/packets and trio_mqtt/_protocol a little, everywhere, and see tests notice.

    python tools/broad_mutations.py           # a sample of 300, always the same
    python tools/broad_mutations.py 1000      # so many
    python tools/broad_mutations.py 0         # all, for hours

An operator becomes its opposite, a number one more, a condition what it never or always was, a
statement nothing. Those that the unit tests do not notice are listed: each is a test that is
missing, or changes nothing that can be seen; of the latter tools/survivors.tsv says why. Their
share is what is reported.
"""

from __future__ import annotations

import ast
import copy
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mutants import PACKAGE, ROOT, Mutant, copied, run_all

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLE: Final = 300
LEAST_NOTICED: Final = 0.9
TIMEOUT: Final = 150.0
EXAMPLES: Final = "50"
"""How many examples each property test tries."""

TESTS: Final = {
    "packets": (
        "tests/packets/test_examples.py",
        "tests/packets/test_malformed.py",
        "tests/packets/test_forbidden.py",
        "tests/packets/test_refused.py",
        "tests/packets/test_properties.py",
        "tests/packets/test_reason_codes.py",
        "tests/packets/test_reader.py",
        "tests/ledger/test_data_types.py",
        "tests/ledger/test_properties.py",
        "tests/packets/test_round_trip.py",
        "tests/packets/test_fuzz.py",
        "tests/packets/test_memory.py",
    ),
    "_protocol": (
        "tests/ledger/test_delivery.py",
        "tests/ledger/test_publish.py",
        "tests/protocol/test_sender.py",
        "tests/protocol/test_receiver.py",
        "tests/protocol/test_connection.py",
        "tests/protocol/test_connack.py",
        "tests/protocol/test_handshakes.py",
        "tests/protocol/test_session.py",
        "tests/protocol/test_left_behind.py",
        "tests/protocol/test_authentication.py",
        "tests/protocol/test_aliases.py",
        "tests/protocol/test_explained.py",
        "tests/protocol/test_records.py",
        "tests/protocol/test_journal.py",
        "tests/protocol/test_resume.py",
        "tests/protocol/test_overrun_bytes.py",
        "tests/protocol/test_qos_2_below_5.py",
        "tests/protocol/test_identifiers.py",
        "tests/protocol/test_flowing.py",
        "tests/protocol/test_sending_at_once.py",
        "tests/protocol/test_acknowledgements_in_runs.py",
        "tests/protocol/test_receiver_runs.py",
        "tests/protocol/test_chunks.py",
        "tests/protocol/test_sender_model.py",
        "tests/protocol/test_peers.py",
        "tests/protocol/test_exploration.py",
        "tests/client/test_durable.py",
    ),
}
"""The tests of each package, those first that notice most in the shortest time."""

_COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_NAMES: Final = {"min": "max", "max": "min", "popleft": "pop", "append": "appendleft"}
_LEFT_ALONE: Final = {"__repr__", "_describe", "describe"}


class _Finder(ast.NodeVisitor):
    """Collects the places where something can be changed, and what becomes of them."""

    def __init__(self) -> None:
        self.found: list[tuple[ast.expr | ast.stmt, ast.expr | None]] = []

    def _put(self, node: ast.expr, **changes: object) -> None:
        changed = copy.deepcopy(node)
        for name, value in changes.items():
            setattr(changed, name, value)
        self.found.append((node, changed))

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        self._condition(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self._condition(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._condition(node.test)
        self.generic_visit(node)

    def _condition(self, test: ast.expr) -> None:
        if not isinstance(test, ast.Constant):
            self.found += [(test, ast.Constant(value)) for value in (True, False)]

    def visit_Compare(self, node: ast.Compare) -> None:
        other = _COMPARISONS[type(node.ops[0])]
        self._put(node, ops=[other(), *node.ops[1:]])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self._put(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.BitOr) and _is_class(node.right):
            return  # one of several types
        if type(node.op) in _OPERATORS:
            self._put(node, op=_OPERATORS[type(node.op)]())
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self.found.append((node, node.operand))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self.found.append((node, ast.Constant(not node.value)))
        elif isinstance(node.value, int):
            self.found.append((node, ast.Constant(node.value + 1)))
        elif isinstance(node.value, bytes) and node.value:
            changed = bytes((node.value[0] ^ 1,)) + node.value[1:]
            self.found.append((node, ast.Constant(changed)))

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func
        if isinstance(name, ast.Name) and name.id in _NAMES:
            self._put(name, id=_NAMES[name.id])
        elif isinstance(name, ast.Attribute) and name.attr == "popleft":
            self._put(name, attr="pop")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        self.found.append((node, None))
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not isinstance(node.targets[0], ast.Name):
            self.found.append((node, None))
        self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.found.append((node, None))
        self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:
        self.found.append((node, None))  # what it says is not changed

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None:
            if not (isinstance(node.value, ast.Constant) and node.value.value is None):
                self.found.append((node.value, ast.Constant(None)))
            self.visit(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name in _LEFT_ALONE:
            return
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if default is not None:
                self.visit(default)
        for statement in node.body:
            self.visit(statement)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """A text for people is left alone."""


def _is_class(node: ast.expr) -> bool:
    """Whether it has the name of a class."""
    name = node.id.lstrip("_") if isinstance(node, ast.Name) else ""
    return name[:1].isupper() and not name.isupper()


def _offsets(source: bytes) -> list[int]:
    found = [0]
    for line in source.splitlines(keepends=True):
        found.append(found[-1] + len(line))
    return found


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Every change that is made to one module."""
    text = path.read_text(encoding="utf-8")
    source = text.encode()
    starts = _offsets(source)
    finder = _Finder()
    finder.visit(ast.parse(text))
    file = str(path.relative_to(ROOT / PACKAGE))
    for node, changed in finder.found:
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        new = "pass" if changed is None else f"({ast.unparse(changed)})"
        old = " ".join(source[start:end].decode().split())
        yield Mutant(
            f"{file}:{node.lineno}: {old[:70]}  ->  {new[:70]}",
            file,
            text,
            (source[:start] + new.encode() + source[end:]).decode(),
            TESTS[file.partition("/")[0]],
        )


def judged() -> dict[str, str]:
    """Why nobody can notice some of the changes, by their names without the line."""
    text = Path(__file__).with_name("survivors.tsv").read_text(encoding="utf-8")
    rows = (line.partition("\t") for line in text.splitlines()[1:])
    return {change[:150]: why for change, _, why in rows}


def without_line(name: str) -> str:
    """The name of a change, wherever in its file it is."""
    file, _, what = name.partition(":")
    return f"{file}:{what.partition(':')[2]}"[:150]


def main() -> int:
    """Try a sample, and list what nobody notices."""
    reasons = judged()
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE
    os.environ["TRIO_MQTT_EXAMPLES"] = EXAMPLES
    mutants = [
        mutant
        for package in TESTS
        for path in sorted((ROOT / PACKAGE / package).glob("*.py"))
        for mutant in mutants_of(path)
    ]
    total = len(mutants)
    random.Random(total).shuffle(mutants)  # noqa: S311 - a sample
    mutants = mutants[: wanted or total]
    survivors: list[str] = []
    hung = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        copied(Path(folder), os.cpu_count() or 1) as copies,
    ):
        intact = [Mutant("intact", "", "", "", sum(TESTS.values(), ())) for _ in copies]
        for outcome in run_all(intact, copies, timeout=2 * TIMEOUT):
            if outcome.noticed:
                print(f"without any change: {outcome.failed} {outcome.broken}")
                return 1
        for number, outcome in enumerate(run_all(mutants, copies, timeout=TIMEOUT), 1):
            hung += outcome.hung
            if not outcome.noticed:
                survivors.append(outcome.mutant.name)
                why = reasons.get(without_line(outcome.mutant.name), "NOT JUDGED YET")
                print(f"survives: {outcome.mutant.name}: {why}", flush=True)
            if number % 50 == 0:
                print(f"{number} tried, {len(survivors)} survive", flush=True)
    noticed = 1 - len(survivors) / len(mutants)
    print(
        f"{noticed:.1%} of {len(mutants)} changes were noticed, {hung} of them by a test that "
        f"hung; there are {total}"
    )
    return noticed < LEAST_NOTICED


if __name__ == "__main__":
    sys.exit(main())
