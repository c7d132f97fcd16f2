"""One direction of a connection through the network: from its sender's stream to its receiver's."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

import trio

from trio_mqtt.testing._memory import MemoryStream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from trio_mqtt.testing._faults import Ending, Trap

_CAPACITY = 64 * 1024
"""How many bytes a direction holds between its two streams."""


class Junction(Protocol):
    """What the two directions of a connection share.

    Attributes:
        hold: while it is not None, nothing is passed: the other direction passes its last byte.
    """

    hold: trio.Event | None

    def break_down(self) -> None:
        """A fault breaks the connection."""
        ...

    def pass_close(self) -> None:
        """One side has closed the connection."""
        ...

    def pass_reset(self) -> None:
        """One side has broken the connection."""
        ...

    def note_lane(self) -> None:
        """`passed`, `over` or `deaf` of a direction has changed."""
        ...


class Lane:
    """Passes bytes in one direction, as far as the faults let it.

    Invariant: between the last byte that passes in front of a cut, and the break, nothing passes
    in the other direction. So nothing that answers it can come back.

    Args:
        trap: where it is cut or stalled.
        chunk: the most bytes passed at once, or None.
        delay: how long each byte is on its way, in seconds.
        junction: what it shares with the other direction.

    Attributes:
        passed: how many bytes the receiver's stream has taken.
        over: whether the sender has ended it.
        deaf: whether the receiver is gone.
        stalled: whether nothing passes any more.
        on_data: called with the bytes that are about to pass, in front of all that answers them.
        on_end: called with how the sender has ended.
    """

    def __init__(self, trap: Trap, chunk: int | None, delay: float, junction: Junction) -> None:
        self.passed = 0
        self.over = False
        self.deaf = False
        self.stalled = False
        self.on_data: list[Callable[[bytes], None]] = []
        self.on_end: list[Callable[[Ending], None]] = []
        self._trap = trap
        self._chunk = chunk
        self._delay = delay
        self._junction = junction

    async def run(self, source: trio.abc.Stream, sink: trio.abc.Stream) -> None:
        """Pass everything; returns when nothing more can come."""
        if self._delay:
            line = _DelayLine(source, self._delay)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(line.run)
                await self._pass_all(line.receive, sink)
        else:
            await self._pass_all(partial(_receive, source, _CAPACITY), sink)

    async def _pass_all(
        self, receive: Callable[[], Awaitable[bytes | None]], sink: trio.abc.Stream
    ) -> None:
        data: bytes | None = b""  # the first place may be in front of all bytes
        while data is not None:
            size, action = self._trap.spring(data)
            await self._pass(data[:size], sink, is_last=action == "cut")
            if action == "stall":
                await self._pass_nothing(receive)
                return
            data = await receive()
            if data == b"":
                self._tell_end("close")
                await self._end(sink)
                return
        self._tell_end("reset")
        self._junction.pass_reset()

    def _tell_end(self, ending: Ending) -> None:
        for tell in self.on_end:
            tell(ending)

    async def _pass(self, data: bytes, sink: trio.abc.Stream, *, is_last: bool) -> None:
        if data:
            for tell in self.on_data:
                tell(data)
        try:
            for piece in self._pieces(data[:-1] if is_last else data):
                await self._await_turn(sink)
                await sink.send_all(piece)
                self._note_passed(piece)
            if is_last:
                await self._pass_last(data[-1:], sink)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.deaf = True
            self._junction.note_lane()

    async def _pass_last(self, byte: bytes, sink: trio.abc.Stream) -> None:
        """Pass the byte in front of the cut; it waits for nothing, since there is room for it."""
        junction = self._junction
        if byte:
            await self._await_turn(sink)
            await sink.wait_send_all_might_not_block()
            await self._await_turn(sink)
            junction.hold = trio.Event()
            try:
                await sink.send_all(byte)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                junction.hold.set()
                junction.hold = None
                raise
            self._note_passed(byte)
        junction.break_down()

    async def _await_turn(self, sink: trio.abc.Stream) -> None:
        if self._chunk is not None and isinstance(sink, MemoryStream):
            await sink.wait_taken()
        if self._junction.hold is not None:
            await self._junction.hold.wait()

    def _note_passed(self, piece: bytes) -> None:
        self.passed += len(piece)
        self._junction.note_lane()

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        step = self._chunk or _CAPACITY
        for start in range(0, len(data), step):
            yield data[start : start + step]

    async def _pass_nothing(self, receive: Callable[[], Awaitable[bytes | None]]) -> None:
        """Take what a network of this capacity takes, and then nothing; say nothing of the end."""
        self.stalled = True
        room = _CAPACITY
        while room > 0:
            data = await receive()
            if not data:
                self.over = True
                self._junction.note_lane()
                return
            room -= len(data)
        await trio.sleep_forever()

    async def _end(self, sink: trio.abc.Stream) -> None:
        """Pass the end of the stream on; where there are no half-closed streams, it is all over."""
        if isinstance(sink, trio.abc.HalfCloseableStream):
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await sink.send_eof()
            self.over = True
            self._junction.note_lane()
        else:
            self._junction.pass_close()


class _DelayLine:
    """Holds what a stream has sent until its time has come.

    Args:
        source: the sender's stream.
        seconds: how long it is held.
    """

    def __init__(self, source: trio.abc.Stream, seconds: float) -> None:
        self._source = source
        self._seconds = seconds
        self._held: deque[tuple[float, bytes | None]] = deque()
        self._size = 0
        self._changed = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        """Take what comes, as much as there is room for."""
        data: bytes | None = b"-"
        while data:
            while self._size >= _CAPACITY:
                await self._changed.park()
            data = await _receive(self._source, _CAPACITY - self._size)
            self._held.append((trio.current_time() + self._seconds, data))
            self._size += len(data or b"")
            self._changed.unpark_all()

    async def receive(self) -> bytes | None:
        """The next bytes whose time has come; as `_receive`."""
        while not self._held:
            await self._changed.park()
        due, data = self._held[0]
        await trio.sleep_until(due)
        self._held.popleft()
        self._size -= len(data or b"")
        self._changed.unpark_all()
        return data


async def _receive(source: trio.abc.Stream, max_bytes: int) -> bytes | None:
    """The next bytes; none at all mean that the sender has ended, and None that it has broken."""
    try:
        return bytes(await source.receive_some(max_bytes))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return None
