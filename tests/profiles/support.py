"""What the profiles of servers share.

A profile plays a server that cannot run here from its public documentation, with the scripted peer.
It tells what a caller meets there; it does not tell whether the server keeps to its documentation.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import trio

import trio_mqtt
from trio_mqtt import ConnectionLost, ConnectRejected, ReasonCode, Reconnect
from trio_mqtt.events import Connected
from trio_mqtt.packets import ConnAck, Connect, Disconnect, Properties, PubAck, Publish
from trio_mqtt.testing import Close, Expect, ExpectEnd, Reply, ScriptedPeer, Send

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mqtt import Protocol
    from trio_mqtt.packets import Packet
    from trio_mqtt.testing import Step

GOODBYE: list[Step] = [Expect(Disconnect), ExpectEnd()]
SOON = Reconnect(initial="retry", delay=0.01, max_delay=0.01)


def accept(properties: Properties, *, session_present: bool = False) -> list[Step]:
    """CONNECT, accepted with these properties."""
    answer = ConnAck(session_present=session_present, properties=properties)
    return [Expect(Connect), Send(answer)]


def refuse(reason_code: ReasonCode) -> list[Step]:
    """CONNECT, refused."""
    return [Expect(Connect), Send(ConnAck(reason_code=reason_code)), Close()]


def acknowledge(reason_code: ReasonCode = ReasonCode.SUCCESS, reason: str | None = None) -> Step:
    """PUBACK for the last PUBLISH."""
    properties = Properties(reason_string=reason)

    def answer(publish: Publish) -> Packet:
        return PubAck(publish.packet_id, reason_code, properties)

    return Reply(Publish, answer)


def fresh_passwords() -> Callable[[], Awaitable[tuple[str, str]]]:
    """Credentials that are others at each attempt: user, 1; user, 2; ..."""
    numbers = itertools.count(1)

    async def credentials() -> tuple[str, str]:
        await trio.lowlevel.checkpoint()
        return "user", str(next(numbers))

    return credentials


async def assert_refusal(
    reason_code: ReasonCode, protocol: Protocol, *, fatal: bool, fatal_with_callable: bool
) -> None:
    """What a CONNACK with a Reason Code comes to, with fixed credentials and with fresh ones.

    Args:
        reason_code: what the server says once; then it lets the client in.
        protocol: the version of MQTT.
        fatal: whether it ends a client with a fixed user name and password.
        fatal_with_callable: whether it ends a client that makes them at each attempt.
    """
    script = [refuse(reason_code), [Expect(Connect), Send(ConnAck()), *GOODBYE]]
    for callable_given, ends in ((False, fatal), (True, fatal_with_callable)):
        peer = ScriptedPeer(*script)
        client = trio_mqtt.open_client(
            connector=peer.connect,
            protocol=protocol,
            username=None if callable_given else "user",
            password=None if callable_given else "1",
            credentials=fresh_passwords() if callable_given else None,
            reconnect=SOON,
        )
        if ends:
            with pytest.raises(ConnectRejected) as caught:
                async with client:
                    pytest.fail("it is connected")
            assert caught.value.reason_code is reason_code
            assert peer.connections == 1
        else:
            async with client:
                pass
            peer.assert_done()
        passwords = [each.password for each in peer.received if isinstance(each, Connect)]
        fresh = [b"1"] if ends else [b"1", b"2"]
        assert passwords == (fresh if callable_given else [b"1"] * len(fresh))


async def assert_disconnect(
    properties: Properties, reason_code: ReasonCode, *, fatal: bool
) -> None:
    """What a DISCONNECT with a Reason Code comes to: the end, or another connection."""
    peer = ScriptedPeer(
        [*accept(properties), Send(Disconnect(reason_code)), Close()],
        [*accept(properties), *GOODBYE],
    )
    client = trio_mqtt.open_client(connector=peer.connect, client_id="c", reconnect=SOON)
    if fatal:
        with pytest.raises(ConnectionLost) as caught:
            async with client:
                await trio.sleep_forever()
        assert caught.value.reason_code is reason_code
        assert peer.connections == 1
        return
    async with client as connected, connected.events() as events:
        async for event in events:
            if isinstance(event, Connected):
                break
    peer.assert_done()
