"""What the pages refer to is there, and every page can be found.

That links between pages and to names of the library lead somewhere, the build shows: a warning of
Sphinx is an error.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
DOCS: Final = ROOT / "docs"
PAGES: Final = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.rst")])
EXTERNAL: Final = re.compile(r"<(https?://[^>]*)>`__|\]\((https?://[^)]*)\)")
WELL_FORMED: Final = re.compile(r"https://(?:[\w-]+\.)+[a-z]{2,}(?:/[\w./%-]*)?(?:#[\w.-]+)?")
OWN_FILE: Final = re.compile(r"(?<![\w/.])((?:examples|tests|tools|docs(?!/_build))/[\w./-]*\w)")
TARGET: Final = re.compile(r":doc:`(?:[^`<]*<)?([\w/.-]+)>?`")
PICTURE: Final = re.compile(r"\.\. (?:image|figure|include|literalinclude):: (\S+)")
TREE: Final = re.compile(r"\.\. toctree::\n((?:   .*\n|\n)+)")
ASKED: Final = re.compile(r"(?:^ *|`)make((?: [a-z-]+)+)(?=`| *#|$)", re.MULTILINE)
TARGETS: Final = re.compile(r"^([a-z-]+):", re.MULTILINE)

each_page = pytest.mark.parametrize(
    "page", PAGES, ids=[str(each.relative_to(ROOT)) for each in PAGES]
)


def page_at(page: Path, name: str) -> Path:
    """The file that :doc: or a toctree means."""
    start = DOCS / name[1:] if name.startswith("/") else page.parent / name
    return start.with_name(f"{start.name}.rst")


@each_page
def test_external_links_are_well_formed(page: Path) -> None:
    for link in map("".join, EXTERNAL.findall(page.read_text())):
        assert WELL_FORMED.fullmatch(link), link


@each_page
def test_what_a_page_refers_to_is_there(page: Path) -> None:
    text = page.read_text()
    missing = [path for path in OWN_FILE.findall(text) if not (ROOT / path).exists()]
    missing += [name for name in TARGET.findall(text) if not page_at(page, name).is_file()]
    missing += [path for path in PICTURE.findall(text) if not (page.parent / path).is_file()]
    assert missing == []


def test_every_page_is_in_a_table_of_contents() -> None:
    listed: list[Path] = []
    for page in DOCS.rglob("*.rst"):
        for tree in TREE.findall(page.read_text()):
            names = [line.strip() for line in tree.splitlines() if line.strip()]
            listed += [page_at(page, name) for name in names if not name.startswith(":")]
    assert sorted(listed) == sorted(page for page in DOCS.rglob("*.rst") if page.stem != "index")


@each_page
def test_what_make_is_asked_for_it_can_do(page: Path) -> None:
    asked = {name for names in ASKED.findall(page.read_text()) for name in names.split()}
    assert asked <= set(TARGETS.findall((ROOT / "Makefile").read_text()))
