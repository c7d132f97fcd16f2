"""The pictures of the documentation show every word of the text that they are drawn from."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest

DOCS: Final = Path(__file__).parent.parent / "docs"
SVG: Final = "{http://www.w3.org/2000/svg}"
PAGES: Final = sorted(DOCS.rglob("*.rst"))
SIGNS: Final = re.compile(r"\d -[>x] \d:|^\d:|---|^<|\d+-\d+|[|,]|:(?= )", re.MULTILINE)
"""What in a line says how it is drawn, and is not shown."""


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    pytest.importorskip("sphinx", reason="it draws inside Sphinx")
    return runpy.run_path(str(DOCS / "_figures.py"))


def words_of(text: str) -> list[str]:
    return sorted(SIGNS.sub(" ", text).split())


def test_every_word_is_drawn_inside_its_picture(figures: dict[str, Any]) -> None:
    count = 0
    for page in PAGES:
        for kind, title, lines in figures["pictures_of"](page.read_text()):
            count += 1
            picture = ET.fromstring(figures["DRAW"][kind](title, lines))  # noqa: S314 - our own
            drawn = [text.text or "" for text in picture.iter(f"{SVG}text")]
            shown = [title, *lines] if kind == "sequence" else lines
            assert words_of(" ".join(drawn)) == words_of("\n".join(shown)), (page, title)
            width, height = map(float, picture.get("viewBox", "").split()[2:])
            for text in picture.iter(f"{SVG}text"):
                x, y = float(text.get("x", "nan")), float(text.get("y", "nan"))
                assert 0 < x < width, (page, text.text)
                assert 0 < y < height, (page, text.text)
            assert width < 800, (page, title)
    assert count >= 6


@pytest.mark.parametrize(
    ("kind", "line"),
    [("sequence", "1 to 2: PUBLISH"), ("chain", "no words"), ("timeline", "Session: always")],
)
def test_what_cannot_be_drawn_is_an_error(figures: dict[str, Any], kind: str, line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(line))):
        figures["DRAW"][kind]("Client | Server", [line])


def test_an_arrow_that_does_not_arrive_is_crossed(figures: dict[str, Any]) -> None:
    arrives, lost = (
        figures["DRAW"]["sequence"]("Client | Server", [f"1 -{head} 2: PUBLISH"]) for head in ">x"
    )
    assert "m-5 -5" in lost
    assert "m-5 -5" not in arrives
