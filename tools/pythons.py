"""Which Pythons of this machine tools/release.py tries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

SUPPORTED: Final = ("3.11", "3.12", "3.13")
LONGEST_START: Final = 10.0


def version_of(python: str) -> str | None:
    """Its version as in 3.11, or None if it does not run."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    command = [python, "-c", program]
    try:
        done = subprocess.run(  # noqa: S603 - a Python of this machine
            command, check=False, capture_output=True, text=True, timeout=LONGEST_START
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def named(names: str) -> tuple[dict[str, str], list[str]]:
    """The Pythons that the variable PYTHONS names, by version, and the names of what is none."""
    found: dict[str, str] = {}
    wrong: list[str] = []
    for name in names.split():
        if version := version_of(name):
            found[version] = shutil.which(name) or name
        else:
            wrong.append(name)
    return found, wrong


def on_this_machine() -> dict[str, str]:
    """The Pythons that are supported and found: this one, on the path, or installed by pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found: dict[str, str] = {}
    for version in SUPPORTED:
        installed = sorted(map(str, pyenv.glob(f"{version}.*/bin/python")))
        for candidate in (sys.executable, f"python{version}", *installed):
            if version_of(candidate) == version:
                found[version] = shutil.which(candidate) or candidate
                break
    return found
