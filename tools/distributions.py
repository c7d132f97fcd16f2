"""What a release has to look like; each function returns what is wrong, a line for each.

tools/release.py prints it.
"""

from __future__ import annotations

import re
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser
from typing import TYPE_CHECKING, Any, Final

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

PACKAGE: Final = "trio_mqtt"
COMMAND: Final = "trio-mqtt"
UNRELEASED: Final = re.compile(r"no release yet|还没有正式发布", re.IGNORECASE)
"""What README.md and the documentation say only before the first release."""

NOT_IN_SDIST: Final = (".ci/",)
ADDED_TO_SDIST: Final = {"PKG-INFO"}
PYTHON: Final = "Programming Language :: Python :: "
STATUS: Final = "Development Status :: "
PRE_ALPHA: Final = 2
BETA: Final = 4
MOST_SHOWN: Final = 5

Project = dict[str, Any]
"""The table `project` of pyproject.toml."""


def read_project(root: Path) -> Project:
    """What pyproject.toml says of the project."""
    project: Project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    return project


def listed(names: Iterable[str]) -> str:
    """Some names in a line, the first ones if they are many."""
    names = sorted(names)
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return ", ".join(names[:MOST_SHOWN]) + more


def wheel_problems(wheel: Path, root: Path) -> list[str]:
    """What is wrong with a wheel that was built from the tree in `root`."""
    project = read_project(root)
    about = f"{PACKAGE}-{project['version']}.dist-info"
    problems: list[str] = []
    if wheel.name != f"{PACKAGE}-{project['version']}-py3-none-any.whl":
        problems.append(f"its name is {wheel.name}")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = (
            archive.read(f"{about}/METADATA").decode() if f"{about}/METADATA" in names else ""
        )
        entry_points = f"{about}/entry_points.txt"
        commands = archive.read(entry_points).decode() if entry_points in names else ""
    if not metadata:
        return [*problems, f"there is no {about}/METADATA"]
    wanted = {
        path.relative_to(root).as_posix()
        for path in (root / PACKAGE).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    wanted |= {f"{about}/licenses/{name}" for name in project["license-files"]}
    if missing := wanted - names:
        problems.append(f"missing: {listed(missing)}")
    if f"{PACKAGE}/py.typed" not in names:
        problems.append(f"{PACKAGE}/py.typed is missing: type checkers ignore the types")
    own = {name for name in names if name.startswith(f"{about}/")}
    if unwanted := names - wanted - own:
        problems.append(f"does not belong in: {listed(unwanted)}")
    if f"{COMMAND} = {project['scripts'][COMMAND]}\n" not in commands.replace("\r\n", "\n"):
        problems.append(f"the command {COMMAND} is missing")
    return problems + metadata_problems(metadata, project)


def metadata_problems(text: str, project: Project) -> list[str]:
    """What METADATA says otherwise than pyproject.toml."""
    metadata = HeaderParser().parsestr(text)
    expected: Mapping[str, Iterable[str]] = {
        "Name": [project["name"]],
        "Version": [project["version"]],
        "Requires-Python": [project["requires-python"]],
        "License-Expression": [project["license"]],
        "License-File": project["license-files"],
        "Classifier": project["classifiers"],
        "Provides-Extra": project["optional-dependencies"],
        "Description-Content-Type": ["text/markdown"],
    }
    problems = [
        f"{field} is {listed(metadata.get_all(field, ()))}, not {listed(values)}"
        for field, values in expected.items()
        if sorted(metadata.get_all(field, ())) != sorted(values)
    ]
    required = {Requirement(line) for line in metadata.get_all("Requires-Dist", ())}
    plain = {requirement for requirement in required if requirement.marker is None}
    if plain != {Requirement(line) for line in project["dependencies"]}:
        problems.append(f"Requires-Dist without an extra is {listed(map(str, plain))}")
    return problems


def sdist_problems(sdist: Path, files: Iterable[str]) -> list[str]:
    """What is wrong with an sdist of a tree whose files, as git has them, are given."""
    with tarfile.open(sdist) as archive:
        names = [member.name for member in archive.getmembers() if member.isfile()]
    top = sdist.name.removesuffix(".tar.gz")
    found = {name.removeprefix(f"{top}/") for name in names}
    wanted = {name for name in files if not name.startswith(NOT_IN_SDIST)}
    problems: list[str] = []
    if missing := wanted - found:
        problems.append(f"missing: {listed(missing)}")
    if unwanted := found - wanted - ADDED_TO_SDIST:
        problems.append(f"does not belong in: {listed(unwanted)}")
    return problems


def sections_of(changelog: str) -> list[str]:
    """The versions that have a section in CHANGELOG.md, newest first."""
    return re.findall(r"^## trio-mqtt (\S+)", changelog, re.MULTILINE)


def version_problems(root: Path) -> list[str]:
    """What does not agree with the version: CHANGELOG.md, newsfragments, README.md, the pages."""
    project = read_project(root)
    try:
        version = Version(project["version"])
    except InvalidVersion as error:
        return [str(error)]
    problems: list[str] = []
    if str(version) != project["version"]:
        problems.append(f"pyproject.toml says {project['version']}; write {version}")
    sections = sections_of((root / "CHANGELOG.md").read_text("utf-8"))
    fragments = [path.name for path in (root / "newsfragments").glob("*.*.md")]
    if version.is_devrelease:
        if sections and Version(sections[0]) >= version:
            problems.append(f"CHANGELOG.md has {sections[0]} already; raise the version")
        return problems
    if sections[:1] != [str(version)]:
        problems.append(f"CHANGELOG.md has no section {version} on top: towncrier build")
    if fragments:
        problems.append(f"in newsfragments, not in CHANGELOG.md: {listed(fragments)}")
    pages = [root / "README.md", *sorted((root / "docs").rglob("*.rst"))]
    outdated = [page for page in pages if UNRELEASED.search(page.read_text("utf-8"))]
    if outdated:
        names = listed(page.relative_to(root).as_posix() for page in outdated)
        problems.append(f"says that there is no release: {names}")
    return problems


def classifier_problems(root: Path) -> list[str]:
    """What the classifiers say otherwise than requires-python, the version and the tools."""
    pyproject = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    project = pyproject["project"]
    classifiers = project["classifiers"]
    supported = SpecifierSet(project["requires-python"])
    minors = [
        int(line.removeprefix(f"{PYTHON}3."))
        for line in classifiers
        if re.fullmatch(rf"{PYTHON}3\.\d+", line)
    ]
    problems: list[str] = []
    if minors != list(range(minors[0], minors[-1] + 1)) if minors else True:
        problems.append(f"the classifiers {PYTHON}3.* are not one after the other")
    elif f"3.{minors[0]}" not in supported or f"3.{minors[0] - 1}" in supported:
        problems.append(f"requires-python is {supported}, the first classifier 3.{minors[0]}")
    oldest = f"3.{minors[0]}" if minors else "none"
    said = {
        "tool.ruff.target-version": pyproject["tool"]["ruff"]["target-version"],
        "tool.mypy.python_version": pyproject["tool"]["mypy"]["python_version"],
        "tool.pyright.pythonVersion": pyproject["tool"]["pyright"]["pythonVersion"],
    }
    problems += [
        f"{where} is {value}, the first classifier {oldest}"
        for where, value in said.items()
        if value not in {oldest, f"py{oldest.replace('.', '')}"}
    ]
    statuses = [int(line.removeprefix(STATUS)[0]) for line in classifiers if STATUS in line]
    version = Version(project["version"])
    early = version.major == 0 or version.is_prerelease
    if len(statuses) != 1 or (statuses[0] > BETA if early else statuses[0] <= BETA):
        problems.append(f"the Development Status does not fit version {version}")
    elif statuses[0] <= PRE_ALPHA and not version.is_devrelease:
        problems.append(f"version {version} is a release, the Development Status is Pre-Alpha")
    return problems
