"""Runs tests of the project with something in it changed, in copies of it.

Each run is a child of a process that has imported what the project depends on, and nothing of the
project, so that a run costs little more than its tests.
"""

from __future__ import annotations

import compileall
import contextlib
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = "trio_mqtt"
TIMEOUT: Final = 60.0
"""How long a run may take, in seconds; one that hangs has noticed, too."""
_NOT_COPIED: Final = (".*", "build", "_build", "__pycache__", "benchmarks", "node_modules")
_IMPORTED: Final = (
    "asyncio",
    "attrs",
    "hypothesis.stateful",
    "hypothesis.strategies",
    "sqlite3",
    "ssl",
    "trio.testing",
    "trio_websocket",
)
_MOST_MEMORY: Final = 4 << 30
"""What a run may take, in bytes; a loop that never ends may fill all there is."""
_POLL: Final = 0.01


class Mutant(NamedTuple):
    """The project with one thing in it changed.

    Attributes:
        name: what it does wrong.
        file: where, below the package.
        code: what stands there, exactly once.
        without: what stands there instead.
        files: the test modules to run.
        statements: run only the tests that show one of these; all tests if it is empty.
    """

    name: str
    file: str
    code: str
    without: str
    files: tuple[str, ...]
    statements: tuple[str, ...] = ()


class Outcome(NamedTuple):
    """What came of a run.

    Attributes:
        mutant: what was run.
        ran: how many tests.
        failed: for each test that failed the statements that it shows.
        hung: whether it took too long.
        broken: what pytest printed, if it did not come to running tests.
    """

    mutant: Mutant
    ran: int
    failed: dict[str, list[str]]
    hung: bool = False
    broken: str = ""

    @property
    def noticed(self) -> bool:
        """Whether a test failed."""
        return bool(self.failed) or self.hung or bool(self.broken)


class _Recorder:
    """A pytest plugin that chooses tests by what they show, and notes which fail."""

    def __init__(self, statements: Sequence[str]) -> None:
        self._wanted = set(statements)
        self._shown: dict[str, list[str]] = {}
        self.ran = 0
        self.failed: dict[str, list[str]] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            marks = item.iter_markers("statement")
            self._shown[item.nodeid] = [name for mark in marks for name in mark.args]
        if self._wanted:
            items[:] = [
                item for item in items if self._wanted.intersection(self._shown[item.nodeid])
            ]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.ran += report.when == "call"
        if report.failed:
            self.failed[report.nodeid] = self._shown[report.nodeid]


def _warm_up() -> None:
    """Import what the project and its tests need of others, once for all runs."""
    for name in _IMPORTED:
        importlib.import_module(name)


@contextlib.contextmanager
def copied(folder: Path, count: int) -> Generator[list[Path]]:
    """Copies of the project, one for each run at the same time."""
    copies = [folder / f"copy{number}" for number in range(count)]
    for copy in copies:
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        compileall.compile_dir(copy / PACKAGE, quiet=1)
    yield copies


def _write(path: Path, text: str, *, stamp: float | None = None) -> None:
    """Replace a file; the stamp tells Python whether what it has compiled is of this text."""
    path.write_text(text, encoding="utf-8")
    if stamp is not None:
        os.utime(path, (stamp, stamp))


def _child(copy: Path, mutant: Mutant, report: Path) -> None:
    """Run the tests in this process, a child, and write down what came of it."""
    os.setsid()
    log = os.open(report.with_suffix(".log"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(copy)
    sys.path[:0] = [str(copy)]
    for name in [name for name in sys.modules if name.partition(".")[0] in {PACKAGE, "tests"}]:
        del sys.modules[name]  # those of the original
    sys.dont_write_bytecode = bool(mutant.file)
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    recorder = _Recorder(mutant.statements)
    options = ["-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-p", "no:xdist"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what is imported already
    if not mutant.statements:
        options.append("-x")
    code = pytest.main(
        [*options, "-p", "no:cov", "--rootdir", str(copy), *mutant.files], plugins=[recorder]
    )
    report.write_text(json.dumps([int(code), recorder.ran, recorder.failed]), encoding="utf-8")


class _Run:
    """A run under way."""

    def __init__(self, copy: Path, mutant: Mutant, timeout: float) -> None:
        self.mutant = mutant
        self.copy = copy
        self._report = copy.with_suffix(".json")
        self._report.unlink(missing_ok=True)
        self._path = copy / PACKAGE / mutant.file
        if mutant.file:
            self._before = self._path.read_text(encoding="utf-8")
            self._stamp = self._path.stat().st_mtime
            count = self._before.count(mutant.code)
            if count != 1:
                text = f"the code stands {count} times in {mutant.file}"
                raise ValueError(text)
            _write(self._path, self._before.replace(mutant.code, mutant.without), stamp=1)
        self._deadline = time.monotonic() + timeout
        sys.stdout.flush()
        self._pid = os.fork()
        if not self._pid:
            try:
                _child(copy, mutant, self._report)
            except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(0)

    def poll(self) -> Outcome | None:
        """What came of it, or None if it goes on."""
        hung = time.monotonic() > self._deadline
        if hung:
            self.kill()
        elif not os.waitpid(self._pid, os.WNOHANG)[0]:
            return None
        if self.mutant.file:
            _write(self._path, self._before, stamp=self._stamp)
        if hung:
            return Outcome(self.mutant, 0, {}, hung=True)
        if not self._report.exists():
            return Outcome(self.mutant, 0, {}, broken=self._printed())
        code, ran, failed = json.loads(self._report.read_text(encoding="utf-8"))
        # With -x a module that cannot be imported is just a failure.
        broken = "" if code == 0 or (code == 1 and failed) else self._printed()
        return Outcome(self.mutant, ran, failed, broken=broken)

    def kill(self) -> None:
        """End it, and what it has started."""
        os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def _printed(self) -> str:
        return self._report.with_suffix(".log").read_text(errors="replace")[-2000:] or "nothing"


def run_all(
    mutants: Iterable[Mutant], copies: list[Path], *, timeout: float = TIMEOUT
) -> Iterator[Outcome]:
    """Run the tests of each mutant, as many at once as there are copies of the project."""
    _warm_up()
    waiting = iter(mutants)
    free = list(copies)
    under_way: list[_Run] = []
    try:
        while True:
            while free and (mutant := next(waiting, None)) is not None:
                try:
                    under_way.append(_Run(free[-1], mutant, timeout))
                    free.pop()
                except ValueError as error:
                    yield Outcome(mutant, 0, {}, broken=str(error))
            if not under_way:
                return
            for run in list(under_way):
                outcome = run.poll()
                if outcome is not None:
                    under_way.remove(run)
                    free.append(run.copy)
                    yield outcome
            time.sleep(_POLL)
    finally:
        for run in under_way:
            run.kill()
