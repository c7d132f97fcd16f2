"""What goes wrong in MQTT clients, each as a test that it does not go wrong here.

`PITFALLS` names, for each of them, the tests that show it, here or elsewhere.
"""

from __future__ import annotations

import ast
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.client.moments import (
    PATIENCE,
    all_tasks,
    assert_clean_end,
    assert_idle,
    assert_works,
    received,
)
from tests.client.outages import nth_connection
from tests.client.support import open_once
from trio_mqtt import (
    MQTT_3_1_1,
    MQTT_5,
    ConnectFailed,
    ConnectionLost,
    ConnectRejected,
    MQTTError,
    PacketTooLarge,
    Protocol,
    PublishRejected,
    ReasonCode,
    Session,
    StorageError,
    open_client,
)
from trio_mqtt.abc import Storage
from trio_mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    encode,
)
from trio_mqtt.testing import (
    Close,
    Expect,
    ExpectEnd,
    ExpectSilence,
    Pause,
    Reply,
    ScriptedPeer,
    Send,
    SendBytes,
    ServerLimits,
    Step,
    WaitFor,
    open_server,
)
from trio_mqtt.testing._memory import reset_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio.testing import MockClock

    from trio_mqtt._client._buffer import Overflow
    from trio_mqtt.abc import Changes, RecordKey

TESTS: Final = Path(__file__).parent.parent
HERE: Final = "client/test_pitfalls.py"
RECEIVER: Final = "protocol/test_receiver.py"
SENDER: Final = "protocol/test_sender.py"
IDS: Final = "protocol/test_identifiers.py"
AGAIN: Final = "client/test_redelivery.py"
LOST: Final = "client/test_lost_sessions.py"
ASK: Final = "client/test_requesting.py"

