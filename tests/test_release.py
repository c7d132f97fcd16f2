"""What `make release-check` notices: in wheels and sdists that are wrong, and in what is said."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parent.parent
ABOUT: Final = "trio_mqtt-0.2.0.dist-info"

PYPROJECT: Final = """
[project]
name = "trio-mqtt"
version = "0.2.0"
license = "MIT"
license-files = ["LICENSE"]
requires-python = ">=3.11"
classifiers = [
    "Development Status :: 4 - Beta",
    "Programming Language :: Python :: 3.11",
    "Programming Language :: Python :: 3.12",
]
dependencies = ["trio>=0.28.0"]
scripts = { trio-mqtt = "trio_mqtt.__main__:main" }
optional-dependencies = { scram = ["scramp"] }

[tool.ruff]
target-version = "py311"

[tool.mypy]
python_version = "3.11"

[tool.pyright]
pythonVersion = "3.11"
"""

METADATA: Final = """\
Metadata-Version: 2.4
Name: trio-mqtt
Version: 0.2.0
License-Expression: MIT
License-File: LICENSE
Classifier: Development Status :: 4 - Beta
Classifier: Programming Language :: Python :: 3.11
Classifier: Programming Language :: Python :: 3.12
Requires-Python: >=3.11
Requires-Dist: trio>=0.28.0
Provides-Extra: scram
Requires-Dist: scramp; extra == 'scram'
Description-Content-Type: text/markdown
"""

IN_WHEEL: Final = {
    "trio_mqtt/__init__.py": "",
    "trio_mqtt/py.typed": "",
    f"{ABOUT}/METADATA": METADATA,
    f"{ABOUT}/WHEEL": "",
    f"{ABOUT}/RECORD": "",
    f"{ABOUT}/entry_points.txt": "[console_scripts]\ntrio-mqtt = trio_mqtt.__main__:main\n",
    f"{ABOUT}/licenses/LICENSE": "",
}

CHANGELOG: Final = (
    "# Changes\n\n## trio-mqtt 0.2.0 (2030-01-01)\n\n## trio-mqtt 0.1.0 (2029-01-01)\n"
)


@pytest.fixture
def distributions(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
    return importlib.import_module("distributions")


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
    return importlib.import_module("release")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project of which nothing is wrong."""
    root = tmp_path / "tree"
    files = {
        "pyproject.toml": PYPROJECT,
        "CHANGELOG.md": CHANGELOG,
        "README.md": "pip install trio-mqtt\n",
        "docs/index.rst": "trio_mqtt\n",
        "newsfragments/README.md": "# News fragments\n",
        "trio_mqtt/__init__.py": "",
        "trio_mqtt/py.typed": "",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def make_wheel(
    directory: Path, files: dict[str, str], name: str = "trio_mqtt-0.2.0-py3-none-any.whl"
) -> Path:
    with zipfile.ZipFile(directory / name, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
    return directory / name


def make_sdist(directory: Path, names: list[str]) -> Path:
    path = directory / "trio_mqtt-0.2.0.tar.gz"
    with tarfile.open(path, "w:gz") as sdist:
        for name in names:
            sdist.addfile(tarfile.TarInfo(f"trio_mqtt-0.2.0/{name}"), io.BytesIO())
    return path


def test_a_good_wheel_has_no_problem(distributions: Any, tree: Path, tmp_path: Path) -> None:
    assert distributions.wheel_problems(make_wheel(tmp_path, IN_WHEEL), tree) == []


@pytest.mark.parametrize("name", sorted(set(IN_WHEEL) - {f"{ABOUT}/WHEEL", f"{ABOUT}/RECORD"}))
def test_what_a_wheel_lacks_is_noticed(
    distributions: Any, tree: Path, tmp_path: Path, name: str
) -> None:
    files = {key: text for key, text in IN_WHEEL.items() if key != name}
    problems = distributions.wheel_problems(make_wheel(tmp_path, files), tree)
    assert any(name.rpartition("/")[2] in line or "command" in line for line in problems)


@pytest.mark.parametrize(
    "name", ["tests/test_wire.py", "benchmarks/__init__.py", "trio_mqtt/old.py", "conftest.py"]
)
def test_what_does_not_belong_into_a_wheel_is_noticed(
    distributions: Any, tree: Path, tmp_path: Path, name: str
) -> None:
    wheel = make_wheel(tmp_path, IN_WHEEL | {name: ""})
    assert distributions.wheel_problems(wheel, tree) == [f"does not belong in: {name}"]


def test_a_wheel_without_type_information_is_noticed_even_if_the_tree_has_none(
    distributions: Any, tree: Path, tmp_path: Path
) -> None:
    (tree / "trio_mqtt" / "py.typed").unlink()
    files = {key: text for key, text in IN_WHEEL.items() if key != "trio_mqtt/py.typed"}
    [problem] = distributions.wheel_problems(make_wheel(tmp_path, files), tree)
    assert "type checkers" in problem


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("Version: 0.2.0", "Version: 0.1.0", "Version is 0.1.0, not 0.2.0"),
        (">=3.11", ">=3.8", "Requires-Python is >=3.8, not >=3.11"),
        ("-Expression: MIT", "-Expression: BSD", "License-Expression is BSD, not MIT"),
        ("Provides-Extra: scram", "Provides-Extra: cli", "Provides-Extra is cli, not scram"),
        ("trio>=0.28.0", "trio", "Requires-Dist without an extra is trio"),
        ("text/markdown", "text/plain", "Description-Content-Type is text/plain, not"),
    ],
)
def test_metadata_of_another_project_is_noticed(
    distributions: Any, tree: Path, tmp_path: Path, old: str, new: str, problem: str
) -> None:
    files = IN_WHEEL | {f"{ABOUT}/METADATA": METADATA.replace(old, new, 1)}
    [found] = distributions.wheel_problems(make_wheel(tmp_path, files), tree)
    assert found.startswith(problem)


