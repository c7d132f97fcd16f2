"""The documentation is complete, and what it shows works."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
PAGES: Final = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.rst")])
PUBLIC_MODULES: Final = ("trio_mqtt", "trio_mqtt.packets")
DIRECTIVE: Final = re.compile(r"^\.\. (?:auto|py:)\w+:: ([\w.]+)((?:\n {5,}\w+$)*)", re.MULTILINE)

each_page = pytest.mark.parametrize(
    "page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES]
)


@each_page
def test_what_a_page_shows_at_a_prompt_is_what_happens(page: Path) -> None:
    test = doctest.DocTestParser().get_doctest(page.read_text(), {}, page.name, str(page), 0)
    report: list[str] = []
    doctest.DocTestRunner().run(test, out=report.append)
    assert report == []


def documented_names() -> set[str]:
    """What the reference describes, with the module's name."""
    names: set[str] = set()
    for page in (ROOT / "docs" / "reference").glob("*.rst"):
        text = page.read_text()
        module = re.search(r"^\.\. (?:current)?module:: ([\w.]+)", text, re.MULTILINE)
        assert module is not None, page
        for first, more in DIRECTIVE.findall(text):
            names |= {f"{module[1]}.{name}" for name in (first, *more.split())}
    return names


@pytest.mark.parametrize("module_name", PUBLIC_MODULES)
def test_every_public_name_is_in_the_reference(module_name: str) -> None:
    module = importlib.import_module(module_name)
    public = {f"{module_name}.{name}" for name in module.__all__}
    assert public - documented_names() == set()