PITFALLS: Final[dict[str, list[str]]] = {
    # Receiving
    "a reader that waits for its consumer hangs a loop that publishes": [
        f"{HERE}::test_a_consumer_that_awaits_a_publish_in_its_own_loop_does_not_hang",
        f"{HERE}::test_a_consumer_that_subscribes_in_its_own_loop_does_not_hang",
        f"{ASK}::test_a_consumer_that_awaits_requests_in_its_own_loop_never_hangs",
        "client/test_backpressure.py::test_a_loop_that_publishes_does_not_lock_up",
        "client/test_forwarding.py::test_with_mosquitto",
    ],
    "of several messages in one segment only the first is received": [
        f"{HERE}::test_ten_qos_0_messages_in_one_segment_all_arrive",
    ],
    "a wait that times out swallows the next message": [
        f"{HERE}::test_a_timed_out_wait_does_not_swallow_a_message",
        "client/test_cancellation.py::test_receive",
    ],
    "messages are acknowledged, then dropped since the queue is full": [
        f"{HERE}::test_no_message_is_acknowledged_and_then_discarded",
        "client/test_backpressure.py::test_qos_1_is_never_dropped",
    ],
    "a QoS 2 message sent again is delivered twice, or gets no second PUBREC": [
        f"{HERE}::test_a_qos_2_message_sent_again_is_delivered_once_and_answered_again",
        f"{RECEIVER}::test_pitfall_qos_2_duplicate_delivered_twice_or_missing_second_pubrec",
    ],
    "a late acknowledgement goes out on the next connection": [
        f"{RECEIVER}::test_pitfall_late_acknowledgement_on_the_next_network_connection",
        f"{AGAIN}::test_settled_while_offline_it_is_acknowledged_when_it_comes_again",
        f"{AGAIN}::test_another_message_with_the_same_identifier_is_delivered",
    ],
    "of two subscriptions that match only one is fed": [
        f"{HERE}::test_the_same_filter_twice_feeds_both",
        f"{HERE}::test_a_wildcard_and_a_narrower_filter_are_both_fed",
    ],
    "a shared subscription never matches": [
        f"{HERE}::test_a_shared_subscription_is_fed",
    ],
    "a slow consumer makes a queue grow without bound": [
        f"{HERE}::test_a_slow_consumer_does_not_grow_an_unbounded_queue",
        "client/test_backpressure.py::test_the_bytes_are_bounded_too",
    ],
    "a server one message above the Receive Maximum is disconnected": [
        f"{HERE}::test_a_server_that_slightly_exceeds_our_receive_maximum_is_tolerated",
        "client/test_holding.py::test_a_slight_overrun_is_absorbed_with_one_warning",
        "protocol/test_receiver.py::test_receive_maximum_exceeded_is_tolerated_up_to_twice",
    ],
    "messages that come before SUBACK vanish": [
        f"{HERE}::test_messages_before_suback_are_delivered",
        "client/test_subscribing.py::test_messages_before_suback_are_received",
    ],
    "a QoS 2 message is lost when the link drops between PUBREC and PUBREL": [
        f"{AGAIN}::test_a_qos_2_message_whose_pubrec_is_out_is_not_delivered_again",
        "client/test_resuming.py::test_cut_anywhere_in_a_qos_2_exchange_it_comes_once",
        "client/test_cuts.py::test_cut_at_every_byte",
    ],
    "messages of a resumed session come before the program has subscribed, and vanish": [
        f"{AGAIN}::TestAdopted::test_messages_before_the_program_has_subscribed_wait_for_it",
    ],
    # Sending
    "both directions share one set of Packet Identifiers": [
        f"{HERE}::test_both_sides_may_use_the_same_packet_identifier_at_once",
        "protocol/test_receiver.py::test_pitfall_inbound_and_outbound_identifiers_share_one_map",
    ],
    "a Packet Identifier is used again while in flight, or at once after": [
        f"{HERE}::test_packet_identifiers_ascend_and_are_not_used_again_at_once",
        f"{IDS}::test_pitfall_identifier_used_again_while_in_flight_or_immediately_after_release",
    ],
    "an acknowledgement that refuses is taken for success": [
        f"{HERE}::test_an_acknowledgement_that_refuses_raises",
        "client/test_publishing.py::test_a_refused_message",
    ],
    "PUBREL follows a PUBREC that refused": [
        f"{HERE}::test_no_pubrel_follows_a_pubrec_that_refused",
        "protocol/test_sender.py::test_pitfall_pubrel_follows_a_pubrec_that_refused",
    ],
    "a cancelled publish keeps its place in the window for good": [
        f"{HERE}::test_a_cancelled_publish_leaks_no_place_in_the_window",
        "client/test_cancellation.py::test_publish",
    ],
    "the late acknowledgement of a cancelled publish kills the client": [
        f"{HERE}::test_a_cancelled_publish_leaks_no_place_in_the_window",
        f"{HERE}::test_an_acknowledgement_for_nothing_is_ignored",
        "protocol/test_sender.py::test_pitfall_late_puback_kills_the_client",
    ],
    "the late SUBACK of a cancelled subscribe kills the client": [
        f"{HERE}::test_a_cancelled_subscribe_and_its_late_suback_do_no_harm",
        "client/test_cancellation.py::test_the_block_of_a_subscription",
    ],
    "a publish that raised is sent all the same": [
        f"{HERE}::test_a_publish_that_raised_is_not_sent_later",
    ],
    "a publisher cancelled while sending leaves a torn packet": [
        f"{HERE}::test_a_cancelled_publish_tears_no_packet",
    ],
    "the server's Receive Maximum is ignored, or counts SUBSCRIBE": [
        f"{HERE}::test_the_server_s_receive_maximum_is_kept_and_subscribe_does_not_count",
        "client/test_publishing.py::TestLimits::test_receive_maximum",
        f"{SENDER}::test_pitfall_subscribe_counts_against_receive_maximum_or_value_1_ignored",
    ],
    "the server's Maximum Packet Size is not checked, or taken for ours": [
        f"{HERE}::test_the_server_s_maximum_packet_size_limits_what_we_send_only",
        "client/test_publishing.py::TestLimits::test_maximum_packet_size_to_the_byte",
        "client/test_limits_again.py::test_a_message_that_waits_is_given_up_and_never_sent",
    ],
    "Topic Aliases outlive their connection": [
        f"{RECEIVER}::test_pitfall_topic_aliases_survive_into_the_next_network_connection",
        "client/test_resuming.py::test_topic_names_are_sent_in_full_again",
    ],
    # Connecting and reconnecting
    "Clean Start 0 never reaches the wire": [
        f"{HERE}::test_clean_start_0_is_sent_for_a_session_that_goes_on",
        "client/test_sessions.py::TestKept::test_it_goes_on_in_the_next_block",
    ],
    "Session Present is ignored": [
        f"{HERE}::test_session_present_decides_what_is_sent_again",
    ],
    "what is sent again has no DUP, or is not sent at all": [
        f"{HERE}::test_session_present_decides_what_is_sent_again",
        "client/test_resuming.py::test_publishes_come_again_in_order_before_anything_new",
        "client/test_resuming.py::test_pubrels_come_again_in_the_order_of_the_pubrecs",
    ],
    "the session was lost, and what was under way is sent again as if it were not": [
        f"{HERE}::test_session_present_decides_what_is_sent_again",
        f"{LOST}::TestPolicies::test_policy",
    ],
    "a lost session keeps Packet Identifiers for good": [
        f"{LOST}::TestPolicies::test_a_lost_session_leaks_no_identifier",
    ],
    "taken over, the client fights for its session": [
        "client/test_refusals.py::TestDisconnect::test_taken_over_is_never_fought",
        "client/test_reconnecting.py::TestLog::test_short_lives_are_one_more_warning",
    ],
    "subscriptions are gone after a reconnect": [
        f"{AGAIN}::test_a_subscription_goes_on_through_many_losses",
        f"{LOST}::TestLost::test_subscriptions_come_before_messages_and_keep_their_identifiers",
        f"{LOST}::TestLost::test_mqtt_3_1_1_ephemeral_loses_it_each_time",
    ],
    "the response handler of a request dies at the first reconnect": [
        f"{ASK}::TestOutage::test_the_response_handler_goes_on_after_a_reconnect",
        f"{ASK}::TestOutage::test_cut_before_the_request_was_acknowledged_it_is_sent_again",
        "client/test_sessions.py::test_a_request_and_its_response_go_on_after_a_loss",
    ],
    "a server that closes before CONNACK hangs the client": [
        f"{HERE}::test_a_server_that_closes_before_connack_does_not_hang_the_client",
        "client/test_hostile.py::test_the_connection_ends_before_connack",
    ],
    "a CONNACK that refuses is taken for acceptance": [
        f"{HERE}::test_connack_0x86_raises",
        "protocol/test_connack.py::test_pitfall_connack_0x86_silently_accepted",
    ],
    "a wrong host name is retried in silence": [
        "client/test_opening.py::test_an_unknown_host_is_told_apart",
        "client/test_reconnecting.py::TestFirstConnection::test_it_fails_at_once",
        "client/test_reconnecting.py::TestLog::test_a_server_that_was_never_there_is_one_warning",
    ],
    "a reset kills the reader in silence": [
        f"{HERE}::test_a_tcp_reset_is_noticed",
        "client/test_hostile.py::test_the_connection_ends",
    ],
    "no PINGREQ is sent, or none once CONNACK names no Keep Alive": [
        f"{HERE}::test_pingreq_is_sent_also_if_connack_names_no_keep_alive",
        "client/test_liveness.py::test_pingreq_goes_out_in_time_and_again",
    ],
    "the end of a connection upsets nurseries and cancel scopes": [
        f"{HERE}::test_a_closed_connection_upsets_no_nursery_and_no_cancel_scope",
    ],
    "a cancelled connect leaves something locked": [
        f"{HERE}::test_a_cancelled_connect_leaves_nothing_locked",
        "client/test_cancellation.py::test_the_whole_block_of_a_client",
    ],
    # Persistence
    "what is stored is not synced to disk": [
        "client/test_syncs.py::test_records_are_synced_before_packets_reveal_them",
        "storage/test_sqlite.py::test_settings_of_the_connection",
    ],
    "stored messages are sent in the order of the times of files": [
        "client/test_durable.py::test_the_queue_is_sent_by_the_next_run",
        "storage/test_sqlite.py::test_each_kind_comes_in_the_order_of_its_keys",
    ],
    "the storage is read again for every message": [
        f"{HERE}::test_the_storage_is_read_once",
    ],
    "a crash between sending and removing doubles a message": [
        f"{HERE}::test_a_crash_at_any_commit_doubles_no_qos_2_message",
        "client/test_kills.py::test_effects_in_the_transaction_that_settles",
        "client/test_cuts.py::test_cut_and_the_session_is_in_a_file",
    ],
    "an acknowledgement is sent before the message is safe": [
        f"{HERE}::test_nothing_is_revealed_before_it_is_stored",
        "client/test_syncs.py::test_records_are_synced_before_packets_reveal_them",
        "client/test_durable.py::test_a_full_disk_holds_acknowledgements_back",
    ],
    # Wire
    "variable byte integers of five bytes, or overlong ones, are accepted": [
        "packets/test_malformed.py::test_remaining_length_of_five_bytes",
        "packets/test_malformed.py::test_overlong_remaining_length_is_wrong_in_mqtt_5_only",
        "packets/test_malformed.py::test_variable_byte_integers_inside_a_packet",
    ],
    "a truncated body raises something undocumented": [
        "packets/test_round_trip.py::test_every_prefix_waits_for_the_rest",
        "packets/test_fuzz.py::test_mutated_packets",
    ],
    "repeated User Properties are merged or reordered": [
        f"{HERE}::test_user_properties_keep_their_repeats_and_order",
        "packets/test_properties.py::test_the_order_of_user_properties_among_others_is_kept",
    ],
    "Topic Aliases of the server are not resolved": [
        f"{HERE}::test_topic_aliases_of_the_server_are_resolved",
        "protocol/test_receiver.py::test_topic_aliases_stand_for_the_last_topic_given_to_them",
    ],
    "memory is reserved for a length before the bytes have come": [
        "packets/test_memory.py::test_a_fixed_header_alone_reserves_nothing",
        "packets/test_memory.py::test_garbage_takes_no_more_than_itself_and_64_kib",
    ],
}


