"""The process of one client: ``python -m benchmarks.run_client MODULE``, and the job as a line.

It is started while the server still starts. Prints the line "subscribed" when the server may send,
and in the end what it measured, in JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Final

from benchmarks.clients import CPU, MessagesLost
from benchmarks.jobs import Job

AS: Final = {"duplicates": "receive"}
_QUANTILES: Final = {"p50": 0.5, "p99": 0.99}


def figures(job: Job, measured: float | list[float]) -> dict[str, float]:
    """Messages a second; or quantiles, where each message was measured, in seconds."""
    if not isinstance(measured, list):
        return {"rate": job.messages / measured} if measured else {}
    measured.sort()
    return {name: measured[int(part * len(measured))] for name, part in _QUANTILES.items()}


def main() -> None:
    """Do one job."""
    module = importlib.import_module(f"benchmarks.clients.{sys.argv[1]}")
    job = Job.from_json(sys.stdin.readline())
    start = time.process_time()
    try:
        answer: dict[str, float] = figures(job, module.WORK[AS.get(job.kind, job.kind)](job))
        if answer:
            answer[CPU] = job.messages / (time.process_time() - start)
    except MessagesLost as error:
        answer = {"lost": error.count}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
