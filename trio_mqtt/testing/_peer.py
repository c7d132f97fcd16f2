"""The scripted peer: a server that plays a script and minds whether the client does, too."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mqtt.testing._background import open_background
from trio_mqtt.testing._dialogue import Dialogue, Mismatch
from trio_mqtt.testing._memory import (
    DEFAULT_CAPACITY,
    MemoryStream,
    memory_stream_pair,
    reset_stream,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Sequence

    from trio_mqtt._enums import Protocol
    from trio_mqtt.packets import Packet
    from trio_mqtt.testing._steps import Step


@attrs.define(eq=False)
class _Run:
    """One connection with its script.

    Attributes:
        number: counts the connections, from 1.
        steps: the script.
        position: how many steps are done.
        received: the packets that came.
        over: set when the script is played to its end, or has failed.
        failure: how it failed, or None.
    """

    number: int
    steps: Sequence[Step]
    position: int = 0
    received: Sequence[Packet] = ()
    over: trio.Event = attrs.Factory(trio.Event)
    failure: AssertionError | None = None

    def describe(self, what: object) -> str:
        """What went wrong, and where in the script."""
        where = f"connection {self.number}"
        if self.position < len(self.steps):
            step = self.steps[self.position]
            where += f", step {self.position + 1} of {len(self.steps)}, {step!r}"
        else:
            where += ", after its script"
        lines = [f"{where}: {what}", "received on this connection:"]
        lines += [f"  {packet!r}" for packet in self.received] or ["  nothing"]
        return "\n".join(lines)


class ScriptedPeer:
    """A server that does exactly what a script says, and checks that the client does, too.

    Example::

        peer = ScriptedPeer([
            Expect(Connect),
            Send(ConnAck()),
            Expect(Publish, topic="a", qos=1),
            Reply(Publish, lambda publish: PubAck(publish.packet_id)),
            Expect(Disconnect),
            ExpectEnd(),
        ])
        async with open_client(connector=peer.connect) as client:
            await client.publish("a", qos=1)
        peer.assert_done()

    Where the client departs from the script its connection breaks, and an AssertionError leaves
    the block of the connection and, in any case, `assert_done`. So does anything that the client
    sends after the end of its script.

    Args:
        scripts: one list of steps for each connection, in the order in which they are made.
        protocol: the version that CONNECT must name; None takes any. Scripts without a CONNECT
            are played in this version, or in MQTT 5.0.
        timeout: how long to wait for the client in each step, in seconds.
    """

    def __init__(
        self,
        *scripts: Sequence[Step],
        protocol: Protocol | None = None,
        timeout: float = 10,
    ) -> None:
        self._scripts = scripts
        self._protocol = protocol
        self._timeout = timeout
        self._runs: list[_Run] = []
        self._failures: list[AssertionError] = []

    @property
    def received(self) -> tuple[Packet, ...]:
        """All packets that came, of all connections in their order."""
        return tuple(packet for run in self._runs for packet in run.received)

    @property
    def connections(self) -> int:
        """How many connections were made."""
        return len(self._runs)

    @asynccontextmanager
    async def connect(
        self,
        *,
        capacity: int = DEFAULT_CAPACITY,
        chunk: int | Callable[[], int] | None = None,
    ) -> AsyncGenerator[MemoryStream]:
        """Connect in memory; the block gets the client's end, which is closed behind it.

        The method itself is a connector: ``open_client(connector=peer.connect)``. At the end of
        the block the script has as long as `timeout` to come to its own end.

        Args:
            capacity: how many bytes each direction holds.
            chunk: see `memory_stream_pair`.

        Raises:
            AssertionError: the client departed from the script, or there is none left.
        """
        run = self._next_run()
        client_end, peer_end = memory_stream_pair(capacity=capacity, chunk=chunk)
        with self._failure_first(run):
            async with open_background("errors in the scripted peer") as nursery:
                nursery.start_soon(self._play, run, peer_end)
                try:
                    yield client_end
                finally:
                    with trio.CancelScope(shield=True):  # closing by force waits for nothing
                        await trio.aclose_forcefully(client_end)
                    await self._finish([run])

    @asynccontextmanager
    async def listen(self, port: int = 0) -> AsyncGenerator[str]:
        """Listen on a port of 127.0.0.1, 0 for any that is free; the block gets the URL.

        A client that departs from its script cancels the block. At the end of the block each
        script has as long as `timeout` to come to its own end.

        Raises:
            AssertionError: a client departed from its script, or there is none left.
        """
        with self._failure_first():
            async with open_background("errors in the scripted peer") as nursery:
                listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
                address = listeners[0].socket.getsockname()
                play = partial(self._play_next, nursery.cancel_scope)
                serve = partial(trio.serve_listeners, handler_nursery=nursery)
                nursery.start_soon(serve, play, listeners)
                try:
                    yield f"mqtt://127.0.0.1:{address[1]}"
                finally:
                    await self._finish(self._runs)

    def assert_done(self) -> None:
        """Check that every script was played to its end.

        Raises:
            AssertionError: one was not, or a client departed from it.
        """
        if failure := self._failure_of(None):
            raise failure
        for run in self._runs:
            if not run.over.is_set():
                raise AssertionError(run.describe("the script is not over"))
        if len(self._runs) < len(self._scripts):
            raise AssertionError(
                f"{len(self._runs)} of {len(self._scripts)} expected connections were made"
            )

    @contextmanager
    def _failure_first(self, run: _Run | None = None) -> Generator[None]:
        """What went wrong with a script goes before what that did to the block."""
        try:
            yield
        except BaseException as error:
            if failure := self._failure_of(run):
                raise failure from error
            raise
        if failure := self._failure_of(run):
            raise failure

    def _failure_of(self, run: _Run | None) -> AssertionError | None:
        """How this run failed, or, without one, the first failure of all."""
        if run is not None:
            return run.failure
        return self._failures[0] if self._failures else None

    def _next_run(self) -> _Run:
        number = len(self._runs) + 1
        if number > len(self._scripts):
            failure = AssertionError(f"there is no script for connection {number}")
            self._failures.append(failure)
            raise failure
        run = _Run(number, self._scripts[number - 1])
        self._runs.append(run)
        return run

    async def _play_next(self, block: trio.CancelScope, stream: trio.SocketStream) -> None:
        async with stream:
            with suppress(AssertionError):  # it is among the failures
                await self._play(self._next_run(), stream)
        if self._failures:
            block.cancel()

    async def _play(self, run: _Run, stream: trio.abc.Stream) -> None:
        dialogue = Dialogue(stream, self._protocol, self._timeout)
        run.received = dialogue.received
        try:
            for step in run.steps:
                await step.run(dialogue)
                run.position += 1
            if not dialogue.closed:
                await _expect_nothing_more(dialogue)
        except AssertionError as error:
            self._fail(run, error)
            await reset_stream(stream)
        run.over.set()

    async def _finish(self, runs: Sequence[_Run]) -> None:
        """Let scripts come to their end, unless the block around them is cancelled."""
        if trio.current_effective_deadline() == -math.inf:
            return
        with trio.move_on_after(self._timeout):
            for run in runs:
                await run.over.wait()
        for run in runs:
            if not run.over.is_set():
                self._fail(run, "the script is not over, and the client is gone")

    def _fail(self, run: _Run, why: AssertionError | str) -> None:
        run.failure = AssertionError(run.describe(why))
        run.failure.__cause__ = why if isinstance(why, AssertionError) else None
        self._failures.append(run.failure)


async def _expect_nothing_more(dialogue: Dialogue) -> None:
    packet = await dialogue.read_packet(math.inf)
    if packet is not None:
        raise Mismatch(f"the client sent {packet!r}")
