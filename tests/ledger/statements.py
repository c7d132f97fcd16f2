"""The numbered statements of the standards, and which of them a test has to show.

The tables beside this module quote "MQTT Version 5.0" and "MQTT Version 3.1.1 Plus Errata 01"; see
NOTICE-OASIS.md. `U-` identifiers are ours, for requirements that the standards do not number. A
statement of MQTT 3.1.1 has `311:` before its identifier.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE: Final = Path(__file__).parent
OLDER: Final = "311:"
VERSIONS: Final = {"": "5.0", OLDER: "3.1.1"}
"""The version of MQTT by what stands before an identifier."""

_TABLES: Final = {"": "mqtt5-normative.tsv", OLDER: "mqtt311-normative.tsv"}
_OBSERVABLE: Final = {
    "": (
        "2.2.1-4 2.2.1-6 3.1.2-24 3.1.2-26 3.1.2-27 3.1.2-28 3.1.2-29 3.2.0-1 3.2.0-2 3.2.2-1 "
        "3.2.2-2 3.2.2-6 3.2.2-8 3.2.2-16 3.3.2-3 3.3.2-11 3.3.4-9 3.8.4-2 3.8.4-6 3.9.3-1 "
        "3.9.3-2 3.11.3-1 3.11.3-2 3.14.0-1 3.14.2-2 4.12.0-2 4.12.0-6 6.0.0-4"
    ),
    OLDER: (
        "2.3.1-4 2.3.1-7 3.2.0-1 3.2.2-1 3.2.2-4 3.3.2-3 3.8.4-2 3.8.4-5 3.9.3-1 3.9.3-2 "
        "3.10.4-4 6.0.0-4"
    ),
}
"""Duties of the Server alone of which a Client can see whether they are kept."""


@attrs.frozen
class Statement:
    """One statement of a standard.

    Attributes:
        identifier: what tests call it.
        version: the version of MQTT that says so.
        section: where it stands.
        text: its words.
        actor: whose duty it is: `client`, `server` or `both`.
    """

    identifier: str
    version: str
    section: str
    text: str
    actor: str


def _rows(name: str) -> Iterator[dict[str, str]]:
    with (HERE / name).open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)


def read_statements() -> Mapping[str, Statement]:
    """All statements, by identifier: the numbered ones, then those without a number."""
    found: dict[str, Statement] = {}
    for prefix, name in _TABLES.items():
        for row in _rows(name):
            identifier = prefix + row["id"]
            found[identifier] = Statement(
                identifier, VERSIONS[prefix], row["section"], row["statement"], row["actor"]
            )
    prefixes = {version: prefix for prefix, version in VERSIONS.items()}
    for row in _rows("unlabelled-requirements.tsv"):
        identifier = prefixes[row["version"]] + row["id"]
        found[identifier] = Statement(
            identifier, row["version"], row["section"], row["statement"], row["actor"]
        )
    return found


def must_be_shown(statement: Statement) -> bool:
    """Whether a test has to show it, or a reason be given why none can.

    All that a Client has to do, all without a number, and what a Client can see of the Server.
    """
    prefix = OLDER if statement.version == VERSIONS[OLDER] else ""
    number = statement.identifier.removeprefix(prefix).removeprefix("MQTT-")
    return (
        statement.actor != "server"
        or number.startswith("U-")
        or number in _OBSERVABLE[prefix].split()
    )


def read_reasons() -> Mapping[str, str]:
    """The statements that do not apply to a client library, and why."""
    return {
        identifier: row["reason"]
        for row in _rows("not-applicable.tsv")
        for identifier in row["ids"].split(" ")
    }
