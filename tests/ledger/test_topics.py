"""Topic Names and Topic Filters (4.7), shared subscriptions (4.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ledger.support import by_version
from tests.packets.support import encode_refused
from trio_mqtt import packets as p
from trio_mqtt._topics import why_not_a_topic_filter, why_not_a_topic_name

if TYPE_CHECKING:
    from trio_mqtt._enums import Protocol


def subscribing(topic_filter: str, protocol: Protocol) -> str | None:
    """What forbids to subscribe to this."""
    return encode_refused(p.Subscribe(1, (p.SubscriptionRequest(topic_filter),)), protocol)


@by_version("MQTT-4.7.0-1", "MQTT-4.7.1-1")
def test_wildcards_are_for_topic_filters(protocol: Protocol) -> None:
    for topic in ("#", "+", "a/#", "a/+/b"):
        assert encode_refused(p.Publish(topic), protocol) is not None
        assert encode_refused(p.Connect("c", will=p.WillMessage(topic)), protocol) is not None
        assert why_not_a_topic_filter(topic) is None


@by_version("MQTT-4.7.1-1", "MQTT-4.7.1-2")
def test_the_multi_level_wildcard_is_the_last_level(protocol: Protocol) -> None:
    for topic_filter in ("#", "/#", "a/#", "a//#", "+/#"):
        assert why_not_a_topic_filter(topic_filter) is None
        p.encode(p.Subscribe(1, (p.SubscriptionRequest(topic_filter),)), protocol)
    for topic_filter in ("a#", "#/", "#/a", "a/#/b", "a/b#", "##"):
        subscribing(topic_filter, protocol)


@by_version("MQTT-4.7.1-2", "MQTT-4.7.1-3")
def test_the_single_level_wildcard_is_a_whole_level(protocol: Protocol) -> None:
    for topic_filter in ("+", "+/+", "/+", "+/", "a/+/b", "+/a/#"):
        assert why_not_a_topic_filter(topic_filter) is None
        p.encode(p.Subscribe(1, (p.SubscriptionRequest(topic_filter),)), protocol)
    for topic_filter in ("a+", "+a", "a/b+", "a/+b/c", "++"):
        subscribing(topic_filter, protocol)


@by_version("MQTT-4.7.3-1", "MQTT-4.7.3-1")
def test_names_and_filters_are_not_empty(protocol: Protocol) -> None:
    assert encode_refused(p.Publish(""), protocol) == "MQTT-4.7.3-1"
    assert subscribing("", protocol) == "MQTT-4.7.3-1"
    assert why_not_a_topic_name("/") is None
    assert why_not_a_topic_filter("/") is None


@by_version("MQTT-4.7.3-2", "MQTT-4.7.3-2")
def test_names_and_filters_have_no_null_character(protocol: Protocol) -> None:
    for text in ("\0", "a/\0", "a\0b"):
        assert why_not_a_topic_name(text) is not None
        assert why_not_a_topic_filter(text) is not None
        assert encode_refused(p.Publish(text), protocol) is not None
        subscribing(text, protocol)


@by_version("MQTT-4.7.3-3", "MQTT-4.7.3-3")
def test_names_and_filters_are_not_too_long(protocol: Protocol) -> None:
    longest = "\u20ac" * 21845
    for text in (longest, "a" * 65535):
        p.encode(p.Publish(text), protocol)
        p.encode(p.Unsubscribe(1, (text,)), protocol)
    for text in (longest + "a", "a" * 65536):
        assert encode_refused(p.Publish(text), protocol) == "MQTT-4.7.3-3"
        assert subscribing(text, protocol) == "MQTT-4.7.3-3"


@pytest.mark.statement("MQTT-4.8.2-1")
def test_a_shared_subscription_has_a_share_name() -> None:
    for topic_filter in ("$share", "$share/", "$share//t"):
        assert why_not_a_topic_filter(topic_filter) is not None
    assert why_not_a_topic_filter("$share/g/t") is None


@pytest.mark.statement("MQTT-4.8.2-2")
def test_a_share_name_is_one_level_without_wildcards_before_a_topic_filter() -> None:
    for topic_filter in ("$share/g+/t", "$share/#/t", "$share/+/t", "$share/g", "$share/g/"):
        problem = why_not_a_topic_filter(topic_filter)
        assert problem is not None, topic_filter
        assert problem[1] == "MQTT-4.8.2-2", topic_filter
    for topic_filter in ("$share/g/t", "$share/g//", "$share/g/#", "$share/g/a/+"):
        assert why_not_a_topic_filter(topic_filter) is None, topic_filter
