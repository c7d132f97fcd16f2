"""Properties below MQTT 5.0: refused with the reason, or, where harmless, left out by choice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
import trio

import trio_mqtt
from tests.client.moments import PATIENCE
from trio_mqtt import (
    MQTT_3_1,
    MQTT_3_1_1,
    FeatureNotSupported,
    PublishResult,
    ReasonCode,
    Reconnect,
    Will,
)
from trio_mqtt.packets import NO_PROPERTIES, Connect, Publish
from trio_mqtt.testing import Server, ServerLimits

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_mqtt import Protocol

open_client = trio_mqtt.open_client
OLDER: Final = (MQTT_3_1_1, MQTT_3_1)
PAIRS: Final = [("a", "b")]
PROPERTIES: Final[list[tuple[dict[str, Any], str, bool]]] = [
    ({"user_properties": PAIRS}, "User Property", True),
    ({"content_type": "text/plain"}, "Content Type", True),
    ({"user_properties": PAIRS, "content_type": "x"}, "Content Type, User Property", True),
    ({"message_expiry": 60}, "Message Expiry Interval", False),
    ({"response_topic": "r"}, "Response Topic", False),
    ({"correlation_data": b"1"}, "Correlation Data", False),
    ({"user_properties": PAIRS, "message_expiry": 60}, "Message Expiry Interval", False),
]
"""Options of a message or a will, what the error calls them, and whether they are harmless."""
each_property = pytest.mark.parametrize(
    ("options", "name", "harmless"), PROPERTIES, ids=[",".join(row[0]) for row in PROPERTIES]
)
each_version = pytest.mark.parametrize("protocol", OLDER)


@each_property
@each_version
async def test_properties_of_a_message(
    server: Server, protocol: Protocol, options: dict[str, Any], name: str, *, harmless: bool
) -> None:
    async with open_client(connector=server.connect, protocol=protocol) as client:
        for act in (client.publish, client.enqueue):
            with pytest.raises(FeatureNotSupported) as caught:
                await act("a", "x", qos=1, **options)
            assert f"{protocol.title} has no properties" in str(caught.value)
            assert name in str(caught.value)
            assert ("unsupported_properties" in str(caught.value)) is harmless
        assert client.statistics().unfinished == 0
    async with open_client(
        connector=server.connect, protocol=protocol, unsupported_properties="leave_out"
    ) as client:
        if harmless:
            assert await client.publish("a", "x", qos=1, **options) == PublishResult()
        else:
            with pytest.raises(FeatureNotSupported) as caught:
                await client.publish("a", "x", qos=1, **options)
            assert name in str(caught.value)
            assert "User Property" not in str(caught.value)  # that alone would be left out
    sent = [entry.packet for entry in server.log if isinstance(entry.packet, Publish)]
    assert [(each.payload, each.properties) for each in sent] == [(b"x", NO_PROPERTIES)] * harmless


WILLS: Final = [*PROPERTIES, ({"delay": 5}, "Will Delay Interval", False)]


@pytest.mark.parametrize(
    ("options", "name", "harmless"), WILLS, ids=[",".join(row[0]) for row in WILLS]
)
async def test_properties_of_a_will(
    server: Server, options: dict[str, Any], name: str, *, harmless: bool
) -> None:
    will = Will(topic="gone", payload="x", **options)
    with pytest.raises(FeatureNotSupported, match=name):
        async with open_client(connector=server.connect, protocol=MQTT_3_1_1, will=will):
            raise AssertionError("not reached")
    lenient = open_client(
        connector=server.connect,
        protocol=MQTT_3_1_1,
        will=will,
        unsupported_properties="leave_out",
    )
    if harmless:
        async with lenient:
            pass
        (connect,) = [each.packet for each in server.log if isinstance(each.packet, Connect)]
        assert connect.will is not None
        assert (connect.will.payload, connect.will.properties) == (b"x", NO_PROPERTIES)
    else:
        with pytest.raises(FeatureNotSupported, match=name):
            async with lenient:
                raise AssertionError("not reached")


@each_version
async def test_what_connect_says(server: Server, protocol: Protocol) -> None:
    with pytest.raises(FeatureNotSupported, match="CONNECT cannot have User Property"):
        async with open_client(connector=server.connect, protocol=protocol, user_properties=PAIRS):
            raise AssertionError("not reached")
    async with open_client(
        connector=server.connect,
        protocol=protocol,
        user_properties=PAIRS,
        request_problem_information=False,
        unsupported_properties="leave_out",
    ):
        pass
    async with open_client(  # there is none, which is what was asked for
        connector=server.connect, protocol=protocol, request_problem_information=False
    ):
        pass


async def test_a_server_without_mqtt_5_is_found_with_properties_left_out(server: Server) -> None:
    server.limits = ServerLimits(protocols=[MQTT_3_1_1])
    async with open_client(
        connector=server.connect, user_properties=PAIRS, unsupported_properties="leave_out"
    ) as client:
        assert client.server.protocol is MQTT_3_1_1
        await client.publish("a", user_properties=PAIRS)
    with pytest.raises(FeatureNotSupported, match="CONNECT cannot have User Property"):
        async with open_client(connector=server.connect, user_properties=PAIRS):
            raise AssertionError("not reached")


@pytest.mark.parametrize("leave_out", [True, False])
@pytest.mark.parametrize("payload", [b"x", "x"], ids=["bytes", "str"])
@each_property
async def test_messages_accepted_before_the_version_was_known(
    server: Server,
    autojump_clock: MockClock,
    options: dict[str, Any],
    name: str,
    payload: bytes | str,
    *,
    harmless: bool,
    leave_out: bool,
) -> None:
    server.accepting = False
    server.limits = ServerLimits(protocols=[MQTT_3_1_1])
    with trio.fail_after(PATIENCE):
        async with open_client(
            connector=server.connect,
            reconnect=Reconnect(initial="background"),
            unsupported_properties="leave_out" if leave_out else "refuse",
        ) as client:
            plain = await client.enqueue("plain", payload)
            delivery = await client.enqueue("a", payload, **options)
            server.accepting = True
            await plain.wait()
            if harmless and leave_out:
                await delivery.wait()
            else:
                with pytest.raises(FeatureNotSupported, match=name):
                    await delivery.wait()
    sent = [entry.packet for entry in server.log if isinstance(entry.packet, Publish)]
    assert [each.topic for each in sent] == ["plain", "a"][: 1 + (harmless and leave_out)]
    assert all((each.payload, each.properties) == (b"x", NO_PROPERTIES) for each in sent)


async def test_with_mqtt_5_nothing_is_left_out(server: Server) -> None:
    async with (
        open_client(
            connector=server.connect, user_properties=PAIRS, unsupported_properties="leave_out"
        ) as client,
        client.subscribe("a", qos=1, user_properties=PAIRS) as messages,
    ):
        await client.publish("a", content_type="x", user_properties=PAIRS, qos=1)
        message = await messages.receive()
        message.ack(reason_string="well")
        assert (message.content_type, message.user_properties) == ("x", tuple(PAIRS))
        assert message.settled is ReasonCode.SUCCESS
    packets = [entry.packet for entry in server.log if entry.direction == "received"]
    assert "'b'" in repr(packets[0])
    assert "'b'" in repr(packets[1])


async def test_there_are_two_choices() -> None:
    with pytest.raises(ValueError, match="unsupported_properties"):
        async with open_client(unsupported_properties="ignore"):  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
            raise AssertionError("not reached")
