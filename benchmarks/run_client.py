"""The process of one client: ``python -m benchmarks.run_client NAME JOB``.

Prints the line "subscribed" when the server may send, and in the end the seconds it took.
"""

from __future__ import annotations

import importlib
import sys

from benchmarks.clients import CLIENTS
from benchmarks.jobs import Job


def main() -> None:
    """Do one job."""
    job = Job.from_json(sys.argv[2])
    module = importlib.import_module(f"benchmarks.clients.{CLIENTS[sys.argv[1]].module}")
    print(f"{module.WORK[job.kind](job):.9f}", flush=True)


if __name__ == "__main__":
    main()
