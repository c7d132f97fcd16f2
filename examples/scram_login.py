"""A client that logs in by SCRAM, and proves who it is again when the server asks for that.

    python scram_login.py                with a server of its own
    python scram_login.py URL USERNAME   with another; the password is asked for

The password never goes over the network, and the server proves that it knows it, too: one that
does not gets neither a message nor a subscription. Both sides have to know SCRAM-SHA-256, which
needs MQTT 5.0 and ``pip install 'trio-mqtt[scram]'``.

In MQTT only the client can begin to authenticate again. So the server says that it wants this by a
message, as the two have agreed; here to control/USERNAME/authenticate.
"""

from __future__ import annotations

import getpass
import sys
from functools import partial

import trio

import trio_mqtt
from trio_mqtt.packets import Auth, PubAck
from trio_mqtt.scram import Scram
from trio_mqtt.testing import Server, open_server, scram_users


async def authenticate_when_asked(
    client: trio_mqtt.Client,
    username: str,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Prove anew who we are each time the server asks; messages go on meanwhile."""
    async with client.subscribe(f"control/{username}/authenticate", qos=1) as requests:
        task_status.started()
        async for _ in requests:
            await client.reauthenticate()
            print("authenticated again", flush=True)


async def log_in(url: str, username: str, password: str, server: Server | None = None) -> int:
    """Connect and wait for requests of the server; returns the exit status."""
    auth = Scram(username, password)
    try:
        async with (
            trio_mqtt.open_client(url, auth=auth) as client,
            trio.open_nursery() as nursery,
        ):
            print(f"logged in as {username}", flush=True)
            await nursery.start(authenticate_when_asked, client, username)
            if server is not None:
                await ask(server, username)
                nursery.cancel_scope.cancel()
    except (trio_mqtt.ConnectRejected, trio_mqtt.AuthenticationFailed) as error:
        print(error, flush=True)
        return 1
    return 0


# -- running it ------------------------------------------------------------------------------------


async def ask(server: Server, username: str) -> None:
    """Do what a server does: ask, and look at the answer."""
    before = server.log[-1]
    server.publish(f"control/{username}/authenticate", qos=1)
    await server.wait_for(Auth, after=before)
    await server.wait_for(PubAck, after=before)


async def demonstrate() -> int:
    """Log in at a server in this process, with the right password and with a wrong one."""
    async with open_server(port=0) as server:
        server.authentication_methods["SCRAM-SHA-256"] = scram_users({"alice": "open sesame"})
        url = server.url or ""
        accepted = await log_in(url, "alice", "open sesame", server)
        refused = await log_in(url, "alice", "open barley")
    return 0 if (accepted, refused) == (0, 1) else 1


def main() -> int:
    """Choose between the two; returns the exit status."""
    if len(sys.argv) == 1:
        return trio.run(demonstrate)
    url, username = sys.argv[1:]
    return trio.run(partial(log_in, url, username, getpass.getpass()))


if __name__ == "__main__":
    sys.exit(main())
