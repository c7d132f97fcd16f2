"""Tables in the documentation that are made of those that the library runs on.

In a page, ``.. reason-codes::`` becomes the Reason Codes with which a Server ends a connection, or
does not begin one, and what the client does then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sphinx.util.docutils import SphinxDirective

from trio_mqtt import ReasonCode
from trio_mqtt._client._reconnecting import CREDENTIALS, FATAL
from trio_mqtt._enums import PacketType
from trio_mqtt.packets._tables import REASON_CODES

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

HEADER = ("Reason Code", "In", "What the client does")
NOTES = {
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION: "tries MQTT 3.1.1 at once, if it may; else fails",
    ReasonCode.USE_ANOTHER_SERVER: "goes there, if `redirect` says so; else tries again",
    ReasonCode.SERVER_MOVED: "goes there, if `redirect` says so; else fails",
}
"""What is decided before the tables are asked."""


def outcome(code: ReasonCode) -> str:
    """What the client does about a Reason Code."""
    if code in NOTES:
        return NOTES[code]
    if code in CREDENTIALS:
        return "fails, unless the next attempt has new credentials"
    return "fails" if code in FATAL else "tries again"


def reason_codes() -> list[tuple[str, str, str]]:
    """The rows: each Reason Code, the Control Packets that carry it, and what follows."""
    packets = (PacketType.CONNACK, PacketType.DISCONNECT)
    codes = {code for packet in packets for code in REASON_CODES[packet].values()}
    rows: list[tuple[str, str, str]] = []
    for code in sorted(codes):
        if code.is_failure:
            carriers = [each.name for each in packets if code in REASON_CODES[each].values()]
            rows.append((code.describe(), ", ".join(carriers), outcome(code)))
    return rows


def as_list_table(rows: list[tuple[str, str, str]]) -> str:
    """A table as reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 40 20 40", ""]
    for row in (HEADER, *rows):
        lines += [f"   {'  ' if index else '* '}- {cell}" for index, cell in enumerate(row)]
    return "\n".join(lines)


class ReasonCodes(SphinxDirective):
    """``.. reason-codes::``."""

    def run(self) -> list[nodes.Node]:
        """Put the table there."""
        return self.parse_text_to_nodes(as_list_table(reason_codes()))


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directive known."""
    app.add_directive("reason-codes", ReasonCodes)
    return {"parallel_read_safe": True}