def test_a_wheel_for_one_python_only_is_noticed(
    distributions: Any, tree: Path, tmp_path: Path
) -> None:
    name = "trio_mqtt-0.2.0-cp311-cp311-linux_x86_64.whl"
    wheel = make_wheel(tmp_path, IN_WHEEL, name)
    assert distributions.wheel_problems(wheel, tree) == [f"its name is {name}"]


def test_an_sdist_has_what_the_repository_has(distributions: Any, tmp_path: Path) -> None:
    sdist = make_sdist(tmp_path, ["a.py", "tests/b.py", "PKG-INFO", ".venv/c.py"])
    files = ["a.py", "tests/b.py", "docs/d.rst", ".ci/run"]
    assert distributions.sdist_problems(sdist, files) == [
        "missing: docs/d.rst",
        "does not belong in: .venv/c.py",
    ]


def test_a_release_that_is_told_everywhere_has_no_problem(distributions: Any, tree: Path) -> None:
    assert distributions.version_problems(tree) == []
    assert distributions.classifier_problems(tree) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("pyproject.toml", '"0.2.0"', '"0.2"', "CHANGELOG.md has no section 0.2 on top"),
        ("pyproject.toml", '"0.2.0"', '"0.2.0-rc"', "pyproject.toml says 0.2.0-rc; write 0.2.0rc0"),
        ("pyproject.toml", '"0.2.0"', '"next"', "Invalid version: 'next'"),
        ("pyproject.toml", '"0.2.0"', '"0.2.0.dev0"', "CHANGELOG.md has 0.2.0 already"),
        ("CHANGELOG.md", " 0.2.0 ", " 0.1.1 ", "CHANGELOG.md has no section 0.2.0 on top"),
        ("README.md", "pip", "There is no release yet: pip", "says that there is no release: READ"),
        ("docs/index.rst", "_", "No release yet.", "says that there is no release: docs/index.rst"),
        ("docs/index.rst", "_", "目前还没有正式发布的版本", "says that there is no release"),
    ],
)
def test_what_says_another_version_is_noticed(
    distributions: Any, tree: Path, file: str, old: str, new: str, problem: str
) -> None:
    change(tree / file, old, new)
    assert distributions.version_problems(tree)[0].startswith(problem)


