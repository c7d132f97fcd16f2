"""Who gets in, in which version, and who does not."""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import trio

import trio_mqtt
from tests.client.support import open_once
from tests.interop.checks import Target, check, take
from trio_mqtt import (
    MQTT_5,
    ConnectFailed,
    ConnectionLost,
    ConnectRejected,
    ReasonCode,
    Reconnect,
)
from trio_mqtt.testing import open_proxy

if TYPE_CHECKING:
    from collections.abc import Sequence

NOT_ALLOWED = {ReasonCode.BAD_USER_NAME_OR_PASSWORD, ReasonCode.NOT_AUTHORIZED}


@check("The version asked for is spoken")
async def test_version(target: Target) -> None:
    async with target.open() as client:
        assert client.server.protocol is target.protocol
        assert client.server.client_id
        assert not client.server.session_present


@check("Without a wish, the highest version is found, and remembered for reconnects")
async def test_negotiation(target: Target) -> None:
    async with open_proxy(target.url) as proxy:
        assert proxy.port is not None
        options = target.options(protocol=None, reconnect=Reconnect(delay=0.01))
        async with trio_mqtt.open_client(target.url_at(proxy.port), **options) as client:
            assert client.server.protocol is target.best
            needed = 1 if target.best is MQTT_5 else 2
            assert len(proxy.connections) == needed
            proxy.cut()
            await proxy.wait_connection(needed + 1)
            await client.wait_connected()
            await client.publish(target.topic("a"), qos=1)
            assert client.server.protocol is target.best
            assert len(proxy.connections) == needed + 1


@check("A wrong password is refused")
async def test_wrong_password(target: Target) -> None:
    with pytest.raises(ConnectRejected) as caught:
        async with target.open(password="wrong"):
            pytest.fail("it is let in")
    assert caught.value.reason_code in NOT_ALLOWED


@check("An unknown user is refused")
async def test_unknown_user(target: Target) -> None:
    with pytest.raises(ConnectRejected) as caught:
        async with target.open(username="nobody"):
            pytest.fail("it is let in")
    assert caught.value.reason_code in NOT_ALLOWED


class Names(trio.abc.HostnameResolver):
    """A name service for which every name is this machine."""

    async def getaddrinfo(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        return await trio.to_thread.run_sync(
            partial(socket.getaddrinfo, "127.0.0.1", port, *args, **kwargs)
        )

    async def getnameinfo(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError


@check("A certificate for another name is refused", transports=("tls", "wss"))
async def test_other_name(target: Target) -> None:
    trio.socket.set_custom_hostname_resolver(Names())
    port = target.running.ports[target.transport, target.protocol]
    url = target.url_at(port, "elsewhere.example")
    with pytest.raises(ConnectFailed, match=r"elsewhere\.example") as caught:
        async with open_once(url, **target.options()):
            pytest.fail("it is connected")
    assert caught.value.stage == "TLS"
    assert "localhost" in str(caught.value)  # the name that the certificate has


@check("A certificate of an authority that is not trusted is refused", transports=("tls", "wss"))
async def test_unknown_authority(target: Target) -> None:
    with pytest.raises(ConnectFailed) as caught:
        async with target.open(ssl_context=None):
            pytest.fail("it is connected")
    assert caught.value.stage == "TLS"


@check("A WebSocket path that is not there is refused", transports=("ws", "wss"))
async def test_unknown_path(target: Target) -> None:
    with pytest.raises(ConnectFailed) as caught:
        async with open_once(target.url + "/not-here", **target.options()):
            pytest.fail("it is connected")
    assert caught.value.stage == "WebSocket"


@check("The second client of an identifier takes the Session over")
async def test_takeover(target: Target) -> None:
    name = target.client_id("same")
    lost = await _take_over(target, name)
    assert "client_id" in str(lost) or lost.reason_code is None


@check("Who is taken over is told so", protocols=(MQTT_5,))
async def test_takeover_is_told(target: Target) -> None:
    lost = await _take_over(target, target.client_id("same"))
    assert lost.reason_code is ReasonCode.SESSION_TAKEN_OVER


async def _take_over(target: Target, name: str) -> ConnectionLost:
    with pytest.raises(ConnectionLost) as caught:
        async with target.open(client_id=name):
            async with target.open(client_id=name) as second:
                await second.publish(target.topic("a"), qos=1)
            await trio.sleep_forever()
    return caught.value


@check("Ten clients at once, each with its own messages")
async def test_ten_clients(target: Target) -> None:
    received: dict[int, Sequence[str]] = {}

    async def work(number: int) -> None:
        topic = target.topic(str(number))
        async with (
            target.open() as client,
            client.subscribe(topic, qos=1) as messages,
        ):
            for text in "abc":
                await client.publish(topic, f"{number}{text}", qos=1)
            received[number] = await take(messages, 3)

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(work, number)
    assert received == {number: [f"{number}{text}" for text in "abc"] for number in range(10)}
