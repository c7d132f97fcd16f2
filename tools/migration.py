"""Runs every program of the migration pages, each with its library.

The libraries are looked for in the virtual environments that "make bench" makes; one that is not
there is left out, and told.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import trio

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.test_migration import CHECKS, LIBRARIES, PROGRAMS, Program, run_check  # noqa: E402

PYTHONS = {
    "trio_mqtt": Path(sys.executable),
    "paho": ROOT / ".venv-peers-paho" / "bin" / "python",
    "aiomqtt": ROOT / ".venv-peers-aiomqtt2" / "bin" / "python",
    "gmqtt": ROOT / ".venv-peers-gmqtt" / "bin" / "python",
}


async def main() -> None:
    """Run them one after the other, until one does not do what it has to."""
    for library in LIBRARIES:
        python = PYTHONS[library]
        if not python.exists():
            print(f"{library}: not installed; 'make bench' does that")
            continue
        for name in CHECKS:
            source = (PROGRAMS / library / f"{name}.py").read_text()
            print(f"{library}: {name}")
            with tempfile.TemporaryDirectory() as directory:
                await run_check(name, Program(source, Path(directory), str(python)))


trio.run(main)
