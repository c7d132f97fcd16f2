"""The tables in the documentation say what the library does."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any, Final

import pytest

from trio_mqtt import ConnectionLost, ReasonCode
from trio_mqtt._client._reconnecting import CREDENTIALS, FATAL, is_fatal
from trio_mqtt._enums import PacketType
from trio_mqtt.packets._tables import REASON_CODES

PROGRAM: Final = Path(__file__).parent.parent / "docs" / "_tables.py"


@pytest.fixture(scope="module")
def tables() -> dict[str, Any]:
    pytest.importorskip("sphinx", reason="it works inside Sphinx")
    return runpy.run_path(str(PROGRAM))


def test_every_reason_code_that_ends_a_connection_has_a_row(tables: dict[str, Any]) -> None:
    rows = {name: carriers for name, carriers, _ in tables["reason_codes"]()}
    for packet in (PacketType.CONNACK, PacketType.DISCONNECT):
        codes = [code for code in REASON_CODES[packet].values() if code.is_failure]
        assert codes
        assert all(packet.name in rows[code.describe()] for code in codes)
    assert {code.describe() for code in FATAL | CREDENTIALS} <= set(rows)


@pytest.mark.parametrize("new_credentials", [False, True])
def test_a_row_says_what_the_client_does(tables: dict[str, Any], *, new_credentials: bool) -> None:
    outcomes = {name: outcome for name, _, outcome in tables["reason_codes"]()}
    for code in ReasonCode:
        said = outcomes.get(code.describe())
        if said is None:
            continue
        fatal = is_fatal(ConnectionLost("", reason_code=code), new_credentials=new_credentials)
        fails = "fails" in said and not (new_credentials and "credentials" in said)
        assert fails is fatal, code
