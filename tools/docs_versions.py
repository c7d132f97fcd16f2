"""Build the documentation of every release, and of the work tree, side by side.

    python tools/docs_versions.py             # into docs/_build/versions
    python tools/docs_versions.py DIRECTORY   # those of another clone

A release is a tag such as v0.1.0. Its documentation is built by its own "make docs", in a work
tree of its own, and kept: the next run builds only what is new. versions.json lists the versions,
newest first; versions.js has the same for the choice of versions in the sidebar, which so needs no
server. index.html leads to the newest release or, before the first one, to the work tree.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Final, TypedDict

from packaging.version import Version

ROOT: Final = Path(__file__).parent.parent
LONGEST_BUILD: Final = 900.0
"""Seconds for the documentation of one version, installation of what it needs included."""
SOURCE: Final = "built-from.txt"
"""Beside the pages: the tag that they were built from, or that it was the work tree."""


class Entry(TypedDict):
    """A version in versions.json."""

    version: str
    note: str
    pages: list[str]


def git(root: Path, *arguments: str) -> str:
    """What git prints."""
    command = ["git", *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout  # noqa: S603


def version_of(tree: Path) -> str:
    """The version that a tree says it is."""
    project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def is_built(destination: Path, tag: str) -> bool:
    """Whether the documentation of a release is there; that of a work tree before it is not."""
    source = destination / SOURCE
    return source.exists() and source.read_text(encoding="utf-8") == tag


def build(tree: Path, destination: Path, source: str) -> None:
    """Build the documentation of a tree; only when it is whole, it is at its destination."""
    unfinished = destination.with_name(f".{destination.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    command = [
        "make",
        "--no-print-directory",
        "docs",
        f"PYTHON={sys.executable}",
        f"DOCS={unfinished}",
    ]
    command.append("SPHINXOPTS=--html-define versions=1")
    done = subprocess.run(command, cwd=tree, check=False, timeout=LONGEST_BUILD)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"the documentation of {destination.name} was not built; see above")
    (unfinished / SOURCE).write_text(source, encoding="utf-8")
    shutil.rmtree(destination, ignore_errors=True)
    unfinished.rename(destination)


def build_release(root: Path, tag: str, destination: Path) -> None:
    """Build the documentation of a release, in a work tree that is gone afterwards."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / tag
        git(root, "worktree", "add", "--detach", str(tree), tag)
        try:
            if f"v{version_of(tree)}" != tag:
                raise SystemExit(f"the tag {tag} is on version {version_of(tree)}")
            build(tree, destination, tag)
        finally:
            git(root, "worktree", "remove", "--force", str(tree))


def entries(output: Path, tagged: list[str], tree_version: str) -> list[Entry]:
    """The list of versions, newest first, with the pages that each has.

    What has a tag is a release; the version of the work tree is one from then on.
    """
    ordered = sorted({*tagged, tree_version}, key=Version, reverse=True)
    releases = [name for name in ordered if name in tagged and not Version(name).is_prerelease]
    notes = {tree_version: "in development"} if tree_version not in tagged else {}
    notes |= dict.fromkeys(releases[:1], "newest release")
    return [
        Entry(
            version=name,
            note=notes.get(name, ""),
            pages=sorted(
                page.relative_to(output / name).as_posix()
                for page in (output / name).rglob("*.html")
            ),
        )
        for name in ordered
    ]


def build_all(root: Path) -> list[str]:
    """Build what is new and return the versions, newest first."""
    output = root / "docs" / "_build" / "versions"
    output.mkdir(parents=True, exist_ok=True)
    tags = git(root, "tag", "--list", "v[0-9]*").split()
    versions = [tag.removeprefix("v") for tag in tags]
    for tag, version in zip(tags, versions, strict=True):
        if not is_built(output / version, tag):
            print(f"{version}: from the tag {tag}", flush=True)
            build_release(root, tag, output / version)
    tree_version = version_of(root)
    if tree_version not in versions:
        print(f"{tree_version}: from the work tree", flush=True)
        build(root, output / tree_version, "the work tree")
    for old in output.iterdir():
        if old.is_dir() and old.name not in {*versions, tree_version}:
            shutil.rmtree(old)
    listed = entries(output, versions, tree_version)
    text = json.dumps(listed, indent=1)
    (output / "versions.json").write_text(text + "\n", encoding="utf-8")
    (output / "versions.js").write_text(f"window.trio_mqtt_versions = {text};\n", encoding="utf-8")
    names = [entry["version"] for entry in listed]
    first = next((entry["version"] for entry in listed if "newest" in entry["note"]), names[0])
    (output / "index.html").write_text(
        f'<!doctype html>\n<meta http-equiv="refresh" content="0; url={first}/index.html">\n'
        f'<title>trio_mqtt {first}</title>\n<a href="{first}/index.html">trio_mqtt {first}</a>\n',
        encoding="utf-8",
    )
    return names


if __name__ == "__main__":
    print(*build_all(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT))
