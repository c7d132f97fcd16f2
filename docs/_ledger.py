"""The ledger in the documentation: each statement of the standards with the tests that show it.

In a page, ``.. ledger:: 5.0`` becomes the table of one version of MQTT. What stands in it is what
pytest collects as the page is made, so that it names no test that is not there.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.ledger.collecting import by_statement, collect  # noqa: E402 - it needs the path
from tests.ledger.statements import must_be_shown, read_reasons, read_statements  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sphinx.application import Sphinx

HEADER = ("Statement", "Words of the standard", "Shown by")
WIDTHS = (14, 46, 40)


@cache
def shown() -> Mapping[str, list[str]]:
    """For each statement the tests that show it."""
    return by_statement(collect())


def functions(tests: list[str]) -> list[tuple[str, int]]:
    """The functions among the tests, and how many cases each has."""
    counts: dict[str, int] = {}
    for test in tests:
        name = test.removeprefix("tests/").partition("[")[0]
        counts[name] = counts.get(name, 0) + 1
    return list(counts.items())


def rows(version: str) -> list[tuple[str, str, str, list[tuple[str, int]] | str]]:
    """Identifier, section and words of each statement, and its tests or the reason for none."""
    reasons = read_reasons()
    found: list[tuple[str, str, str, list[tuple[str, int]] | str]] = []
    for name, statement in read_statements().items():
        if statement.version == version and must_be_shown(statement):
            what = functions(shown().get(name, [])) or reasons.get(name, "")
            found.append((name.rpartition(":")[2], statement.section, statement.text, what))
    return found


def _paragraph(*children: nodes.Node) -> nodes.paragraph:
    return nodes.paragraph("", "", *children)


def _entry(*children: nodes.Node) -> nodes.entry:
    return nodes.entry("", *children)


def _proof(what: list[tuple[str, int]] | str) -> list[nodes.Node]:
    if isinstance(what, str):
        return [_paragraph(nodes.emphasis(text=what))]
    found: list[nodes.Node] = []
    for name, count in what:
        file, _, function = name.partition("::")
        cases = f", {count} cases" if count > 1 else ""
        found.append(
            _paragraph(
                nodes.literal(text=function.replace("::", "."), classes=["ledger"]),
                nodes.Text(f" in {file}{cases}"),
            )
        )
    return found


class Ledger(SphinxDirective):
    """``.. ledger:: VERSION``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Put the table there."""
        group = nodes.tgroup("", cols=len(HEADER))
        group += [nodes.colspec(colwidth=width) for width in WIDTHS]
        head = nodes.row("", *(_entry(_paragraph(nodes.Text(title))) for title in HEADER))
        group += nodes.thead("", head)
        body = nodes.tbody()
        for name, section, text, what in rows(self.arguments[0]):
            first = [_paragraph(nodes.Text(name))]
            if name.startswith("U-"):
                first = [_paragraph(nodes.Text(f"{name}")), _paragraph(nodes.Text("no number"))]
            first[0] += nodes.Text(f" ({section})")
            body += nodes.row(
                "",
                _entry(*first),
                _entry(_paragraph(nodes.Text(text))),
                _entry(*_proof(what)),
            )
        group += body
        return [nodes.table("", group, classes=["ledger"])]


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directive known."""
    app.add_directive("ledger", Ledger)
    return {"parallel_read_safe": True}
