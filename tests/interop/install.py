"""Installs every server that this machine allows: ``python -m tests.interop.install``."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.interop.servers import SERVERS
from tests.interop.servers.installing import CannotInstall, install_packages

if TYPE_CHECKING:
    from tests.interop.servers.kind import ServerKind

PLACE: Final = Path(__file__).parents[2] / ".interop"
"""What is installed besides packages of the system; it goes on from run to run."""


def say(text: str) -> None:
    """Tell whoever waits."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _install(kind: ServerKind) -> str | None:
    """Install one; says why it could not."""
    begun = time.monotonic()
    try:
        kind.install(PLACE)
    except CannotInstall as error:
        return str(error)
    if not kind.is_installed(PLACE):
        return "it is still not there after it was installed"
    say(f"{kind.name}: installed ({time.monotonic() - begun:.1f} s)")
    return None


def main() -> int:
    """Install all, side by side; what this machine does not allow fails only in CI."""
    PLACE.mkdir(exist_ok=True)
    reason = None
    try:
        install_packages([package for kind in SERVERS for package in kind.packages])
    except CannotInstall as error:
        reason = str(error)
    with ThreadPoolExecutor() as pool:
        reasons = dict(zip(SERVERS, pool.map(_install, SERVERS), strict=True))
    failed = {kind: found for kind, found in reasons.items() if found is not None}
    for kind, found in failed.items():
        told = f"{reason}; {found}" if reason and kind.packages else found
        say(f"{kind.name}: NOT installed: {told}")
    return 1 if failed and os.environ.get("CI") else 0


if __name__ == "__main__":
    sys.exit(main())
