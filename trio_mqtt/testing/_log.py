"""What the test server received and sent, packet by packet."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio_mqtt.packets import Packet


@attrs.frozen(kw_only=True)
class LogEntry:
    """One packet that passed the server.

    Attributes:
        number: counts all entries of a server, from 1.
        direction: ``"received"`` from a client or ``"sent"`` to it.
        client_id: which client; empty until CONNECT has told.
        packet: the packet itself.
    """

    number: int
    direction: Literal["received", "sent"]
    client_id: str
    packet: Packet


class PacketLog:
    """The last entries, in the order in which packets were read and written.

    Args:
        size: how many entries are kept.
        on_entry: called after each entry.
    """

    def __init__(self, size: int, on_entry: Callable[[], None]) -> None:
        self._entries: deque[LogEntry] = deque(maxlen=size)
        self._on_entry = on_entry
        self.total: int = 0

    def add(self, direction: Literal["received", "sent"], client_id: str, packet: Packet) -> None:
        """Note a packet."""
        self.total += 1
        self._entries.append(
            LogEntry(number=self.total, direction=direction, client_id=client_id, packet=packet)
        )
        self._on_entry()

    def since(self, number: int) -> Iterator[LogEntry]:
        """The entries that came after the entry of this number, as far as they are kept."""
        first_kept = self.total - len(self._entries)
        return islice(self._entries, max(number - first_kept, 0), None)
