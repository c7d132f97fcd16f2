"""The properties of a request are written in a way of their own, as any others are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_mqtt import MQTT_3_1_1, MQTT_5, Protocol
from trio_mqtt._client._outgoing import MessageMaker
from trio_mqtt._errors import MQTTError
from trio_mqtt._protocol.server_info import ServerInfo
from trio_mqtt.packets import Properties
from trio_mqtt.packets._encoder import encode_publish_properties


def maker(protocol: Protocol) -> MessageMaker:
    return MessageMaker(ServerInfo(protocol=protocol, client_id="c"), "the server")


def made(by: MessageMaker, topic: Any, data: Any, *, text: bool) -> bytes | str:
    """The bytes, or why there are none."""
    payload = "payload" if text else b"payload"
    options: Any = {"response_topic": topic, "correlation_data": data}
    try:
        message = by.make("a", payload, qos=0, retain=False, options=options)
    except (MQTTError, TypeError) as error:
        return repr(error)
    return message.properties


def expected(topic: Any, data: Any, *, text: bool) -> bytes | str:
    try:
        return encode_publish_properties(
            Properties(
                payload_format_indicator=1 if text else None,
                response_topic=topic,
                correlation_data=data,
            )
        )
    except (MQTTError, TypeError) as error:
        return repr(error)


@given(
    topic=st.text() | st.text("ab/", min_size=1) | st.none() | st.just(["a"]),
    data=st.binary() | st.none() | st.just(bytearray(b"data")),
    text=st.booleans(),
)
@example(topic="a", data=b"", text=False)
@example(topic="a", data=bytes(65_535), text=True)
@example(topic="a", data=bytes(65_536), text=True)
@example(topic="a" * 65_535, data=b"data", text=True)
def test_a_request_has_the_properties_of_any_message(topic: Any, data: Any, *, text: bool) -> None:
    by = maker(MQTT_5)
    wanted = expected(topic, data, text=text)
    assert made(by, topic, data, text=text) == wanted
    made(by, topic, b"", text=text)
    assert made(by, topic, data, text=text) == wanted  # now that the Response Topic is known


@pytest.mark.parametrize("known", [False, True])
def test_below_mqtt_5_there_are_none(*, known: bool) -> None:
    by = maker(MQTT_3_1_1)
    if known:
        by.make("answers", b"", qos=0, retain=False, options={})
    assert "has no properties" in str(made(by, "answers", b"data", text=False))
