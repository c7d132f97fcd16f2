"""mosquitto_sub and mosquitto_pub, written in C, for scale; the server keeps the time."""

from __future__ import annotations

import subprocess
import tempfile
from typing import TYPE_CHECKING, Final

from benchmarks.jobs import MOST_IN_FLIGHT

if TYPE_CHECKING:
    from benchmarks.clients import Work
    from benchmarks.jobs import Job

_IN_FLIGHT: Final = 1000
"""Publishes: with more mosquitto_pub gets slower."""


def _options(job: Job) -> list[str]:
    options = ["-h", "127.0.0.1", "-p", str(job.port), "-V", "mqttv5", "-q", str(job.qos)]
    return [*options, "--cafile", job.authority] if job.transport == "tls" else options


def receive(job: Job) -> float:
    """Print the payloads to nowhere."""
    filters = [word for topic in job.topics for word in ("-t", topic)]
    limit = ["-D", "connect", "receive-maximum", str(MOST_IN_FLIGHT)] if job.qos else []
    count = ["-C", str(job.arriving)]
    program = ["mosquitto_sub", *_options(job), *filters, *limit, *count]
    subprocess.run(program, stdout=subprocess.DEVNULL, check=True)  # noqa: S603
    return 0.0


def publish(job: Job) -> float:
    """Publish the lines of a file."""
    with tempfile.TemporaryFile() as lines:
        lines.write((job.payload + b"\n") * job.messages)
        lines.seek(0)
        limit = ["-M", str(_IN_FLIGHT)]
        program = ["mosquitto_pub", *_options(job), "-t", job.topic, "-l", *limit]
        subprocess.run(program, stdin=lines, check=True)  # noqa: S603
    return 0.0


WORK: Final[Work] = {"receive": receive, "publish": publish}
