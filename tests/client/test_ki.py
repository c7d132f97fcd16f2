"""Ctrl-C at any moment: KeyboardInterrupt leaves the block, alone, and nothing is half done.

The moments are the lines of the client's own code. At one of them a signal is raised, as the
terminal would; Trio then raises KeyboardInterrupt right there, or, where the code is protected,
at the next checkpoint of the main task. Since that makes protected lines much alike, only some of
them are tried.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_mqtt
from tests.client.moments import PATIENCE, assert_works, received, sent
from tests.client.support import open_once
from trio_mqtt import MQTT_3_1_1, MQTT_5, Client, Protocol
from trio_mqtt._protocol.exchanges import OutgoingMessage
from trio_mqtt.packets import Connect, Disconnect, Publish, PubRel
from trio_mqtt.testing import Server, open_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from types import FrameType, TracebackType

# Whoever is interrupted between a call and its block has not entered that.
pytestmark = pytest.mark.filterwarnings("ignore:.* was never entered:RuntimeWarning")

PACKAGE: Final = Path(trio_mqtt.__file__).parent
OURS: Final = tuple(str(PACKAGE / folder) for folder in ("_client", "_protocol"))


EVERY: Final = 11
"""Of the protected lines only each so many is tried."""


class Interrupter:
    """Raises SIGINT at one line of our code, counted from the beginning of the block.

    Args:
        moment: which line; negative for lines that are not protected, of which each is counted.

    Attributes:
        rang: whether that line came.
    """

    def __init__(self, moment: int) -> None:
        self.rang = False
        self._every = moment < 0
        self._left = -moment if self._every else moment * EVERY
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._on_call)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        sys.settrace(self._before)

    def _on_call(self, frame: FrameType, event: str, arg: object) -> Any:
        return self._on_line if frame.f_code.co_filename.startswith(OURS) else None

    def _on_line(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line" and not self.rang:
            self._left -= not (self._every and trio.lowlevel.currently_ki_protected())
            if not self._left:
                self.rang = True
                signal.raise_signal(signal.SIGINT)
        return self._on_line


@pytest.fixture(autouse=True)
def ctrl_c_as_usual() -> Generator[None]:
    """Python's own handler, also where whoever started the tests ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def at_every_line(scenario: Callable[[int], Awaitable[bool]], *, at_least: int) -> None:
    """Run a scenario with an interrupt at each line that is not protected, and at some others."""
    moments = 0
    for step in (-1, 1):
        moment = step
        while trio.run(scenario, moment, clock=MockClock(autojump_threshold=0)):
            moment += step
            moments += 1
    assert moments >= at_least


def assert_consistent(client: Client) -> None:
    """Check that what belongs together was changed together."""
    session = client._supervisor.state
    connection = client._supervisor.connection
    assert connection is not None
    in_flight = [
        each for each in session.identifiers.holders() if isinstance(each, OutgoingMessage)
    ]
    assert connection.sender.quota + len(in_flight) == 65_000
    assert session.outgoing_size == sum(each.size for each in [*in_flight, *session.queue])
    for each in in_flight:
        assert session.identifiers.holder(each.packet_id) is each
    deliveries = client._deliveries
    routed = {
        subscription
        for route in deliveries.routes._by_filter.values()
        for subscription in route.subscriptions
    }
    assert routed == deliveries.subscriptions.keys()


# -- operations -------------------------------------------------------------------------------


async def publish(client: Client) -> None:
    for qos in (0, 1, 2):
        await client.publish("a", qos=qos)


async def enqueue(client: Client) -> None:
    delivery = await client.enqueue("a", qos=2)
    client.publish_nowait("a", qos=1)
    await delivery.wait()


async def pipeline(client: Client) -> None:
    interrupt: KeyboardInterrupt | None = None
    async with client.open_publisher(qos=2) as publisher:
        for _ in range(3):
            try:
                await publisher.send("a")
            except KeyboardInterrupt as error:
                interrupt = error
    assert publisher.pending == 0
    assert publisher.sent == client.statistics().published
    if interrupt is not None:
        raise interrupt


async def subscribe(client: Client) -> None:
    async with client.subscribe("a", "b/+", qos=2):
        await client.unsubscribe("a")


async def receive(client: Client) -> None:
    async with client.subscribe("a", qos=2) as messages:
        client.publish_nowait("a", b"1", qos=2)
        client.publish_nowait("a", b"2", qos=1)
        client.publish_nowait("a", b"3")
        left = 3
        async for message in messages:
            with message:
                left -= 1
            if not left:
                break


async def begin_another_loop(client: Client) -> None:
    """What the first loop has in hand is unclaimed, if not at once then by the next one."""
    interrupt: KeyboardInterrupt | None = None
    async with client.subscribe("a", qos=1) as messages:
        client.publish_nowait("a", qos=1)
        await anext(aiter(messages))
        try:
            aiter(messages)
        except KeyboardInterrupt as error:
            interrupt = error
        aiter(messages)
        assert messages.statistics().in_hand == 0
        assert client.statistics().unclaimed == 1
    if interrupt is not None:
        raise interrupt


OPERATIONS: Final = [publish, enqueue, pipeline, subscribe, receive, begin_another_loop]


