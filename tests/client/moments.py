"""Cancel at every moment: after each step that any task of the program takes.

A *moment* is the time just before or just after a task runs. Cancelled before its task runs, an
operation that was woken already meets the cancellation at its next checkpoint; cancelled after
one, it meets it in the middle of its wait. Counting the steps of all tasks, not only those of the
operation, covers every state in which the rest of the program can be meanwhile.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import trio
from trio.testing import wait_all_tasks_blocked

from trio_mqtt import ReasonCode
from trio_mqtt.packets import Connect, Disconnect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from trio_mqtt import Client
    from trio_mqtt.packets import Packet
    from trio_mqtt.testing import Server

P = TypeVar("P")

PATIENCE: Final = 100
"""Longer than anything here takes, in seconds of Trio's clock."""


class Alarm(trio.abc.Instrument):
    """Cancels `scope` at one moment.

    Attributes:
        scope: what is cancelled.
        rang: whether the moment came.
    """

    def __init__(self, moment: int) -> None:
        self.scope = trio.CancelScope()
        self.rang = False
        self._left = moment

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._tick()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._tick()

    def _tick(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.rang = True
            self.scope.cancel()


@contextmanager
def cancelled_at(moment: int) -> Generator[Alarm]:
    """Cancel the block at a moment, counted from its beginning; 0 is before it begins."""
    alarm = Alarm(moment)
    if not moment:
        alarm.rang = True
        alarm.scope.cancel()
    trio.lowlevel.add_instrument(alarm)
    try:
        with alarm.scope:
            yield alarm
    finally:
        trio.lowlevel.remove_instrument(alarm)


async def at_every_moment(
    scenario: Callable[[int], Awaitable[bool]], *, at_least: int, at_most: int = 1000
) -> None:
    """Run a scenario for moment 0, 1, 2 ... until it is over before its moment comes.

    Args:
        scenario: takes the moment, and says whether it came.
        at_least: how many moments there must have been, so that the test tests something.
        at_most: try no more moments than that, where the later ones are all alike.
    """
    moment = 0
    while moment < at_most:
        with trio.fail_after(10 * PATIENCE):
            if not await scenario(moment):
                break
        moment += 1
    assert moment >= at_least


def all_tasks() -> set[trio.lowlevel.Task]:
    """Every task there is."""
    root = trio.lowlevel.current_root_task()
    found: set[trio.lowlevel.Task] = set()
    waiting = [root] if root else []
    while waiting:
        task = waiting.pop()
        found.add(task)
        for nursery in task.child_nurseries:
            waiting += nursery.child_tasks
    return found


def received(server: Server, packet_type: type[P]) -> list[P]:
    """What the server received, of one class, in order."""
    return [
        entry.packet
        for entry in server.log
        if entry.direction == "received" and isinstance(entry.packet, packet_type)
    ]


def sent(server: Server, packet_type: type[P]) -> list[P]:
    """What the server sent, of one class, in order."""
    return [
        entry.packet
        for entry in server.log
        if entry.direction == "sent" and isinstance(entry.packet, packet_type)
    ]


async def assert_works(client: Client, topic: str = "still/working") -> None:
    """Check that messages go round at every QoS, and that nothing is left over."""
    with trio.fail_after(PATIENCE):
        async with client.subscribe(topic, qos=2) as messages:
            for qos in (0, 1, 2):
                await client.publish(topic, str(qos), qos=qos)
                message = await messages.receive()
                assert (message.text(), message.qos) == (str(qos), qos)
                message.ack()
        await assert_idle(client)


async def assert_idle(client: Client) -> None:
    """Check that no exchange is open, no Packet Identifier in use and the window whole."""
    await wait_all_tasks_blocked()
    statistics = client.statistics()
    assert statistics.unfinished == 0
    assert statistics.queued == 0
    assert statistics.output_bytes == 0
    assert statistics.unsettled == 0
    assert statistics.tasks_awaiting_answers == 0
    assert statistics.stray_acknowledgements == 0
    assert statistics.window == min(client.server.receive_maximum, 65_000)


def assert_clean_end(server: Server) -> None:
    """Check that each client obeyed the protocol to the end, and said DISCONNECT in good order.

    The test server answers a packet that is torn, out of place or unknown with a DISCONNECT.
    """
    assert sent(server, Disconnect) == []
    last: dict[str, Packet] = {}
    for entry in server.log:
        if entry.direction == "received":
            last[entry.client_id] = entry.packet
    assert all(isinstance(each, Connect) or _is_goodbye(each) for each in last.values())
    assert not any(session.connected for session in server.sessions.values())


def _is_goodbye(packet: Packet) -> bool:
    return isinstance(packet, Disconnect) and packet.reason_code is ReasonCode.SUCCESS
