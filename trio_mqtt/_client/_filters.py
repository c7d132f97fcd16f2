"""What a caller subscribes to: Topic Filters, some perhaps with options of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import attrs

from trio_mqtt import _checks
from trio_mqtt._errors import LocalProtocolError
from trio_mqtt._topics import check_topic_filter
from trio_mqtt.packets import SubscriptionRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_mqtt._client._requests import SubscribeOptions


def _check_filter(_owner: object, _attribute: object, topic_filter: str) -> None:
    check_topic_filter(topic_filter)


@attrs.frozen
class TopicFilter:
    """A Topic Filter with Subscription Options of its own (3.8.3.1), for `Client.subscribe`.

    What is None is as the call of `Client.subscribe` says. ::

        client.subscribe("log/#", TopicFilter("alarms/#", qos=2, no_local=True))

    Attributes:
        topic_filter: the Topic Filter itself.
        qos: the highest QoS with which messages are to come.
        no_local: leave out messages that this client published (MQTT 5.0).
        retain_as_published: keep the RETAIN flag as the publisher set it (MQTT 5.0).
        retain_handling: when retained messages are sent (MQTT 5.0); a `RetainHandling`.

    Raises:
        LocalProtocolError: it is no Topic Filter.
        ValueError: an option is none that there is.
    """

    topic_filter: str = attrs.field(validator=_check_filter)
    qos: int | None = attrs.field(
        default=None,
        kw_only=True,
        converter=attrs.converters.optional(_checks.to_qos),
    )
    no_local: bool | None = attrs.field(default=None, kw_only=True, validator=_checks.flag)
    retain_as_published: bool | None = attrs.field(
        default=None, kw_only=True, validator=_checks.flag
    )
    retain_handling: int | None = attrs.field(
        default=None,
        kw_only=True,
        converter=attrs.converters.optional(_checks.to_retain_handling),
    )


def subscription_requests(
    topic_filters: Iterable[str | TopicFilter], options: SubscribeOptions
) -> tuple[SubscriptionRequest, ...]:
    """Each Topic Filter once, with all its options.

    Raises:
        LocalProtocolError: one of them is none, or stands there twice with different options.
    """
    requests: dict[str, SubscriptionRequest] = {}
    for each in topic_filters:
        given = each if isinstance(each, TopicFilter) else _as_filter(each)
        request = SubscriptionRequest(
            given.topic_filter,
            _or(given.qos, options.qos),
            bool(_or(given.no_local, options.no_local)),
            bool(_or(given.retain_as_published, options.retain_as_published)),
            _or(given.retain_handling, options.retain_handling),
        )
        if requests.setdefault(given.topic_filter, request) != request:
            message = (
                f"{given.topic_filter!r} stands there twice with different options; "
                "the server keeps one subscription for a filter"
            )
            raise LocalProtocolError(message)
    return tuple(requests.values())


def _as_filter(given: str) -> TopicFilter:
    if isinstance(cast("object", given), list | tuple | set | dict):
        kind = type(given).__name__
        message = (
            f"a Topic Filter is a str, not {kind}; give several as client.subscribe(*topic_filters)"
            ', one with options as TopicFilter("a/b", qos=1)'
        )
        raise TypeError(message)
    return TopicFilter(given)


def _or(own: int | None, general: int) -> int:
    return general if own is None else own
