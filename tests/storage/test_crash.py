"""A process that is killed at any instant leaves each commit in full, or nothing of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

from tests.budget import WANTED
from tests.storage.support import run_module

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS: Final = WANTED or 60

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the program that kills needs signals")


def test_killed_at_any_instant(tmp_path: Path) -> None:
    printed = run_module("tests.storage.crashes", str(tmp_path), str(ROUNDS), "1")
    killed, in_a_write, while_made = map(int, printed.split())
    assert killed + in_a_write == ROUNDS
    assert in_a_write > ROUNDS // 6
    assert while_made > 30
