"""Settling: when a message is acknowledged (contract 6), and in which order (7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import trio_mqtt
from tests.client.support import open_once
from trio_mqtt import ReasonCode
from trio_mqtt.events import MessageReleased
from trio_mqtt.packets import PubAck, PubComp, Publish, PubRec
from trio_mqtt.testing import open_server

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_mqtt.testing import Server


def fill(server: Server, *payloads: str, qos: int = 1) -> None:
    for payload in payloads:
        server.publish("a", payload, qos=qos)


async def answers(server: Server) -> list[tuple[str, int]]:
    """What was acknowledged so far, with reason codes, in order."""
    await wait_all_tasks_blocked()
    sent: dict[int, str] = {}
    found: list[tuple[str, int]] = []
    for entry in server.log:
        packet = entry.packet
        if entry.direction == "sent" and isinstance(packet, Publish):
            sent[packet.packet_id] = packet.payload.decode()
        elif entry.direction == "received" and isinstance(packet, PubAck | PubRec):
            found.append((sent[packet.packet_id], int(packet.reason_code)))
    return found


def accepted(*payloads: str) -> list[tuple[str, int]]:
    return [(payload, 0) for payload in payloads]


@pytest.mark.parametrize("qos", [1, 2])
async def test_the_loop_settles_as_it_asks_for_the_next(
    server: Server, client: trio_mqtt.Client, qos: int
) -> None:
    async with client.subscribe("a", qos=2) as messages:
        fill(server, "1", "2", "3", qos=qos)
        seen = 0
        async for message in messages:
            assert await answers(server) == accepted("1", "2", "3")[:seen]
            seen += 1
            assert message.settled is None
            if seen == 3:
                message.ack()
                break
    assert await answers(server) == accepted("1", "2", "3")


async def test_qos_2_is_completed(server: Server, client: trio_mqtt.Client) -> None:
    async with client.subscribe("a", qos=2) as messages:
        fill(server, "1", qos=2)
        async for message in messages:
            message.ack()
            break
        await server.wait_for(PubComp)
        await wait_all_tasks_blocked()
        assert client.statistics().unsettled == 0


class TestNothingElseSettles:
    """Not `break`, not an exception, not the end of the block."""

    async def test_break(self, server: Server, client: trio_mqtt.Client) -> None:
        async with client.subscribe("a", qos=1) as messages:
            fill(server, "1")
            async for _ in messages:
                break
            assert await answers(server) == []
        assert await answers(server) == []
        assert client.statistics().unclaimed == 1

    async def test_exception(self, server: Server, client: trio_mqtt.Client) -> None:
        with pytest.raises(ZeroDivisionError):
            async with client.subscribe("a", qos=1) as messages:
                fill(server, "1")
                async for _ in messages:
                    raise ZeroDivisionError
        assert await answers(server) == []
        assert client.statistics().unclaimed == 1

    async def test_cancellation_in_the_body(self, server: Server, client: trio_mqtt.Client) -> None:
        async with client.subscribe("a", qos=1) as messages:
            fill(server, "1")
            with trio.CancelScope() as scope:
                async for _ in messages:
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
            assert await answers(server) == []

    async def test_receive(self, server: Server, client: trio_mqtt.Client) -> None:
        async with client.subscribe("a", qos=1) as messages:
            fill(server, "1", "2", "3")
            await messages.receive()
            await messages.receive()
            assert await answers(server) == []
            assert messages.statistics().in_hand == 2

    async def test_closing_the_client(self, server: Server) -> None:
        async with (
            open_once(connector=server.connect, client_id="me") as client,
            client.subscribe("a", qos=1, keep=True) as messages,
        ):
            fill(server, "1", "2")
            await messages.receive()
        assert await answers(server) == []


async def test_a_cancelled_wait_for_the_next_has_settled_the_one_before(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_server() as server,
        open_once(connector=server.connect) as client,
        client.subscribe("a", qos=1) as messages,
    ):
        fill(server, "1")
        with trio.CancelScope() as scope:
            async for _ in messages:
                scope.deadline = trio.current_time() + 1
        assert scope.cancelled_caught
        assert await answers(server) == accepted("1")


class TestUnclaimed:
    """What is left in hand goes to the next subscription that matches."""

    async def test_the_next_block_takes_it_first(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        async with client.subscribe("a", qos=1) as messages:
            fill(server, "1")
            async for message in messages:
                assert message.attempt == 1
                break
        async with client.subscribe("+", qos=1) as messages:
            fill(server, "2")
            got: list[tuple[str, int]] = []
            async for message in messages:
                got.append((message.text(), message.attempt))
                if len(got) == 2:
                    message.ack()
                    break
        assert got == [("1", 2), ("2", 1)]
        assert await answers(server) == accepted("1", "2")

    async def test_another_loop_of_the_same_task_leaves_it(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        async with client.subscribe("a", qos=1) as messages:
            fill(server, "1", "2")
            async for _ in messages:
                break
            async for message in messages:
                assert message.text() == "2"
                break
            assert client.statistics().unclaimed == 1

    async def test_whoever_has_it_in_hand_can_still_settle_it(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        async with client.subscribe("a", qos=1) as messages:
            fill(server, "1")
            message = await messages.receive()
        assert client.statistics().unclaimed == 1
        message.ack()
        assert client.statistics().unclaimed == 0
        assert await answers(server) == accepted("1")

    async def test_once_claimed_it_is_the_new_holder_s(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        async with client.subscribe("a", qos=1) as messages:
            fill(server, "1")
            before = await messages.receive()
        async with client.subscribe("a", qos=1) as messages:
            now = await messages.receive()
            before.ack()
            before.reject()
            assert await answers(server) == []
            now.ack()
            assert await answers(server) == accepted("1")

    async def test_in_the_end_it_is_acknowledged_with_a_warning(
        self, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with (
            open_server() as server,
            open_once(connector=server.connect, unclaimed_timeout=30) as client,
        ):
            async with client.subscribe("a", qos=1) as messages:
                fill(server, "1")
                await messages.receive()
            await trio.sleep(29)
            assert await answers(server) == []
            await trio.sleep(2)
            assert await answers(server) == accepted("1")
            assert client.statistics().unclaimed_released == 1
            assert client.statistics().unsettled == 0
            assert "was left unsettled and not claimed" in caplog.text

    async def test_the_timer_starts_again_for_later_ones(self, autojump_clock: MockClock) -> None:
        async with (
            open_server() as server,
            open_once(connector=server.connect, unclaimed_timeout=30) as client,
        ):
            for expected in (1, 2):
                async with client.subscribe("a", qos=1) as messages:
                    fill(server, "x")
                    await messages.receive()
                await trio.sleep(29)
                assert client.statistics().unclaimed == 1
                await trio.sleep(2)
                assert client.statistics().unclaimed_released == expected


class TestEvents:
    """`Client.events`."""

    async def test_a_released_message_is_told_to_everybody(self, autojump_clock: MockClock) -> None:
        async with (
            open_server() as server,
            open_once(connector=server.connect, unclaimed_timeout=30) as client,
            client.events() as one,
            client.events() as other,
        ):
            async with client.subscribe("a", qos=1) as messages:
                fill(server, "1")
                await messages.receive()
            for stream in (one, other):
                event = await anext(stream)
                assert isinstance(event, MessageReleased)
                assert event.message.payload == b"1"
                assert trio.current_time() == pytest.approx(30, abs=1)

    async def test_events_before_the_block_are_not_told(self, autojump_clock: MockClock) -> None:
        async with (
            open_server() as server,
            open_once(connector=server.connect, unclaimed_timeout=3) as client,
        ):
            async with client.subscribe("a", qos=1) as messages:
                fill(server, "1")
                await messages.receive()
            await trio.sleep(5)
            async with client.events() as stream:
                with trio.move_on_after(5) as scope:
                    await anext(stream)
                assert scope.cancelled_caught

    async def test_they_are_bounded(
        self, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with (
            open_server() as server,
            open_once(
                connector=server.connect, unclaimed_timeout=3, receive_maximum=2000
            ) as client,
            client.events() as stream,
        ):
            async with client.subscribe("a", qos=1, keep=True):
                fill(server, *(str(number) for number in range(1010)))
                await wait_all_tasks_blocked()
            await trio.sleep(5)
            assert client.statistics().unclaimed_released == stream.dropped + 1000
            assert caplog.text.count("events are dropped") == (stream.dropped > 0)
            event = await anext(stream)
            assert isinstance(event, MessageReleased)
            assert event.message.payload == str(stream.dropped).encode()

    async def test_they_end_with_the_client(self, server: Server) -> None:
        ended: list[str] = []

        async def watch(client: trio_mqtt.Client, *, started: trio.Event) -> None:
            try:
                async with client.events() as stream:
                    started.set()
                    async for _ in stream:
                        raise AssertionError("nothing happens")
                ended.append("closed")
            except trio_mqtt.ConnectionLost:
                ended.append("lost")

        async with trio.open_nursery() as outer:
            async with open_once(connector=server.connect) as client:
                started = trio.Event()
                outer.start_soon(lambda: watch(client, started=started))
                await started.wait()
                await wait_all_tasks_blocked()
            with pytest.raises(trio_mqtt.ConnectionLost):
                async with open_once(connector=server.connect) as client:
                    started = trio.Event()
                    outer.start_soon(lambda: watch(client, started=started))
                    await started.wait()
                    server.drop(client.server.client_id)
                    await trio.sleep_forever()
        assert ended == ["closed", "lost"]


async def test_unclaimed_messages_keep_the_order_of_arrival(
    server: Server, client: trio_mqtt.Client
) -> None:
    async with client.subscribe("a", qos=1, keep=True) as first:
        fill(server, "1", "2")
        held = await first.receive()
        async with client.subscribe("+", qos=1, keep=True) as second:
            fill(server, "3")
            await wait_all_tasks_blocked()
            assert held.text() == "1"
            assert second.statistics().buffered >= 1
    async with client.subscribe("a", qos=1) as again:
        got = [(await again.receive()).text() for _ in range(3)]
    assert got == ["1", "2", "3"]


class TestWith:
    """`with message:`: the tool for worker pools."""

    async def test_it_settles_at_the_end_of_the_block_not_before(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        release = trio.Event()

        async def work(message: trio_mqtt.Message) -> None:
            with message:
                await release.wait()

        async with client.subscribe("a", qos=1) as messages, trio.open_nursery() as nursery:
            fill(server, "1", "2", "3")
            taken = 0
            async for message in messages:
                # The block is entered before the loop asks for the next.
                await nursery.start(start_work, work, message)
                taken += 1
                if taken == 3:
                    break
            assert await answers(server) == []
            release.set()
            await wait_all_tasks_blocked()
            assert await answers(server) == accepted("1", "2", "3")

    async def test_a_block_that_fails_leaves_it_unclaimed(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        async with client.subscribe("a", qos=1) as messages:
            fill(server, "1")
            with pytest.raises(ZeroDivisionError), await messages.receive():
                raise ZeroDivisionError
            assert client.statistics().unclaimed == 1
            assert messages.statistics().in_hand == 0
        assert await answers(server) == []

    async def test_a_loop_that_goes_on_after_a_failed_block_does_not_settle(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        async with client.subscribe("a", qos=1) as messages:
            fill(server, "1", "2", "3")
            async for message in messages:
                try:
                    with message:
                        assert int(message.text()) != 1
                except AssertionError:
                    continue
                if message.text() == "3":
                    break
            assert client.statistics().unclaimed == 1
            assert await answers(server) == []
        async with client.subscribe("a", qos=1) as messages:
            again = await messages.receive()
            assert (again.text(), again.attempt) == ("1", 2)
            again.ack()
        assert await answers(server) == accepted("1", "2", "3")

    async def test_nor_does_it_after_a_task_whose_block_failed(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        async def fail(message: trio_mqtt.Message, *, task_status: trio.TaskStatus[None]) -> None:
            with pytest.raises(ZeroDivisionError), message:
                task_status.started()
                raise ZeroDivisionError

        async with client.subscribe("a", qos=1) as messages, trio.open_nursery() as nursery:
            fill(server, "1", "2")
            async for message in messages:
                await nursery.start(fail, message)
                if message.text() == "2":
                    break
        assert client.statistics().unclaimed == 2
        assert await answers(server) == []

    async def test_too_late_it_says_so(self, server: Server, client: trio_mqtt.Client) -> None:
        """The loop settles what a task of its own does not guard in time; never silently."""
        complaints: list[str] = []

        async def work(message: trio_mqtt.Message) -> None:
            with pytest.raises(trio_mqtt.LocalProtocolError) as caught, message:
                raise AssertionError("not reached")
            complaints.append(str(caught.value))

        async with client.subscribe("a", qos=2) as messages, trio.open_nursery() as nursery:
            fill(server, "1", qos=1)
            fill(server, "2", qos=2)
            fill(server, "3", qos=1)
            async for message in messages:
                if message.text() == "3":
                    break
                nursery.start_soon(work, message)
        assert len(complaints) == 2
        for complaint in complaints:
            assert "message to 'a'" in complaint
            assert "await nursery.start(" in complaint
            assert "task_status.started()" in complaint
            assert 'ack="manual"' in complaint

    @pytest.mark.parametrize("settle", ["ack", "reject", "block"])
    async def test_it_is_not_too_late_for_what_the_program_has_settled(
        self, server: Server, client: trio_mqtt.Client, settle: str
    ) -> None:
        async with client.subscribe("a", qos=1) as messages:
            fill(server, "1", "2")
            settled: list[trio_mqtt.Message] = []
            async for message in messages:
                for each in settled:
                    with each:
                        pass
                if settled:
                    break
                if settle == "ack":
                    message.ack()
                elif settle == "reject":
                    message.reject()
                else:
                    with message:
                        pass
                settled.append(message)
        reason_code = ReasonCode.UNSPECIFIED_ERROR if settle == "reject" else 0
        assert await answers(server) == [("1", reason_code)]

    @pytest.mark.parametrize(("qos", "ack"), [(0, "when_done"), (1, "on_receipt"), (1, "manual")])
    async def test_it_is_not_too_late_where_the_loop_settles_nothing(
        self, server: Server, client: trio_mqtt.Client, qos: int, ack: Any
    ) -> None:
        async with client.subscribe("a", qos=1, ack=ack) as messages:
            fill(server, "1", "2", qos=qos)
            seen: list[trio_mqtt.Message] = []
            async for message in messages:
                seen.append(message)
                if len(seen) == 2:
                    break
            for message in seen:
                with message:
                    pass
        assert await answers(server) == (accepted("1", "2") if qos else [])

    async def test_at_qos_0_it_changes_nothing(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        async with client.subscribe("a") as messages:
            fill(server, "1", qos=0)
            with await messages.receive() as message:
                assert message.text() == "1"
            fill(server, "2", qos=0)
            with pytest.raises(ZeroDivisionError), await messages.receive():
                raise ZeroDivisionError
            assert client.statistics().unclaimed == 0

    async def test_a_worker_that_ends_after_the_block_still_settles(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        async with client.subscribe("a", qos=1) as messages:
            fill(server, "1")
            message = await messages.receive()
            message.__enter__()
        message.__exit__(None, None, None)
        assert await answers(server) == accepted("1")


async def start_work(
    work: Any, message: trio_mqtt.Message, *, task_status: Any = trio.TASK_STATUS_IGNORED
) -> None:
    with message:
        task_status.started()
        await work(message)


class TestManual:
    """ack="manual": only `ack`, `reject` and `with`."""

    async def test_the_loop_settles_nothing(self, server: Server, client: trio_mqtt.Client) -> None:
        async with client.subscribe("a", qos=1, ack="manual") as messages:
            fill(server, "1", "2", "3")
            held: list[trio_mqtt.Message] = []
            async for message in messages:
                held.append(message)
                if len(held) == 3:
                    break
            assert await answers(server) == []
            for message in held:
                message.ack()
            assert await answers(server) == accepted("1", "2", "3")

    async def test_another_loop_takes_nothing_away(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        async with client.subscribe("a", qos=1, ack="manual") as messages:
            fill(server, "1", "2")
            async for _ in messages:
                break
            async for _ in messages:
                break
            assert client.statistics().unclaimed == 0
            assert messages.statistics().in_hand == 2


async def test_on_receipt_settles_in_the_buffer(server: Server, client: trio_mqtt.Client) -> None:
    async with client.subscribe("a", qos=2, ack="on_receipt") as messages:
        fill(server, "1", "2", qos=1)
        fill(server, "3", qos=2)
        assert await answers(server) == accepted("1", "2", "3")
        assert messages.statistics().buffered == 3
        assert [(await messages.receive()).text() for _ in range(3)] == ["1", "2", "3"]
        assert messages.statistics().in_hand == 0


@pytest.mark.parametrize("qos", [1, 2])
async def test_acknowledgements_leave_in_the_order_of_arrival(
    server: Server, client: trio_mqtt.Client, qos: int
) -> None:
    async with client.subscribe("a", qos=2, ack="manual") as messages:
        fill(server, "1", "2", "3", "4", qos=qos)
        held = [await messages.receive() for _ in range(4)]
        held[3].ack()
        held[1].reject(ReasonCode.PAYLOAD_FORMAT_INVALID)
        assert await answers(server) == []
        held[0].ack()
        assert await answers(server) == [("1", 0), ("2", 0x99)]
        held[2].ack()
        assert await answers(server) == [("1", 0), ("2", 0x99), ("3", 0), ("4", 0)]


class TestReject:
    """`Message.reject` (contract 8)."""

    @pytest.mark.parametrize("reason_code", [0x80, 0x83, 0x87, 0x90, 0x97, 0x99])
    @pytest.mark.parametrize("qos", [1, 2])
    async def test_each_reason(
        self, server: Server, client: trio_mqtt.Client, qos: int, reason_code: int
    ) -> None:
        async with client.subscribe("a", qos=2) as messages:
            fill(server, "1", qos=qos)
            message = await messages.receive()
            message.reject(ReasonCode(reason_code))
            assert await answers(server) == [("1", reason_code)]
            assert message.settled == reason_code
            assert client.statistics().unsettled == 0

    async def test_another_reason_is_refused(
        self, server: Server, client: trio_mqtt.Client
    ) -> None:
        async with client.subscribe("a", qos=1) as messages:
            fill(server, "1")
            message = await messages.receive()
            with pytest.raises(trio_mqtt.LocalProtocolError, match="0x80, 0x83"):
                message.reject(ReasonCode.SERVER_BUSY)
            assert message.settled is None

    async def test_not_at_qos_0(self, server: Server, client: trio_mqtt.Client) -> None:
        async with client.subscribe("a") as messages:
            fill(server, "1", qos=0)
            message = await messages.receive()
            with pytest.raises(trio_mqtt.FeatureNotSupported, match="QoS 0"):
                message.reject()

    async def test_not_below_mqtt_5_and_it_stays_held(self, server: Server) -> None:
        async with (
            open_once(connector=server.connect, protocol=trio_mqtt.MQTT_3_1_1) as client,
            client.subscribe("a", qos=1) as messages,
        ):
            fill(server, "1")
            message = await messages.receive()
            with pytest.raises(trio_mqtt.FeatureNotSupported, match=r"MQTT 3\.1\.1"):
                message.reject()
            assert messages.statistics().in_hand == 1
            message.ack()
            assert await answers(server) == accepted("1")

    async def test_not_below_mqtt_5_when_unclaimed(self, server: Server) -> None:
        async with open_once(connector=server.connect, protocol=trio_mqtt.MQTT_3_1_1) as client:
            async with client.subscribe("a", qos=1) as messages:
                fill(server, "1")
                message = await messages.receive()
            with pytest.raises(trio_mqtt.FeatureNotSupported):
                message.reject()
            with pytest.raises(ZeroDivisionError), message:
                raise ZeroDivisionError
            assert client.statistics().unclaimed == 1


async def test_several_tasks_each_with_a_message_in_hand(
    server: Server, client: trio_mqtt.Client
) -> None:
    counts = dict.fromkeys(range(4), 0)
    total = 200
    done = trio.Event()

    async def work(number: int, messages: trio_mqtt.Subscription) -> None:
        async for _ in messages:
            counts[number] += 1
            await trio.lowlevel.checkpoint()
            if sum(counts.values()) == total:
                done.set()

    async with client.subscribe("a", qos=1) as messages, trio.open_nursery() as nursery:
        for number in counts:
            nursery.start_soon(work, number, messages)
        fill(server, *(str(number) for number in range(total)))
        await done.wait()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert sum(counts.values()) == total
    assert min(counts.values()) > 0
    assert await answers(server) == accepted(*(str(number) for number in range(total)))


class TestMessage:
    """A message by itself, as a user's test would make one."""

    def test_it_can_be_built(self) -> None:
        message = trio_mqtt.Message("a", b'{"x": 1}', attempt=3)
        assert message.json() == {"x": 1}
        assert message.text() == '{"x": 1}'
        assert message.attempt == 3
        assert (message.qos, message.retain, message.dup) == (0, False, False)
        assert message.content_type is None
        assert message.response_topic is None
        assert message.correlation_data is None
        assert message.message_expiry is None
        assert message.user_properties == ()

    def test_settling_it_does_nothing(self) -> None:
        message = trio_mqtt.Message("a", qos=1)
        message.ack()
        message.reject()
        with message as same:
            assert same is message
        with pytest.raises(ZeroDivisionError), message:
            raise ZeroDivisionError

    def test_two_that_look_alike_are_two(self) -> None:
        one, other = trio_mqtt.Message("a"), trio_mqtt.Message("a")
        assert one != other
        assert len({one, other}) == 2

    def test_the_payload_is_not_shown(self) -> None:
        assert "hush" not in repr(trio_mqtt.Message("a", b"hush"))

    def test_bad_text_and_json(self) -> None:
        with pytest.raises(UnicodeDecodeError):
            trio_mqtt.Message("a", b"\xff").text()
        with pytest.raises(ValueError, match="Expecting"):
            trio_mqtt.Message("a", b"nothing").json()
