"""Draw the trace of a reading on its way from a sensor through an alarm to a person.

    python tracing.py [URL]

The URL may also stand in MQTT_URL; without either it is mqtt://localhost:1883. It needs
``pip install 'trio-mqtt[opentelemetry]' opentelemetry-sdk``. In earnest each of the three would be
a program of its own and send its spans to a collector: then the exporter is another one.
"""

from __future__ import annotations

import os
import sys
import uuid
from typing import TYPE_CHECKING

import trio
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import trio_mqtt
from trio_mqtt.opentelemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

URL = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MQTT_URL", "mqtt://localhost:1883")
PLACE = f"plant/{uuid.uuid4().hex[:8]}"  # nobody else has it
TOO_COLD = 5.0

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
tracer = provider.get_tracer("tracing.py")


async def measure() -> None:
    """A sensor: what it publishes belongs to the span of its measurement."""
    telemetry = Telemetry(tracer_provider=provider)
    async with trio_mqtt.open_client(URL, instruments=[telemetry]) as client:
        with tracer.start_as_current_span("measure"):
            await client.publish(f"{PLACE}/temperature", "4.0", qos=1)


async def watch(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """An alarm: it processes readings, and what it publishes then belongs to that."""
    telemetry = Telemetry(tracer_provider=provider)
    async with (
        trio_mqtt.open_client(URL, instruments=[telemetry]) as client,
        client.subscribe(f"{PLACE}/temperature", qos=1) as readings,
    ):
        task_status.started()
        async for reading in readings:
            with telemetry.process(reading):
                if float(reading.text()) < TOO_COLD:
                    await client.publish(f"{PLACE}/alarm", "too cold", qos=1)
                    break


async def be_told(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """A person's telephone, which gets the alarm and is where the trace ends."""
    telemetry = Telemetry(tracer_provider=provider)
    async with (
        trio_mqtt.open_client(URL, instruments=[telemetry]) as client,
        client.subscribe(f"{PLACE}/alarm", qos=1) as alarms,
    ):
        task_status.started()
        async for alarm in alarms:
            with telemetry.process(alarm):
                print(f"the telephone rings: {alarm.text()}")
                break


def draw(spans: Sequence[ReadableSpan], parent: int | None = None, depth: int = 0) -> None:
    """Print the spans below one, each below the one that it belongs to."""
    for span in sorted(spans, key=lambda each: each.start_time or 0):
        if span.context is None or (span.parent and span.parent.span_id) != parent:
            continue
        taken = ((span.end_time or 0) - (span.start_time or 0)) / 1e6
        print(f"{'  ' * depth}{span.name.replace(PLACE, 'plant')}  ({taken:.1f} ms)")
        draw(spans, span.context.span_id, depth + 1)


async def main() -> None:
    """Let all three run, and draw what came of it."""
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(watch)
            await nursery.start(be_told)
            await measure()
    draw(exporter.get_finished_spans())


if __name__ == "__main__":
    trio.run(main)
