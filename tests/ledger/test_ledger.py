"""The ledger is complete and names nothing that is not there."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Final

import pytest

from tests.ledger.collecting import ROOT, Shown, by_statement, collect
from tests.ledger.statements import HERE, must_be_shown, read_reasons, read_statements

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST: Final = 5
"""A test that shows more statements than this shows none of them well."""

STATEMENTS: Final = read_statements()
REQUIRED: Final = {name for name, each in STATEMENTS.items() if must_be_shown(each)}
NOT_APPLICABLE: Final = read_reasons()
MUTATIONS: Final = {
    name: row
    for path in sorted((HERE / "mutations").glob("*.toml"))
    for name, row in tomllib.loads(path.read_text(encoding="utf-8")).items()
}
SHORTEST_REASON: Final = 20


@pytest.fixture(scope="module")
def shown() -> list[Shown]:
    return collect()


@pytest.fixture(scope="module")
def tests(shown: list[Shown]) -> Mapping[str, list[str]]:
    return by_statement(shown)


def test_the_tables_are_whole() -> None:
    numbered = [each for name, each in STATEMENTS.items() if "U-" not in name]
    assert sum(each.version == "5.0" for each in numbered) == 251
    assert sum(each.version == "3.1.1" for each in numbered) == 141
    of_clients = [each for each in numbered if each.actor != "server"]
    assert sum(each.version == "5.0" for each in of_clients) == 133
    assert sum(each.version == "3.1.1" for each in of_clients) == 72
    assert len(REQUIRED) == 133 + 72 + 28 + 12 + 163 + 23


def test_each_statement_is_shown_or_does_not_apply(tests: Mapping[str, list[str]]) -> None:
    missing = REQUIRED - set(tests) - set(NOT_APPLICABLE)
    assert sorted(missing) == []


def test_nothing_is_shown_that_no_standard_says(tests: Mapping[str, list[str]]) -> None:
    assert sorted(set(tests) - set(STATEMENTS)) == []


def test_what_does_not_apply_is_not_shown_and_has_a_reason(
    tests: Mapping[str, list[str]],
) -> None:
    for name, reason in NOT_APPLICABLE.items():
        assert name in REQUIRED, name
        assert name not in tests, name
        assert len(reason) >= SHORTEST_REASON, name


def test_no_test_shows_more_than_a_few_statements(shown: list[Shown]) -> None:
    assert [each.test for each in shown if len(each.statements) > MOST] == []


def test_what_shows_a_statement_always_runs(shown: list[Shown]) -> None:
    assert [each.test for each in shown if not each.certain] == []


def test_a_test_names_each_statement_once(shown: list[Shown]) -> None:
    assert [each.test for each in shown if len(set(each.statements)) < len(each.statements)] == []


def test_each_statement_that_is_shown_has_a_mutation(tests: Mapping[str, list[str]]) -> None:
    broken = {name for row in MUTATIONS.values() for name in row["statements"]}
    assert sorted(set(tests) - broken) == []
    assert sorted(broken - set(tests)) == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_changes_what_stands_there_once(name: str) -> None:
    row = MUTATIONS[name]
    assert set(row) == {"statements", "file", "code", "without"}
    source = (ROOT / "trio_mqtt" / row["file"]).read_text(encoding="utf-8")
    assert source.count(row["code"]) == 1
    assert row["without"] != row["code"]
