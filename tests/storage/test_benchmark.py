"""The benchmark runs, with few records and nothing asserted about time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import storage

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage.main(["--records", "1500", "--rounds", "1", "--directory", str(tmp_path)])
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line.startswith(("  idle", "  busy"))]
    assert len(rows) == 2 * len(storage.WAYS)
    assert all(int(rate.replace(",", "")) > 0 for row in rows for rate in row.split()[-2:])
    assert "an fsync takes" in printed
    assert list(tmp_path.iterdir()) == []
