"""Check that what is committed could be released, as a list of what was looked at.

    python tools/release.py             # all of it, about three minutes
    python tools/release.py --quick     # what needs no other environment, about half a minute

"make release-check" and "make package" run it. PYTHONS="/path/to/python3.12 ..." says which Pythons
are tried, instead of those that are found. Nothing is uploaded or tagged. If nothing failed, the
commands that a maintainer runs then are printed, and a release, unlike a version in development, is
in dist/. A line begins with "ok", with "failed" and what to do, or with "not done" and why. The
exit status is 1 if a line failed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from distributions import (
    classifier_problems,
    listed,
    read_project,
    sdist_problems,
    version_problems,
    wheel_problems,
)
from packaging.version import Version
from pythons import SUPPORTED, named, on_this_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).parent.parent
LONGEST_COMMAND: Final = 180.0
"""Seconds for any one command."""
AT_ONCE: Final = 2
"""How many environments are made at the same time."""
LAST_LINES: Final = 12


def unpack(archive: tarfile.TarFile, destination: Path) -> None:
    """Unpack what was packed here; Python before 3.11.4 has no filters."""
    if hasattr(tarfile, "data_filter"):
        archive.extractall(destination, filter="data")
    else:
        archive.extractall(destination)  # noqa: S202 - it is ours


class Failed(Exception):
    """A line of the list failed; says what to do."""


class NotDone(Exception):
    """A line of the list could not be looked at; says why."""


class Check(NamedTuple):
    """A line of the list: `look` returns what it saw, or raises Failed or NotDone."""

    name: str
    look: Callable[[], str]


def run(
    *command: str | Path, cwd: Path, env: Mapping[str, str] | None = None, advice: str = ""
) -> str:
    """Run a command and return what it prints; Failed, with the advice, if it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - our own commands
            [str(part) for part in command],
            check=False,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST_COMMAND,
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{Path(command[0]).name} took over {LONGEST_COMMAND:.0f} s") from error
    except OSError as error:
        raise Failed(f"{command[0]} does not run: {error}") from error
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-LAST_LINES:])
        raise Failed(f"{advice or Path(command[0]).name}\n{last}")
    return done.stdout


def report(problems: Sequence[str], seen: str) -> str:
    """What was seen, or Failed with the problems."""
    if problems:
        raise Failed("\n".join(problems))
    return seen