def names_in(path: Path) -> Iterator[str]:
    """The tests of a module, those of a class as ``Class::test``."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}::{inner.name}"


@pytest.mark.parametrize("pitfall", PITFALLS)
def test_the_tests_named_exist(pitfall: str) -> None:
    named = [each.partition("::") for each in PITFALLS[pitfall]]
    assert named
    missing = [
        f"{file}::{name}" for file, _, name in named if name not in set(names_in(TESTS / file))
    ]
    assert missing == []


def test_every_test_here_belongs_to_a_pitfall() -> None:
    named = {each for tests in PITFALLS.values() for each in tests}
    here = {f"{HERE}::{name}" for name in names_in(TESTS / HERE) if name.startswith("test_")}
    ours = {test_the_tests_named_exist.__name__, test_every_test_here_belongs_to_a_pitfall.__name__}
    assert here - named == {f"{HERE}::{name}" for name in ours}


both_versions = pytest.mark.parametrize("protocol", [MQTT_5, MQTT_3_1_1], ids=["5", "3.1.1"])
CONNECTED: Final[list[Step]] = [Expect(Connect), Send(ConnAck())]
GOODBYE: Final[list[Step]] = [Expect(Disconnect), ExpectEnd()]


def subscribed(qos: int) -> list[Step]:
    """CONNECT and SUBSCRIBE, answered."""

    def suback(packet: Subscribe) -> SubAck:
        return SubAck(packet.packet_id, (ReasonCode(qos),))

    return [*CONNECTED, Expect(Subscribe), Reply(Subscribe, suback)]


def refuse(_client_id: str, _packet: Publish) -> ReasonCode:
    return ReasonCode.NOT_AUTHORIZED


# -- receiving --------------------------------------------------------------------------------


@pytest.mark.parametrize("outgoing", [1, 2])
@pytest.mark.parametrize("incoming", [0, 1, 2])
@both_versions
async def test_a_consumer_that_awaits_a_publish_in_its_own_loop_does_not_hang(
    autojump_clock: MockClock, incoming: int, outgoing: int, protocol: Protocol
) -> None:
    count = 200
    got: list[int] = []
    async with (
        open_server() as server,
        open_once(
            connector=server.connect, client_id="c", protocol=protocol, receive_maximum=5
        ) as client,
        client.subscribe("in", qos=2, buffer=1, overflow="wait") as messages,
    ):
        for number in range(count):
            server.publish("in", str(number), incoming)
        await wait_all_tasks_blocked()  # now the buffer is full
        with trio.fail_after(1):  # no timeout helped it along
            async for message in messages:
                await client.publish("out", message.payload, qos=outgoing)
                got.append(int(message.payload))
                if len(got) == count:
                    message.ack()
                    break
        assert messages.statistics().dropped == 0
    assert got == [*range(count)]
    assert [int(each.payload) for each in received(server, Publish)] == got


async def test_a_consumer_that_subscribes_in_its_own_loop_does_not_hang(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_server() as server,
        open_once(connector=server.connect) as client,
        client.subscribe("in", buffer=1, overflow="wait") as messages,
    ):
        for number in range(20):
            server.publish("in", str(number))
            server.publish("in", "more")
        await wait_all_tasks_blocked()
        with trio.fail_after(1):  # no timeout helped it along
            for number in range(20):
                assert (await messages.receive()).text() == str(number)
                async with client.subscribe(f"other/{number}", qos=1) as others:
                    server.publish(f"other/{number}", str(number), 1)
                    assert (await others.receive()).text() == str(number)
                await client.unsubscribe("never/subscribed")
                assert (await messages.receive()).text() == "more"


@pytest.mark.parametrize("how", ["receive", "receive_nowait", "loop"])
async def test_ten_qos_0_messages_in_one_segment_all_arrive(
    autojump_clock: MockClock, how: str
) -> None:
    segment = b"".join(encode(Publish("a", b"%d" % number), MQTT_5) for number in range(10))
    peer = ScriptedPeer([*subscribed(0), SendBytes(segment), *GOODBYE])
    got: list[bytes] = []
    async with (
        open_once(connector=peer.connect, protocol=MQTT_5) as client,
        client.subscribe("a", keep=True) as messages,
    ):
        await wait_all_tasks_blocked()
        with trio.fail_after(1):
            while len(got) < 10:
                if how == "receive":
                    got.append((await messages.receive()).payload)
                elif how == "receive_nowait":
                    got.append(messages.receive_nowait().payload)
                else:
                    async for message in messages:
                        got.append(message.payload)
                        if len(got) == 10:
                            break
        with trio.move_on_after(1):
            got.append((await messages.receive()).payload)
    peer.assert_done()
    assert got == [b"%d" % number for number in range(10)]


async def test_a_timed_out_wait_does_not_swallow_a_message(autojump_clock: MockClock) -> None:
    got: list[int] = []

    async def publish() -> None:
        for number in range(30):
            await trio.sleep(0.5)  # at the very moment when the consumer gives up, or before
            server.publish("a", str(number), 1)
            await trio.sleep(number % 3 * 0.1)

    async with (
        open_server() as server,
        open_once(connector=server.connect) as client,
        client.subscribe("a", qos=1) as messages,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(publish)
        given_up = 0
        with trio.fail_after(PATIENCE):
            while len(got) < 30:
                with trio.move_on_after(0.5) as scope:
                    message = await messages.receive()
                    got.append(int(message.text()))
                    message.ack()
                given_up += scope.cancelled_caught
        assert given_up
    assert got == [*range(30)]


@pytest.mark.parametrize("qos", [1, 2])
@both_versions
async def test_no_message_is_acknowledged_and_then_discarded(
    autojump_clock: MockClock, qos: int, protocol: Protocol
) -> None:
    async with (
        open_server() as server,
        open_once(connector=server.connect, client_id="c", protocol=protocol) as client,
        client.subscribe("a", qos=qos, buffer=10, overflow="drop_newest") as messages,
    ):
        for number in range(100):
            server.publish("a", str(number), qos)
        await wait_all_tasks_blocked()
        assert server.sessions["c"].inflight == 100
        assert received(server, PubAck) == []
        assert received(server, PubRec) == []
        for number in range(100):
            message = await messages.receive()
            assert message.text() == str(number)
            message.ack()
        await assert_idle(client)
        assert messages.statistics().dropped == 0
        assert server.sessions["c"].inflight == 0


@both_versions
async def test_a_qos_2_message_sent_again_is_delivered_once_and_answered_again(
    autojump_clock: MockClock, protocol: Protocol
) -> None:
    first = Publish("a", b"x", 2, packet_id=7)
    again = Publish("a", b"x", 2, dup=True, packet_id=7)
    peer = ScriptedPeer(
        [
            *subscribed(2),
            Send(first),
            Send(again),
            ExpectSilence(1),
            WaitFor(settled := trio.Event()),
            Expect(PubRec(7)),
            Send(again),
            Expect(PubRec(7)),
            Send(PubRel(7)),
            Expect(PubComp(7)),
            Send(first),  # the identifier is free: a new message
            Expect(PubRec(7)),
            Send(PubRel(7)),
            Expect(PubComp(7)),
            *GOODBYE,
        ],
        timeout=PATIENCE,
    )
    async with (
        open_once(connector=peer.connect, protocol=protocol, keep_alive=0) as client,
        client.subscribe("a", qos=2, keep=True) as messages,
    ):
        message = await messages.receive()
        await trio.sleep(2)
        with pytest.raises(trio.WouldBlock):
            messages.receive_nowait()
        message.ack()
        settled.set()
        second = await messages.receive()
        assert second.payload == b"x"
        second.ack()
        await wait_all_tasks_blocked()
        with pytest.raises(trio.WouldBlock):
            messages.receive_nowait()
    peer.assert_done()


@both_versions
async def test_the_same_filter_twice_feeds_both(
    autojump_clock: MockClock, protocol: Protocol
) -> None:
    async with (
        open_server() as server,
        open_once(connector=server.connect, protocol=protocol) as client,
        client.subscribe("ov/t") as first,
    ):
        async with client.subscribe("ov/t") as second:
            server.publish("ov/t", "both")
            with trio.fail_after(PATIENCE):
                assert (await first.receive()).text() == "both"
                assert (await second.receive()).text() == "both"
        server.publish("ov/t", "one is left")
        with trio.fail_after(PATIENCE):
            assert (await first.receive()).text() == "one is left"


@pytest.mark.parametrize("identifiers", [True, False])
@both_versions
async def test_a_wildcard_and_a_narrower_filter_are_both_fed(
    autojump_clock: MockClock, protocol: Protocol, *, identifiers: bool
) -> None:
    limits = ServerLimits(subscription_identifier_available=identifiers)
    async with (
        open_server(limits=limits) as server,
        open_once(connector=server.connect, protocol=protocol) as client,
        client.subscribe("ov/#") as wide,
        client.subscribe("ov/t") as narrow,
    ):
        server.publish("ov/t", "both")
        server.publish("ov/u", "wide")
        with trio.fail_after(PATIENCE):
            assert (await narrow.receive()).text() == "both"
            assert [(await wide.receive()).text() for _ in range(2)] == ["both", "wide"]
        await wait_all_tasks_blocked()
        for messages in (wide, narrow):
            with pytest.raises(trio.WouldBlock):
                messages.receive_nowait()


@both_versions
async def test_a_shared_subscription_is_fed(autojump_clock: MockClock, protocol: Protocol) -> None:
    async with (
        open_server() as server,
        open_once(connector=server.connect, protocol=protocol) as client,
        client.subscribe("$share/g/f/+", qos=1) as messages,
    ):
        server.publish("f/1", "x", 1)
        with trio.fail_after(PATIENCE):
            message = await messages.receive()
        assert (message.topic, message.text()) == ("f/1", "x")
        message.ack()
        assert client.statistics().strays == 0


@pytest.mark.parametrize("overflow", ["wait", "drop_oldest", "drop_newest"])
@both_versions
async def test_a_slow_consumer_does_not_grow_an_unbounded_queue(
    autojump_clock: MockClock, protocol: Protocol, overflow: Overflow
) -> None:
    count, bound = 5000, 10
    async with (
        open_server() as server,
        open_once(connector=server.connect, client_id="c", protocol=protocol) as client,
        client.subscribe(
            "a",
            buffer=bound,
            overflow=overflow,
        ) as messages,
    ):
        for number in range(count):
            server.publish("a", str(number))
        await wait_all_tasks_blocked()
        statistics = messages.statistics()
        assert statistics.buffered <= 2 * bound
        assert statistics.received == statistics.buffered + statistics.dropped
        if overflow == "wait":
            assert statistics.dropped == 0


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_server_that_slightly_exceeds_our_receive_maximum_is_tolerated(
    autojump_clock: MockClock, qos: int
) -> None:
    def message(packet_id: int) -> Step:
        return Send(Publish("a", b"%d" % packet_id, qos, packet_id=packet_id))

    def answer(packet_id: int) -> Step:
        return Expect(PubAck(packet_id)) if qos == 1 else Expect(PubRec(packet_id))

    peer = ScriptedPeer(
        [
            Expect(Connect, lambda packet: packet.properties.receive_maximum == 10),
            Send(ConnAck()),
            *subscribed(qos)[2:],
            *(message(packet_id) for packet_id in range(1, 14)),
            *(answer(packet_id) for packet_id in range(1, 14)),
            *GOODBYE,
        ],
        timeout=PATIENCE,
    )
    async with (
        open_once(connector=peer.connect, protocol=MQTT_5, receive_maximum=10) as client,
        client.subscribe("a", qos=qos, keep=True) as messages,
    ):
        await wait_all_tasks_blocked()
        assert client.statistics().receive_maximum_exceeded == 3
        for packet_id in range(1, 14):
            message_received = await messages.receive()
            assert message_received.payload == b"%d" % packet_id
            message_received.ack()
    peer.assert_done()


async def test_messages_before_suback_are_delivered(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer(
        [
            *CONNECTED,
            Expect(Subscribe),
            Send(Publish("a", b"retained", 1, retain=True, packet_id=1)),
            Send(Publish("a", b"live")),
            Pause(1),
            Send(SubAck(1, (ReasonCode.GRANTED_QOS_1,))),
            Expect(PubAck(1)),
            *GOODBYE,
        ],
        timeout=PATIENCE,
    )
    async with (
        open_once(connector=peer.connect, protocol=MQTT_5) as client,
        client.subscribe("a", qos=1, keep=True) as messages,
    ):
        first = messages.receive_nowait()
        assert first.payload == b"retained"
        first.ack()
        assert messages.receive_nowait().payload == b"live"
    peer.assert_done()


# -- sending ----------------------------------------------------------------------------------


@pytest.mark.parametrize("qos", [1, 2])
@both_versions
async def test_both_sides_may_use_the_same_packet_identifier_at_once(
    autojump_clock: MockClock, qos: int, protocol: Protocol
) -> None:
    ours = partial(Expect, Publish, packet_id=2)
    steps: dict[int, list[Step]] = {
        1: [
            ours(),
            Send(Publish("a", b"theirs", 1, packet_id=2)),
            Expect(PubAck(2)),
            Send(PubAck(2)),
        ],
        2: [
            ours(),
            Send(Publish("a", b"theirs", 2, packet_id=2)),
            Expect(PubRec(2)),
            Send(PubRec(2)),
            Expect(PubRel(2)),
            Send(PubRel(2)),
            Expect(PubComp(2)),
            Send(PubComp(2)),
        ],
    }
    peer = ScriptedPeer([*subscribed(qos), *steps[qos], *GOODBYE], timeout=PATIENCE)

    async with (
        open_once(connector=peer.connect, protocol=protocol) as client,
        client.subscribe("a", qos=qos, ack="on_receipt", keep=True) as messages,
    ):
        await client.publish("b", b"ours", qos=qos)
        assert (await messages.receive()).payload == b"theirs"
        assert client.statistics().unfinished == 0
    peer.assert_done()


async def test_packet_identifiers_ascend_and_are_not_used_again_at_once(
    autojump_clock: MockClock,
) -> None:
    async with open_server() as server, open_once(connector=server.connect) as client:
        for _ in range(3):
            await client.publish("a", qos=1)
        with server.holding(PubAck):
            client.publish_nowait("a", qos=1)
            for _ in range(3):
                await client.publish("a", qos=2)
        async with client.subscribe("b"):
            pass
        await client.publish("a", qos=1)
    used = [packet.packet_id for packet in received(server, Publish)]
    assert used == [1, 2, 3, 4, 5, 6, 7, 10]  # 8 and 9 were SUBSCRIBE and UNSUBSCRIBE


@pytest.mark.parametrize("qos", [1, 2])
async def test_an_acknowledgement_that_refuses_raises(autojump_clock: MockClock, qos: int) -> None:
    async with open_server() as server, open_once(connector=server.connect) as client:
        server.authorize_publish = refuse
        with pytest.raises(PublishRejected) as caught:
            await client.publish("a", qos=qos)
        assert caught.value.reason_code is ReasonCode.NOT_AUTHORIZED
        delivery = await client.enqueue("a", qos=qos)
        with pytest.raises(PublishRejected):
            await delivery.wait()
        with pytest.raises(PublishRejected):
            async with client.open_publisher(qos=qos) as publisher:
                await publisher.send("a")
        server.authorize_publish = None
        await assert_works(client)


async def test_no_pubrel_follows_a_pubrec_that_refused(autojump_clock: MockClock) -> None:
    refusal = PubRec(1, ReasonCode.NOT_AUTHORIZED)
    peer = ScriptedPeer([*CONNECTED, Expect(Publish), Send(refusal), ExpectSilence(10), *GOODBYE])
    async with open_once(connector=peer.connect, keep_alive=0) as client:
        with pytest.raises(PublishRejected):
            await client.publish("a", qos=2)
        await trio.sleep(11)
    peer.assert_done()


@pytest.mark.parametrize("qos", [1, 2])
@both_versions
async def test_a_cancelled_publish_leaks_no_place_in_the_window(
    autojump_clock: MockClock, qos: int, protocol: Protocol
) -> None:
    window = 3
    async with (
        open_server(limits=ServerLimits(receive_maximum=window)) as server,
        open_once(connector=server.connect, protocol=protocol) as client,
    ):
        with server.holding(PubAck, PubRec):
            for _ in range(3 * window):
                with trio.move_on_after(1) as scope:
                    await client.publish("a", qos=qos)
                assert scope.cancelled_caught
            assert client.statistics().unfinished == 3 * window
        # Now their acknowledgements come, late.
        with trio.fail_after(PATIENCE):
            await client.publish("a", qos=qos)
        await assert_works(client)
        assert len(received(server, Publish)) == 3 * window + 1 + 3


@both_versions
async def test_an_acknowledgement_for_nothing_is_ignored(
    autojump_clock: MockClock, protocol: Protocol
) -> None:
    peer = ScriptedPeer(
        [
            *CONNECTED,
            Send(PubAck(9)),
            Send(PubComp(9)),
            Send(SubAck(9, (ReasonCode.SUCCESS,))),
            Send(PingResp()),
            Expect(Publish),
            Send(PubAck(1)),
            Send(PubAck(1)),
            *GOODBYE,
        ]
    )
    async with open_once(connector=peer.connect, protocol=protocol, keep_alive=0) as client:
        await wait_all_tasks_blocked()
        assert client.statistics().stray_acknowledgements == 3
        await client.publish("a", qos=1)
        await wait_all_tasks_blocked()
        assert client.statistics().stray_acknowledgements == 4
        assert client.statistics().window == 65_000 if protocol is MQTT_5 else True
    peer.assert_done()


@both_versions
async def test_a_cancelled_subscribe_and_its_late_suback_do_no_harm(
    autojump_clock: MockClock, protocol: Protocol
) -> None:
    async with (
        open_server() as server,
        open_once(connector=server.connect, client_id="c", protocol=protocol) as client,
    ):
        with server.holding(SubAck):
            for _ in range(3):
                with trio.move_on_after(1) as scope:
                    async with client.subscribe("a", qos=1):
                        pytest.fail("it has no SUBACK")
                assert scope.cancelled_caught
        await wait_all_tasks_blocked()
        assert dict(server.sessions["c"].subscriptions) == {}
        await assert_works(client, "a")


async def test_a_publish_that_raised_is_not_sent_later(autojump_clock: MockClock) -> None:
    limits = ServerLimits(maximum_packet_size=100, maximum_qos=1)
    async with (
        open_server(limits=limits) as server,
        open_once(connector=server.connect) as client,
    ):
        for attempt in (
            partial(client.publish, "a", bytes(1000), qos=1),
            partial(client.publish, "a", qos=2),
            partial(client.publish, "a/+", qos=1),
            partial(client.publish, "a", qos=1, content_type="\ud800"),
        ):
            with pytest.raises(MQTTError):
                await attempt()
        server.authorize_publish = refuse
        with pytest.raises(PublishRejected):
            await client.publish("once", qos=1)
        server.authorize_publish = None
        await client.publish("again", qos=1)
        await assert_idle(client)
    assert [packet.topic for packet in received(server, Publish)] == ["once", "again"]
    assert_clean_end(server)


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_cancelled_publish_tears_no_packet(autojump_clock: MockClock, qos: int) -> None:
    async with open_server() as server:
        async with open_once(
            connector=partial(server.connect, capacity=100), client_id="c"
        ) as client:
            server.pause_reading("c")
            with trio.move_on_after(1):
                await client.publish("large", bytes(100_000), qos=qos)
                await trio.sleep_forever()
            with trio.move_on_after(1):
                await client.publish("small", b"x", qos=1)
            assert client.statistics().unfinished == 1 + qos
            server.resume_reading("c")
            await assert_works(client)
        sizes = [len(packet.payload) for packet in received(server, Publish)]
        assert sizes[:2] == [100_000, 1]
        await wait_all_tasks_blocked()
        assert_clean_end(server)


@pytest.mark.parametrize("window", [1, 2, 20])
@pytest.mark.parametrize("qos", [1, 2])
async def test_the_server_s_receive_maximum_is_kept_and_subscribe_does_not_count(
    autojump_clock: MockClock, window: int, qos: int
) -> None:
    async with (
        open_server(limits=ServerLimits(receive_maximum=window)) as server,
        open_once(connector=server.connect, client_id="c") as client,
    ):
        with server.holding(PubAck, PubRec):
            deliveries = [client.publish_nowait("a", qos=qos) for _ in range(50)]
            await wait_all_tasks_blocked()
            assert len(received(server, Publish)) == window
            assert client.statistics().window == 0
            with trio.fail_after(PATIENCE):
                async with client.subscribe("b"):
                    await client.unsubscribe("never/subscribed")
                await client.publish("c")  # neither does QoS 0
            await wait_all_tasks_blocked()
            assert len(received(server, Publish)) == window + 1
        for delivery in deliveries:
            await delivery.wait()
        await assert_works(client)


async def test_the_server_s_maximum_packet_size_limits_what_we_send_only(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_server(limits=ServerLimits(maximum_packet_size=100)) as server,
        open_once(connector=server.connect) as client,
        client.subscribe("a", qos=1) as messages,
    ):
        for publish in (
            partial(client.publish, "a", bytes(100)),
            partial(client.publish, "a", bytes(100), qos=1),
            partial(client.enqueue, "a", bytes(100)),
            partial(client.publish, "a", qos=1, user_properties=(("name", "x" * 100),)),
        ):
            with pytest.raises(PacketTooLarge) as caught:
                await publish()
            assert caught.value.limit == 100
        with pytest.raises(PacketTooLarge):
            async with client.subscribe("x" * 100):
                pass
        with pytest.raises(PacketTooLarge):
            await client.unsubscribe("x" * 100)
        server.publish("a", bytes(10_000), 1)
        with trio.fail_after(PATIENCE):
            message = await messages.receive()
        assert len(message.payload) == 10_000
        message.ack()
    assert_clean_end(server)


# -- connecting -------------------------------------------------------------------------------


@both_versions
async def test_a_server_that_closes_before_connack_does_not_hang_the_client(
    autojump_clock: MockClock, protocol: Protocol
) -> None:
    peer = ScriptedPeer([Expect(Connect), Close()])
    start = trio.current_time()
    with pytest.raises(ConnectFailed):
        async with open_once(connector=peer.connect, protocol=protocol):
            pytest.fail("it is not connected")
    assert trio.current_time() == start


async def test_connack_0x86_raises(autojump_clock: MockClock) -> None:
    refusal = ConnAck(reason_code=ReasonCode.BAD_USER_NAME_OR_PASSWORD)
    peer = ScriptedPeer([Expect(Connect), Send(refusal), ExpectEnd()])
    with pytest.raises(ConnectRejected, match="check username and password") as caught:
        async with open_once(connector=peer.connect):
            pytest.fail("it is not connected")
    assert caught.value.reason_code is ReasonCode.BAD_USER_NAME_OR_PASSWORD
    peer.assert_done()


@both_versions
async def test_a_tcp_reset_is_noticed(protocol: Protocol) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port: int = listeners[0].socket.getsockname()[1]

    async def reset_after_connect(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(encode(ConnAck(), protocol))
        await stream.receive_some()
        await reset_stream(stream)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, reset_after_connect, listeners)
            with pytest.raises(ConnectionLost, match=f"mqtt://127.0.0.1:{port}"):
                async with open_once(f"mqtt://127.0.0.1:{port}", protocol=protocol) as client:
                    await client.publish("a", b"x")
                    await trio.sleep_forever()
            nursery.cancel_scope.cancel()


@both_versions
async def test_pingreq_is_sent_also_if_connack_names_no_keep_alive(
    autojump_clock: MockClock, protocol: Protocol
) -> None:
    ping: list[Step] = [Expect(PingReq), Send(PingResp())]
    peer = ScriptedPeer([*CONNECTED, *ping, *ping, *ping, *GOODBYE], timeout=PATIENCE)
    start = trio.current_time()
    async with open_once(connector=peer.connect, protocol=protocol, keep_alive=10) as client:
        assert client.server.keep_alive == 10
        await trio.sleep(30)
    assert 30 <= trio.current_time() - start <= 31
    peer.assert_done()


async def test_a_closed_connection_upsets_no_nursery_and_no_cancel_scope(
    autojump_clock: MockClock,
) -> None:
    """All that the caller has open keeps working, wherever the connection ends."""
    tasks = all_tasks()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await trio.sleep(1)
            ticks += 1

    async with open_server() as server, trio.open_nursery() as outer:
        outer.start_soon(tick)
        with trio.move_on_after(1000) as scope:
            for reset in (True, False):
                with pytest.raises(ConnectionLost):
                    async with (
                        open_once(connector=server.connect, client_id="c") as client,
                        trio.open_nursery() as inner,
                        client.subscribe("a") as messages,
                    ):
                        inner.start_soon(messages.receive)
                        with trio.CancelScope():
                            server.drop("c", reset=reset)
                            await trio.sleep_forever()
                await trio.sleep(10)
            async with open_once(connector=server.connect, client_id="c") as client:
                await assert_works(client)
        assert not scope.cancelled_caught
        assert not scope.cancel_called
        assert ticks >= 19
        outer.cancel_scope.cancel()
    assert all_tasks() == tasks


async def test_a_cancelled_connect_leaves_nothing_locked(autojump_clock: MockClock) -> None:
    tasks = all_tasks()
    async with open_server() as server:
        with server.holding(ConnAck):
            for _ in range(3):
                with trio.move_on_after(1) as scope:
                    async with open_once(connector=server.connect, client_id="c"):
                        pytest.fail("it is not connected")
                assert scope.cancelled_caught
        async with open_once(connector=server.connect, client_id="c") as client:
            await assert_works(client)
    assert all_tasks() == tasks


async def test_clean_start_0_is_sent_for_a_session_that_goes_on(
    autojump_clock: MockClock,
) -> None:
    ephemeral = ScriptedPeer(
        [Expect(Connect, clean_start=True), Send(ConnAck()), Pause(1), Close()],
        [Expect(Connect, clean_start=False), Send(ConnAck(session_present=True)), *GOODBYE],
    )
    async with open_client(connector=ephemeral.connect) as client:
        await nth_connection(client, 2)
    kept = ScriptedPeer([Expect(Connect, clean_start=False), Send(ConnAck()), *GOODBYE])
    async with open_client(connector=kept.connect, session=Session("c", expiry=60)):
        pass
    ephemeral.assert_done()
    kept.assert_done()


@pytest.mark.parametrize("present", [True, False])
@both_versions
async def test_session_present_decides_what_is_sent_again(
    autojump_clock: MockClock, present: bool, protocol: Protocol
) -> None:
    packet_id = 1 if present else 2
    peer = ScriptedPeer(
        [*CONNECTED, Expect(Publish, packet_id=1, dup=False), Close()],
        [
            Expect(Connect, clean_start=False),
            Send(ConnAck(session_present=present)),
            Expect(Publish, packet_id=packet_id, dup=present),
            Send(PubAck(packet_id)),
            *GOODBYE,
        ],
        timeout=PATIENCE,
    )
    session = Session("c", expiry=60)
    async with open_client(connector=peer.connect, session=session, protocol=protocol) as client:
        await client.publish("a", qos=1)
    peer.assert_done()


# -- persistence ------------------------------------------------------------------------------


class Records(Storage):
    """A storage in memory that counts and can be held up.

    Args:
        records: what it holds at first.
        last: how many commits there are; later ones fail, as after a crash.

    Attributes:
        opened: how often it was read.
        versions: what it held after each commit.
        may_commit: cleared, commits wait.
    """

    def __init__(
        self, records: dict[RecordKey, bytes] | None = None, *, last: int | None = None
    ) -> None:
        self.opened = 0
        self._last = last
        self.versions: list[dict[RecordKey, bytes]] = [dict(records or {})]
        self.may_commit = threading.Event()
        self.may_commit.set()

    def open(self, client_id: str) -> list[tuple[RecordKey, bytes]]:
        self.opened += 1
        return sorted(self.versions[-1].items(), key=lambda item: (item[0][0], str(item[0][1])))

    def commit(self, changes: Changes) -> None:
        assert self.may_commit.wait(PATIENCE)
        if self._last is not None and len(self.versions) > self._last:
            raise StorageError("the machine has crashed")
        records = dict(self.versions[-1])
        for key, value in changes.items():
            if value is None:
                records.pop(key, None)
            else:
                records[key] = value
        self.versions.append(records)

    def close(self) -> None:
        pass


async def test_the_storage_is_read_once() -> None:
    records = Records()
    session = Session("c", expiry=60, storage=records)
    with trio.fail_after(PATIENCE):
        async with (
            open_server() as server,
            open_once(connector=server.connect, session=session) as client,
            client.subscribe("a", qos=2, ack="on_receipt"),
            client.open_publisher(qos=2) as publisher,
        ):
            for _ in range(200):
                await publisher.send("a")
    assert records.opened == 1
    assert len(records.versions) > 2
    assert [key for key in records.versions[-1] if key[0] in ("outgoing", "progress")] == []


async def test_a_crash_at_any_commit_doubles_no_qos_2_message() -> None:
    with trio.fail_after(PATIENCE):
        for commits in range(1, 20):
            records = Records(last=commits)
            done: list[str] = []
            async with (
                open_server() as server,
                open_once(connector=server.connect) as watcher,
                watcher.subscribe("a", qos=2, ack="on_receipt") as messages,
            ):
                with suppress(StorageError, ConnectionLost):
                    async with open_once(
                        connector=server.connect,
                        session=Session("c", expiry=60, storage=records),
                        close_timeout=0.02,
                    ) as client:
                        with trio.move_on_after(0.05) as crash:
                            for number in range(3):
                                await client.publish("a", str(number), qos=2)
                                done.append(str(number))
                        server.drop("c")
                        await trio.sleep_forever()
                next_run = Session("c", expiry=60, storage=Records(records.versions[-1]))
                async with open_once(connector=server.connect, session=next_run) as client:
                    while client.statistics().unfinished:  # noqa: ASYNC110
                        await trio.sleep(0.001)
                await wait_all_tasks_blocked()
                texts = [messages.receive_nowait().text() for _ in range(len(messages._buffer))]
                assert len(texts) == len(set(texts))
                assert set(texts) >= set(done)
                if len(done) == 3 and not crash.cancelled_caught:
                    break
        assert commits > 5


async def test_nothing_is_revealed_before_it_is_stored() -> None:
    records = Records()
    session = Session("c", expiry=60, storage=records)
    with trio.fail_after(PATIENCE):
        async with (
            open_server() as server,
            open_once(connector=server.connect, session=session) as client,
            client.subscribe("a", qos=2) as messages,
        ):
            server.publish("a", "x", qos=2)
            message = await messages.receive()
            records.may_commit.clear()
            message.ack()
            delivery = client.publish_nowait("b", qos=1)
            await trio.sleep(0.05)
            assert received(server, PubRec) == []
            assert received(server, Publish) == []
            records.may_commit.set()
            await delivery.wait()
            await server.wait_for(PubRec)


# -- wire -------------------------------------------------------------------------------------


async def test_user_properties_keep_their_repeats_and_order(autojump_clock: MockClock) -> None:
    pairs = (("b", "1"), ("a", "2"), ("b", "3"), ("b", "1"))
    async with (
        open_server() as server,
        open_once(connector=server.connect) as client,
        client.subscribe("a") as messages,
    ):
        await client.publish("a", user_properties=pairs)
        with trio.fail_after(PATIENCE):
            assert (await messages.receive()).user_properties == pairs


async def test_topic_aliases_of_the_server_are_resolved(autojump_clock: MockClock) -> None:
    async with (
        open_server(limits=ServerLimits(outbound_topic_aliases=True)) as server,
        open_once(connector=server.connect, topic_alias_maximum=2) as client,
        client.subscribe("#") as messages,
    ):
        for _ in range(3):
            for topic in ("a", "b", "c"):
                server.publish(topic, topic)
        with trio.fail_after(PATIENCE):
            got = [await messages.receive() for _ in range(9)]
        assert [message.topic for message in got] == ["a", "b", "c"] * 3
        assert [message.text() for message in got] == ["a", "b", "c"] * 3
        aliased = [
            entry.packet
            for entry in server.log
            if isinstance(entry.packet, Publish) and not entry.packet.topic
        ]
        assert len(aliased) == 4
