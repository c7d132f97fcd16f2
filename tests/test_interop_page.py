"""The page about servers is of the same checks and deviations as the tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tests.interop import page
from tests.interop.checks import CHECKS
from tests.interop.servers import SERVERS

PAGE: Final = (Path(page.__file__).parents[2] / "docs" / "servers.rst").read_text(encoding="utf-8")
DEVIATIONS: Final = [(kind, each) for kind in SERVERS for each in kind.deviations]


def test_it_has_each_check() -> None:
    assert [each.title for each in CHECKS.values() if f"* - {each.title}\n" not in PAGE] == []


def test_it_tells_each_deviation() -> None:
    lines = [re.sub(r"^[0-9]+\. ", "", line) for line in PAGE.splitlines()]
    told = [line for line in lines if line.startswith("**")]
    assert told == [page.reason(kind, deviation) for kind, deviation in DEVIATIONS]


def test_each_deviation_is_of_a_check_that_is_made_of_the_server() -> None:
    for kind, deviation in DEVIATIONS:
        check = CHECKS[deviation.check]
        cases = {name: values[0] for name, values in deviation.cases.items()}
        made = [
            deviation.holds(transport, protocol, cases)
            for transport, protocols in kind.offers.items()
            for protocol in protocols
            if transport in check.transports and protocol in check.protocols
        ]
        assert any(made), (kind.name, deviation.check)
