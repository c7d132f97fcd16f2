"""trio_mqtt with a Session on disk: nothing is sent before it is committed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

import trio

import trio_mqtt

if TYPE_CHECKING:
    from benchmarks.clients import Work
    from benchmarks.jobs import Job


async def _publish(job: Job) -> float:
    with tempfile.TemporaryDirectory() as directory:
        storage = trio_mqtt.SQLiteStorage(Path(directory) / "session.db")
        session = trio_mqtt.Session("durable", expiry=60, storage=storage)
        async with trio_mqtt.open_client(
            f"mqtt://127.0.0.1:{job.port}", protocol=trio_mqtt.MQTT_5, session=session
        ) as client:
            start = perf_counter()
            async with client.open_publisher(qos=job.qos) as publisher:
                for _ in range(job.messages):
                    await publisher.send(job.topic, job.payload)
            return perf_counter() - start


def publish(job: Job) -> float:
    """Send through a publisher, which waits for all acknowledgements in the end."""
    return trio.run(_publish, job)


WORK: Final[Work] = {"publish": publish}
