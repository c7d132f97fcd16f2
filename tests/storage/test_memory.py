"""MemoryStorage keeps nothing."""

from __future__ import annotations

from trio_mqtt import MemoryStorage


def test_nothing_is_kept() -> None:
    storage = MemoryStorage()
    assert list(storage.open("me")) == []
    storage.commit({("kind", 1): b"value"})
    storage.close()
    assert list(storage.open("me")) == []
    storage.close()
    storage.close()
