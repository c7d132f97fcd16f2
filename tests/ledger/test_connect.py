"""CONNECT (3.1): what is in it, and what follows from what it said."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest
import trio

import trio_mqtt
from tests.client.moments import received
from tests.client.support import open_once
from tests.ledger.support import PATIENCE, again, by_version, first_connection
from tests.packets.support import encode_refused, frame, text
from tests.protocol.support import Wire, publish, subscribe
from trio_mqtt import packets as p
from trio_mqtt._enums import MQTT_3_1_1, MQTT_5, Protocol, ReasonCode
from trio_mqtt.testing import (
    Expect,
    ExpectEnd,
    ExpectSilence,
    Pause,
    ScriptedPeer,
    Send,
    ServerLimits,
    memory_stream_pair,
    open_server,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

    from trio_mqtt.testing import Step

WILL: Final = p.WillMessage("w", b"!", 2, retain=True)


def connect_bytes(protocol: Protocol, flags: int, payload: bytes) -> bytes:
    """A CONNECT with a Keep Alive of 60 and no properties, written by hand."""
    properties = b"\0" if protocol is MQTT_5 else b""
    return frame(0x10, b"\0\4MQTT" + bytes((protocol, flags, 0, 60)) + properties + payload)


def none(protocol: Protocol) -> bytes:
    """Will Properties with nothing in them."""
    return b"\0" if protocol is MQTT_5 else b""


def flags_of(packet: p.Connect, protocol: Protocol) -> int:
    return p.encode(packet, protocol)[2:][7]


@by_version("MQTT-3.1.0-1", "MQTT-3.1.0-1")
def test_connect_comes_first_and_alone(protocol: Protocol) -> None:
    wire = Wire(protocol, connack=None)
    wire.publish(1)
    wire.publish(2)
    wire.request(subscribe())
    assert wire.sent() == [p.Connect("c")]


@by_version("U-3.1-1", "U-3.1-1")
async def test_connect_is_sent_once(autojump_clock: MockClock, protocol: Protocol) -> None:
    async with (
        open_server() as server,
        open_once(connector=server.connect, protocol=protocol) as client,
        client.subscribe("t") as messages,
    ):
        with trio.fail_after(PATIENCE):
            await client.publish("t", "1")
            await messages.receive()
        assert len(received(server, p.Connect)) == 1


@pytest.mark.statement("MQTT-3.1.2-1")
def test_the_protocol_name_is_mqtt() -> None:
    assert p.encode(p.Connect("c"), MQTT_5)[2:9] == b"\0\4MQTT\5"


@by_version("U-3.1.2.3-1 MQTT-3.1.2-11 MQTT-3.1.2-13", "MQTT-3.1.2-13 MQTT-3.1.2-15")
def test_without_a_will_its_flags_are_0(protocol: Protocol) -> None:
    for clean in (False, True):
        assert flags_of(p.Connect("c", clean_start=clean), protocol) == clean << 1
        assert (
            flags_of(p.Connect("c", clean_start=clean, username=""), protocol) == 0x80 | clean << 1
        )


@by_version("MQTT-3.1.2-9", "MQTT-3.1.2-9")
def test_a_will_is_there_with_all_its_parts(protocol: Protocol) -> None:
    payload = text("c") + none(protocol) + text("w") + text("!")
    assert p.encode(p.Connect("c", will=WILL), protocol) == connect_bytes(protocol, 0x36, payload)


@pytest.mark.statement("311:MQTT-3.1.2-11")
def test_without_a_will_there_is_nothing_of_it() -> None:
    assert p.encode(p.Connect("c"), MQTT_3_1_1) == connect_bytes(MQTT_3_1_1, 0x02, text("c"))


@by_version("MQTT-3.1.2-12 U-3.1.2.6-1", "MQTT-3.1.2-14")
def test_the_qos_of_a_will(protocol: Protocol) -> None:
    for qos in (0, 1, 2):
        connect = p.Connect("c", will=p.WillMessage("w", b"", qos))
        assert flags_of(connect, protocol) == 0x06 | qos << 3
    assert encode_refused(p.Connect("c", will=p.WillMessage("w", b"", 3)), protocol) is not None


@by_version("MQTT-3.1.2-16", "MQTT-3.1.2-18")
def test_no_user_name(protocol: Protocol) -> None:
    assert p.encode(p.Connect("c"), protocol) == connect_bytes(protocol, 0x02, text("c"))


@by_version("MQTT-3.1.2-17", "MQTT-3.1.2-19")
def test_a_user_name(protocol: Protocol) -> None:
    for name in ("u", ""):
        data = connect_bytes(protocol, 0x82, text("c") + text(name))
        assert p.encode(p.Connect("c", username=name), protocol) == data


@by_version("MQTT-3.1.2-18", "MQTT-3.1.2-20")
def test_no_password(protocol: Protocol) -> None:
    data = connect_bytes(protocol, 0x82, text("c") + text("u"))
    assert p.encode(p.Connect("c", username="u"), protocol) == data


@by_version("MQTT-3.1.2-19", "MQTT-3.1.2-21")
def test_a_password(protocol: Protocol) -> None:
    for password in (b"\xff", b""):
        data = connect_bytes(protocol, 0xC2, text("c") + text("u") + text(password))
        assert p.encode(p.Connect("c", username="u", password=password), protocol) == data


@pytest.mark.statement("311:MQTT-3.1.2-22")
async def test_no_password_without_a_user_name_below_5() -> None:
    assert encode_refused(p.Connect("c", password=b"p"), MQTT_3_1_1) == "MQTT-3.1.2-22"
    async with open_server() as server:
        with pytest.raises(trio_mqtt.LocalProtocolError, match="user name"):
            async with open_once(connector=server.connect, password="p", protocol=MQTT_3_1_1):
                pass
        assert received(server, p.Connect) == []


@by_version("MQTT-3.1.3-1", "MQTT-3.1.3-1")
def test_the_order_of_the_payload(protocol: Protocol) -> None:
    packet = p.Connect("c", username="u", password=b"p", will=WILL)
    parts = [text("c"), none(protocol) + text("w") + text("!"), text("u"), text("p")]
    assert p.encode(packet, protocol) == connect_bytes(protocol, 0xF6, b"".join(parts))


@by_version("MQTT-3.1.3-3 MQTT-3.1.3-4", "MQTT-3.1.3-3 MQTT-3.1.3-4")
def test_the_client_identifier(protocol: Protocol) -> None:
    for name in ("\u20ac", "c", ""):
        data = connect_bytes(protocol, 0x82, text(name) + text("u"))
        assert p.encode(p.Connect(name, username="u"), protocol) == data
    assert encode_refused(p.Connect("\ud800"), protocol) is not None


@by_version("MQTT-3.1.3-11", "MQTT-3.1.3-10")
def test_the_will_topic(protocol: Protocol) -> None:
    payload = text("c") + none(protocol) + text("\u20ac") + text("")
    packet = p.Connect("c", will=p.WillMessage("\u20ac"))
    assert p.encode(packet, protocol) == connect_bytes(protocol, 0x06, payload)
    assert encode_refused(p.Connect("c", will=p.WillMessage("\ud800")), protocol) is not None


@by_version("MQTT-3.1.3-12", "MQTT-3.1.3-11")
def test_the_user_name(protocol: Protocol) -> None:
    payload = text("c") + none(protocol) + text("w") + text("!") + text("\u20ac") + text("p")
    packet = p.Connect("c", username="\u20ac", password=b"p", will=WILL)
    assert p.encode(packet, protocol) == connect_bytes(protocol, 0xF6, payload)
    assert encode_refused(p.Connect("c", username="\ud800"), protocol) is not None


@pytest.mark.statement("U-3.1.3.2.3-1")
def test_a_will_marked_as_text_is_utf_8() -> None:
    will = trio_mqtt.Will(topic="w", payload="\u20ac")._as_packet(MQTT_5)
    assert (will.payload, will.properties.payload_format_indicator) == (b"\xe2\x82\xac", 1)
    will = trio_mqtt.Will(topic="w", payload=b"\xff")._as_packet(MQTT_5)
    assert (will.payload, will.properties.payload_format_indicator) == (b"\xff", None)
    with pytest.raises(trio_mqtt.LocalProtocolError, match="surrogates"):
        trio_mqtt.Will(topic="w", payload="\ud800")


@pytest.mark.statement("311:MQTT-3.1.3-7")
async def test_without_a_client_identifier_the_session_is_clean() -> None:
    async with (
        open_server() as server,
        open_once(connector=server.connect, client_id="", protocol=MQTT_3_1_1),
    ):
        (connect,) = received(server, p.Connect)
    assert (connect.client_id, connect.clean_start) == ("", True)
    assert encode_refused(p.Connect("", clean_start=False), MQTT_3_1_1) == "MQTT-3.1.3-7"


@by_version("MQTT-3.1.3-2", "MQTT-3.1.3-2")
async def test_the_session_is_asked_for_by_its_client_identifier(
    autojump_clock: MockClock, protocol: Protocol
) -> None:
    async with open_server() as server:
        sessions = [trio_mqtt.Session(name, expiry=100) for name in ("one", "two")]
        present: list[bool] = []
        for session in (*sessions, *sessions):
            async with open_once(
                connector=server.connect, session=session, protocol=protocol
            ) as client:
                present.append(client.server.session_present)
    assert present == [False, False, True, True]
    names = [connect.client_id for connect in received(server, p.Connect)]
    assert names == ["one", "two", "one", "two"]


# -- the Session -------------------------------------------------------------------------------


@by_version("MQTT-3.1.2-4", "MQTT-3.1.2-6")
def test_clean_start_forgets_the_session(protocol: Protocol) -> None:
    before = first_connection(protocol)
    before.publish(2)
    (message,) = before.receive(publish(5, 2))
    before.connection.receiver.settle(message)
    before.feed(p.PubRec(1))
    before.sent()
    before.connection.end()
    wire = Wire(protocol, connect=p.Connect("c"), session=before.session)
    wire.connection.sender.pump()
    assert wire.sent() == []  # no PUBREL
    assert len(wire.receive(publish(5, 2))) == 1  # a new message
    assert wire.publish(1).packet_id != 1  # nobody may know that one by an old meaning


@by_version("MQTT-3.1.2-23 MQTT-4.1.0-1", "MQTT-3.1.2-4 MQTT-4.1.0-1 MQTT-4.1.0-2")
def test_the_session_outlives_the_connection(protocol: Protocol) -> None:
    before = first_connection(protocol)
    before.publish(1, b"one")
    before.publish(2, b"two")
    (message,) = before.receive(publish(5, 2))
    before.connection.receiver.settle(message)
    before.feed(p.PubRec(2))
    wire = again(before)
    assert wire.sent() == [
        p.PubRel(2),
        p.Publish("t", b"one", 1, dup=True, packet_id=1),
    ]
    assert wire.receive(publish(5, 2, dup=True)) == []
    wire.feed(p.PubRel(5))
    assert wire.sent() == [p.PubRec(5), p.PubComp(5)]


@by_version("MQTT-4.1.0-1", "MQTT-4.1.0-1")
async def test_the_session_is_kept_while_the_connection_is_open(
    autojump_clock: MockClock, protocol: Protocol
) -> None:
    """Also one that the program has given up meanwhile."""
    session = trio_mqtt.Session("c", expiry=100)
    peer = ScriptedPeer(
        [
            *connected(protocol),
            Expect(p.Publish, qos=2, packet_id=1),
            Pause(1),
            Send(p.PubRec(1)),
            Expect(p.PubRel(1)),
            Send(p.PubComp(1)),
            Expect(p.Disconnect),
            ExpectEnd(),
        ],
        timeout=PATIENCE,
    )
    with trio.fail_after(PATIENCE):
        async with open_once(connector=peer.connect, session=session, protocol=protocol) as client:
            delivery = await client.enqueue("t", qos=2)
            session.discard()
            await delivery.wait()
    peer.assert_done()


@pytest.mark.statement("U-3.1.2.11.2-2")
async def test_without_an_interval_the_session_ends_with_the_connection() -> None:
    async with open_server() as server:
        async with open_once(connector=server.connect, client_id="c") as client:
            (connect,) = received(server, p.Connect)
            assert connect.properties.session_expiry_interval is None
            assert client.server.session_expiry_interval == 0
        await server.wait_until(lambda: "c" not in server.sessions)


@by_version("U-3.2.2.1.1-1", "U-3.2.2.2-1")
async def test_a_new_session_can_be_asked_for(protocol: Protocol) -> None:
    """A client that has no record of a Session goes on with it, or begins a new one."""
    async with open_server() as server:
        for adopt in (True, True, False):
            session = trio_mqtt.Session("c", expiry=100, adopt=adopt)
            async with open_once(connector=server.connect, session=session, protocol=protocol):
                pass
        connects = [connect.clean_start for connect in received(server, p.Connect)]
        answers = [
            entry.packet.session_present
            for entry in server.log
            if isinstance(entry.packet, p.ConnAck)
        ]
    assert connects == [False, False, True]
    assert answers == [False, True, False]


# -- keep alive and time -----------------------------------------------------------------------


def connected(protocol: Protocol, keep_alive: int = 60) -> list[Step]:
    return [Expect(p.Connect, protocol=protocol, keep_alive=keep_alive), Send(p.ConnAck())]


@by_version("MQTT-3.1.2-20", "MQTT-3.1.2-23")
async def test_pingreq_fills_the_silence(autojump_clock: MockClock, protocol: Protocol) -> None:
    ping: list[Step] = [Expect(p.PingReq()), Send(p.PingResp())]
    peer = ScriptedPeer(
        [*connected(protocol, 20), *ping, *ping, Expect(p.Disconnect), ExpectEnd()], timeout=20
    )
    async with open_once(connector=peer.connect, keep_alive=20, protocol=protocol):
        await trio.sleep(39)
    peer.assert_done()


@by_version("MQTT-3.1.2-20", "MQTT-3.1.2-23")
async def test_what_comes_in_is_no_substitute_for_pingreq(
    autojump_clock: MockClock, protocol: Protocol
) -> None:
    comes: list[Step] = [Pause(8), Send(p.Publish("t"))]
    ping: list[Step] = [Expect(p.PingReq()), Send(p.PingResp())]
    peer = ScriptedPeer(
        [*connected(protocol, 20), *comes, *comes, *ping, Expect(p.Disconnect), ExpectEnd()],
        timeout=4,
    )
    async with open_once(connector=peer.connect, keep_alive=20, protocol=protocol):
        await trio.sleep(20)
    peer.assert_done()


@by_version("U-3.1.2.10-1", "U-3.1.2.10-1")
async def test_no_pingresp_ends_the_connection(
    autojump_clock: MockClock, protocol: Protocol
) -> None:
    peer = ScriptedPeer(
        [*connected(protocol, 20), Expect(p.PingReq()), ExpectEnd()], timeout=PATIENCE
    )
    with pytest.raises(trio_mqtt.ConnectionLost, match="PINGREQ"), trio.fail_after(PATIENCE):
        async with open_once(
            connector=peer.connect, keep_alive=20, ping_timeout=5, protocol=protocol
        ):
            await trio.sleep_forever()
    peer.assert_done()


@pytest.mark.statement("MQTT-3.1.2-21", "MQTT-3.2.2-21")
@pytest.mark.parametrize("granted", [10, 0])
async def test_the_server_s_keep_alive_is_used(autojump_clock: MockClock, granted: int) -> None:
    properties = p.Properties(server_keep_alive=granted)
    peer = ScriptedPeer(
        [
            Expect(p.Connect, keep_alive=60),
            Send(p.ConnAck(properties=properties)),
            *([Expect(p.PingReq()), Send(p.PingResp())] if granted else [ExpectSilence(500)]),
            Expect(p.Disconnect),
            ExpectEnd(),
        ],
        timeout=11,
    )
    async with open_once(connector=peer.connect, keep_alive=60):
        await trio.sleep(11 if granted else 505)
    peer.assert_done()


@by_version("U-3.2-1", "U-3.2-1")
async def test_no_connack_ends_the_connection(
    autojump_clock: MockClock, protocol: Protocol
) -> None:
    left: list[float] = []

    @asynccontextmanager
    async def connect() -> AsyncGenerator[trio.abc.Stream]:
        stream, _server = memory_stream_pair()
        try:
            yield stream
        finally:
            left.append(trio.current_time())

    start = trio.current_time()
    with pytest.raises(trio_mqtt.ConnectFailed, match="within 7 s"), trio.fail_after(PATIENCE):
        async with open_once(connector=connect, connect_timeout=7, protocol=protocol):
            raise AssertionError
    assert left == [start + 7]


# -- what was announced ------------------------------------------------------------------------


@pytest.mark.statement("MQTT-3.1.2-24", "U-3.1.2.11.4-2")
async def test_a_packet_above_our_maximum_packet_size(autojump_clock: MockClock) -> None:
    farewell = [
        Expect(p.Disconnect, reason_code=ReasonCode.PACKET_TOO_LARGE),
        ExpectEnd(),
    ]
    peer = ScriptedPeer(
        [
            Expect(p.Connect, lambda packet: packet.properties.maximum_packet_size == 40),
            Send(p.ConnAck()),
            Send(p.Publish("t", bytes(41))),
            *farewell,
        ],
        timeout=PATIENCE,
    )
    with pytest.raises(trio_mqtt.RemoteProtocolError, match="Maximum Packet Size"):
        async with open_once(connector=peer.connect, maximum_packet_size=40):
            await trio.sleep(PATIENCE)
    peer.assert_done()


@pytest.mark.parametrize(
    "maximum",
    [
        pytest.param(
            3,
            id="above",
            marks=pytest.mark.statement("MQTT-3.1.2-26", "MQTT-3.3.2-11", "U-3.3.4-3"),
        ),
        pytest.param(0, id="none", marks=pytest.mark.statement("MQTT-3.1.2-27")),
    ],
)
async def test_a_topic_alias_above_our_maximum(autojump_clock: MockClock, maximum: int) -> None:
    alias = p.Properties(topic_alias=maximum + 1)
    peer = ScriptedPeer(
        [
            *connected(MQTT_5),
            Send(p.Publish("t", properties=alias)),
            Expect(p.Disconnect, reason_code=ReasonCode.TOPIC_ALIAS_INVALID),
            ExpectEnd(),
        ],
        timeout=PATIENCE,
    )
    with pytest.raises(trio_mqtt.RemoteProtocolError, match="Topic Alias"):
        async with open_once(connector=peer.connect, topic_alias_maximum=maximum):
            await trio.sleep(PATIENCE)
    peer.assert_done()


@pytest.mark.statement("MQTT-3.1.2-28", "U-3.1.2.11.6-2")
@pytest.mark.parametrize("asks", [None, 0, 1])
async def test_response_information_for_who_asks(asks: int | None) -> None:
    async with (
        open_server(limits=ServerLimits(response_information="info")) as server,
        server.connect() as stream,
    ):
        properties = p.Properties(request_response_information=asks)
        await stream.send_all(p.encode(p.Connect("c", properties=properties), MQTT_5))
        connack = await read_connack(stream)
    assert connack.properties.response_information == ("info" if asks else None)


async def read_connack(stream: trio.abc.ReceiveStream) -> p.ConnAck:
    reader = p.PacketReader()
    while not (packets := reader.read_packets()):
        reader.feed(await stream.receive_some())
    (packet,) = packets
    assert isinstance(packet, p.ConnAck)
    return packet


@pytest.mark.statement("MQTT-3.1.2-30", "U-4.12-1")
def test_during_authentication_nothing_else_is_sent() -> None:
    properties = p.Properties(authentication_method="m", authentication_data=b"first")
    wire = Wire(connect=p.Connect("c", properties=properties), connack=None)
    assert wire.sent() == [p.Connect("c", properties=properties)]
    wire.publish(1)
    wire.request(subscribe())
    challenge = p.Auth(ReasonCode.CONTINUE_AUTHENTICATION, p.Properties(authentication_method="m"))
    assert wire.feed(challenge) == [challenge]
    wire.connection.sender.pump()
    assert wire.sent() == []
    wire.connection.authenticate(p.Properties(authentication_method="m"))
    wire.connection.sender.pump()
    assert wire.sent() == [challenge]
    connack = p.ConnAck(properties=p.Properties(authentication_method="m"))
    assert wire.feed(connack) == [connack]
    wire.connection.open(connack)
    wire.connection.sender.pump()
    assert len(wire.sent()) == 2


@pytest.mark.statement("MQTT-3.1.2-29", "U-3.1.2.11.7-3")
@pytest.mark.parametrize(
    "packet",
    [
        p.PubAck(1, properties=p.Properties(reason_string="r")),
        p.SubAck(1, (ReasonCode.SUCCESS,), p.Properties(user_properties=(("n", "v"),))),
    ],
    ids=["Reason String", "User Property"],
)
def test_words_that_were_declined(packet: p.Packet) -> None:
    declined = p.Connect("c", properties=p.Properties(request_problem_information=0))
    words = p.Properties(reason_string="r", user_properties=(("n", "v"),))
    wire = Wire(connect=declined, connack=p.ConnAck(properties=words))
    wire.receive(p.Publish("t", properties=p.Properties(user_properties=(("n", "v"),))))
    assert wire.refuses(packet).reason_code is ReasonCode.PROTOCOL_ERROR


@pytest.mark.statement("U-3.1.2.11.7-2")
@pytest.mark.parametrize("asked", [None, 1])
def test_words_that_were_not_declined(asked: int | None) -> None:
    connect = p.Connect("c", properties=p.Properties(request_problem_information=asked))
    wire = Wire(connect=connect)
    wire.publish(1)
    wire.feed(p.PubAck(1, properties=p.Properties(reason_string="r")))
