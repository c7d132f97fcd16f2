"""A storage for what need not outlive the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mqtt.abc import Storage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_mqtt.abc import Changes, RecordKey


class MemoryStorage(Storage):
    """Keeps nothing: the Session lives as long as its object, and no restart brings it back."""

    def open(self, client_id: str) -> Iterable[tuple[RecordKey, bytes]]:  # noqa: ARG002
        """Return no records: whatever there is, the Session object has it."""
        return ()

    def commit(self, changes: Changes) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