def test_a_fragment_that_is_left_is_noticed(distributions: Any, tree: Path) -> None:
    (tree / "newsfragments" / "+speed.feature.md").write_text("Faster.\n")
    [problem] = distributions.version_problems(tree)
    assert problem == "in newsfragments, not in CHANGELOG.md: +speed.feature.md"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (">=3.11", ">=3.10", "requires-python is >=3.10, the first classifier 3.11"),
        (">=3.11", ">=3.12", "requires-python is >=3.12, the first classifier 3.11"),
        (":: 3.12", ":: 3.13", "the classifiers Programming Language :: Python :: 3.* are not"),
        ("py311", "py312", "tool.ruff.target-version is py312, the first classifier 3.11"),
        ("4 - Beta", "5 - Production/Stable", "the Development Status does not fit version 0.2.0"),
        ("4 - Beta", "2 - Pre-Alpha", "version 0.2.0 is a release, the Development Status is Pre-"),
        ('"0.2.0"', '"1.0.0"', "the Development Status does not fit version 1.0.0"),
    ],
)
def test_classifiers_that_do_not_fit_are_noticed(
    distributions: Any, tree: Path, old: str, new: str, problem: str
) -> None:
    change(tree / "pyproject.toml", old, new)
    [found] = distributions.classifier_problems(tree)
    assert found.startswith(problem)


def test_what_this_repository_says_of_itself_agrees(distributions: Any) -> None:
    assert distributions.version_problems(ROOT) == []
    assert distributions.classifier_problems(ROOT) == []


def test_a_python_that_is_not_there_is_said(release: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONS", f"{sys.executable} /nowhere/python3.13")
    version = f"3.{sys.version_info.minor}"
    found = release.named(f"{sys.executable} /nowhere/python3.13")
    assert found == ({version: sys.executable}, ["/nowhere/python3.13"])
    check = release.Check("Python", lambda: release.wrong_python("/nowhere/python3.13"))
    assert release.look(check)[0] == "failed"
    check = release.Check("Python 3.12", lambda: release.no_python("3.12"))
    status, text = release.look(check)
    assert (status, text.partition(";")[0]) == ("not done", "PYTHONS names none")


def test_this_python_is_found(release: Any) -> None:
    version = f"3.{sys.version_info.minor}"
    expected = sys.executable if version in release.SUPPORTED else None
    assert release.on_this_machine().get(version) == expected


def test_a_command_that_fails_is_a_line_with_advice(release: Any, tmp_path: Path) -> None:
    program = "import sys; sys.exit('what went wrong')"
    check = release.Check(
        "build", lambda: release.run(sys.executable, "-c", program, cwd=tmp_path, advice="mend it")
    )
    assert release.look(check) == ("failed", "mend it\nwhat went wrong")
    check = release.Check("build", lambda: release.run("/nowhere/program", cwd=tmp_path))
    status, text = release.look(check)
    assert status == "failed"
    assert text.startswith("/nowhere/program does not run")


def test_nothing_more_is_tried_after_half_a_build(release: Any, tree: Path, tmp_path: Path) -> None:
    half = release.Release(tree, tmp_path)
    half.built.mkdir()
    make_sdist(half.built, ["a.py"])
    assert list(release.slow_checks(half)) == []


def test_what_is_not_committed_is_said_and_not_checked(release: Any, tmp_path: Path) -> None:
    root, directory = tmp_path / "clone", tmp_path / "directory"
    root.mkdir()
    directory.mkdir()

    def git(*arguments: str) -> None:
        author = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
        signing = ("-c", "commit.gpgsign=false")
        command = ["git", *author, *signing, *arguments]
        subprocess.run(command, cwd=root, check=True)

    git("init", "--quiet")
    (root / "pyproject.toml").write_text(PYPROJECT)
    git("add", ".")
    git("commit", "--quiet", "--message", "All of it")
    clean = release.Release(root, directory)
    assert clean.export().endswith("All of it")
    (root / "pyproject.toml").write_text(PYPROJECT.replace("0.2.0", "0.3.0"))
    (directory / "again").mkdir()
    (directory / "quick").mkdir()
    with pytest.raises(release.NotDone, match=r"not in .* All of it"):
        release.Release(root, directory / "quick", strict=False).export()
    changed = release.Release(root, directory / "again")
    with pytest.raises(release.Failed, match=r"not in .* All of it.*: pyproject.toml"):
        changed.export()
    assert changed.version == "0.2.0"
    assert changed.files == ["pyproject.toml"]
