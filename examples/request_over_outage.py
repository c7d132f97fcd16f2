"""Requests whose connection breaks while they wait for their replies.

    python request_over_outage.py [URL]

The requester reaches the server through a proxy, which breaks its connection; the responder does
not. The URL may also stand in MQTT_URL; without either there is a server in this program.

A request that waits goes on waiting on the next connection. A reply that is sent while there is no
connection is lost, though, for replies come at QoS 0: so the requester asks again after a while,
and the responder knows orders that it has carried out.
"""

from __future__ import annotations

import os
import secrets
import sys
from contextlib import AsyncExitStack

import trio

import trio_mqtt
from trio_mqtt.events import Connected
from trio_mqtt.testing import FaultyNetwork, open_proxy, open_server

URL = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MQTT_URL")
TOPIC = f"request-over-outage/{secrets.token_hex(4)}"  # for this run alone
PATIENCE = 2  # seconds, longer than it takes to connect again
ATTEMPTS = 5


async def ask(client: trio_mqtt.Client, order: str) -> str:
    """Ask until there is an answer."""
    for _ in range(ATTEMPTS):
        with trio.move_on_after(PATIENCE):
            return (await client.request(TOPIC, order)).text()
        print(f"requester: no answer to {order!r} within {PATIENCE} s, so it asks again")
    return "nothing"


class Responder:
    """Carries each order out once, and breaks the connection of who asks at unfortunate moments."""

    def __init__(self, network: FaultyNetwork, requester: trio_mqtt.Client) -> None:
        self._network = network
        self._requester = requester
        self._done: dict[str, str] = {}

    async def handle(self, request: trio_mqtt.Message) -> str | None:
        """Answer a request."""
        order = request.text()
        if order in self._done:
            print(f"responder: {order!r} was carried out before")
            return self._done[order]
        self._done[order] = f"{order} is done"
        if order == "the slow one":
            print(f"responder: while it carries {order!r} out, the connection breaks")
            await self._break_connection()
            return self._done[order]
        print(f"responder: it answers {order!r} while the connection is broken")
        with self._network.outage():
            await request.reply(self._done[order])
        return None

    async def _break_connection(self) -> None:
        """Break the connection of the requester, and wait until it has another."""
        async with self._requester.events() as events:
            self._network.cut()
            async for event in events:
                if isinstance(event, Connected):
                    return


async def main() -> int:
    """Ask twice; returns the exit status."""
    async with AsyncExitStack() as stack:
        url = URL
        if url is None:
            server = await stack.enter_async_context(open_server(port=0))
            url = server.url or ""
        network = await stack.enter_async_context(open_proxy(url))
        requester = await stack.enter_async_context(trio_mqtt.open_client(network.url or ""))
        responder = await stack.enter_async_context(trio_mqtt.open_client(url))
        nursery = await stack.enter_async_context(trio.open_nursery())
        await nursery.start(responder.serve, TOPIC, Responder(network, requester).handle)
        orders = ["the slow one", "the quick one"]
        answers: list[str] = []
        for order in orders:
            answers.append(await ask(requester, order))
            count = requester.statistics().connections
            print(f"requester: {answers[-1]}, on connection {count}")
        nursery.cancel_scope.cancel()
    return 0 if answers == [f"{order} is done" for order in orders] else 1


if __name__ == "__main__":
    sys.exit(trio.run(main))
