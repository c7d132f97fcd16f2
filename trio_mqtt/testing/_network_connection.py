"""One Network Connection through the faulty network."""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Literal

import trio

from trio_mqtt.testing._faults import Trap, check_midway
from trio_mqtt.testing._lane import Lane
from trio_mqtt.testing._memory import MemoryStream, reset_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mqtt.abc import Connector
    from trio_mqtt.testing._faults import Ending, Faults
    from trio_mqtt.testing._recording import Recorder

Outcome = Literal["refused", "cut", "closed", "reset"]
"""How a connection ended, or was not made."""

_GRACE = 5.0
"""How long a real socket may take to deliver the last bytes and to be closed, in seconds."""
_READ_SIZE = 64 * 1024


class NetworkConnection:
    """A Network Connection through a `FaultyNetwork`, or the attempt at one.

    Attributes:
        number: counts the attempts, from 1.
        faults: what it suffers.
        outcome: None as long as it is being made or open; then ``"refused"``, ``"cut"`` by the
            network, ``"closed"`` in good order by both sides or one that is gone, or ``"reset"``
            by one of them.
        hold: what the two directions share.
    """

    def __init__(self, number: int, faults: Faults, on_change: Callable[[], None]) -> None:
        self.number = number
        self.faults: Faults = faults
        self.outcome: Outcome | None = None
        self.hold: trio.Event | None = None
        self._on_change = on_change
        self._changed = trio.lowlevel.ParkingLot()
        self._made = False
        self._scope = self._connecting = trio.CancelScope()
        self._streams: tuple[trio.abc.Stream, ...] = ()
        self._recorders: list[Recorder] = []
        self._how: Ending | None = None  # both sides learn of the end; None if they know
        self._trap_to_server = Trap(cut=faults.cut_to_server, stall=faults.stall_to_server)
        self._trap_to_client = Trap(cut=faults.cut_to_client, stall=faults.stall_to_client)
        self._to_server = Lane(
            self._trap_to_server,
            faults.chunk,
            faults.delay,
            self,
        )
        self._to_client = Lane(
            self._trap_to_client,
            faults.chunk,
            faults.delay,
            self,
        )

    def __repr__(self) -> str:
        """Its number, how many bytes have passed and how it ended."""
        state = self.outcome or ("open" if self._made else "being made")
        return (
            f"<NetworkConnection {self.number}: {state}, {self.to_server} bytes to the server, "
            f"{self.to_client} to the client>"
        )

    @property
    def is_made(self) -> bool:
        """Whether the server was reached."""
        return self._made

    @property
    def is_open(self) -> bool:
        """Whether it was made and has not ended."""
        return self._made and self.outcome is None

    @property
    def to_server(self) -> int:
        """How many bytes of the client's were handed to the server's stream."""
        return self._to_server.passed

    @property
    def to_client(self) -> int:
        """How many bytes of the server's were handed to the client's stream."""
        return self._to_client.passed

    def record(self, recorder: Recorder) -> None:
        """Tell a recorder of all that passes."""
        self._recorders.append(recorder)
        self._to_server.on_data.append(partial(recorder.data, "client"))
        self._to_server.on_end.append(partial(recorder.end, "client"))
        self._to_client.on_data.append(partial(recorder.data, "server"))
        self._to_client.on_end.append(partial(recorder.end, "server"))

    def cut(self, ending: Ending = "reset") -> None:
        """Break it now; what has passed can still be read, what is on its way is lost.

        Args:
            ending: what both sides get, as in `Faults`.
        """
        self._cut(ending)

    def inject(self, faults: Faults) -> None:
        """Let it suffer these faults from now on, in place of those it had.

        Bytes and packets count from now on, a packet that has begun to pass not among them. What is
        stalled stays so.

        Args:
            faults: where it is cut or stalled.

        Raises:
            ValueError: the faults are for a connection that is yet to be made.
        """
        check_midway(faults)
        self.faults = faults
        self._trap_to_server.set(cut=faults.cut_to_server, stall=faults.stall_to_server)
        self._trap_to_client.set(cut=faults.cut_to_client, stall=faults.stall_to_client)

    async def wait_ended(self) -> Outcome:
        """Wait until it has ended or was refused, and return how; cancelled, nothing happened."""
        await trio.lowlevel.checkpoint()
        while self.outcome is None:
            await self._changed.park()
        return self.outcome

    async def carry(
        self,
        connect: Connector,
        near: trio.abc.Stream,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Connect to the server and pass bytes until the end; `near` is closed if it connects.

        Args:
            connect: connects to the server.
            near: where the client is; its other end, or a socket.
            task_status: told when the server is reached.

        Raises:
            OSError: the server cannot be reached, or the network was cut meanwhile.
        """
        try:
            with self._connecting:
                async with connect() as far:
                    self._made = True
                    self._streams = (near, far)
                    task_status.started()
                    self._on_change()
                    await self._exchange(near, far)
        finally:
            if not self._made:
                self._end("refused", None)
        if not self._made:
            raise ConnectionRefusedError("the test network was cut while a connection was made")

    def refuse(self) -> None:
        """It is not made at all."""
        self._end("refused", None)

    async def _exchange(self, near: trio.abc.Stream, far: trio.abc.Stream) -> None:
        try:
            with trio.CancelScope() as self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._to_server.run, near, far)
                    nursery.start_soon(self._to_client.run, far, near)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_part, near, self._how)
                nursery.start_soon(_part, far, self._how)
        finally:
            self._end("cut", "reset")  # if it has not ended, the network itself has
            self._streams = ()
            with trio.CancelScope(shield=True):  # closing by force waits for nothing
                await trio.aclose_forcefully(near)
                await trio.aclose_forcefully(far)

    def _cut(self, ending: Ending) -> None:
        if self.is_open:
            for recorder in self._recorders:
                recorder.end("network", ending)
        self._end("cut", ending)

    def _end(self, outcome: Outcome, how: Ending | None) -> None:
        if self.outcome is not None:
            return
        self.outcome = outcome
        self._how = how
        for stream in self._streams:
            if how is not None and isinstance(stream, MemoryStream):
                stream.cut(reset=how == "reset")
        self._scope.cancel()
        self._changed.unpark_all()
        self._on_change()

    # What the two directions say

    def break_down(self) -> None:
        """A fault breaks the connection."""
        self._cut(self.faults.ending)

    def pass_close(self) -> None:
        """One side has closed the connection."""
        self._end("closed", None)

    def pass_reset(self) -> None:
        """One side has broken the connection."""
        self._end("reset", "reset")

    def note_lane(self) -> None:
        """Something has passed, or one side has ended."""
        there, back = self._to_server, self._to_client
        if _is_over(there, back) or _is_over(back, there):
            self._end("closed", None)


def _is_over(one: Lane, other: Lane) -> bool:
    """Whether a side has ended, the other knows, and has ended too or cannot reach it."""
    return one.over and (other.over or (other.deaf and not one.stalled))


async def _part(stream: trio.abc.Stream, how: Ending | None) -> None:
    """Let a side know of the end, behind what it was sent; in memory it knows already."""
    if isinstance(stream, MemoryStream):
        return
    with trio.move_on_after(_GRACE), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        if how == "reset":
            await _wait_sent(stream)
        elif how == "close" and isinstance(stream, trio.abc.HalfCloseableStream):
            # A socket closed with bytes unread is reset, and that may overtake what was sent.
            await stream.send_eof()
            while await stream.receive_some(_READ_SIZE):
                pass
        else:
            await stream.aclose()
    if how == "reset":
        await reset_stream(stream)


async def _wait_sent(stream: trio.abc.Stream) -> None:
    """Wait until the system has sent all it was given: a reset throws the rest away."""
    if isinstance(stream, trio.SocketStream) and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with suppress(OSError):  # from now on a socket with anything unsent is not writable
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 1)
        await stream.wait_send_all_might_not_block()
