"""paho-mqtt: its loop in this thread to receive, in its own to publish."""

from __future__ import annotations

import contextlib
import importlib
import queue
import threading
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes

from benchmarks.clients import subscribed
from benchmarks.jobs import MOST_IN_FLIGHT, REPLIES, TASKS, Job, correlation

if TYPE_CHECKING:
    from collections.abc import Generator

    from benchmarks.clients import Work

_properties: Any = importlib.import_module("paho.mqtt.properties")


def _client(job: Job) -> Client:
    over_websocket = job.transport == "ws"
    client = Client(
        CallbackAPIVersion.VERSION2,
        protocol=MQTTv5,
        transport="websockets" if over_websocket else "tcp",
    )
    if job.transport == "tls":
        untyped: Any = client
        untyped.tls_set(ca_certs=job.authority)
    return client


def receive(job: Job) -> float:
    """Count in on_message."""
    count = 0
    start = 0.0

    def on_connect(client: Client, *_arguments: object) -> None:
        nonlocal start
        start = perf_counter()
        client.subscribe([(topic, job.qos) for topic in job.topics])

    def on_subscribe(*_arguments: object) -> None:
        nonlocal start
        start = subscribed(job, start)

    def on_message(_client: Client, _userdata: object, _message: MQTTMessage) -> None:
        nonlocal count
        count += 1

    client = _client(job)
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


@contextlib.contextmanager
def _open(job: Job, client: Client, in_flight: int) -> Generator[None]:
    """Connected, with its loop in a thread."""
    connected = threading.Event()

    def on_connect(*_arguments: object) -> None:
        connected.set()

    client.on_connect = on_connect
    client.max_inflight_messages_set(in_flight)
    client.connect("127.0.0.1", job.port)
    client.loop_start()
    connected.wait()
    yield
    client.disconnect()
    client.loop_stop()


def publish(job: Job) -> float:
    """Publish all, and wait until on_publish was called for each."""
    topic, payload = job.topic, job.payload
    waiting = job.messages + (not job.qos)
    done = threading.Event()

    def on_publish(*_arguments: object) -> None:
        nonlocal waiting
        waiting -= 1
        if not waiting:
            done.set()

    client = _client(job)
    client.on_publish = on_publish
    # It does not look at what the Server allows; and a limit costs it time, 0 is none.
    with _open(job, client, job.window if job.window < MOST_IN_FLIGHT else 0):
        start = perf_counter()
        for _ in range(job.messages):
            client.publish(topic, payload, job.qos)
        if not job.qos:
            client.publish(topic, payload, 1)
        done.wait()
        return perf_counter() - start


def tasks(job: Job) -> float:
    """Wait for each message in many threads, for want of tasks."""
    numbers = iter(range(job.messages))
    client = _client(job)

    def work() -> None:
        for _ in numbers:
            client.publish(job.topic, job.payload, job.qos).wait_for_publish()

    threads = [threading.Thread(target=work) for _ in range(TASKS)]
    with _open(job, client, min(TASKS, job.window)):
        start = perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return perf_counter() - start


def latency(job: Job) -> list[float]:
    """Wait for one after the other."""
    topic, payload, qos = job.topic, job.payload, job.qos
    times: list[float] = []
    client = _client(job)
    with _open(job, client, 1):
        for _ in range(job.messages):
            start = perf_counter()
            client.publish(topic, payload, qos).wait_for_publish()
            times.append(perf_counter() - start)
    return times


def request(job: Job) -> float:
    """Match replies by hand."""
    replies: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    ready = threading.Event()

    def on_message(_client: Client, _userdata: object, message: MQTTMessage) -> None:
        replies.put(vars(message.properties)["CorrelationData"])

    def on_subscribe(*_arguments: object) -> None:
        ready.set()

    client = _client(job)
    client.on_message = on_message
    client.on_subscribe = on_subscribe
    with _open(job, client, 1):
        client.subscribe(REPLIES)
        ready.wait()
        start = perf_counter()
        for number in range(job.messages):
            properties = _properties.Properties(PacketTypes.PUBLISH)
            properties.ResponseTopic = REPLIES
            properties.CorrelationData = correlation(number)
            client.publish(job.topic, job.payload, 1, properties=properties)
            if replies.get() != correlation(number):
                raise ValueError("the reply to another request")
        return perf_counter() - start


def connect(job: Job) -> float:
    """Connect and close."""
    start = perf_counter()
    for _ in range(job.messages):
        with _open(job, _client(job), 1):
            pass
    return perf_counter() - start


WORK: Final[Work] = {
    "receive": receive,
    "publish": publish,
    "tasks": tasks,
    "latency": latency,
    "request": request,
    "connect": connect,
}
