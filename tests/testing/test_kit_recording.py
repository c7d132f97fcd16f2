"""Recording what passes the network, the file it is kept in, and the replay of it."""

from __future__ import annotations

from contextlib import asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final, Literal

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from tests.packets.strategies import packets as any_packet
from tests.testing.streams import read_all
from tests.testing.support import RawClient
from trio_mqtt import (
    MQTT_3_1_1,
    MQTT_5,
    Client,
    MQTTError,
    Protocol,
    ReasonCode,
    open_client,
)
from trio_mqtt.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    encode,
)
from trio_mqtt.testing import (
    Before,
    Expect,
    ExpectEnd,
    Faults,
    Recorded,
    Recording,
    ScriptedPeer,
    Send,
    SendBytes,
    open_network,
    open_proxy,
    open_server,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from trio.testing import MockClock

LID: Final = """\
{"format": "trio_mqtt recording", "version": 1}
{"connection": 1, "time": 0.0, "from": "client", "CONNECT": {"protocol": "MQTT 3.1.1", \
"client_id": "press", "username": "<redacted>", "password": "<redacted>"}}
{"connection": 1, "time": 0.0, "from": "server", "CONNACK": {}}
{"connection": 1, "time": 2.5, "from": "client", "PUBLISH": {"topic": "done", "payload": "lid", \
"qos": 1, "retain": true, "packet_id": 1}}
{"connection": 1, "time": 2.5, "from": "server", "PUBACK": {"packet_id": 1}}
{"connection": 1, "time": 2.5, "from": "client", "PUBLISH": {"topic": "done", \
"payload": {"hex": "00 ff"}}}
{"connection": 1, "time": 2.5, "from": "client", "DISCONNECT": {}}
{"connection": 1, "time": 2.5, "from": "client", "end": "close"}
{"connection": 1, "time": 2.5, "from": "server", "end": "close"}
"""


async def report_a_lid(client: Client, payload: bytes = b"lid") -> None:
    await trio.sleep(2.5)
    await client.publish("done", payload, qos=1, retain=True)
    await client.publish("done", b"\x00\xff")


async def recording_of_a_lid(*, secrets: bool = False) -> Recording:
    async with open_server() as server, open_network(server.connect) as network:
        recording = network.record(secrets=secrets)
        async with open_client(
            connector=network.connect,
            protocol=MQTT_3_1_1,
            client_id="press",
            username="me",
            password="open sesame",
        ) as client:
            await report_a_lid(client)
    return recording


@asynccontextmanager
async def replaying(recording: Recording, *, paced: bool = True) -> AsyncGenerator[ScriptedPeer]:
    peer = ScriptedPeer(*recording.scripts(paced=paced))
    with trio.fail_after(1000):
        yield peer
    peer.assert_done()


def loaded(path: Path, text: str) -> Recording:
    path.write_text(text, encoding="utf-8")
    return Recording.load(path)


# -- the file ------------------------------------------------------------------------------------


async def test_what_stands_in_the_file(tmp_path: Path, autojump_clock: MockClock) -> None:
    recording = await recording_of_a_lid()
    recording.save(tmp_path / "lid.jsonl")
    assert (tmp_path / "lid.jsonl").read_text(encoding="utf-8") == LID
    assert Recording.load(tmp_path / "lid.jsonl").entries == recording.entries


async def test_secrets_are_left_out_unless_asked_for(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    kept = (await recording_of_a_lid(secrets=True)).entries[0].packet
    assert isinstance(kept, Connect)
    assert (kept.username, kept.password) == ("me", b"open sesame")
    left = (await recording_of_a_lid()).entries[0].packet
    assert isinstance(left, Connect)
    assert (left.username, left.password) == ("<redacted>", b"<redacted>")


@pytest.mark.parametrize("secrets", [True, False])
async def test_authentication_data_is_left_out(secrets: bool, autojump_clock: MockClock) -> None:
    proof = Properties(authentication_method="m", authentication_data=b"secret")
    packets: list[Packet] = [
        Connect("c", properties=proof),
        Auth(ReasonCode.CONTINUE_AUTHENTICATION, proof),
        Auth(ReasonCode.CONTINUE_AUTHENTICATION, proof),
        ConnAck(properties=proof),
    ]
    script = [Expect(packets[0]), Send(packets[1]), Expect(packets[2]), Send(packets[3])]
    peer = ScriptedPeer([*script, ExpectEnd()])
    async with open_network(peer.connect) as network:
        recording = network.record(secrets=secrets)
        async with network.connect() as stream:
            raw = RawClient(stream)
            for sent in packets[::2]:
                await raw.send(sent)
                await raw.receive()
    kept = [
        entry.packet.properties.authentication_data
        for entry in recording.entries
        if isinstance(entry.packet, Connect | ConnAck | Auth)
    ]
    assert kept == [b"secret" if secrets else b"<redacted>"] * 4


@given(st.sampled_from(Protocol).flatmap(any_packet))
def test_any_packet_comes_back_from_the_file(
    tmp_path_factory: pytest.TempPathFactory, packet: Packet
) -> None:
    path = tmp_path_factory.getbasetemp() / "packet.jsonl"
    protocol = MQTT_5 if isinstance(packet, Connect) else None
    entry = Recorded(connection=1, time=0.25, sender="client", packet=packet, protocol=protocol)
    Recording([entry]).save(path)
    assert Recording.load(path).entries == (entry,)


HEADER: Final = '{"format": "trio_mqtt recording", "version": 1}\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 of the recording: nothing stands in it"),
        ("a\n", "line 1 of the recording: "),
        ("[]\n", "line 1 of the recording: "),
        ('{"version": 1}\n', "line 1 of the recording: 'format' is missing"),
        ('{"format": "x", "version": 1}\n', "this is not 'trio_mqtt recording', but 'x'"),
        (HEADER.replace("1", "2"), "this is version 2, and only 1 can be read"),
        (HEADER + "{}\n", "line 2 of the recording: 'connection' is missing"),
        (HEADER + LID.splitlines()[2] + "\n{\n", "line 3 of the recording: "),
    ],
)
def test_what_is_no_recording(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        loaded(tmp_path / "x.jsonl", text)
    assert str(caught.value).startswith(str(tmp_path / "x.jsonl"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ('"connection": 0, "time": 0, "from": "client", "PINGREQ": {}', "number from 1"),
        ('"connection": true, "time": 0, "from": "client", "PINGREQ": {}', "number from 1"),
        ('"connection": 1, "time": -1, "from": "client", "PINGREQ": {}', "number from 0"),
        ('"connection": 1, "time": "x", "from": "client", "PINGREQ": {}', "number from 0"),
        ('"connection": 1, "time": 0, "from": "x", "PINGREQ": {}', "nobody is called 'x'"),
        ('"connection": 1, "time": 0, "from": "client"', "one packet, or bytes, or an end"),
        ('"connection": 1, "time": 0, "from": "client", "PONG": {}', "no packet 'PONG'"),
        ('"connection": 1, "time": 0, "from": "client", "end": "x"', "no end 'x'"),
        ('"connection": 1, "time": 0, "from": "client", "bytes": "0"', "fromhex"),
        ('"connection": 1, "time": 0, "from": "client", "CONNECT": {}', "CONNECT alone"),
        ('"connection": 1, "time": 0, "from": "client", "PUBACK": {}', "packet_id"),
        ('"connection": 1, "time": 0, "from": "client", "PUBACK": []', "pop"),
        (
            '"connection": 1, "time": 0, "from": "client", "PUBACK": {"reason_code": "X"}',
            "there is no Reason Code 'X'",
        ),
        (
            '"connection": 1, "time": 0, "from": "client", "CONNECT": {"protocol": "MQTT 4"}',
            "there is no protocol 'MQTT 4'",
        ),
    ],
)
def test_what_is_no_line_of_a_recording(tmp_path: Path, wrong: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"x.jsonl: line 2 of the recording: .*{message}"):
        loaded(tmp_path / "x.jsonl", f"{HEADER}{{{wrong}}}\n")


# -- the replay ----------------------------------------------------------------------------------


@pytest.mark.parametrize("paced", [True, False])
async def test_a_client_that_does_the_same(
    paced: bool, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with (
        replaying(loaded(tmp_path / "lid.jsonl", LID), paced=paced) as peer,
        open_client(
            connector=peer.connect, protocol=MQTT_3_1_1, username="you", password="another"
        ) as client,
    ):
        await report_a_lid(client)


async def fails(
    recording: Recording, payload: bytes = b"lid", delay: float | None = 0, **options: Any
) -> str:
    """What is said of a client that departs from the recording."""
    peer = ScriptedPeer(*recording.scripts())
    arguments: dict[str, Any] = {"protocol": MQTT_3_1_1, "username": "u", "password": "p"}
    with trio.fail_after(100), suppress(AssertionError, MQTTError):  # it may only log it
        async with open_client(connector=peer.connect, **arguments | options) as client:
            if delay is not None:
                await trio.sleep(delay)
                await report_a_lid(client, payload)
    with pytest.raises(AssertionError) as caught:
        peer.assert_done()
    return str(caught.value)


async def test_a_client_that_does_something_else(tmp_path: Path, autojump_clock: MockClock) -> None:
    recording = loaded(tmp_path / "lid.jsonl", LID)
    assert "payload: expected b'lid', got b'box'" in await fails(recording, b"box")
    assert "keep_alive: expected 60, got 7" in await fails(recording, keep_alive=7)
    assert "password: expected b'<redacted>', got None" in await fails(recording, password=None)
    assert "protocol: expected <Protocol.MQTT_3_1_1" in await fails(recording, protocol=MQTT_5)


async def test_a_client_that_stops_too_early_or_is_too_slow(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    recording = loaded(tmp_path / "lid.jsonl", LID)
    assert "the client sent Disconnect" in await fails(recording, delay=None)
    assert "nothing came for 12.5 s" in await fails(recording, delay=11)


async def pump(client: Client) -> list[str]:
    """An exchange with everything: QoS 2 both ways, a pause with PINGREQs, a lost connection."""
    async with client.subscribe("jobs", qos=2) as jobs:
        await client.publish("done", "before", qos=1)
        await client.publish("jobs", "first", qos=2)
        await client.publish("jobs", "second", qos=2)
        return [(await jobs.receive()).text() for _ in range(3)]


async def test_a_connection_that_is_lost_inside_a_handshake(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_server() as server, open_network(server.connect) as network:
        network.add_faults(Faults(cut_to_server=Before(PubRel, 2)))
        recording = network.record()
        async with (
            open_client(connector=network.connect) as client,
            trio.open_nursery() as nursery,
        ):

            async def speak_later() -> None:
                await trio.sleep(200)
                server.publish("jobs", "third", qos=1)

            nursery.start_soon(speak_later)
            assert await pump(client) == ["first", "second", "third"]
        outcomes = [await connection.wait_ended() for connection in network.connections]
        assert outcomes == ["cut", "closed"]
    recording.save(tmp_path / "pump.jsonl")
    for paced in (True, False):
        async with replaying(Recording.load(tmp_path / "pump.jsonl"), paced=paced) as peer:
            start = trio.current_time()
            async with open_client(connector=peer.connect) as client:
                assert await pump(client) == ["first", "second", "third"]
            assert (trio.current_time() - start > 190) is paced
            assert peer.connections == 2


async def test_a_client_that_is_early_has_its_pings_answered(autojump_clock: MockClock) -> None:
    """What it sends stands before its PINGREQs, and is not looked at before its time."""
    async with (
        open_server() as server,
        open_network(server.connect) as network,
        open_client(connector=server.connect) as other,
    ):
        recording = network.record()
        async with (
            open_client(connector=network.connect, protocol=MQTT_3_1_1) as client,
            client.subscribe("jobs") as jobs,
        ):
            await trio.sleep(500)
            await other.publish("jobs")
            await jobs.receive()
            await client.publish("done", bytes(300))
            await client.publish("done", "too")
    async with (
        replaying(recording) as peer,
        open_client(connector=peer.connect, protocol=MQTT_3_1_1) as client,
        client.subscribe("jobs") as jobs,
    ):
        start = trio.current_time()
        await client.publish("done", bytes(300))
        await client.publish("done", "too")
        await jobs.receive()
        assert trio.current_time() - start == pytest.approx(500)
        assert client.statistics().connections == 1


async def test_other_identifiers_are_the_same_in_themselves(autojump_clock: MockClock) -> None:
    """The client's PUBLISH has another Packet Identifier than in the recording."""
    async with open_server() as server, open_network(server.connect) as network:
        recording = network.record()
        async with network.connect() as stream:
            raw = RawClient(stream)
            await raw.send(Connect("c"), Publish("a", b"", 2, packet_id=7))
            await raw.receive_many(2)
            await raw.send(PubRel(7))
            await raw.receive()
            await raw.send(Disconnect())
    for packet_id, last, right in ((7, 7, True), (9, 9, True), (9, 7, False)):
        peer = ScriptedPeer(*recording.scripts())
        with nullcontext() if right else pytest.raises(AssertionError, match="expected 9, got 7"):
            async with peer.connect() as stream:
                raw = RawClient(stream)
                await raw.send(Connect("d"), Publish("a", b"", 2, packet_id=packet_id))
                _, pubrec = await raw.receive_many(2)
                assert pubrec == PubRec(packet_id, ReasonCode.NO_MATCHING_SUBSCRIBERS)
                await raw.send(PubRel(last))
                assert await raw.receive() == (PubComp(packet_id) if right else None)
                await raw.send(Disconnect())
            peer.assert_done()


async def test_another_client_on_the_second_connection(autojump_clock: MockClock) -> None:
    entries = [
        Recorded(connection=number, time=0, sender="client", packet=Connect("c"), protocol=MQTT_5)
        for number in (1, 2)
    ]
    peer = ScriptedPeer(*Recording(entries).scripts())
    async with peer.connect() as stream:
        await RawClient(stream).send(Connect("d"))
    with pytest.raises(AssertionError, match="client_id: expected 'd', got 'e'"):
        async with peer.connect() as stream:
            await RawClient(stream).send(Connect("e"))


async def test_what_the_server_cannot_prove_again() -> None:
    data = Properties(authentication_method="m", authentication_data=b"<redacted>")
    entry = Recorded(connection=1, time=0, sender="server", packet=ConnAck(properties=data))
    with pytest.raises(ValueError, match="record it with secrets=True"):
        Recording([entry]).scripts()


async def test_a_recording_that_ends_before_the_connection(autojump_clock: MockClock) -> None:
    async with (
        open_server() as server,
        open_network(server.connect) as network,
    ):
        recording = network.record()
        async with open_client(connector=network.connect) as client:
            await client.publish("a", qos=1)
            first = Recording(recording.entries)
    async with replaying(first) as peer, open_client(connector=peer.connect) as client:
        await client.publish("a", qos=1)
        await client.publish("b")
        await trio.sleep(200)
        assert client.statistics().connections == 1


NO_PACKET: Final = b"\xf3\0\1"


@pytest.mark.parametrize("secrets", [True, False])
async def test_bytes_that_are_no_packets(
    secrets: bool, tmp_path: Path, autojump_clock: MockClock
) -> None:
    peer = ScriptedPeer([Expect(Connect), Send(ConnAck()), SendBytes(NO_PACKET), ExpectEnd()])
    async with open_network(peer.connect) as network:
        recording = network.record(secrets=secrets)
        async with network.connect() as stream:
            await RawClient(stream).send(Connect("c"))
            await trio.testing.wait_all_tasks_blocked()
            assert (await stream.receive_some()).endswith(NO_PACKET)
    recording.save(tmp_path / "x.jsonl")
    recording = Recording.load(tmp_path / "x.jsonl")
    assert [entry.data for entry in recording.entries] == [
        None,
        None,
        NO_PACKET if secrets else b"",
        None,
    ]
    if not secrets:
        with pytest.raises(ValueError, match=r"the server sent bytes .* secrets=True"):
            recording.scripts()
        return
    peer = ScriptedPeer(*recording.scripts())
    async with peer.connect() as stream:
        await RawClient(stream).send(Connect("c"))
        await trio.testing.wait_all_tasks_blocked()
        assert (await stream.receive_some()).endswith(NO_PACKET)


async def test_a_recording_through_a_proxy() -> None:
    with trio.fail_after(10):
        async with open_server(port=0) as server:
            assert server.url is not None
            async with open_proxy(server.url) as proxy:
                recording = proxy.record()
                assert proxy.url is not None
                async with open_client(proxy.url) as client:
                    await client.publish("a", "b", qos=2)
        names = [type(entry.packet).__name__ for entry in recording.entries if entry.packet]
        assert names == [
            "Connect",
            "ConnAck",
            "Publish",
            "PubRec",
            "PubRel",
            "PubComp",
            "Disconnect",
        ]
        async with (
            replaying(recording, paced=False) as peer,
            peer.listen() as url,
            open_client(url) as client,
        ):
            await client.publish("a", "b", qos=2)


# -- ends ----------------------------------------------------------------------------------------


async def test_who_ended_a_connection_and_how() -> None:
    async with open_server() as server, open_network(server.connect) as network:
        recording = network.record()
        for _ in range(2):
            async with network.connect() as stream:
                await RawClient(stream).send(Connect("c"))
                await trio.testing.wait_all_tasks_blocked()
                stream.reset()
            await network.connections[-1].wait_ended()
        async with network.connect() as stream:
            await RawClient(stream).send(Connect("c"))
            await trio.testing.wait_all_tasks_blocked()
            server.drop("c", reset=True)
            await network.connections[-1].wait_ended()
        for ending in ("reset", "close"):
            async with network.connect():
                network.cut(ending)
    ends = [(entry.connection, entry.sender, entry.end) for entry in recording.entries if entry.end]
    assert ends == [
        (1, "client", "reset"),
        (2, "client", "reset"),
        (3, "server", "reset"),
        (4, "network", "reset"),
        (5, "network", "close"),
    ]


@pytest.mark.parametrize("sender", ["server", "network"])
@pytest.mark.parametrize("ending", ["reset", "close"])
async def test_what_was_sent_before_the_end_can_be_read(
    sender: Literal["server", "network"],
    ending: Literal["reset", "close"],
    autojump_clock: MockClock,
) -> None:
    peer = ScriptedPeer(
        *Recording(
            [
                Recorded(
                    connection=1, time=0, sender="client", packet=Connect("c"), protocol=MQTT_5
                ),
                Recorded(connection=1, time=0, sender="server", packet=ConnAck()),
                Recorded(connection=1, time=1, sender=sender, end=ending),
            ]
        ).scripts()
    )
    async with peer.connect() as stream:
        await RawClient(stream).send(Connect("c"))
        await trio.sleep(2)
        data, end = await read_all(stream)
        assert data == encode(ConnAck(), MQTT_5)
        assert end == ending


async def test_a_message_sent_again_has_its_identifier(autojump_clock: MockClock) -> None:
    connect = Connect("c")
    entries = [
        Recorded(connection=number, time=0, sender="client", packet=packet, protocol=protocol)
        for number in (1, 2)
        for packet, protocol in (
            (connect, MQTT_5),
            (Publish("a", b"", 1, dup=number == 2, packet_id=7), None),
        )
    ]
    for last in (9, 8):
        peer = ScriptedPeer(*Recording(entries).scripts())
        async with peer.connect() as stream:
            await RawClient(stream).send(connect, Publish("a", b"", 1, packet_id=9))
        with (
            nullcontext() if last == 9 else pytest.raises(AssertionError, match="expected 9, got 8")
        ):
            async with peer.connect() as stream:
                await RawClient(stream).send(
                    connect, Publish("a", b"", 1, dup=True, packet_id=last)
                )


def from_client(connection: int, packet: Packet, time: float = 0) -> Recorded:
    protocol = MQTT_5 if isinstance(packet, Connect) else None
    return Recorded(
        connection=connection, time=time, sender="client", packet=packet, protocol=protocol
    )


def from_server(connection: int, packet: Packet) -> Recorded:
    return Recorded(connection=connection, time=0, sender="server", packet=packet)


async def test_an_identifier_in_use_is_not_taken_for_another(autojump_clock: MockClock) -> None:
    first, second = (Publish("a", b"", 1, packet_id=packet_id) for packet_id in (7, 8))
    for between, right in (((), False), ((from_server(1, PubAck(7)),), True)):
        recording = Recording(
            [
                from_client(1, Connect("c")),
                from_client(1, first),
                *between,
                from_client(1, second),
            ]
        )
        peer = ScriptedPeer(*recording.scripts())
        with nullcontext() if right else pytest.raises(AssertionError, match="3 is still in use"):
            async with peer.connect() as stream:
                both = Publish("a", b"", 1, packet_id=3)
                await RawClient(stream).send(Connect("c"), both, both)
                await trio.testing.wait_all_tasks_blocked()
            peer.assert_done()


async def test_a_lost_session_has_no_identifier_in_use(autojump_clock: MockClock) -> None:
    publishes = [Publish("a", b"", 1, packet_id=packet_id) for packet_id in (7, 8)]
    entries = [
        entry
        for number, publish in enumerate(publishes, 1)
        for entry in (
            from_client(number, Connect("c")),
            from_server(number, ConnAck()),
            from_client(number, publish),
        )
    ]
    peer = ScriptedPeer(*Recording(entries).scripts())
    for _ in publishes:
        async with peer.connect() as stream:
            await RawClient(stream).send(Connect("c"), Publish("a", b"", 1, packet_id=3))
            await trio.testing.wait_all_tasks_blocked()
    peer.assert_done()


async def test_two_clients_have_identifiers_of_their_own(autojump_clock: MockClock) -> None:
    """Both had 7 in the recording; the replay of one does not rename that of the other."""
    entries = [from_client(number, Connect(f"c{number}")) for number in (1, 2)]
    entries += [from_client(number, Publish("a", b"", 1, packet_id=7)) for number in (1, 2)]
    entries += [from_server(number, PubAck(7)) for number in (1, 2)]
    peer = ScriptedPeer(*Recording(entries).scripts())
    async with peer.connect() as one, peer.connect() as other:
        raws = {3: RawClient(one), 4: RawClient(other)}
        for packet_id, raw in raws.items():
            connect = Connect(f"d{packet_id}")
            await raw.send(connect, Publish("a", b"", 1, packet_id=packet_id))
        for packet_id, raw in raws.items():
            assert await raw.receive() == PubAck(packet_id)
    peer.assert_done()


async def test_two_clients_are_not_one(autojump_clock: MockClock) -> None:
    entries = [from_client(number, Connect(f"c{number}")) for number in (1, 2)]
    peer = ScriptedPeer(*Recording(entries).scripts())
    async with peer.connect() as stream:
        await RawClient(stream).send(Connect("d"))
    with pytest.raises(AssertionError, match="'d' is another client's identifier, recorded 'c1'"):
        async with peer.connect() as stream:
            await RawClient(stream).send(Connect("d"))


async def test_an_identifier_of_the_server_s_choice_is_that_client_s(
    autojump_clock: MockClock,
) -> None:
    assigned = Properties(assigned_client_identifier="x")
    entries = [
        from_client(1, Connect("")),
        from_server(1, ConnAck(properties=assigned)),
        from_client(1, Publish("a", b"", 1, packet_id=7)),
        from_client(2, Connect("x", clean_start=False)),
        from_server(2, ConnAck(session_present=True)),
        from_client(2, Publish("a", b"", 1, dup=True, packet_id=7)),
    ]
    peer = ScriptedPeer(*Recording(entries).scripts())
    for connect, dup in ((Connect(""), False), (Connect("x", clean_start=False), True)):
        async with peer.connect() as stream:
            await RawClient(stream).send(connect, Publish("a", b"", 1, dup=dup, packet_id=3))
            await trio.testing.wait_all_tasks_blocked()
    peer.assert_done()


async def test_pingreqs_come_before_the_end_too(autojump_clock: MockClock) -> None:
    entries = [
        from_client(1, Connect("c")),
        from_server(1, ConnAck()),
        Recorded(connection=1, time=100, sender="client", end="close"),
    ]
    peer = ScriptedPeer(*Recording(entries).scripts())
    async with peer.connect() as stream:
        raw = RawClient(stream)
        await raw.send(Connect("c"))
        assert await raw.receive() == ConnAck()
        await trio.sleep(60)
        await raw.send(PingReq())
        assert await raw.receive() == PingResp()
        await trio.sleep(40)
    peer.assert_done()
    peer = ScriptedPeer(*Recording(entries).scripts())
    with pytest.raises(AssertionError, match="the client sent Publish") as caught:
        async with peer.connect() as stream:
            await RawClient(stream).send(Connect("c"), Publish("a"))
            await trio.testing.wait_all_tasks_blocked()
    assert "the recorded end, by the client" in str(caught.value)
