"""The processes that a server started, and those that they did, wherever they have gone.

Daemons leave their parent, their process group and their session; the environment stays.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from pathlib import Path
from typing import Final

MARK: Final = "TRIO_MQTT_TEST_SERVER"
"""The variable of the environment that tells whose a process is."""

END_TIMEOUT: Final = 5.0


def find_family(mark: str) -> list[int]:
    """The identifiers of all processes with this mark; none where there is no /proc."""
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if _has_mark(path, mark)]


def _has_mark(path: Path, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in (path / "environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or is another user's
        return False


def end_family(mark: str) -> None:
    """Kill all processes with this mark, and wait for their end.

    Raises:
        TimeoutError: one of them goes on.
    """
    while found := find_family(mark):
        for pid in found:
            _kill(pid, mark)


def _kill(pid: int, mark: str) -> None:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # The identifier may be another process's by now; from here on it is not used any more.
        if not _has_mark(Path(f"/proc/{pid}"), mark):
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)
        if not select.select([process], [], [], END_TIMEOUT)[0]:
            message = f"process {pid} goes on {END_TIMEOUT:.0f} s after it was killed"
            raise TimeoutError(message)
    finally:
        os.close(process)
