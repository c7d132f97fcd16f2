"""Storages of the tests' own, which need nothing but `trio_mqtt.abc.Storage`.

What they do is done at once. So it is called without a thread, lest a mock clock runs away
meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from trio_mqtt.abc import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pytest

    from trio_mqtt.abc import Changes, RecordKey


class DictStorage(Storage):
    """Keeps records in memory; durable as far as a client can tell.

    Attributes:
        records: what is on the disk.
    """

    def __init__(self, records: dict[RecordKey, bytes] | None = None) -> None:
        self.records = dict(records or {})

    def open(self, client_id: str) -> Iterable[tuple[RecordKey, bytes]]:
        return sorted(self.records.items(), key=_in_order)

    def commit(self, changes: Changes) -> None:
        for key, value in changes.items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value

    def close(self) -> None:
        """Do nothing."""

    def kind(self, kind: str) -> list[int | str]:
        """The keys of one kind."""
        return [key for each, key in self.records if each == kind]


def _in_order(record: tuple[RecordKey, bytes]) -> tuple[str, str]:
    kind, key = record[0]
    return kind, str(key).zfill(9)


def call_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call what may block where it is."""

    async def run_sync(function: Callable[..., Any], *arguments: Any, **_options: Any) -> Any:
        await trio.lowlevel.checkpoint_if_cancelled()
        result = function(*arguments)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return result

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
