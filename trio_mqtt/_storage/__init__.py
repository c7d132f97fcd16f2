"""Where the record of a Session is kept."""

from __future__ import annotations

from trio_mqtt._storage.effects import Effect
from trio_mqtt._storage.memory import MemoryStorage
from trio_mqtt._storage.sqlite import SQLiteStorage

__all__ = ["Effect", "MemoryStorage", "SQLiteStorage"]
