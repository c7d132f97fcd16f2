"""A client that its server sends to another one, and that goes on there.

    python redirected.py     with two servers of its own

The old server ends the connection with 0x9C, Use another server, and names the new one. The client
goes there because the new server's URL is on its list; nothing else that the old server says is
used. A server that names one that is not on the list is not followed.

The two servers share nothing, so on the new one the client makes its subscription anew, and sends
again what was not acknowledged. The loop over messages notices nothing.
"""

from __future__ import annotations

import trio

import trio_mqtt
from trio_mqtt.packets import Properties
from trio_mqtt.testing import Server, open_server


async def count(
    client: trio_mqtt.Client, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Print messages until the last one."""
    async with client.subscribe("count", qos=1) as messages:
        task_status.started()
        async for message in messages:
            print(f"received {message.text()}")
            if message.text() == "4":
                break


async def send_away(server: Server, reference: str) -> None:
    """Have a server do what one does that is about to be shut down."""
    await server.disconnect(
        "counter",
        trio_mqtt.ReasonCode.USE_ANOTHER_SERVER,
        properties=Properties(server_reference=reference),
    )


async def run(old: Server, new: Server) -> None:
    """Count to 4, on two servers."""
    reconnect = trio_mqtt.Reconnect(redirect=[new.url or ""])
    async with (
        trio_mqtt.open_client(old.url or "", client_id="counter", reconnect=reconnect) as client,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(count, client)
        for number in (1, 2):
            await client.publish("count", str(number), qos=1)
        await send_away(old, (new.url or "").removeprefix("mqtt://"))
        await new.wait_until(lambda: "counter" in new.sessions)
        print("on the new server")
        for number in (3, 4):
            await client.publish("count", str(number), qos=1)


async def main() -> None:
    """Run two servers and a client."""
    async with open_server(port=0) as old, open_server(port=0) as new:
        await run(old, new)


if __name__ == "__main__":
    trio.run(main)
