"""paho-mqtt: its loop in this thread to receive, in its own to publish."""

from __future__ import annotations

import threading
from time import perf_counter
from typing import TYPE_CHECKING, Final

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from benchmarks.clients import subscribed
from benchmarks.jobs import MOST_IN_FLIGHT, TASKS, Job

if TYPE_CHECKING:
    from collections.abc import Callable


def receive(job: Job) -> float:
    """Count in on_message."""
    count = 0
    start = 0.0

    def on_connect(client: Client, *_arguments: object) -> None:
        nonlocal start
        start = perf_counter()
        client.subscribe(job.topic, job.qos)

    def on_subscribe(*_arguments: object) -> None:
        subscribed()

    def on_message(_client: Client, _userdata: object, _message: MQTTMessage) -> None:
        nonlocal count
        count += 1

    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    client.on_message = on_message
    client.connect("127.0.0.1", job.port)
    while count < job.arriving:
        client.loop()
    seconds = perf_counter() - start
    client.disconnect()
    while client.loop() is MQTTErrorCode.MQTT_ERR_SUCCESS:
        pass
    return seconds


def publish(job: Job) -> float:
    """Publish all, and wait until on_publish was called for each."""
    topic, payload = job.topic, job.payload
    waiting = job.messages + (not job.qos)
    connected = threading.Event()
    done = threading.Event()

    def on_connect(*_arguments: object) -> None:
        connected.set()

    def on_publish(*_arguments: object) -> None:
        nonlocal waiting
        waiting -= 1
        if not waiting:
            done.set()

    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.on_connect = on_connect
    # It does not look at what the Server allows; and a limit costs it time, 0 is none.
    client.max_inflight_messages_set(job.window if job.window < MOST_IN_FLIGHT else 0)
    client.on_publish = on_publish
    client.connect("127.0.0.1", job.port)
    client.loop_start()
    connected.wait()
    start = perf_counter()
    for _ in range(job.messages):
        client.publish(topic, payload, job.qos)
    if not job.qos:
        client.publish(topic, payload, 1)
    done.wait()
    seconds = perf_counter() - start
    client.disconnect()
    client.loop_stop()
    return seconds


def tasks(job: Job) -> float:
    """Wait for each message in many threads, for want of tasks."""
    numbers = iter(range(job.messages))
    connected = threading.Event()

    def on_connect(*_arguments: object) -> None:
        connected.set()

    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.on_connect = on_connect
    client.max_inflight_messages_set(min(TASKS, job.window))
    client.connect("127.0.0.1", job.port)
    client.loop_start()
    connected.wait()

    def work() -> None:
        for _ in numbers:
            client.publish(job.topic, job.payload, job.qos).wait_for_publish()

    threads = [threading.Thread(target=work) for _ in range(TASKS)]
    start = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = perf_counter() - start
    client.disconnect()
    client.loop_stop()
    return seconds


WORK: Final[dict[str, Callable[[Job], float]]] = {
    "receive": receive,
    "publish": publish,
    "tasks": tasks,
}