@pytest.mark.parametrize("protocol", [MQTT_5, MQTT_3_1_1], ids=["5", "3.1.1"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_interrupted_operation_is_done_or_not_and_the_client_works(
    operation: Callable[[Client], Awaitable[None]], protocol: Protocol
) -> None:
    async def scenario(moment: int) -> bool:
        interrupted = False
        async with open_server() as server:
            async with open_once(
                connector=server.connect, client_id="c", protocol=protocol, keep_alive=0
            ) as client:
                interrupter = Interrupter(moment)
                try:
                    with interrupter:
                        await operation(client)
                    await trio.lowlevel.checkpoint()  # one that is still due comes here
                except KeyboardInterrupt:
                    interrupted = True
                assert interrupted == interrupter.rang
                assert_consistent(client)
                await wait_all_tasks_blocked()
                assert len(of_topic(server, "a")) == client.statistics().published
                assert dict(server.sessions["c"].subscriptions) == {}
                async with client.subscribe("a", qos=2) as messages:
                    while messages.statistics().buffered:
                        messages.receive_nowait().ack()
                await assert_works(client)
            assert sent(server, Disconnect) == []
        return interrupter.rang

    at_every_line(scenario, at_least=50)


def of_topic(server: Server, topic: str) -> list[Publish]:
    return [packet for packet in received(server, Publish) if packet.topic == topic]


def test_the_interrupt_leaves_the_block_alone_and_nobody_is_left_behind() -> None:
    """From the first line of the entry to the last one of the exit."""

    async def scenario(moment: int) -> bool:
        outcome: BaseException | None = None
        inside = entered = False
        async with open_server() as server:
            interrupter = Interrupter(moment)
            try:
                with trio.fail_after(PATIENCE), interrupter:
                    async with open_once(connector=server.connect, client_id="c") as client:
                        inside = entered = True
                        async with client.subscribe("a", qos=2) as messages:
                            await client.publish("a", qos=2)
                            (await messages.receive()).ack()
                        inside = False
                await trio.lowlevel.checkpoint()
            except BaseException as error:  # noqa: BLE001 - that it is of no other kind is checked
                outcome = error
            assert type(outcome) is (KeyboardInterrupt if interrupter.rang else type(None))
            await wait_all_tasks_blocked()
            assert sent(server, Disconnect) == []
            if inside or not interrupter.rang:
                assert received(server, Disconnect) == [Disconnect()]
            if entered:
                assert len(received(server, Connect)) == 1
            assert "c" not in server.sessions
            async with open_once(connector=server.connect, client_id="c") as client:
                await assert_works(client)
        return interrupter.rang

    at_every_line(scenario, at_least=100)


def test_the_interrupt_wins_over_a_lost_connection_and_over_an_error_of_the_body() -> None:
    async def main() -> None:
        async with (
            open_server() as server,
            open_once(connector=server.connect, client_id="c") as client,
        ):
            with server.holding(PubRel):
                client.publish_nowait("a", qos=2)
                server.drop("c", reset=True)
                try:
                    await trio.sleep_forever()
                finally:
                    signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main, clock=MockClock(autojump_threshold=0))


def test_an_interrupt_while_closing_ends_the_wait() -> None:
    """Ctrl-C once more: what the server still owes is not waited for."""

    async def main() -> None:
        async with open_server() as server, trio.open_nursery() as nursery:
            nursery.start_soon(interrupt_when_idle)
            with server.holding(PubRel):
                start = trio.current_time()
                try:
                    async with open_once(connector=server.connect, close_timeout=20) as client:
                        server.pause_reading(client.server.client_id)
                        client.publish_nowait("a", qos=2)
                except KeyboardInterrupt:
                    assert trio.current_time() - start < 20
                    raise

    async def interrupt_when_idle() -> None:
        await wait_all_tasks_blocked()
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert caught.group_contains(KeyboardInterrupt)


@pytest.mark.parametrize("lost", [False, True], ids=["resumed", "session lost"])
def test_while_connecting_again(lost: bool) -> None:
    """The Session is whole afterwards, and goes on with what it had."""

    async def scenario(moment: int) -> bool:
        session = trio_mqtt.Session("c", expiry=1000)
        interrupted = False
        async with open_server() as server:
            interrupter = Interrupter(moment)
            try:
                async with trio_mqtt.open_client(
                    connector=server.connect, session=session, keep_alive=0
                ) as client:
                    for qos in (1, 2):
                        client.publish_nowait("a", qos=qos)
                    server.drop("c", reset=True)
                    await server.wait_until(lambda: not server.sessions["c"].connected)
                    if lost:
                        server.forget_session("c")
                    with interrupter:
                        while client.statistics().connections < 2:  # noqa: ASYNC110
                            await trio.sleep(0.1)
                        await client.publish("a", qos=1)
            except KeyboardInterrupt:
                interrupted = True
            assert interrupted == interrupter.rang
            async with open_once(connector=server.connect, session=session) as client:
                with trio.fail_after(PATIENCE):
                    while client.statistics().unfinished:  # noqa: ASYNC110
                        await trio.sleep(0.1)
                await assert_works(client)
        return interrupter.rang

    at_every_line(scenario, at_least=50)
