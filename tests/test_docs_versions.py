"""tools/docs_versions.py, on repositories whose "make docs" writes a page or two."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parent.parent
TOOL: Final = ROOT / "tools" / "docs_versions.py"
LONGEST_RUN: Final = 60.0

# As ours, it is told where to write, and that there are several versions.
MAKEFILE: Final = """
.PHONY: docs
docs:
\t@mkdir -p $(DOCS)
\t@echo "$(SPHINXOPTS)" > $(DOCS)/index.html
\t@echo built >> $(CURDIR)/built.txt
\t@for page in $(PAGES); do echo > $(DOCS)/$$page.html; done
"""


class Repository:
    """A repository with releases; git finds no settings of this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.versions = directory / "docs" / "_build" / "versions"
        self.git("init", "--quiet")
        (directory / ".gitignore").write_text("docs/_build/\nbuilt.txt\n")

    def git(self, *arguments: str) -> str:
        author = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
        command = ["git", *author, "-c", "commit.gpgsign=false", *arguments]
        return subprocess.run(
            command, cwd=self.directory, check=True, capture_output=True, text=True
        ).stdout

    def is_at(self, version: str, *, pages: str, tag: str | None = None) -> None:
        text = f'[project]\nversion = "{version}"\n'
        (self.directory / "pyproject.toml").write_text(text)
        (self.directory / "Makefile").write_text(f"PAGES = {pages}\n{MAKEFILE}")
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", version)
        if tag is not None:
            self.git("tag", tag)

    def build(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, TOOL, self.directory],
            check=False,
            capture_output=True,
            text=True,
            timeout=LONGEST_RUN,
        )

    def listed(self) -> dict[str, Any]:
        found = json.loads((self.versions / "versions.json").read_text())
        return {entry["version"]: (entry["note"], entry["pages"]) for entry in found}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_without_a_release_there_is_the_work_tree(repository: Repository) -> None:
    repository.is_at("0.1.0.dev0", pages="tutorial")
    assert repository.build().returncode == 0
    pages = ["index.html", "tutorial.html"]
    assert repository.listed() == {"0.1.0.dev0": ("in development", pages)}
    assert "url=0.1.0.dev0/index.html" in (repository.versions / "index.html").read_text()
    script = (repository.versions / "versions.js").read_text()
    assert script.startswith("window.trio_mqtt_versions = [")


def test_each_release_is_built_from_its_tag(repository: Repository) -> None:
    repository.is_at("0.9.0", pages="tutorial", tag="v0.9.0")
    repository.is_at("0.10.0", pages="guide", tag="v0.10.0")
    repository.is_at("0.11.0.dev0", pages="guide news")
    assert repository.build().returncode == 0
    assert list(repository.listed().items()) == [
        ("0.11.0.dev0", ("in development", ["guide.html", "index.html", "news.html"])),
        ("0.10.0", ("newest release", ["guide.html", "index.html"])),
        ("0.9.0", ("", ["index.html", "tutorial.html"])),
    ]
    assert "url=0.10.0/index.html" in (repository.versions / "index.html").read_text()
    assert "versions=1" in (repository.versions / "0.9.0" / "index.html").read_text()
    assert len(repository.git("worktree", "list").splitlines()) == 1


def test_the_commit_of_a_release_is_no_second_version(repository: Repository) -> None:
    repository.is_at("0.9.0", pages="tutorial", tag="v0.9.0")
    assert repository.build().stdout.splitlines() == ["0.9.0: from the tag v0.9.0", "0.9.0"]
    assert repository.listed() == {"0.9.0": ("newest release", ["index.html", "tutorial.html"])}


def test_a_version_without_its_tag_is_no_release(repository: Repository) -> None:
    repository.is_at("0.9.0", pages="tutorial", tag="v0.9.0")
    repository.is_at("0.10.0", pages="guide")
    assert repository.build().returncode == 0
    assert list(repository.listed().items()) == [
        ("0.10.0", ("in development", ["guide.html", "index.html"])),
        ("0.9.0", ("newest release", ["index.html", "tutorial.html"])),
    ]
    assert "url=0.9.0/index.html" in (repository.versions / "index.html").read_text()


def test_what_was_built_before_the_tag_is_built_again_from_it(repository: Repository) -> None:
    repository.is_at("0.9.0", pages="draft")
    assert repository.build().returncode == 0
    repository.is_at("0.9.0", pages="tutorial", tag="v0.9.0")
    assert repository.build().stdout.splitlines() == ["0.9.0: from the tag v0.9.0", "0.9.0"]
    assert repository.listed() == {"0.9.0": ("newest release", ["index.html", "tutorial.html"])}
    assert repository.build().stdout.splitlines() == ["0.9.0"]


def test_what_is_built_stays_and_the_work_tree_is_built_again(repository: Repository) -> None:
    repository.is_at("0.9.0", pages="tutorial", tag="v0.9.0")
    repository.is_at("0.10.0.dev0", pages="guide")
    assert repository.build().returncode == 0
    repository.is_at("0.10.0.dev1", pages="guide")
    second = repository.build().stdout.splitlines()
    assert second == ["0.10.0.dev1: from the work tree", "0.10.0.dev1 0.9.0"]
    assert not (repository.versions / "0.10.0.dev0").exists()


def test_a_tag_on_another_version_is_an_error(repository: Repository) -> None:
    repository.is_at("0.9.0", pages="tutorial", tag="v1.0.0")
    failed = repository.build()
    assert failed.returncode == 1
    assert "the tag v1.0.0 is on version 0.9.0" in failed.stderr
    assert len(repository.git("worktree", "list").splitlines()) == 1


def test_documentation_that_cannot_be_built_is_not_there_half(repository: Repository) -> None:
    repository.is_at("0.9.0", pages="missing/page", tag="v0.9.0")
    assert repository.build().returncode == 1
    assert not (repository.versions / "0.9.0").exists()