class Release:
    """What is committed in a clone, the distributions made of it, and what is to hold of them."""

    def __init__(self, root: Path, directory: Path, *, strict: bool = True) -> None:
        self.root = root
        self.strict = strict
        self.directory = directory
        self.tree = directory / "tree"
        self.built = directory / "dist"
        self.files: list[str] = []

    def export(self) -> str:
        """Copy what is committed; without git, the tree as it is."""
        if not (self.root / ".git").exists():
            shutil.copytree(
                self.root,
                self.tree,
                ignore=shutil.ignore_patterns(".*venv*", ".interop", "_build", "dist"),
            )
            raise NotDone("there is no git repository here; the tree is taken as it is")
        archive = self.directory / "tree.tar"
        run("git", "archive", "--output", archive, "HEAD", cwd=self.root)
        with tarfile.open(archive) as tree:
            unpack(tree, self.tree)
        self.files = run("git", "ls-tree", "-r", "--name-only", "HEAD", cwd=self.root).splitlines()
        commit = run("git", "log", "-1", "--format=%h %s", cwd=self.root).strip()
        if changed := run("git", "status", "--porcelain", cwd=self.root).splitlines():
            names = listed(line[3:] for line in changed)
            said = f"what is changed, or not in {commit!r}, is not checked; commit it: {names}"
            raise (Failed if self.strict else NotDone)(said)
        return commit

    @property
    def version(self) -> str:
        """As pyproject.toml has it."""
        return str(read_project(self.tree)["version"])

    def look_at_version(self) -> str:
        """What speaks of the version, and the tag that it must not have yet."""
        problems = version_problems(self.tree)
        if self.files and run("git", "tag", "--list", f"v{self.version}", cwd=self.root):
            problems.append(f"there is a tag v{self.version} already; raise the version")
        seen = report(problems, self.version)
        if Version(seen).is_devrelease:
            raise NotDone(
                f"{seen} is in development; CHANGELOG.md has its section when it is released"
            )
        return seen

    def look_at_classifiers(self) -> str:
        """The classifiers, requires-python and what the tools check for."""
        return report(classifier_problems(self.tree), "classifiers and requires-python agree")

    def look_at_fragments(self) -> str:
        """The section that towncrier would write."""
        if not list((self.tree / "newsfragments").glob("*.*.md")):
            return "none is left over"
        version = Version(self.version).base_version
        command = (sys.executable, "-m", "towncrier", "build", "--draft", "--version", version)
        text = run(*command, cwd=self.tree)
        return f"towncrier builds {text.count(chr(10) + '- ')} entries"

    def build(self) -> str:
        """An sdist, and a wheel of it."""
        command = (sys.executable, "-m", "build", "--outdir", self.built, ".")
        run(*command, cwd=self.tree)
        return ", ".join(sorted(path.name for path in self.built.iterdir()))

    def one(self, pattern: str) -> Path:
        """The distribution of this kind."""
        for path in self.built.glob(pattern):
            return path
        raise NotDone("nothing was built")

    @property
    def is_built(self) -> bool:
        """Whether there are both distributions."""
        return all(any(self.built.glob(kind)) for kind in ("*.whl", "*.tar.gz"))

    def look_at_descriptions(self) -> str:
        """Whether an index would take them."""
        both = (self.one("*.whl"), self.one("*.tar.gz"))
        run(sys.executable, "-m", "twine", "check", "--strict", *both, cwd=self.tree)
        return "twine check --strict passes"

    def look_into_wheel(self) -> str:
        """The package, its types and licences, and nothing else."""
        return report(wheel_problems(self.one("*.whl"), self.tree), "the package and its licences")

    def look_into_sdist(self) -> str:
        """Each file of the repository."""
        sdist = self.one("*.tar.gz")
        if not self.files:
            raise NotDone("there is no git repository to compare it with")
        return report(sdist_problems(sdist, self.files), "every file of the repository")

    def unpacked(self) -> Path:
        """The sdist, unpacked."""
        sdist = self.one("*.tar.gz")
        destination = self.directory / "sdist"
        if not destination.exists():
            with tarfile.open(sdist) as archive:
                unpack(archive, destination)
        return destination / sdist.name.removesuffix(".tar.gz")

    def collect_tests(self) -> str:
        """The tests that the sdist brings."""
        command = (sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider")
        text = run(*command, cwd=self.unpacked(), advice="its tests cannot be collected")
        return f"{text.strip().splitlines()[-1].split(' in ')[0]} in the unpacked sdist"

    def build_documentation(self) -> str:
        """The pages, with the version in their titles."""
        pages = self.directory / "pages"
        command = (sys.executable, "-m", "sphinx", "-W", "--keep-going", "--nitpicky", "--quiet")
        paths = os.pathsep.join((str(self.tree), os.environ.get("PYTHONPATH", ""))).strip(
            os.pathsep
        )
        environment = {**os.environ, "PYTHONPATH": paths}
        run(*command, "docs", pages, cwd=self.tree, env=environment, advice="make docs")
        title = re.search("<title>(.*?)</title>", (pages / "index.html").read_text("utf-8"))
        if title is None or not title[1].endswith(f"trio_mqtt {self.version}"):
            raise Failed(f"the title is {title and title[1]!r}: make docs installs it again")
        return title[1]

    def install(self, python: Path, what: str, extra: str | None = None) -> str:
        """Install into a fresh environment and run tools/smoke.py there."""
        self.one("*.whl")
        with tempfile.TemporaryDirectory(dir=self.directory) as name:
            directory = Path(name)
            environment = directory / "environment"
            own = environment / "bin" / "python"
            # There is no git, nor anything else, for who installs.
            without_git = {**os.environ, "PATH": str(own.parent)}
            run(python, "-m", "venv", "--without-pip", environment, cwd=directory)
            pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", own)
            run(*pip, "install", "--quiet", what, cwd=directory, env=without_git)
            readme = self.tree / "README.md"
            smoke = (own, "-I", "-W", "error", ROOT / "tools" / "smoke.py", readme)
            run(*smoke, *([extra] if extra else []), cwd=directory)
            run(*pip, "check", cwd=directory, env=without_git)
        return "installed; the programs of README.md print what they should"

    def keep(self) -> None:
        """Put what was built into dist/."""
        destination = self.root / "dist"
        shutil.rmtree(destination, ignore_errors=True)
        shutil.copytree(self.built, destination)


def quick_checks(release: Release) -> list[Check]:
    """What takes seconds."""
    return [
        Check("committed", release.export),
        Check("version", release.look_at_version),
        Check("classifiers", release.look_at_classifiers),
        Check("newsfragments", release.look_at_fragments),
        Check("build", release.build),
        Check("descriptions", release.look_at_descriptions),
        Check("wheel", release.look_into_wheel),
        Check("sdist", release.look_into_sdist),
    ]


def no_python(version: str) -> str:
    """Say that there is no Python of this version."""
    where = "PYTHONS names none" if os.environ.get("PYTHONS") else "none was found"
    raise NotDone(f"{where}; PYTHONS='/path/to/python{version} ...' names it")


def wrong_python(name: str) -> str:
    """Say that what PYTHONS names is no Python."""
    raise Failed(f"{name} does not run, and PYTHONS names it")


def slow_checks(release: Release) -> Iterator[Check]:
    """What installs, collects and builds pages; nothing where the build has failed."""
    if not release.is_built:
        return
    yield Check("tests of the sdist", release.collect_tests)
    yield Check("documentation", release.build_documentation)
    names = os.environ.get("PYTHONS", "")
    pythons, wrong = named(names) if names else (on_this_machine(), [])
    for name in wrong:
        yield Check("Python", partial(wrong_python, name))
    for version in SUPPORTED:
        if version not in pythons:
            yield Check(f"Python {version}", partial(no_python, version))
    wheel, sdist = release.one("*.whl"), release.one("*.tar.gz")
    extras = [None, *read_project(release.tree)["optional-dependencies"]]
    for number, (version, name) in enumerate(pythons.items()):
        python = Path(name)
        for extra in extras:
            what = f"{wheel}[{extra}]" if extra else str(wheel)
            title = f"Python {version}, {extra or 'plain'}"
            yield Check(title, partial(release.install, python, what, extra))
        if number == 0:
            title = f"Python {version}, sdist without git"
            yield Check(title, partial(release.install, python, str(sdist)))


def look(check: Check) -> tuple[str, str]:
    """How a line begins, and how it goes on."""
    try:
        return "ok", check.look()
    except NotDone as error:
        return "not done", str(error)
    except Failed as error:
        return "failed", str(error)


def show(check: Check, outcome: tuple[str, str]) -> str:
    """Print a line and return how it begins."""
    status, text = outcome
    text = text.replace("\n", "\n" + " " * 11)
    print(f"{status:8}   {check.name}: {text}", flush=True)
    return status


NEXT_IN_DEVELOPMENT: Final = """
To release {base}:
    set version = "{base}" and the Development Status in pyproject.toml;
    replace what README.md and the documentation say of there being no release yet
    .venv/bin/towncrier build --yes --version {base}
    git commit --all --message "Release {base}"
    make test interop release-check"""

NEXT_OF_A_RELEASE: Final = """
To publish what is in dist/:
    git tag --annotate v{version} --message "trio_mqtt {version}"
    git push origin HEAD v{version}
    .venv/bin/twine upload dist/trio_mqtt-{version}*
    make docs-versions
Then set the next version, with .dev0 behind it, in pyproject.toml."""


def main() -> int:
    """Go through the list."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="make no other environment")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="release-") as name:
        release = Release(ROOT, Path(name), strict=not arguments.quick)
        statuses = [show(check, look(check)) for check in quick_checks(release)]
        if not arguments.quick:
            checks = list(slow_checks(release))
            with ThreadPoolExecutor(AT_ONCE) as pool:
                outcomes = pool.map(look, checks)
                statuses += [show(*pair) for pair in zip(checks, outcomes, strict=True)]
        failed, left_out = statuses.count("failed"), statuses.count("not done")
        seconds = time.monotonic() - began
        print(f"\n{len(statuses)} lines, {failed} failed, {left_out} not done, {seconds:.0f} s")
        if failed:
            return 1
        version = release.version
        if arguments.quick:
            return 0
        if Version(version).is_devrelease:
            print(NEXT_IN_DEVELOPMENT.format(base=Version(version).base_version))
            return 0
        release.keep()
    print(NEXT_OF_A_RELEASE.format(version=version))
    return 0


if __name__ == "__main__":
    sys.exit(main())
