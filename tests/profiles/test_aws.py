"""AWS IoT Core, played from its documentation.

Sources: AWS IoT Core developer guide, "MQTT" (QoS, persistent sessions, "MQTT 5 supported
features", "MQTT 5 properties", "MQTT reason codes", "AWS IoT differences from MQTT specifications")
and "Device communication protocols" (ports, ALPN, authentication); AWS General Reference, "AWS IoT
Core endpoints and quotas" (100 unacknowledged messages each way, 8 topic aliases, 8 subscriptions
in a SUBSCRIBE, 50 on a connection, sessions kept for an hour by default, Keep Alive up to 1200
seconds; that shorter ones than 30 become 30 is said elsewhere, and not of AWS's own).

The guide says that the Maximum Packet Size cannot exceed 128 KB, and no number in bytes; 131,072 is
played.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import attrs
import pytest
import trio
from signatures import aws_websocket_url

import trio_mqtt
from tests.client.outages import longest_delays, warnings
from tests.profiles.front import open_front
from tests.profiles.support import (
    GOODBYE,
    SOON,
    accept,
    acknowledge,
    assert_disconnect,
    assert_refusal,
)
from tests.transports.support import CA
from trio_mqtt import MQTT_3_1_1, MQTT_5, QoS, ReasonCode, ServerInfo, Session
from trio_mqtt.events import Connected
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    Properties,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    UnsubAck,
    Unsubscribe,
)
from trio_mqtt.testing import (
    Close,
    Expect,
    ExpectSilence,
    Pause,
    Reply,
    Reset,
    ScriptedPeer,
    Send,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trio.testing import MockClock

    from trio_mqtt.testing import Step

LONGEST: Final = 30.0
WINDOW: Final = 100
LARGEST: Final = 128 * 1024
GRANTED: Final = Properties(
    receive_maximum=WINDOW,
    maximum_qos=1,
    retain_available=1,
    maximum_packet_size=LARGEST,
    topic_alias_maximum=8,
    wildcard_subscription_available=1,
    subscription_identifier_available=0,
    shared_subscription_available=1,
    server_keep_alive=60,
)
ACCEPTED: Final = accept(GRANTED)


def granted(packet: Subscribe) -> SubAck:
    return SubAck(packet.packet_id, (ReasonCode.GRANTED_QOS_1,))


def unsubscribed(packet: Unsubscribe) -> UnsubAck:
    return UnsubAck(packet.packet_id, (ReasonCode.SUCCESS,))


SUBSCRIBED: Final[list[Step]] = [Expect(Subscribe), Reply(Subscribe, granted)]
UNSUBSCRIBED: Final[list[Step]] = [Expect(Unsubscribe), Reply(Unsubscribe, unsubscribed)]


async def test_what_connack_grants(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer([*ACCEPTED, *GOODBYE])
    async with trio_mqtt.open_client(connector=peer.connect, client_id="pump") as client:
        assert client.server == ServerInfo(
            protocol=MQTT_5,
            client_id="pump",
            keep_alive=60,
            session_expiry_interval=300,
            receive_maximum=WINDOW,
            maximum_qos=QoS.AT_LEAST_ONCE,
            maximum_packet_size=LARGEST,
            topic_alias_maximum=8,
            subscription_identifier_available=False,
        )
    peer.assert_done()


class TestLimits:
    async def test_what_it_does_not_take_is_not_sent(self, autojump_clock: MockClock) -> None:
        peer = ScriptedPeer([*ACCEPTED, Expect(Publish, qos=1), acknowledge(), *GOODBYE])
        async with trio_mqtt.open_client(connector=peer.connect) as client:
            with pytest.raises(trio_mqtt.FeatureNotSupported, match="Maximum QoS of 1"):
                await client.publish("a", "x", qos=2)
            with pytest.raises(trio_mqtt.PacketTooLarge, match=f"Packet Size of {LARGEST}"):
                await client.publish("a", bytes(LARGEST), qos=1)
            await client.publish("a", "x", qos=1)
        peer.assert_done()

    # "When QoS level 2 is requested, the message broker doesn't send a PUBACK or SUBACK."
    async def test_a_subscription_at_qos_2_waits_until_it_is_cancelled(
        self, autojump_clock: MockClock
    ) -> None:
        peer = ScriptedPeer([*ACCEPTED, Expect(Subscribe), Expect(Unsubscribe), *GOODBYE])
        async with trio_mqtt.open_client(connector=peer.connect) as client:
            with trio.move_on_after(5) as scope:
                async with client.subscribe("a", qos=2):
                    pytest.fail("it is subscribed")
            assert scope.cancelled_caught
        peer.assert_done()

    async def test_the_window_is_100(self, autojump_clock: MockClock) -> None:
        publishes: list[Step] = [Expect(Publish, packet_id=each + 1) for each in range(WINDOW)]
        acknowledgements: list[Step] = [Send(PubAck(each + 1)) for each in range(1, WINDOW + 1)]
        peer = ScriptedPeer(
            [
                *ACCEPTED,
                *publishes,
                ExpectSilence(5),
                Send(PubAck(1)),
                Expect(Publish),
                *acknowledgements,
                *GOODBYE,
            ]
        )
        async with (
            trio_mqtt.open_client(connector=peer.connect) as client,
            client.open_publisher(qos=1) as publisher,
        ):
            for number in range(WINDOW + 1):
                await publisher.send("a", str(number))
        peer.assert_done()

    # A SUBSCRIBE with more than 8 filters is refused; ours have one each, and no identifier.
    async def test_each_filter_has_a_subscribe_of_its_own(self, autojump_clock: MockClock) -> None:
        filters = [f"plant/{number}/#" for number in range(9)]
        subscribes: list[Step] = []
        for each in filters:
            requests = (SubscriptionRequest(each, 1),)
            subscribes.append(Expect(Subscribe, requests=requests, properties=Properties()))
            subscribes.append(Reply(Subscribe, granted))
        peer = ScriptedPeer([*ACCEPTED, *subscribes, *UNSUBSCRIBED * 9, *GOODBYE])
        async with (
            trio_mqtt.open_client(connector=peer.connect) as client,
            client.subscribe(*filters, qos=1) as messages,
        ):
            assert list(messages.granted) == filters
        peer.assert_done()

    async def test_more_subscriptions_than_a_connection_may_have(
        self, autojump_clock: MockClock
    ) -> None:
        def exceeded(packet: Subscribe) -> SubAck:
            return SubAck(packet.packet_id, (ReasonCode.QUOTA_EXCEEDED,))

        peer = ScriptedPeer(
            [
                *ACCEPTED,
                *SUBSCRIBED,
                Expect(Subscribe),
                Reply(Subscribe, exceeded),
                *UNSUBSCRIBED,
                *GOODBYE,
            ]
        )
        async with (
            trio_mqtt.open_client(connector=peer.connect) as client,
            client.subscribe("a", qos=1),
        ):
            with pytest.raises(trio_mqtt.SubscribeRejected) as caught:
                async with client.subscribe("the 51st", qos=1):
                    pytest.fail("it is subscribed")
            assert caught.value.reasons == {"the 51st": ReasonCode.QUOTA_EXCEEDED}
        peer.assert_done()

    @pytest.mark.parametrize(("asked", "given"), [(0, 1200), (10, 30), (3600, 1200)])
    async def test_a_keep_alive_out_of_range_is_replaced(
        self, autojump_clock: MockClock, asked: int, given: int
    ) -> None:
        peer = ScriptedPeer(
            [
                Expect(Connect, keep_alive=asked),
                Send(ConnAck(properties=attrs.evolve(GRANTED, server_keep_alive=given))),
                ExpectSilence(given / 2 - 1),
                Expect(PingReq),
                Send(PingResp()),
                *GOODBYE,
            ],
            timeout=1000,
        )
        async with trio_mqtt.open_client(connector=peer.connect, keep_alive=asked) as client:
            assert client.server.keep_alive == given
            await trio.sleep(given)
        peer.assert_done()


class TestSession:
    async def test_it_is_kept_for_less_than_was_asked_for(
        self, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        hour = attrs.evolve(GRANTED, session_expiry_interval=3600)
        peer = ScriptedPeer([*accept(hour), *GOODBYE])
        session = Session("pump", expiry=30 * 86_400)
        async with trio_mqtt.open_client(connector=peer.connect, session=session):
            assert session.expiry == 3600
        assert any("3600" in record.getMessage() for record in caplog.records)
        peer.assert_done()

    # "The MQTT DUP flag is not supported": what comes again cannot be told from what is new.
    async def test_what_was_not_acknowledged_comes_again_without_dup(
        self, autojump_clock: MockClock
    ) -> None:
        hour = attrs.evolve(GRANTED, session_expiry_interval=3600)
        order = Publish("orders", b"42", 1, packet_id=7)
        peer = ScriptedPeer(
            [*accept(hour), *SUBSCRIBED, Send(order), Pause(1), Reset()],
            [
                Expect(Connect, clean_start=False),
                Send(ConnAck(session_present=True, properties=hour)),
                Send(order),
                Expect(PubAck(7)),
                *GOODBYE,
            ],
        )
        async with (
            trio_mqtt.open_client(
                connector=peer.connect, session=Session("pump", expiry=3600), reconnect=SOON
            ) as client,
            client.subscribe("orders", qos=1) as messages,
            client.events() as events,
        ):
            first = await messages.receive()  # and the connection is lost before it is settled
            async for event in events:
                if isinstance(event, Connected):
                    break
            second = await messages.receive()
            assert (first.text(), second.text()) == ("42", "42")
            assert not second.dup
            first.ack()  # of the earlier connection: it must not acknowledge the second
            second.ack()
        peer.assert_done()


@pytest.mark.parametrize(
    ("reason_code", "fatal", "fatal_with_callable"),
    [
        (ReasonCode.UNSPECIFIED_ERROR, False, False),
        (ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, True, True),
        (ReasonCode.BAD_USER_NAME_OR_PASSWORD, True, False),
        (ReasonCode.NOT_AUTHORIZED, True, False),
        (ReasonCode.TOPIC_NAME_INVALID, True, True),
        (ReasonCode.QUOTA_EXCEEDED, False, False),
        (ReasonCode.QOS_NOT_SUPPORTED, True, True),
    ],
)
async def test_refusals(
    autojump_clock: MockClock, reason_code: ReasonCode, fatal: bool, fatal_with_callable: bool
) -> None:
    await assert_refusal(reason_code, MQTT_5, fatal=fatal, fatal_with_callable=fatal_with_callable)


@pytest.mark.parametrize(
    ("reason_code", "fatal"),
    [
        (ReasonCode.MALFORMED_PACKET, True),
        (ReasonCode.PROTOCOL_ERROR, True),
        (ReasonCode.NOT_AUTHORIZED, True),
        (ReasonCode.SERVER_SHUTTING_DOWN, False),
        (ReasonCode.KEEP_ALIVE_TIMEOUT, False),
        (ReasonCode.SESSION_TAKEN_OVER, True),
        (ReasonCode.TOPIC_FILTER_INVALID, True),
        (ReasonCode.TOPIC_NAME_INVALID, True),
        (ReasonCode.RECEIVE_MAXIMUM_EXCEEDED, True),
        (ReasonCode.TOPIC_ALIAS_INVALID, True),
        (ReasonCode.QUOTA_EXCEEDED, False),
        (ReasonCode.ADMINISTRATIVE_ACTION, False),  # the API DeleteConnection
        (ReasonCode.QOS_NOT_SUPPORTED, True),
        (ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, True),
    ],
)
async def test_disconnects(autojump_clock: MockClock, reason_code: ReasonCode, fatal: bool) -> None:
    await assert_disconnect(GRANTED, reason_code, fatal=fatal)


class TestForbidden:
    async def test_a_publish_that_the_policy_forbids(self, autojump_clock: MockClock) -> None:
        peer = ScriptedPeer(
            [*ACCEPTED, Expect(Publish), acknowledge(ReasonCode.NOT_AUTHORIZED), *GOODBYE]
        )
        async with trio_mqtt.open_client(connector=peer.connect) as client:
            with pytest.raises(trio_mqtt.PublishRejected, match="not authorized"):
                await client.publish("forbidden", "x", qos=1)
        peer.assert_done()

    async def test_a_publish_that_ends_the_connection(self, autojump_clock: MockClock) -> None:
        peer = ScriptedPeer(
            [*ACCEPTED, Expect(Publish), Send(Disconnect(ReasonCode.NOT_AUTHORIZED)), Close()]
        )
        with pytest.raises(trio_mqtt.ConnectionLost, match="not authorized") as caught:
            async with trio_mqtt.open_client(connector=peer.connect, reconnect=SOON) as client:
                await client.publish("forbidden", "x", qos=1)
        assert caught.value.reason_code is ReasonCode.NOT_AUTHORIZED
        assert peer.connections == 1

    # Below MQTT 5.0 the server just closes, and the message in doubt is sent again each time.
    async def test_on_mqtt_3_1_1_it_is_a_loss_like_any_other(
        self,
        autojump_clock: MockClock,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        longest_delays(monkeypatch)
        forbidden: list[Step] = [Expect(Connect), Send(ConnAck()), Expect(Publish), Close()]
        peer = ScriptedPeer(*[forbidden] * 1000)
        with trio.move_on_after(600) as scope:
            async with trio_mqtt.open_client(connector=peer.connect, protocol=MQTT_3_1_1) as client:
                await client.publish("forbidden", "x", qos=1)
        assert scope.cancelled_caught
        assert peer.connections == 17  # after 0.5, 1, 2 ... 32, then 60 seconds each
        assert any("were lost soon after they were made" in each for each in warnings(caplog))


class TestALPN:
    async def test_a_client_certificate_on_the_port_of_https(self, tmp_path: Path) -> None:
        CA.cert_pem.write_to_path(tmp_path / "ca.pem")
        certificate = CA.issue_cert("pump.test", common_name="pump")
        certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "pump.pem")
        context = trio_mqtt.make_ssl_context(
            ca_file=tmp_path / "ca.pem",
            certificate=tmp_path / "pump.pem",
            alpn=["x-amzn-mqtt-ca"],
        )
        peer = ScriptedPeer([*ACCEPTED, *GOODBYE])
        with trio.fail_after(LONGEST):
            async with open_front(
                peer,
                alpn=["x-amzn-http-ca", "http/1.1", "mqtt", "x-amzn-mqtt-ca"],
                client_certificates=True,
            ) as front:
                url = f"mqtts://localhost:{front.port}"
                async with trio_mqtt.open_client(url, ssl_context=context) as client:
                    assert client.server.receive_maximum == WINDOW
        assert front.protocols == ["x-amzn-mqtt-ca"]
        assert front.names == ["localhost"]
        assert front.subjects == ["pump"]
        peer.assert_done()

    async def test_a_custom_authorizer(self, tmp_path: Path) -> None:
        CA.cert_pem.write_to_path(tmp_path / "ca.pem")
        context = trio_mqtt.make_ssl_context(ca_file=tmp_path / "ca.pem", alpn=["mqtt"])
        username = "pump?x-amz-customauthorizer-name=plant"
        peer = ScriptedPeer(
            [
                Expect(Connect, username=username, password=b"token"),
                *ACCEPTED[1:],
                *GOODBYE,
            ]
        )
        with trio.fail_after(LONGEST):
            async with (
                open_front(peer, alpn=["x-amzn-mqtt-ca", "http/1.1", "mqtt"]) as front,
                trio_mqtt.open_client(
                    f"mqtts://localhost:{front.port}",
                    ssl_context=context,
                    username=username,
                    password="token",
                ),
            ):
                pass
        assert front.protocols == ["mqtt"]
        assert front.subjects == [None]
        peer.assert_done()


class TestWebSocket:
    @staticmethod
    def clock() -> Iterator[datetime]:
        now = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)
        while True:
            yield now
            now += timedelta(minutes=1)

    async def test_each_attempt_has_a_url_signed_anew(self, tmp_path: Path) -> None:
        CA.cert_pem.write_to_path(tmp_path / "ca.pem")
        peer = ScriptedPeer(
            [*ACCEPTED, Pause(0.01), Reset()],
            [Expect(Connect), Send(ConnAck(session_present=True, properties=GRANTED)), *GOODBYE],
        )
        times = self.clock()
        made: list[str] = []
        refused_once = iter([True, False])

        def accepts(_target: str) -> bool:
            return next(refused_once, True)

        with trio.fail_after(LONGEST):
            async with open_front(peer, accepts=accepts) as front:

                async def url() -> str:
                    await trio.lowlevel.checkpoint()
                    made.append(
                        aws_websocket_url(
                            f"localhost:{front.port}",
                            region="eu-west-1",
                            access_key_id="AKIDEXAMPLE",
                            secret_access_key="secret",
                            session_token="temporary/token",
                            at=next(times),
                        )
                    )
                    return made[-1]

                async with (
                    trio_mqtt.open_client(
                        url,
                        ssl_context=trio_mqtt.make_ssl_context(ca_file=tmp_path / "ca.pem"),
                        reconnect=SOON,
                    ) as client,
                    client.events() as events,
                ):
                    async for event in events:
                        if isinstance(event, Connected):
                            break
        peer.assert_done()
        assert front.targets == [
            each.removeprefix(f"wss://localhost:{front.port}") for each in made
        ]
        dates = [each.partition("X-Amz-Date=")[2][:16] for each in front.targets]
        assert dates == ["20260131T235900Z", "20260201T000000Z", "20260201T000100Z"]
        signatures = {each.partition("X-Amz-Signature=")[2][:64] for each in front.targets}
        assert len(signatures) == 3

    async def test_a_signature_refused_at_first(self, tmp_path: Path) -> None:
        CA.cert_pem.write_to_path(tmp_path / "ca.pem")
        peer = ScriptedPeer()
        with trio.fail_after(LONGEST):
            async with open_front(peer, accepts=lambda _target: False) as front:

                async def url() -> str:
                    await trio.lowlevel.checkpoint()
                    return f"wss://localhost:{front.port}/mqtt?X-Amz-Signature=of-yesterday"

                with pytest.raises(trio_mqtt.ConnectFailed, match="HTTP status 403") as caught:
                    async with trio_mqtt.open_client(
                        url, ssl_context=trio_mqtt.make_ssl_context(ca_file=tmp_path / "ca.pem")
                    ):
                        pytest.fail("it is connected")
        assert caught.value.stage == "WebSocket"
        assert "of-yesterday" not in str(caught.value)
