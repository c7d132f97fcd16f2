"""``python -m benchmarks.counted WORK ...`` does the works in turn."""

from __future__ import annotations

import gc
import importlib
import itertools
import random
import sys
import time
from typing import Final

import trio

_STEP: Final = 1e-6

if __name__ == "__main__":
    # How often a loop gives way to other tasks depends on this clock, which would make it all the
    # time under an instrument that slows a program down fifty times. Before trio_mqtt imports it.
    time.perf_counter = itertools.count(0.0, _STEP).__next__
    works = importlib.import_module("benchmarks.counted.works")
    for name in sys.argv[1:]:
        # In which order trio runs tasks that are ready is chance.
        trio._core._run._r = random.Random(1)  # noqa: S311, SLF001
        gc.collect()
        works.WORKS[name]()
