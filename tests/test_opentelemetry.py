"""Spans, contexts and metrics by OpenTelemetry."""

from __future__ import annotations

import importlib
import logging
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from trio_mqtt import (
    MQTT_3_1_1,
    Message,
    MessageDropped,
    PublishRejected,
    ReasonCode,
    open_client,
)
from trio_mqtt.opentelemetry import Telemetry
from trio_mqtt.packets import Properties, PubAck
from trio_mqtt.testing import Server, open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.servers import RealServer

PARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID: Final = 0x0AF7651916CD43DD8448EB211C80319C
SPAN_ID: Final = 0xB7AD6B7169203331


class Lab:
    """An SDK of its own, with what it got in memory."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider(**options)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.tracer_provider.get_tracer("test")
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.reader])

    def telemetry(self, **options: Any) -> Telemetry:
        return Telemetry(
            tracer_provider=self.tracer_provider, meter_provider=self.meter_provider, **options
        )

    def span(self, name: str) -> ReadableSpan:
        (span,) = [each for each in self.exporter.get_finished_spans() if each.name == name]
        return span

    def metrics(self) -> dict[str, list[Any]]:
        """The data points by the names of the metrics."""
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.fixture
async def server() -> AsyncGenerator[Server]:
    async with open_server(port=0) as server:
        yield server


def ids(span: ReadableSpan) -> tuple[int, int]:
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


def links(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


def parent(span: ReadableSpan) -> tuple[int, int] | None:
    return None if span.parent is None else (span.parent.trace_id, span.parent.span_id)


def is_sampled(traceparent: str) -> bool:
    return int(traceparent.rpartition("-")[2], 16) & 1 == 1


def message_with(*pairs: tuple[str, str]) -> Message:
    return Message("a", b"x", properties=Properties(user_properties=pairs))


async def pass_on(lab: Lab, url: str, qos: int, **options: Any) -> Message:
    """Publish a message, receive and process it, each with a client of its own."""
    sender, receiver = lab.telemetry(), lab.telemetry()
    async with (
        open_client(url, client_id="receiver", instruments=[receiver], **options) as other,
        other.subscribe("a/b", qos=qos) as messages,
        open_client(url, client_id="sender", instruments=[sender], **options) as client,
    ):
        await client.publish("a/b", "text", qos=qos)
        async for message in messages:
            with receiver.process(message), lab.tracer.start_as_current_span("work"):
                await trio.lowlevel.checkpoint()
            return message
    raise AssertionError("there is none")


# -- from publisher to subscriber -------------------------------------------------------------


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_one_trace_from_publisher_to_subscriber(server: Server, lab: Lab, qos: int) -> None:
    assert server.url is not None
    message = await pass_on(lab, server.url, qos)
    publish, process, work = (lab.span(name) for name in ("publish a/b", "process a/b", "work"))
    assert publish.parent is None
    assert parent(process) == ids(publish)
    assert links(process) == [ids(publish)]
    assert parent(work) == ids(process)
    trace_id, span_id = ids(publish)
    ((name, value),) = message.user_properties
    assert name == "traceparent"
    assert value.startswith(f"00-{trace_id:032x}-{span_id:016x}-")
    assert is_sampled(value)
    assert (publish.kind, process.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    common = {
        "messaging.system": "mqtt",
        "messaging.destination.name": "a/b",
        "messaging.message.body.size": 4,
        "server.address": "127.0.0.1",
        "server.port": int(server.url.rpartition(":")[2]),
    }
    assert publish.attributes == common | {
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.client.id": "sender",
    }
    assert process.attributes == common | {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.client.id": "receiver",
    }
    assert {publish.status.status_code, process.status.status_code} == {StatusCode.UNSET}


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_one_trace_through_mosquitto(mosquitto: RealServer, lab: Lab, qos: int) -> None:
    message = await pass_on(lab, mosquitto.url, qos)
    publish, process = lab.span("publish a/b"), lab.span("process a/b")
    assert parent(process) == ids(publish)
    assert [name for name, _ in message.user_properties] == ["traceparent"]


async def test_below_mqtt_5_there_are_spans_without_context(server: Server, lab: Lab) -> None:
    assert server.url is not None
    message = await pass_on(lab, server.url, 1, protocol=MQTT_3_1_1)
    publish, process = lab.span("publish a/b"), lab.span("process a/b")
    assert message.user_properties == ()
    assert publish.kind is SpanKind.CLIENT  # what it makes of the context is nothing
    assert process.parent is None
    assert links(process) == []


async def test_a_worker_s_spans_are_children_of_the_span_of_the_message(
    server: Server, lab: Lab
) -> None:
    telemetry = lab.telemetry()

    async def work() -> None:
        with lab.tracer.start_as_current_span("work"):
            await client.publish("b", qos=1)

    async with (
        open_client(server.url or "", instruments=[telemetry]) as client,
        client.subscribe("a") as messages,
    ):
        await client.publish("a")
        with telemetry.process(await messages.receive()):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(work)
        assert not trace.get_current_span().get_span_context().is_valid
    assert parent(lab.span("work")) == ids(lab.span("process a"))
    assert parent(lab.span("publish b")) == ids(lab.span("work"))


# -- publishing -------------------------------------------------------------------------------


async def test_the_current_span_is_the_parent_of_what_is_published(
    server: Server, lab: Lab
) -> None:
    async with open_client(server.url or "", instruments=[lab.telemetry()]) as client:
        with lab.tracer.start_as_current_span("caller"):
            await client.publish("one", qos=1)
            async with client.open_publisher(qos=2) as publisher:
                await publisher.send("two")
            await (await client.enqueue("three")).wait()
            client.publish_nowait("four")
    caller = ids(lab.span("caller"))
    for topic in ("one", "two", "three", "four"):
        assert parent(lab.span(f"publish {topic}")) == caller


async def test_a_context_that_the_program_has_put_in_is_kept_and_linked(
    server: Server, lab: Lab
) -> None:
    given = (("traceparent", PARENT), ("own", "1"))
    async with (
        open_client(server.url or "", instruments=[lab.telemetry()]) as client,
        client.subscribe("a") as messages,
    ):
        await client.publish("a", user_properties=given)
        message = await messages.receive()
    assert message.user_properties == given
    publish = lab.span("publish a")
    assert links(publish) == [(TRACE_ID, SPAN_ID)]
    assert publish.parent is None
    assert publish.kind is SpanKind.CLIENT


async def test_a_span_lasts_until_the_acknowledgement(server: Server, lab: Lab) -> None:
    async with open_client(server.url or "", instruments=[lab.telemetry()]) as client:
        with server.holding(PubAck) as held:
            delivery = await client.enqueue("a")
            await server.wait_until(lambda: bool(held.packets))
            assert lab.exporter.get_finished_spans() == ()
        await delivery.wait()
        assert lab.span("publish a").end_time is not None


async def test_a_message_that_is_refused(server: Server, lab: Lab) -> None:
    server.authorize_publish = lambda _client_id, _packet: ReasonCode.NOT_AUTHORIZED
    async with open_client(server.url or "", instruments=[lab.telemetry()]) as client:
        with pytest.raises(PublishRejected):
            await client.publish("a", qos=1)
        with pytest.raises(MessageDropped):
            await client.publish("b", qos=1, message_expiry=0)
    span = lab.span("publish a")
    assert span.status.status_code is StatusCode.ERROR
    assert "not authorized" in str(span.status.description)
    assert span.attributes is not None
    assert span.attributes["error.type"] == "trio_mqtt.PublishRejected"
    assert [event.name for event in span.events] == ["exception"]
    dropped = lab.span("publish b")
    assert dropped.attributes is not None
    assert dropped.attributes["error.type"] == "trio_mqtt.MessageDropped"


async def test_nothing_is_added_without_an_sdk(server: Server) -> None:
    async with (
        open_client(server.url or "", instruments=[Telemetry()]) as client,
        client.subscribe("a") as messages,
    ):
        await client.publish("a")
        message = await messages.receive()
    assert message.user_properties == ()


async def test_a_trace_that_is_not_sampled_is_carried_on(server: Server) -> None:
    lab = Lab(sampler=ALWAYS_OFF)
    async with (
        open_client(server.url or "", instruments=[lab.telemetry()]) as client,
        client.subscribe("a") as messages,
    ):
        await client.publish("a")
        message = await messages.receive()
    ((name, value),) = message.user_properties
    assert name == "traceparent"
    assert not is_sampled(value)
    assert lab.exporter.get_finished_spans() == ()


@pytest.mark.parametrize("only_trace_context", [False, True])
async def test_what_is_carried_is_the_propagator_s(
    server: Server, lab: Lab, only_trace_context: bool
) -> None:
    options: Any = {"propagator": TraceContextTextMapPropagator()} if only_trace_context else {}
    telemetry = lab.telemetry(**options)
    token = context.attach(baggage.set_baggage("plant", "7"))
    async with (
        open_client(server.url or "", instruments=[telemetry]) as client,
        client.subscribe("a") as messages,
    ):
        await client.publish("a")
        context.detach(token)
        message = await messages.receive()
        with telemetry.process(message):
            inside = baggage.get_baggage("plant")
    names = [name for name, _ in message.user_properties]
    assert names == (["traceparent"] if only_trace_context else ["traceparent", "baggage"])
    # The span of the sender is the parent, so its baggage comes along.
    assert inside == (None if only_trace_context else "7")


# -- processing -------------------------------------------------------------------------------


def test_the_context_of_the_sender(lab: Lab) -> None:
    message = message_with(("traceparent", PARENT), ("tracestate", "a=1"), ("own", "x"))
    found = trace.get_current_span(lab.telemetry().context_from(message)).get_span_context()
    assert (found.trace_id, found.span_id) == (TRACE_ID, SPAN_ID)
    assert found.trace_state.get("a") == "1"
    assert found.is_remote


@pytest.mark.parametrize("pairs", [(), [("traceparent", "nonsense")], [("Traceparent", PARENT)]])
def test_without_a_context_a_new_trace_begins(lab: Lab, pairs: Any) -> None:
    telemetry = lab.telemetry()
    message = message_with(*pairs)
    assert telemetry.context_from(message) == context.Context()
    with telemetry.process(message):
        pass
    process = lab.span("process a")
    assert process.parent is None
    assert links(process) == []


def test_within_another_span_that_is_the_parent(lab: Lab) -> None:
    telemetry = lab.telemetry()
    message = message_with(("traceparent", PARENT))
    with lab.tracer.start_as_current_span("batch"), telemetry.process(message):
        pass
    process = lab.span("process a")
    assert parent(process) == ids(lab.span("batch"))
    assert links(process) == [(TRACE_ID, SPAN_ID)]


@pytest.mark.parametrize("pairs", [(), [("traceparent", PARENT)], [("baggage", "line=3")]])
def test_what_else_is_in_the_context_stays_there(lab: Lab, pairs: Any) -> None:
    token = context.attach(context.set_value("own", 1, baggage.set_baggage("plant", "7")))
    with lab.telemetry().process(message_with(*pairs)):
        inside = context.get_value("own"), baggage.get_all()
    context.detach(token)
    carried = {"line": "3"} if ("baggage", "line=3") in pairs else {}
    assert inside == (1, {"plant": "7"} | carried)


def test_the_span_is_current_and_can_be_added_to(lab: Lab) -> None:
    with lab.telemetry().process(message_with()) as span:
        assert trace.get_current_span() is span
        span.set_attribute("plant", 7)
    attributes = lab.span("process a").attributes
    assert attributes is not None
    assert attributes["plant"] == 7


def test_an_exception_that_leaves_the_block_is_recorded(lab: Lab) -> None:
    with pytest.raises(ValueError, match="no number"), lab.telemetry().process(message_with()):
        raise ValueError("no number")
    process = lab.span("process a")
    assert process.attributes is not None
    assert process.attributes["error.type"] == "ValueError"
    assert process.status.status_code is StatusCode.ERROR
    assert [event.name for event in process.events] == ["exception"]


async def test_a_cancellation_is_told_and_is_no_exception(lab: Lab) -> None:
    with trio.CancelScope() as scope, lab.telemetry().process(message_with()):
        scope.cancel()
        await trio.lowlevel.checkpoint()
    process = lab.span("process a")
    assert process.attributes is not None
    assert process.attributes["error.type"] == "trio.Cancelled"
    assert process.events == ()


async def test_a_handler_of_requests(server: Server, lab: Lab) -> None:
    serving, asking = lab.telemetry(), lab.telemetry()

    async def handle(request: Message) -> None:
        with serving.process(request):
            await request.reply(b"42")

    async def serve(task_status: Any) -> None:
        await other.serve("ask", handle, task_status=task_status)

    async with (
        open_client(server.url or "", instruments=[serving]) as other,
        open_client(server.url or "", instruments=[asking]) as client,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(serve)
        with lab.tracer.start_as_current_span("caller"):
            reply = await client.request("ask")
        nursery.cancel_scope.cancel()
    process = lab.span("process ask")
    answered = lab.span(f"publish {reply.topic}")
    assert parent(lab.span("publish ask")) == ids(lab.span("caller"))
    assert parent(process) == ids(lab.span("publish ask"))
    assert parent(answered) == ids(process)


# -- names and numbers ------------------------------------------------------------------------


async def test_a_template_takes_the_place_of_topic_names(server: Server, lab: Lab) -> None:
    def template(topic: str) -> str | None:
        return "sensors/{room}" if topic.startswith("sensors/") else None

    telemetry = lab.telemetry(template=template)
    async with (
        open_client(server.url or "", instruments=[telemetry]) as client,
        client.subscribe("#") as messages,
    ):
        for topic in ("sensors/kitchen", "sensors/hall", "other"):
            await client.publish(topic)
            with telemetry.process(await messages.receive()):
                pass
    spans = lab.exporter.get_finished_spans()
    assert {each.name for each in spans} == {
        "publish sensors/{room}",
        "process sensors/{room}",
        "publish other",
        "process other",
    }
    first = spans[0].attributes
    assert first is not None
    assert first["messaging.destination.name"] == "sensors/kitchen"
    assert first["messaging.destination.template"] == "sensors/{room}"
    counts = {
        point.attributes.get("messaging.destination.template"): point.value
        for point in lab.metrics()["messaging.client.sent.messages"]
    }
    assert counts == {"sensors/{room}": 2, None: 1}


async def test_metrics(server: Server, lab: Lab) -> None:
    telemetry = lab.telemetry()
    async with (
        open_client(server.url or "", instruments=[telemetry]) as client,
        client.subscribe("+", qos=1) as messages,
    ):
        for topic in "ab":
            await client.publish(topic, qos=1)
            with telemetry.process(await messages.receive()):
                pass
        server.authorize_publish = lambda _client_id, _packet: ReasonCode.NOT_AUTHORIZED
        with pytest.raises(PublishRejected):
            await client.publish("c", qos=1)
        with pytest.raises(MessageDropped):
            await client.publish("d", qos=1, message_expiry=0)
    common = {
        "messaging.system": "mqtt",
        "server.address": "127.0.0.1",
        "server.port": int((server.url or "").rpartition(":")[2]),
    }
    send = common | {"messaging.operation.name": "publish", "messaging.operation.type": "send"}
    refused = send | {"error.type": "trio_mqtt.PublishRejected"}
    dropped = send | {"error.type": "trio_mqtt.MessageDropped"}
    metrics = lab.metrics()
    sent = [(point.attributes, point.value) for point in metrics["messaging.client.sent.messages"]]
    assert sent == [(send, 2), (refused, 1)]  # what was dropped was not sent
    durations = metrics["messaging.client.operation.duration"]
    assert [(point.attributes, point.count) for point in durations] == [
        (send, 2),
        (refused, 1),
        (dropped, 1),
    ]
    assert durations[0].explicit_bounds[0] == 0.005
    (consumed,) = metrics["messaging.client.consumed.messages"]
    assert consumed.value == 2
    assert consumed.attributes["messaging.operation.name"] == "receive"
    (processed,) = metrics["messaging.process.duration"]
    assert processed.count == 2
    assert processed.attributes["messaging.operation.name"] == "process"


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("mqtt://broker:1883", {"server.address": "broker", "server.port": 1883}),
        ("wss://[::1]:443/mqtt", {"server.address": "::1", "server.port": 443}),
        ("mqtt+unix:///run/mqtt.sock", {"server.address": "/run/mqtt.sock"}),
        ("the server", {}),  # what a connector leads to
    ],
)
async def test_the_address_of_the_server(
    server: Server, lab: Lab, name: str, attributes: dict[str, object]
) -> None:
    telemetry = lab.telemetry()
    async with open_client(server.url or "") as client:
        telemetry.connection_made(name, client.server)
    with telemetry.process(message_with()):
        pass
    found = lab.span("process a").attributes
    assert found is not None
    assert {key: value for key, value in found.items() if key.startswith("server")} == attributes


async def test_one_that_two_clients_have_tells_of_the_first_alone(
    server: Server, lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    telemetry = lab.telemetry()
    options: Any = {"url": server.url, "instruments": [telemetry]}
    for topic in ("one", "other"):
        async with open_client(client_id=topic, **options) as client:
            await client.publish(topic)
            if topic == "other":
                async with open_client(client_id="third", **options) as third:
                    await third.publish("third")
                await client.publish("again")
    assert [each.name for each in lab.exporter.get_finished_spans()] == [
        "publish one",
        "publish other",
        "publish again",
    ]
    attributes = lab.span("publish again").attributes
    assert attributes is not None
    assert attributes["messaging.client.id"] == "other"
    (line,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert line.exc_info is not None
    assert "give each one of its own" in str(line.exc_info[1])


def test_the_global_propagator_is_looked_up_when_it_is_used(
    monkeypatch: pytest.MonkeyPatch, lab: Lab
) -> None:
    telemetry = lab.telemetry()
    before = propagate.get_global_textmap()
    monkeypatch.setattr(propagate, "propagator", before)  # so that it is put back
    propagate.set_global_textmap(TraceContextTextMapPropagator())
    assert telemetry._used_propagator is propagate.get_global_textmap()


def test_without_the_extra_the_import_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "trio_mqtt.opentelemetry")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'trio-mqtt\[opentelemetry\]'"):
        importlib.import_module("trio_mqtt.opentelemetry")
