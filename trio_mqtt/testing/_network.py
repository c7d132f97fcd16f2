"""The faulty network: connections in memory or over TCP that suffer what a test wants."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import trio
import trio.testing

from trio_mqtt._transports.tcp import open_tcp
from trio_mqtt._transports.url import parse_url
from trio_mqtt.testing._background import open_background
from trio_mqtt.testing._faults import NO_FAULTS
from trio_mqtt.testing._memory import (
    DEFAULT_CAPACITY,
    MemoryStream,
    memory_stream_pair,
    reset_stream,
)
from trio_mqtt.testing._network_connection import NetworkConnection
from trio_mqtt.testing._recording import Recorder, Recording

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable

    from trio_mqtt.abc import Connector
    from trio_mqtt.testing._faults import Ending, Faults

_SETTLING = 1.0
"""How long the end of the block waits for what is on its way, in seconds."""


class FaultyNetwork:
    """A network between a client and its server, in which things go wrong as a test wants.

    `open_network` and `open_proxy` make one. Each Network Connection takes the next of the
    `Faults` it was given, and those that come when all are used suffer none.

    Attributes:
        url: where it listens, such as ``mqtt://127.0.0.1:40001``; None without a port.
        port: the port alone, or None.
    """

    def __init__(self, connect: Connector, faults: Iterable[Faults], nursery: trio.Nursery) -> None:
        self.url: str | None = None
        self.port: int | None = None
        self._connect = connect
        self._faults = iter(faults)
        self._added: deque[Faults] = deque()
        self._nursery = nursery
        self._is_down = False  # by hand
        self._outages = 0  # that have begun and not ended
        self._recorders: list[Callable[[int], Recorder]] = []
        self._connections: list[NetworkConnection] = []
        self._changed = trio.lowlevel.ParkingLot()

    @asynccontextmanager
    async def connect(self, *, capacity: int = DEFAULT_CAPACITY) -> AsyncGenerator[MemoryStream]:
        """Connect in memory; the block gets the client's end, which is closed behind it.

        The method itself is a connector: ``open_client(connector=network.connect)``. What the
        client sent before it left the block goes on to the server. Cancelled while it connects,
        nothing is left but an entry in `connections`.

        Args:
            capacity: how many bytes each direction holds between the client and the network.

        Raises:
            ConnectionRefusedError: the faults say so, or the network is down or closed.
            OSError: the server cannot be reached.
        """
        connection = self._admit()
        client_end, near = memory_stream_pair(capacity=capacity)
        await self._nursery.start(connection.carry, self._connect, near)
        try:
            yield client_end
        finally:
            with trio.CancelScope(shield=True):  # closing by force waits for nothing
                await trio.aclose_forcefully(client_end)

    # Watching

    @property
    def connections(self) -> tuple[NetworkConnection, ...]:
        """All attempts to connect so far, oldest first, those that were refused among them."""
        return tuple(self._connections)

    async def wait_connection(self, number: int = 1) -> NetworkConnection:
        """Wait until so many connections were attempted and the last of them made or refused.

        Cancelled, nothing happened.

        Args:
            number: which connection, from 1.
        """
        await trio.lowlevel.checkpoint()
        while True:
            if len(self._connections) >= number:
                connection = self._connections[number - 1]
                if connection.is_made or connection.outcome is not None:
                    return connection
            await self._changed.park()

    def record(self, *, secrets: bool = False) -> Recording:
        """Record what passes, in all connections that are attempted from now on.

        Control Packets are told apart in MQTT that goes straight over the stream, not inside TLS or
        WebSocket. Payloads are recorded as they are.

        Args:
            secrets: whether User Names, Passwords, Authentication Data and bytes that are no
                Control Packets are recorded, too.
        """
        recording = Recording()
        began = trio.current_time()
        self._recorders.append(partial(Recorder, recording, began=began, secrets=secrets))
        return recording

    # Acting

    def add_faults(self, *faults: Faults) -> None:
        """The next connections suffer these, one each, before those given at the start.

        Args:
            faults: what the next connection suffers, the one behind it, and so on.
        """
        self._added.extend(faults)

    def inject(self, faults: Faults) -> None:
        """Let all connections that are open suffer these from now on; see `NetworkConnection`.

        Args:
            faults: where they are cut or stalled.

        Raises:
            ValueError: none is open, or the faults are for one that is yet to be made.
        """
        connections = [connection for connection in self._connections if connection.is_open]
        if not connections:
            raise ValueError("no connection is open; add_faults is for those yet to be made")
        for connection in connections:
            connection.inject(faults)

    def cut(self, ending: Ending = "reset") -> None:
        """Break all connections now, those that are being made too.

        Args:
            ending: what both sides get, as in `Faults`.
        """
        for connection in self._connections:
            connection.cut(ending)

    def down(self, ending: Ending = "reset") -> None:
        """Break all connections and refuse new ones until `up`; those take no `Faults`.

        Args:
            ending: what both sides get, as in `Faults`.
        """
        self._is_down = True
        self.cut(ending)

    def up(self) -> None:
        """Let connections be made again, once no `outage` is left."""
        self._is_down = False

    @contextmanager
    def outage(self, ending: Ending = "reset") -> Generator[None]:
        """The network is down while the block runs, and as long as another such block does.

        Args:
            ending: what both sides get, as in `Faults`.
        """
        self._outages += 1
        self.cut(ending)
        try:
            yield
        finally:
            self._outages -= 1

    # Inside

    async def listen(self, port: int, scheme: str) -> None:
        """Let clients connect over TCP too."""
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self._nursery.start_soon(
            partial(trio.serve_listeners, self._accept, listeners, handler_nursery=self._nursery)
        )

    async def _accept(self, stream: trio.SocketStream) -> None:
        try:
            connection = self._admit()
        except ConnectionRefusedError:
            await reset_stream(stream)
            return
        try:
            await connection.carry(self._connect, stream)
        except OSError:
            if connection.is_made:
                raise
            await reset_stream(stream)

    def _note_change(self) -> None:
        self._changed.unpark_all()

    def _next_faults(self) -> Faults:
        return self._added.popleft() if self._added else next(self._faults, NO_FAULTS)

    def _admit(self) -> NetworkConnection:
        """Begin a connection."""
        if self._nursery.cancel_scope.cancel_called:
            raise ConnectionRefusedError("the test network is closed")
        is_down = self._is_down or self._outages > 0
        faults = NO_FAULTS if is_down else self._next_faults()
        number = len(self._connections) + 1
        connection = NetworkConnection(number, faults, self._note_change)
        self._connections.append(connection)
        if is_down or faults.refuse:
            connection.refuse()
            raise ConnectionRefusedError("the test network refuses this connection")
        for make_recorder in self._recorders:
            connection.record(make_recorder(number))
        return connection


@asynccontextmanager
async def open_network(
    connect: Connector, faults: Iterable[Faults] = (), *, port: int | None = None
) -> AsyncGenerator[FaultyNetwork]:
    """Put a faulty network in front of a server while the block runs.

    Example::

        async with (
            open_server() as server,
            open_network(server.connect, [Faults(cut_to_server=Before(PubRel))]) as network,
            open_client(connector=network.connect) as client,
        ):
            ...

    It uses Trio's clock alone, and in memory it does the same at each run. The end of the block
    breaks what is still open.

    Args:
        connect: makes a connection to the server, such as ``server.connect`` of `open_server`.
        faults: what the first Network Connection suffers, the second, and so on; may be endless.
        port: listen on this port of 127.0.0.1 as well, 0 for any that is free; None for
            connections in memory only.
    """
    async with _open(connect, faults, port, "mqtt") as network:
        yield network


@asynccontextmanager
async def open_proxy(
    url: str, faults: Iterable[Faults] = (), *, port: int = 0
) -> AsyncGenerator[FaultyNetwork]:
    """Put a faulty network in front of a real server, as a TCP proxy, while the block runs.

    Example::

        async with (
            open_proxy("mqtt://localhost", [Faults(refuse=True)]) as proxy,
            open_client(proxy.url, reconnect=...) as client,
        ):
            ...

    A connection that is refused is accepted and reset at once. One that is cut with
    ``ending="reset"`` is reset after its last bytes were sent: the receiver can still read them,
    but a server may choose to drop what it has not read when it learns of the reset.

    Args:
        url: where the server is.
        faults: what the first Network Connection suffers, the second, and so on; may be endless.
        port: listen on this port of 127.0.0.1, 0 for any that is free.

    Raises:
        ValueError: the URL cannot be used.
        OSError: the port is taken.
    """
    address = parse_url(url)
    if not address.host:
        message = "a proxy needs the URL of a server with a host and a port, not of a Unix socket"
        raise ValueError(message)
    async with _open(partial(open_tcp, address), faults, port, address.scheme) as network:
        yield network


@asynccontextmanager
async def _open(
    connect: Connector, faults: Iterable[Faults], port: int | None, scheme: str
) -> AsyncGenerator[FaultyNetwork]:
    async with open_background("errors in the test network") as nursery:
        network = FaultyNetwork(connect, faults, nursery)
        if port is not None:
            await network.listen(port, scheme)
        yield network
        with trio.move_on_after(_SETTLING):  # what a client sent last has yet to pass
            await trio.testing.wait_all_tasks_blocked()
