"""DISCONNECT (3.14), and what ends a connection (4.13)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
import trio

import trio_mqtt
from tests.client.moments import received
from tests.client.support import open_once
from tests.ledger.support import PATIENCE, by_version
from tests.packets.support import encode_refused, frame, malformed, refused, text
from tests.protocol.support import Wire, outgoing, publish, subscribe, unsubscribe
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, Protocol, ReasonCode
from trio_mqtt.testing import (
    Expect,
    ExpectEnd,
    Pause,
    Reset,
    ScriptedPeer,
    Send,
    SendBytes,
    open_server,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_mqtt.testing import Step


@pytest.mark.statement("MQTT-3.14.1-1")
def test_the_flags_of_disconnect() -> None:
    for flags in range(1, 16):
        assert refused(bytes((0xE0 | flags, 0))) == malformed("MQTT-2.1.3-1")


@pytest.mark.statement("MQTT-3.14.2-1")
def test_the_reason_codes_of_disconnect() -> None:
    allowed = set(bytes.fromhex("00 04 8081828387898B8C8D8E8F 9093949596979899 9A9B9C9D9E9FA0A1A2"))
    for code in ReasonCode:
        if code.value in allowed:
            assert p.encode(p.Disconnect(code), MQTT_5)[0] == 0xE0
        else:
            assert encode_refused(p.Disconnect(code)) == "MQTT-3.14.2-1"
            assert refused(bytes((0xE0, 1, code.value))).statement == "MQTT-3.14.2-1"


WORDS: Final = {
    "MQTT-3.14.2-3": p.Properties(reason_string="r" * 30),
    "MQTT-3.14.2-4": p.Properties(user_properties=(("name", "v" * 30),)),
}


@pytest.mark.parametrize(
    "properties",
    [
        pytest.param(properties, marks=pytest.mark.statement(statement), id=statement)
        for statement, properties in WORDS.items()
    ],
)
def test_words_that_make_disconnect_too_large_are_left_out(properties: p.Properties) -> None:
    code = ReasonCode.UNSPECIFIED_ERROR
    size = len(p.encode(p.Disconnect(code, properties), MQTT_5))
    for limit, said in ((size, properties), (size - 1, p.NO_PROPERTIES)):
        wire = Wire(connack=p.ConnAck(properties=p.Properties(maximum_packet_size=limit)))
        wire.connection.disconnect(p.Disconnect(code, properties))
        assert wire.sent() == [p.Disconnect(code, said)]


@by_version("MQTT-3.14.4-1", "MQTT-3.14.4-2")
def test_nothing_is_sent_behind_disconnect(protocol: Protocol) -> None:
    wire = Wire(protocol)
    (theirs,) = wire.receive(publish(1, 1))
    wire.connection.disconnect()
    wire.connection.ping()
    wire.connection.receiver.settle(theirs)
    wire.connection.sender.send(outgoing(0, b"late", protocol))
    wire.publish(1)
    wire.request(subscribe())
    assert wire.sent() == [p.Disconnect()]


@by_version("MQTT-3.14.4-2 U-3.14-1", "MQTT-3.14.4-1")
async def test_the_connection_is_closed_behind_disconnect(
    autojump_clock: MockClock, protocol: Protocol
) -> None:
    peer = ScriptedPeer(
        [Expect(p.Connect), Send(p.ConnAck()), Expect(p.Disconnect()), ExpectEnd()],
        timeout=1,
    )
    async with open_once(connector=peer.connect, protocol=protocol):
        pass
    peer.assert_done()


@pytest.mark.statement("U-3.14.2.2.2-2", "U-3.14.2.2.2-3")
async def test_what_the_last_packet_says_of_the_session() -> None:
    """Nothing where it goes on, or ends anyhow: an interval of 0 cannot be changed."""
    session = trio_mqtt.Session("kept", expiry=50)
    async with open_server() as server:
        async with open_once(connector=server.connect, session=session):
            pass
        async with open_once(connector=server.connect, client_id="ends") as client:
            with pytest.raises(trio_mqtt.LocalProtocolError, match="session_expiry is 5"):
                client.disconnect_with(session_expiry=5)
        async with trio_mqtt.open_client(connector=server.connect, client_id="over"):
            pass
        intervals = [
            each.properties.session_expiry_interval for each in received(server, p.Connect)
        ]
        changed = [
            each.properties.session_expiry_interval for each in received(server, p.Disconnect)
        ]
        assert intervals[:2] == [50, None]
        assert intervals[2]
        assert changed == [None, None, 0]
        assert list(server.sessions) == ["kept"]


async def end_of(steps: list[Step], protocol: Protocol = MQTT_5) -> trio_mqtt.MQTTError:
    """How a connection ends that does this after CONNACK."""
    peer = ScriptedPeer(
        [Expect(p.Connect, protocol=protocol), Send(p.ConnAck()), *steps, ExpectEnd()],
        timeout=PATIENCE,
    )
    with trio.fail_after(2 * PATIENCE), pytest.raises(trio_mqtt.MQTTError) as caught:
        async with open_once(connector=peer.connect, protocol=protocol):
            await trio.sleep_forever()
    peer.assert_done()
    return caught.value


# -- the Server ends the connection ------------------------------------------------------------


@pytest.mark.statement("U-3.14.4-1", "MQTT-4.13.2-1")
async def test_a_disconnect_of_the_server_ends_the_connection(autojump_clock: MockClock) -> None:
    code = ReasonCode.SERVER_SHUTTING_DOWN
    error = await end_of([Send(p.Disconnect(code, p.Properties(reason_string="good night")))])
    assert isinstance(error, trio_mqtt.ConnectionLost)
    assert error.reason_code is code


@pytest.mark.statement("MQTT-4.13.2-1")
async def test_a_connack_that_refuses_ends_the_connection(autojump_clock: MockClock) -> None:
    refusal = p.ConnAck(reason_code=ReasonCode.NOT_AUTHORIZED)
    peer = ScriptedPeer([Expect(p.Connect), Send(refusal), ExpectEnd()], timeout=PATIENCE)
    with pytest.raises(trio_mqtt.ConnectRejected):
        async with open_once(connector=peer.connect):
            raise AssertionError
    peer.assert_done()


REFUSALS: Final = {
    "U-3.2.2.3.9-1": p.ConnAck,
    "U-3.14.2.2.3-1": p.Disconnect,
}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.statement(statement), id=kind.__name__)
        for statement, kind in REFUSALS.items()
    ],
)
@pytest.mark.parametrize("words", ["", "Success", "0x00", "retry later; use another server: b"])
async def test_words_of_an_end_decide_nothing(
    autojump_clock: MockClock, words: str, kind: type[p.ConnAck | p.Disconnect]
) -> None:
    properties = p.Properties(reason_string=words)
    code = ReasonCode.NOT_AUTHORIZED
    before = [] if kind is p.ConnAck else [Send(p.ConnAck())]
    peer = ScriptedPeer(
        [Expect(p.Connect), Send(p.ConnAck()), Pause(0.1), Reset()],
        [
            Expect(p.Connect),
            *before,
            Send(kind(reason_code=code, properties=properties)),
            ExpectEnd(),
        ],
        timeout=PATIENCE,
    )
    with pytest.raises(trio_mqtt.MQTTError) as caught:
        async with trio_mqtt.open_client(connector=peer.connect):
            await trio.sleep_forever()
    error = caught.value
    assert isinstance(error, trio_mqtt.ConnectRejected | trio_mqtt.ConnectionLost)
    assert (error.reason_code, error.reason_string) == (code, words)
    peer.assert_done()


@pytest.mark.statement(
    "U-3.5.2.2.2-1", "U-3.7.2.2.2-1", "U-3.9.2.1.2-1", "U-3.11.2.1.2-1", "U-3.6.2.2.2-1"
)
@pytest.mark.parametrize("words", ["", "failure", "0x87"])
def test_words_of_an_acknowledgement_decide_nothing(words: str) -> None:
    said = p.Properties(reason_string=words)
    wire = Wire()
    ours = wire.publish(2)
    first, second = wire.request(subscribe()), wire.request(unsubscribe())
    (theirs,) = wire.receive(publish(7, 2))
    wire.connection.receiver.settle(theirs)
    wire.sent()
    success = ReasonCode.SUCCESS
    wire.feed(p.PubRec(1, success, said), p.PubRel(7, success, said))
    assert wire.sent() == [p.PubRel(1), p.PubComp(7)]
    suback = p.SubAck(2, (ReasonCode.GRANTED_QOS_0,), said)
    unsuback = p.UnsubAck(3, (success,), said)
    answers = wire.feed(p.PubComp(1, success, said), suback, unsuback)
    assert answers == [ours, first, second]
    assert (first.answer, second.answer) == (suback, unsuback)


# -- the Server breaks the protocol ------------------------------------------------------------

PUBLISH_QOS_3: Final = frame(0x36, text("t") + b"\0\1\0")
WRONG: Final[list[tuple[str, str, bytes, ReasonCode]]] = [
    (
        "both QoS bits",
        "U-3.3.1.2-2 U-3.3.1.2-3 U-4.13.1-5",
        PUBLISH_QOS_3,
        ReasonCode.MALFORMED_PACKET,
    ),
    (
        "ill-formed UTF-8",
        "U-4.13.1-1 U-4.13.1-3 U-4.13.1-5",
        frame(0x30, text(b"\xff") + b"\0"),
        ReasonCode.MALFORMED_PACKET,
    ),
    (
        "a packet of clients",
        "U-4.13.1-1 U-4.13.1-3 U-4.13.1-5 MQTT-4.13.2-1",
        b"\xc0\0",
        ReasonCode.PROTOCOL_ERROR,
    ),
    ("flags of DISCONNECT", "MQTT-3.14.1-1", b"\xe1\0", ReasonCode.MALFORMED_PACKET),
    ("flags of AUTH", "MQTT-3.15.1-1 U-4.13.1-2", b"\xf1\0", ReasonCode.MALFORMED_PACKET),
    (
        "a more specific Reason Code",
        "U-4.13.1-5",
        frame(0x30, text("t/#") + b"\0"),
        ReasonCode.TOPIC_NAME_INVALID,
    ),
]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(data, code, id=name, marks=pytest.mark.statement(*statements.split()))
        for name, statements, data, code in WRONG
    ],
)
async def test_the_server_is_told_what_was_wrong(
    autojump_clock: MockClock, data: bytes, code: ReasonCode
) -> None:
    error = await end_of([SendBytes(data), Expect(p.Disconnect, reason_code=code)])
    assert isinstance(error, trio_mqtt.RemoteProtocolError)
    assert error.reason_code is code


WRONG_BELOW_5: Final = {
    "ill-formed UTF-8": ("MQTT-1.5.3-1", frame(0x30, text(b"\xff"))),
    "a null character": ("MQTT-1.5.3-2", frame(0x30, text(b"a\0"))),
    "flags": ("MQTT-2.2.2-2", b"\x41\2\0\1"),
    "both QoS bits": ("MQTT-3.3.1-4", frame(0x36, text("t") + b"\0\1")),
    "a packet of clients": ("MQTT-4.8.0-1", b"\xc0\0"),
    "a second CONNACK": ("MQTT-4.8.0-1", b"\x20\2\0\0"),
}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(data, id=name, marks=pytest.mark.statement(f"311:{statement}"))
        for name, (statement, data) in WRONG_BELOW_5.items()
    ],
)
async def test_below_5_the_connection_is_closed(autojump_clock: MockClock, data: bytes) -> None:
    error = await end_of([SendBytes(data)], MQTT_3_1_1)
    assert isinstance(error, trio_mqtt.RemoteProtocolError)
