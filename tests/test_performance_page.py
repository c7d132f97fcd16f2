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
    assert set(re.findall(r"(?:::|:file:) performance/(\S+)", TEXT)) == set(PARTS)


def test_the_plot_has_each_rate() -> None:
    drawn = draw(MEASURED)
    assert plotted(MEASURED)
    for work in plotted(MEASURED):
        for name in MEASURED.clients:
            rate = MEASURED.median(work, name)
            assert rate is None or f">{rate:,.0f}</text>" in drawn


def luminance(colour: str) -> float:
    """As the Web Content Accessibility Guidelines have it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("page_colour", ["#ffffff", "#131416"])
def test_the_plot_can_be_seen_on_light_and_dark_pages(page_colour: str) -> None:
    colours = set(re.findall(r'fill="([^"]+)"', draw(MEASURED))) - {"currentColor"}
    assert colours
    for colour in colours:
        darker, lighter = sorted((luminance(colour), luminance(page_colour)))
        assert (lighter + 0.05) / (darker + 0.05) > 3


def test_writing_makes_the_same_files(tmp_path: Path) -> None:
    page.write(MEASURED, tmp_path)
    written = {each.name: each.read_text(encoding="utf-8") for each in tmp_path.iterdir()}
    assert written == PARTS
