"""A press that takes jobs over MQTT and reports each when it is done.

It is a small application for test_press.py to test. What it does to the outside world stands in
its arguments: how a job is pressed, and where the Server is. A test gives it a press of its own
and, as `connector`, a way to a Server in the same process.

    python press.py mqtt://localhost
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import trio

from trio_mqtt import Client, Reconnect, Session, SubscribeRejected, events, open_client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mqtt.abc import Connector

JOBS, DONE, STATUS = "press/jobs", "press/done", "press/status"


async def run_press(
    press: Callable[[str], Awaitable[None]],
    url: str = "mqtt://localhost",
    *,
    connector: Connector | None = None,
) -> None:
    """Take jobs until cancelled, or until the Server says that this program may not.

    Args:
        press: does a job.
        url: where the Server is.
        connector: makes the connection instead; see `trio_mqtt.open_client`.
    """
    async with (
        open_client(
            url,
            connector=connector,
            session=Session("press", expiry=24 * 3600),
            reconnect=Reconnect(initial="retry"),
            receive_maximum=10,
        ) as client,
        trio.open_nursery() as nursery,
    ):
        await announce(client, "ready")
        nursery.start_soon(announce_again, client)
        try:
            async with client.subscribe(JOBS, qos=1) as jobs:
                async for job in jobs:
                    try:
                        name = job.text()
                    except UnicodeDecodeError:
                        continue  # which settles it: else it would end the program at each start
                    await press(name)
                    await client.publish(DONE, job.payload, qos=2)
        except SubscribeRejected:
            await announce(client, "may not take jobs")
        nursery.cancel_scope.cancel()


async def announce(client: Client, status: str) -> None:
    """Let everybody know how it is going, those too who ask later."""
    await client.publish(STATUS, status, qos=1, retain=True)


async def announce_again(client: Client) -> None:
    """A Server that has lost its Sessions has probably lost retained messages, too."""
    async with client.events() as happenings:
        async for event in happenings:
            if isinstance(event, events.SessionReplaced):
                await announce(client, "ready")


async def pretend(job: str) -> None:
    """Press nothing, but take some time for it."""
    await trio.sleep(0.1)
    print("pressed", job)


if __name__ == "__main__":
    server = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MQTT_URL", "mqtt://localhost")
    try:
        trio.run(run_press, pretend, server)
    except* KeyboardInterrupt:
        pass
