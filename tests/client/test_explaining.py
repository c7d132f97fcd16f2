"""Reason Strings and User Properties of acknowledgements, set by the caller."""

from __future__ import annotations

from typing import Any, Final

import pytest
import trio

import trio_mqtt
from tests.client.moments import PATIENCE
from trio_mqtt import (
    MQTT_3_1_1,
    FeatureNotSupported,
    LocalProtocolError,
    Message,
    ReasonCode,
    RemoteProtocolError,
)
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    Properties,
    PubAck,
    Publish,
    PubRec,
)
from trio_mqtt.testing import (
    Expect,
    ExpectEnd,
    LogEntry,
    ScriptedPeer,
    Send,
    Server,
    ServerLimits,
)

open_client = trio_mqtt.open_client
WORDS: Final = "all went well"
PAIRS: Final = (("took", "3 s"), ("took", "again"))
DECLINING: Final = Properties(
    request_problem_information=0, request_response_information=1, receive_maximum=1000
)
ANSWERS: Final[list[tuple[int, type[Packet]]]] = [(1, PubAck), (2, PubRec)]
each_qos = pytest.mark.parametrize(("qos", "answer"), ANSWERS)


def settle(message: Message, code: ReasonCode) -> None:
    if code:
        message.reject(code, reason_string=WORDS, user_properties=PAIRS)
    else:
        message.ack(reason_string=WORDS, user_properties=PAIRS)


async def answer_of(server: Server, answer: type[Packet]) -> Packet:
    def is_one(entry: LogEntry) -> bool:
        return entry.direction == "received" and isinstance(entry.packet, answer)

    with trio.fail_after(PATIENCE):
        return (await server.wait_for(is_one)).packet


@each_qos
@pytest.mark.parametrize("code", [ReasonCode.SUCCESS, ReasonCode.NOT_AUTHORIZED])
async def test_an_acknowledgement_says_what_the_caller_says(
    server: Server, qos: int, answer: type[PubAck | PubRec], code: ReasonCode
) -> None:
    async with (
        open_client(connector=server.connect) as client,
        client.subscribe("a", qos=2) as messages,
    ):
        server.publish("a", qos=qos)
        settle(await messages.receive(), code)
        properties = Properties(reason_string=WORDS, user_properties=PAIRS)
        assert await answer_of(server, answer) == answer(1, code, properties)


@each_qos
async def test_what_the_server_does_not_take_is_left_out(
    server: Server, qos: int, answer: type[PubAck | PubRec]
) -> None:
    server.limits = ServerLimits(maximum_packet_size=40)
    async with (
        open_client(connector=server.connect, client_id="c") as client,
        client.subscribe("a", qos=2) as messages,
    ):
        server.publish("a", qos=qos)
        message = await messages.receive()
        message.reject(ReasonCode.NOT_AUTHORIZED, reason_string=WORDS, user_properties=PAIRS)
        properties = Properties(reason_string=WORDS)
        expected = answer(1, ReasonCode.NOT_AUTHORIZED, properties)
        assert await answer_of(server, answer) == expected


async def test_an_unclaimed_message_is_settled_with_words(server: Server) -> None:
    async with open_client(connector=server.connect) as client:
        async with client.subscribe("a", qos=2, keep=True) as messages:
            server.publish("a", qos=1)
            message = await messages.receive()
        message.ack(reason_string=WORDS)
        assert await answer_of(server, PubAck) == PubAck(
            1, properties=Properties(reason_string=WORDS)
        )


async def test_of_several_subscriptions_the_words_of_the_outcome_count(server: Server) -> None:
    async with (
        open_client(connector=server.connect) as client,
        client.subscribe("a", qos=1, ack="manual") as one,
        client.subscribe("a", qos=1, ack="manual") as other,
    ):
        server.publish("a", qos=1)
        (await one.receive()).ack(reason_string=WORDS)
        (await other.receive()).reject(reason_string="no")
        assert await answer_of(server, PubAck) == PubAck(1)  # accepted: by the one before
        server.publish("a", qos=1)
        (await one.receive()).reject(reason_string="no")
        (await other.receive()).ack(reason_string=WORDS)

        def is_second(entry: LogEntry) -> bool:
            return isinstance(entry.packet, PubAck) and entry.packet.packet_id == 2

        with trio.fail_after(PATIENCE):
            entry = await server.wait_for(is_second)
        assert entry.packet == PubAck(2, properties=Properties(reason_string=WORDS))


FORBIDDEN: Final[list[dict[str, Any]]] = [
    {"reason_string": "\ud800"},
    {"user_properties": [("a", "\0")]},
    {"reason_string": "x" * 70_000},
]


@pytest.mark.parametrize("words", FORBIDDEN, ids=["surrogate", "zero", "too long"])
async def test_what_the_standard_forbids_leaves_the_message_held(
    server: Server, words: dict[str, Any]
) -> None:
    async with (
        open_client(connector=server.connect) as client,
        client.subscribe("a", qos=1) as messages,
    ):
        server.publish("a", qos=1)
        message = await messages.receive()
        for settle_with in (message.ack, message.reject):
            with pytest.raises(LocalProtocolError):
                settle_with(**words)
            assert message.settled is None
        message.ack()
        assert await answer_of(server, PubAck) == PubAck(1)


async def test_below_5_words_are_refused_or_left_out(server: Server) -> None:
    for unsupported in ("refuse", "leave_out"):
        async with (
            open_client(
                connector=server.connect,
                protocol=MQTT_3_1_1,
                unsupported_properties="leave_out" if unsupported == "leave_out" else "refuse",
            ) as client,
            client.subscribe("a", qos=1) as messages,
        ):
            server.publish("a", qos=1)
            message = await messages.receive()
            if unsupported == "refuse":
                with pytest.raises(FeatureNotSupported, match="leave_out"):
                    message.ack(reason_string=WORDS)
                assert message.settled is None
            message.ack(reason_string=WORDS if unsupported == "leave_out" else None)
            assert message.settled is ReasonCode.SUCCESS
            assert await answer_of(server, PubAck) == PubAck(1)


async def test_at_qos_0_and_again_words_are_of_no_use(server: Server) -> None:
    async with (
        open_client(connector=server.connect) as client,
        client.subscribe("a", qos=1) as messages,
    ):
        server.publish("a", qos=0)
        (await messages.receive()).ack(reason_string=WORDS)
        server.publish("a", qos=1)
        message = await messages.receive()
        message.ack()
        message.ack(reason_string=WORDS)
        assert await answer_of(server, PubAck) == PubAck(1)
        assert not client._supervisor.state.explanations


def test_a_message_of_a_test_takes_words() -> None:
    message = Message("a", b"", 1)
    message.ack(reason_string=WORDS, user_properties=iter(PAIRS))
    with pytest.raises(LocalProtocolError):
        message.ack(reason_string="\0")


async def test_a_server_that_explains_what_nobody_wants_to_know_breaks_the_protocol() -> None:
    words = Properties(reason_string=WORDS)
    peer = ScriptedPeer(
        [
            Expect(Connect, properties=DECLINING),
            Send(ConnAck(properties=words)),  # which it may
            Expect(Publish),
            Send(PubAck(1, properties=words)),
            Expect(Disconnect, reason_code=ReasonCode.PROTOCOL_ERROR),
            ExpectEnd(),
        ],
        timeout=PATIENCE,
    )
    with pytest.raises(RemoteProtocolError, match="which CONNECT declined"):
        async with open_client(
            connector=peer.connect, reconnect=None, request_problem_information=False
        ) as client:
            await client.publish("a", qos=1)
    peer.assert_done()
