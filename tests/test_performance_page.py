"""The page about performance is of the results that are stored."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest

from benchmarks import page
from benchmarks.plot import draw, plotted
from benchmarks.results import Results

if TYPE_CHECKING:
    from pathlib import Path

MEASURED: Final = Results.load(page.RESULTS)
PARTS: Final = page.parts(MEASURED)
TEXT: Final = (page.DIRECTORY.parent / "performance.rst").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PARTS)
def test_each_part_is_of_the_results(name: str) -> None:
    assert (page.DIRECTORY / name).read_text(encoding="utf-8") == PARTS[name]


def test_the_page_has_each_part() -> None:
    assert set(re.findall(r":: performance/(\S+)", TEXT)) == set(PARTS)


def test_the_plot_has_each_rate() -> None:
    drawn = draw(MEASURED)
    assert plotted(MEASURED)
    for work in plotted(MEASURED):
        for name in MEASURED.clients:
            rate = MEASURED.median(work, name)
            assert rate is None or f">{rate:,.0f}</text>" in drawn


def test_writing_makes_the_same_files(tmp_path: Path) -> None:
    page.write(MEASURED, tmp_path)
    written = {each.name: each.read_text(encoding="utf-8") for each in tmp_path.iterdir()}
    assert written == PARTS
