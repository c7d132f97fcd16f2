"""Each check is made of every server, transport and version that there is."""

from __future__ import annotations

import json
import math
import os
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
import trustme

from tests.interop.checks import CHECKS, Target
from tests.interop.install import PLACE
from tests.interop.servers import SERVERS
from tests.interop.servers.kind import TRANSPORTS, Certificates

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.interop.servers.kind import Deviation, Running, ServerKind, Transport
    from trio_mqtt import Protocol

numbers = count()
VERSION: Final = "version"
OUTCOME: Final = "interop"


@attrs.frozen
class Column:
    """A server on one transport in one version, before it runs."""

    kind: ServerKind
    transport: Transport
    protocol: Protocol

    @property
    def name(self) -> str:
        """What the test is called by."""
        return f"{self.kind.name}-{self.transport}-{self.protocol.name.removeprefix('MQTT_')}"


COLUMNS: Final = [
    Column(kind, transport, protocol)
    for kind in SERVERS
    for transport in TRANSPORTS
    for protocol in kind.offers.get(transport, ())
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--interop-results", type=Path, help="where what came of the checks is kept")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    check = CHECKS.get(metafunc.function.__name__.removeprefix("test_"))
    if check is None:
        return
    columns = [
        pytest.param(column, id=column.name)
        for column in COLUMNS
        if column.transport in check.transports and column.protocol in check.protocols
    ]
    # As the scope is the session, one server comes after the other.
    metafunc.parametrize("column", columns, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    known: dict[str, set[str]] = {}
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            column = item.callspec.params.get("column")
            if isinstance(column, Column):
                _expect(item, column)
                known.setdefault(column.kind.name, set()).add(_check_name(item))
    for kind in SERVERS:
        for deviation in kind.deviations:
            if deviation.check not in CHECKS and set(CHECKS) == known.get(kind.name):
                message = f"{kind.name} deviates in {deviation.check}, which is no check"
                raise pytest.UsageError(message)


def _check_name(item: pytest.Function) -> str:
    return item.originalname.removeprefix("test_")


def _expect(item: pytest.Function, column: Column) -> None:
    deviation = find_deviation(item, column)
    if deviation is not None:
        item.add_marker(
            pytest.mark.xfail(
                reason=f"{deviation.when}: {deviation.reason}",
                # What leaves an asynchronous test comes in a group.
                raises=pytest.RaisesGroup(
                    pytest.RaisesExc(deviation.error), flatten_subgroups=True
                ),
                strict=deviation.when == "always",
            )
        )


def find_deviation(item: pytest.Function, column: Column) -> Deviation | None:
    """What the server is expected to do differently in this test."""
    for deviation in column.kind.deviations:
        if deviation.check == _check_name(item) and deviation.holds(
            column.transport, column.protocol, item.callspec.params
        ):
            return deviation
    return None


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def certificates(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    directory = tmp_path_factory.mktemp("certificates")
    found = Certificates(
        authority=directory / "ca.pem",
        certificate=directory / "server.pem",
        key=directory / "server.key",
        both=directory / "both.pem",
    )
    # ejabberd has no timer for an end that is centuries away.
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    issued = authority.issue_cert("localhost", "127.0.0.1", not_after=tomorrow)
    authority.cert_pem.write_to_path(str(found.authority))
    issued.private_key_pem.write_to_path(str(found.key))
    issued.private_key_and_cert_chain_pem.write_to_path(str(found.both))
    for part in issued.cert_chain_pems:
        part.write_to_path(str(found.certificate), append=True)
    for path in (found.authority, found.certificate, found.key, found.both):
        path.chmod(0o644)  # servers that leave root behind read them, too
    return found


class Started:
    """The servers that run, each started when it is asked for first."""

    def __init__(
        self, stack: ExitStack, certificates: Certificates, factory: pytest.TempPathFactory
    ) -> None:
        self._stack = stack
        self._certificates = certificates
        self._factory = factory
        self._running: dict[str, Running] = {}

    def find(self, kind: ServerKind) -> Running:
        """This one."""
        if kind.name not in self._running:
            directory = self._factory.mktemp(kind.name)
            running = kind.run(PLACE, directory, self._certificates)
            self._running[kind.name] = self._stack.enter_context(running)
        return self._running[kind.name]


@pytest.fixture(scope="session")
def started(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Started]:
    with ExitStack() as stack:
        yield Started(stack, certificates, tmp_path_factory)


@pytest.fixture
def target(
    request: pytest.FixtureRequest,
    column: Column,
    started: Started,
    certificates: Certificates,
    record_property: Any,
) -> Target:
    if not column.kind.is_installed(PLACE):
        message = f"{column.kind.name} is not installed; 'make interop' does it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    running = started.find(column.kind)
    deviation = find_deviation(request.node, column)
    record_property(VERSION, running.version)
    return Target(
        running=running,
        transport=column.transport,
        protocol=column.protocol,
        authority=certificates.authority,
        prefix=f"t{os.getpid()}x{next(numbers)}",
        patience=math.inf if deviation is None else deviation.limit or math.inf,
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let the report say what it is about, also where tests run in other processes."""
    report = yield
    if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
        column = item.callspec.params.get("column")
        if isinstance(column, Column) and (report.when == "call" or report.outcome != "passed"):
            deviation = find_deviation(item, column)
            about = {
                "server": column.kind.name,
                "transport": column.transport,
                "protocol": column.protocol.name,
                "check": _check_name(item),
                "deviation": None if deviation is None else column.kind.deviations.index(deviation),
            }
            report.user_properties.append((OUTCOME, about))
    return report


class Results:
    """Collects what came of the checks, and writes it down in the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[dict[str, object]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a report."""
        told = dict(report.user_properties)
        about = told.get(OUTCOME)
        outcome = str(report.outcome)
        if isinstance(about, dict) and outcome != "rerun":
            if hasattr(report, "wasxfail"):
                outcome = "deviates"
            self._rows.append({**about, "outcome": outcome, VERSION: told.get(VERSION)})

    def pytest_sessionfinish(self) -> None:
        """Write them all."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self._rows, indent=1))


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--interop-results", default=None)
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results(path))
