"""What a server started ends with it, wherever it has gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.servers.family import MARK, end_family, find_family

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="only Linux tells whose a process is"
)

DAEMON = """
import os, signal
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        signal.pause()
    os._exit(0)
os.wait()
"""


def test_a_daemon_is_found_and_ended() -> None:
    mark = f"{os.getpid()}-family"
    with subprocess.Popen(
        [sys.executable, "-c", DAEMON], env={**os.environ, MARK: mark}, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        daemon = int(parent.stdout.readline())
        parent.wait()
        try:
            assert find_family(mark) == [daemon]
            assert find_family(mark + "0") == []
        finally:
            end_family(mark)
        assert find_family(mark) == []
        assert parent.stdout.read() == b""  # nobody has the other end any more
