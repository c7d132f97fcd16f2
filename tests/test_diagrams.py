"""The state diagrams in the documentation show every row of the tables that the library runs on."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

import attrs
import pytest

from trio_mqtt._protocol.handshakes import (
    RECEIVER,
    SENDER,
    ReceiverRow,
    ReceiverState,
    SenderRow,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import IntEnum

PROGRAM: Final = Path(__file__).parent.parent / "docs" / "_diagrams.py"
SVG: Final = "{http://www.w3.org/2000/svg}"
TABLES: Final[dict[str, Mapping[Any, SenderRow | ReceiverRow]]] = {
    "sender": SENDER,
    "receiver": RECEIVER,
}

each_table = pytest.mark.parametrize("name", TABLES)


@pytest.fixture(scope="module")
def diagrams() -> dict[str, Any]:
    pytest.importorskip("sphinx", reason="it draws inside Sphinx")
    return runpy.run_path(str(PROGRAM))


def drawn(diagrams: dict[str, Any], name: str) -> ET.Element:
    return ET.fromstring(diagrams["draw"](diagrams["CHARTS"][name]))  # noqa: S314 - our own


def names_of(*members: IntEnum) -> tuple[str, ...]:
    return tuple(member.name for member in members)


@each_table
def test_every_row_is_drawn_once(diagrams: dict[str, Any], name: str) -> None:
    attributes = ("data-state", "data-input", "data-action", "data-next")
    groups = list(drawn(diagrams, name).iter(f"{SVG}g"))
    rows = {tuple(group.get(each) for each in attributes) for group in groups}
    assert rows == {
        names_of(state, cause, row.action, row.state)
        for (state, cause), row in TABLES[name].items()
    }
    assert len(groups) == len(rows) == len(TABLES[name])


@each_table
def test_a_drawn_row_says_what_happens_what_is_done_and_why(
    diagrams: dict[str, Any], name: str
) -> None:
    words = diagrams["words"]
    groups = {
        (group.get("data-state"), group.get("data-input")): group
        for group in drawn(diagrams, name).iter(f"{SVG}g")
    }
    for (state, cause), row in TABLES[name].items():
        group = groups[state.name, cause.name]
        text = ": ".join("".join(each.itertext()) for each in group.iter(f"{SVG}text"))
        assert text == f"{words(cause)}: {words(row.action)}"
        assert group.findtext(f"{SVG}title") == f"{row.guard} ({row.statement})"


@each_table
def test_nothing_is_drawn_outside_the_picture(diagrams: dict[str, Any], name: str) -> None:
    picture = drawn(diagrams, name)
    width, height = map(float, picture.get("viewBox", "").split()[2:])
    for text in picture.iter(f"{SVG}text"):
        x, y = float(text.get("x", "nan")), float(text.get("y", "nan"))
        assert 0 < x < width - len(text.text or "") * diagrams["LETTER"]
        assert 0 < y < height


@each_table
def test_the_table_in_words_has_every_row(diagrams: dict[str, Any], name: str) -> None:
    text = diagrams["in_words"](diagrams["CHARTS"][name])
    assert text.count("   * - ") == len(TABLES[name]) + 1
    assert all(row.guard in text and row.statement in text for row in TABLES[name].values())


def test_a_row_without_a_place_is_an_error(diagrams: dict[str, Any]) -> None:
    chart = diagrams["CHARTS"]["receiver"]
    first = next(row for row in chart.rows if row.state is ReceiverState.ANSWERED)
    backwards = attrs.evolve(first, following=ReceiverState.HELD)
    with pytest.raises(ValueError, match="no place"):
        diagrams["draw"](attrs.evolve(chart, rows=(backwards,)))
