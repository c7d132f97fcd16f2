"""Traces and metrics by OpenTelemetry, after its conventions for messaging.

It needs the extra ``opentelemetry``, which is the API alone: where spans and metrics go is the
program's choice of an SDK.
"""

from __future__ import annotations

from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from trio_mqtt._enums import MQTT_5, Protocol
from trio_mqtt.abc import Instrument

try:
    from opentelemetry import metrics, trace
    from opentelemetry.context import Context, attach, detach, get_current
    from opentelemetry.propagate import get_global_textmap
    from opentelemetry.propagators.textmap import Getter, Setter, TextMapPropagator
    from opentelemetry.trace import Link, SpanKind, StatusCode
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "trio_mqtt.opentelemetry needs opentelemetry-api: pip install 'trio-mqtt[opentelemetry]'",
        name=_missing.name,
    ) from _missing

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

    from trio_mqtt import Message, ReasonCode, ServerInfo
    from trio_mqtt.events import ReceivedMessage, SentMessage

    UserProperties = tuple[tuple[str, str], ...]
    _Attributes = dict[str, AttributeValue]

__all__ = ["Telemetry"]

_SCOPE: Final = "trio_mqtt"
_TEMPLATE: Final = "messaging.destination.template"
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""The boundaries that the conventions want for durations, in seconds."""


class _Getter(Getter["UserProperties"]):
    """Finds what a propagator looks for among User Properties."""

    def get(self, carrier: UserProperties, key: str) -> list[str] | None:
        return [value for name, value in carrier if name == key] or None

    def keys(self, carrier: UserProperties) -> list[str]:
        return [name for name, _ in carrier]


class _Setter(Setter["list[tuple[str, str]]"]):
    """Collects what a propagator has to say."""

    def set(self, carrier: list[tuple[str, str]], key: str, value: str) -> None:
        carrier.append((key, value))


_GETTER: Final = _Getter()
_SETTER: Final = _Setter()


class Telemetry(Instrument):
    """Makes spans and metrics of what a client publishes and its program processes.

    Give an instance of its own to each client, as one of the `instruments` of `open_client`: it
    notes whom the client speaks to, and fails at the connection of a second one. Then
    each message published has a span, ``publish`` and the Topic Name, from the call until the
    Server has acknowledged it, and on MQTT 5.0 carries the context of that span in its User
    Properties, ``traceparent`` and ``tracestate``, unless the program has put one there. For what
    is received, see `process`.

    Args:
        tracer_provider: makes the spans; by default the global one.
        meter_provider: makes the metrics; by default the global one.
        propagator: how a context is written and read; by default the global one, which is W3C
            Trace Context and Baggage.
        template: names Topic Names of a kind, such as ``sensors/{room}/temperature``, or returns
            None; it gets all Topic Names, and must not raise. Where there is a name, spans have it
            in place of the Topic Name, and metrics, which have no Topic Names since there may be
            too many, are divided by it.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        propagator: TextMapPropagator | None = None,
        template: Callable[[str], str | None] | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        self._propagator = propagator
        self._template = template
        self._connected = False
        self._protocol: Protocol | None = None
        self._server: _Attributes = {}
        self._client: _Attributes = {}
        self._publishing: WeakKeyDictionary[SentMessage, tuple[Span, float]] = WeakKeyDictionary()
        meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
        self._sent = meter.create_counter(
            "messaging.client.sent.messages",
            unit="{message}",
            description="Messages that were sent to the Server, or refused by it.",
        )
        self._consumed = meter.create_counter(
            "messaging.client.consumed.messages",
            unit="{message}",
            description="Messages that were handed to the program.",
        )
        self._operation_duration = meter.create_histogram(
            "messaging.client.operation.duration",
            unit="s",
            description="How long publishing took, to the acknowledgement.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._process_duration = meter.create_histogram(
            "messaging.process.duration",
            unit="s",
            description="How long the program took to process a message.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )

    # -- what is received ---------------------------------------------------------------------

    def context_from(self, message: Message) -> Context:
        """The context that the sender of a message gave it; an empty one if there is none.

        It is what `process` takes; for spans of your own, or for links to several messages.
        """
        return self._extract(message.user_properties, Context())

    @contextmanager
    def process(self, message: Message) -> Generator[Span]:
        """Have a span, ``process`` and the Topic Name, that is current inside a ``with`` block.

        It links to the context of the sender; and that is its parent, too, so that both are one
        trace, unless there is a current span already. An exception that leaves the block is
        recorded. Whether the message is settled is another matter: this does not.
        """
        attributes = self._attributes("process", "process", message.topic)
        start = perf_counter()
        error: BaseException | None = None
        with (
            self._in_context_of(message),
            self._tracer.start_as_current_span(
                _span_name("process", attributes, message.topic),
                kind=SpanKind.CONSUMER,
                attributes=self._of_message(attributes, message),
                links=self._links(message.user_properties),
                record_exception=False,
                set_status_on_exception=False,
            ) as span,
        ):
            try:
                yield span
            except BaseException as problem:
                error = problem
                _fail(span, problem)
                raise
            finally:
                self._process_duration.record(
                    perf_counter() - start, self._of_metric(attributes, error)
                )

    def message_delivered(self, message: ReceivedMessage) -> None:
        """Count it."""
        attributes = self._attributes("receive", "receive", message.topic)
        self._consumed.add(1, self._of_metric(attributes, None))

    # -- what is published --------------------------------------------------------------------

    def message_publishing(
        self, message: SentMessage, user_properties: UserProperties
    ) -> UserProperties:
        """Begin the span, and let the message carry its context."""
        links = self._links(user_properties)
        carries = not links and self._protocol in {None, MQTT_5}
        attributes = self._attributes("publish", "send", message.topic)
        span = self._tracer.start_span(
            _span_name("publish", attributes, message.topic),
            kind=SpanKind.PRODUCER if carries else SpanKind.CLIENT,
            attributes=self._of_message(attributes, message),
            links=links,
        )
        self._publishing[message] = span, perf_counter()
        if not carries:
            return user_properties
        additions: list[tuple[str, str]] = []
        self._used_propagator.inject(additions, trace.set_span_in_context(span), _SETTER)
        return (*user_properties, *additions)

    def message_completed(
        self, message: SentMessage, reason_code: ReasonCode | None, error: BaseException | None
    ) -> None:
        """End the span."""
        span, start = self._publishing.pop(message)
        if error is not None:
            _fail(span, error)
        span.end()
        attributes = self._attributes("publish", "send", message.topic)
        attributes = self._of_metric(attributes, error)
        self._operation_duration.record(perf_counter() - start, attributes)
        if reason_code is not None:  # else it may never have been sent
            self._sent.add(1, attributes)

    # -- what they say ------------------------------------------------------------------------

    def connection_made(self, server: str, granted: ServerInfo) -> None:
        """Note whom the client speaks to, and as whom.

        Raises:
            RuntimeError: two clients have it, so that it would mistake one for the other; the
                client logs that, and goes on without it.
        """
        if self._connected:
            raise RuntimeError("another client has this Telemetry; give each one of its own")
        self._connected = True
        self._protocol = granted.protocol
        self._client = {"messaging.client.id": granted.client_id}
        self._server = {}
        parts = urlsplit(server)
        address = parts.hostname or parts.path
        if parts.scheme and address:
            self._server["server.address"] = address
            if parts.port is not None:
                self._server["server.port"] = parts.port

    def connection_ended(self, server: str, error: Exception | None) -> None:
        """Note that there is no connection."""
        del server, error
        self._connected = False

    def _attributes(self, name: str, kind: str, topic: str) -> _Attributes:
        attributes: _Attributes = {
            "messaging.system": "mqtt",
            "messaging.operation.name": name,
            "messaging.operation.type": kind,
            **self._server,
        }
        template = None if self._template is None else self._template(topic)
        if template is not None:
            attributes[_TEMPLATE] = template
        return attributes

    def _of_message(
        self, attributes: _Attributes, message: SentMessage | ReceivedMessage
    ) -> _Attributes:
        return (
            attributes
            | self._client
            | {
                "messaging.destination.name": message.topic,
                "messaging.message.body.size": len(message.payload),
            }
        )

    def _of_metric(self, attributes: _Attributes, error: BaseException | None) -> _Attributes:
        return attributes if error is None else attributes | {"error.type": _type_of(error)}

    # -- contexts -----------------------------------------------------------------------------

    @contextmanager
    def _in_context_of(self, message: Message) -> Generator[None]:
        """Add the context of the sender to ours, baggage and all, unless there is a span."""
        if trace.get_current_span().get_span_context().is_valid:
            yield
            return
        token = attach(self._extract(message.user_properties, get_current()))
        try:
            yield
        finally:
            detach(token)

    @property
    def _used_propagator(self) -> TextMapPropagator:
        return self._propagator or get_global_textmap()

    def _extract(self, user_properties: UserProperties, onto: Context) -> Context:
        return self._used_propagator.extract(user_properties, onto, _GETTER)

    def _links(self, user_properties: UserProperties) -> list[Link]:
        """A link to the context in which a message was made, if it carries one."""
        made_in = trace.get_current_span(self._extract(user_properties, Context()))
        context = made_in.get_span_context()
        return [Link(context)] if context.is_valid else []


def _span_name(operation: str, attributes: _Attributes, topic: str) -> str:
    template = attributes.get(_TEMPLATE)
    return f"{operation} {template if isinstance(template, str) else topic}"


def _type_of(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__
    return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"


def _fail(span: Span, error: BaseException) -> None:
    span.set_attribute("error.type", _type_of(error))
    span.set_status(StatusCode.ERROR, str(error))
    if isinstance(error, Exception):
        span.record_exception(error)
