"""What is easily done wrong, and what the error says: what to write instead."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio

import trio_mqtt
from trio_mqtt import (
    MQTT_3_1_1,
    ConnectFailed,
    FeatureNotSupported,
    LocalProtocolError,
    MalformedPacket,
    PacketTooLarge,
    PublishRejected,
    ReasonCode,
    Session,
    SubscribeRejected,
)
from trio_mqtt.testing import Server, ServerLimits, open_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

open_client: Final[Any] = trio_mqtt.open_client

# -- blocks -------------------------------------------------------------------------------------


async def awaited(manager: Any) -> None:
    await manager


async def in_with(manager: Any) -> None:
    with manager:
        raise AssertionError("not reached")


async def in_for(manager: Any) -> None:
    for _ in manager:
        raise AssertionError("not reached")


async def in_async_for(manager: Any) -> None:
    async for _ in manager:
        raise AssertionError("not reached")


BLOCKS: Final[list[tuple[Callable[[Any], Any], str, str]]] = [
    (lambda _: open_client("mqtt://127.0.0.1:9"), "open_client(...)", "client"),
    (lambda client: client.subscribe("a"), "client.subscribe(...)", "messages"),
    (lambda client: client.open_publisher(), "client.open_publisher(...)", "publisher"),
    (lambda client: client.events(), "client.events()", "events"),
]
each_block = pytest.mark.parametrize(("make", "call", "target"), BLOCKS, ids=range(4))


@pytest.mark.parametrize("use", [awaited, in_with, in_for, in_async_for])
@each_block
async def test_a_block_that_is_none(
    client: trio_mqtt.Client,
    make: Callable[[Any], Any],
    call: str,
    target: str,
    use: Callable[[Any], Awaitable[None]],
) -> None:
    with pytest.raises(TypeError) as caught:
        await use(make(client))
    advice = f'write "async with {call} as {target}:"'
    assert str(caught.value) == f"{call} is an asynchronous context manager; {advice}"


@each_block
async def test_what_only_the_block_has(
    client: trio_mqtt.Client, make: Callable[[Any], Any], call: str, target: str
) -> None:
    manager = make(client)
    assert not hasattr(manager, "__len__")  # what others look for is just not there
    with pytest.raises(AttributeError) as caught:
        manager.publish  # noqa: B018 - the access is what fails
    advice = f'write "async with {call} as {target}:"'
    words = f"{call} is a context manager and has no 'publish'; {advice}"
    assert str(caught.value) == words


@each_block
async def test_a_call_that_is_forgotten(
    client: trio_mqtt.Client, make: Callable[[Any], Any], call: str, target: str
) -> None:
    with pytest.warns(RuntimeWarning) as caught:
        make(client)
    advice = f'write "async with {call} as {target}:"'
    expected = f"{call} was never entered, and has done nothing; {advice}"
    assert [str(each.message) for each in caught] == [expected]


@each_block
async def test_a_block_is_entered_once(
    client: trio_mqtt.Client, make: Callable[[Any], Any], call: str, target: str
) -> None:
    del target
    manager = make(client)
    # Nobody listens at the port to which `open_client` goes here.
    with suppress(ConnectFailed):
        async with manager:
            pass
    with pytest.raises(RuntimeError) as caught:
        await enter(manager)
    assert str(caught.value) == f"this {call} was entered before; call it again for another block"


async def test_what_is_iterated_over(client: trio_mqtt.Client) -> None:
    async with client.subscribe("a") as messages, client.events() as events:
        for each, name in ((messages, "Subscription"), (events, "EventStream")):
            with pytest.raises(TypeError, match=f'a {name} needs "async for", not "for"'):
                await in_for(each)
            with pytest.raises(TypeError, match=f'a {name} is not awaited; write "async for'):
                await awaited(each)


async def only_a_name() -> Any:
    return "me"


# -- calls --------------------------------------------------------------------------------------


async def enter(manager: Any) -> None:
    async with manager:
        raise AssertionError("not reached")


PAYLOAD: Final = "a payload is bytes, bytearray, memoryview or str, not "
QOS: Final = "it must be 0, 1 or 2"
CALLS: Final[list[tuple[Callable[[Any], Awaitable[object]], type[Exception], str]]] = [
    (
        lambda c: c.publish("a/#"),
        LocalProtocolError,
        "Topic Name 'a/#' contains a wildcard character; only Topic Filters have + and #",
    ),
    (lambda c: c.publish(""), LocalProtocolError, "Topic Name '' is empty"),
    (lambda c: c.publish("a\0"), LocalProtocolError, "contains U+0000"),
    (
        lambda c: c.publish(b"a"),
        TypeError,
        "a Topic Name is a str, not bytes; decode() makes one of it",
    ),
    (lambda c: c.publish(7), TypeError, "a Topic Name is a str, not int"),
    (lambda c: c.publish(["a", "b"]), TypeError, "a Topic Name is a str, not list"),
    (
        lambda c: c.publish("a", {"secret": 1}),
        TypeError,
        PAYLOAD + "dict; json.dumps(...) makes a str of it",
    ),
    (
        lambda c: c.publish("a", ["secret"]),
        TypeError,
        PAYLOAD + "list; json.dumps(...) makes a str of it",
    ),
    (lambda c: c.publish("a", 21.5), TypeError, PAYLOAD + "float; str(...) makes one of it"),
    (
        lambda c: c.publish("a", payload=True),
        TypeError,
        PAYLOAD + "bool; json.dumps(...) makes a str of it",
    ),
    (lambda c: c.publish("a", None), TypeError, PAYLOAD + 'NoneType; an empty one is b""'),
    (lambda c: c.publish("a", object()), TypeError, PAYLOAD + "object"),
    (lambda c: c.publish("a", qos=3), LocalProtocolError, f"qos is 3; {QOS}"),
    (lambda c: c.publish("a", qos="1"), LocalProtocolError, f"qos is '1'; {QOS}"),
    (
        lambda c: c.publish("a", ttl=5),
        TypeError,
        "publishing has no argument 'ttl'; beside qos and retain: message_expiry, ",
    ),
    (
        lambda c: c.publish("a", message_expiry=-1),
        LocalProtocolError,
        "Message Expiry Interval is -1; it must be from 0 to",
    ),
    (
        lambda c: c.publish("a", user_properties={"a": "b"}),
        TypeError,
        "a dict has them in its items()",
    ),
    (
        lambda c: c.publish("a", qos=2),
        FeatureNotSupported,
        "cannot publish at QoS 2: the server granted a Maximum QoS of 1; use that",
    ),
    (
        lambda c: c.publish("a", retain=True),
        FeatureNotSupported,
        "(Retain Available is 0); leave out retain",
    ),
    (
        lambda c: c.publish("a", bytes(1000)),
        PacketTooLarge,
        "granted a Maximum Packet Size of 500; publish less at once",
    ),
    (lambda c: enter(c.open_publisher(qos=3)), LocalProtocolError, f"qos is 3; {QOS}"),
    (
        lambda c: enter(c.subscribe()),
        LocalProtocolError,
        'subscribe needs at least one Topic Filter, such as "sensors/#"',
    ),
    (lambda c: enter(c.subscribe("")), LocalProtocolError, "Topic Filter '' is empty"),
    (
        lambda c: enter(c.subscribe("a/#/b")),
        LocalProtocolError,
        "has a '#' that is not the whole last level",
    ),
    (
        lambda c: enter(c.subscribe("a+")),
        LocalProtocolError,
        "has a '+' that does not fill its level",
    ),
    (lambda c: enter(c.subscribe("$share/g")), LocalProtocolError, "as in $share/NAME/FILTER"),
    (
        lambda c: enter(c.subscribe(["a", "b"])),
        TypeError,
        "a Topic Filter is a str, not list; give several as client.subscribe(*topic_filters)",
    ),
    (
        lambda c: enter(c.subscribe(("a", 1))),
        TypeError,
        'one with options as TopicFilter("a/b", qos=1)',
    ),
    (lambda c: enter(c.subscribe("a", 1)), TypeError, "a Topic Filter is a str, not int"),
    (
        lambda c: enter(c.subscribe("a", print)),
        TypeError,
        "a Topic Filter is a str, not builtin_function_or_method",
    ),
    (lambda c: enter(c.subscribe("a", qos=3)), LocalProtocolError, f"qos is 3; {QOS}"),
    (
        lambda c: enter(c.subscribe("a", retain_handling=3)),
        ValueError,
        f"retain_handling is 3; {QOS}",
    ),
    (
        lambda c: enter(c.subscribe("a", buffer=0)),
        ValueError,
        "buffer is 0; it must be a whole number of at least 1",
    ),
    (
        lambda c: enter(c.subscribe("a", overflow="drop")),
        ValueError,
        'it must be "wait", "drop_oldest" or "drop_newest"',
    ),
    (
        lambda c: enter(c.subscribe("a", ack="auto")),
        ValueError,
        'it must be "when_done", "manual" or "on_receipt"',
    ),
    (
        lambda c: enter(c.subscribe("$share/g/a", no_local=True)),
        FeatureNotSupported,
        "cannot subscribe to '$share/g/a': the server has no shared subscriptions",
    ),
    (
        lambda c: enter(c.subscribe("a/#")),
        FeatureNotSupported,
        "the server has no wildcards (Wildcard Subscription Available is 0)",
    ),
    (lambda c: c.unsubscribe(), LocalProtocolError, "unsubscribe needs at least one Topic Filter"),
    (
        lambda c: c.request("a", response_topic="b"),
        TypeError,
        "a request has no argument 'response_topic': it makes its own",
    ),
    (lambda c: c.serve("a", "handler"), TypeError, "handler is an asynchronous function, not str"),
    (
        lambda c: c.serve("a", only_a_name, limit=0),
        ValueError,
        "limit is 0; it must be a whole number of at least 1",
    ),
    (lambda c: c.reauthenticate(), LocalProtocolError, "give open_client an auth"),
]
LIMITS: Final = ServerLimits(
    maximum_qos=1,
    retain_available=False,
    maximum_packet_size=500,
    wildcard_subscription_available=False,
    shared_subscription_available=False,
)


@pytest.mark.parametrize(("call", "error", "words"), CALLS, ids=range(len(CALLS)))
async def test_calls(
    call: Callable[[Any], Awaitable[object]], error: type[Exception], words: str
) -> None:
    with trio.fail_after(10):
        async with (
            open_server(limits=LIMITS) as server,
            open_client(connector=server.connect) as client,
        ):
            with pytest.raises(error) as caught:
                await call(client)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_no_local_with_a_shared_subscription(client: trio_mqtt.Client) -> None:
    with pytest.raises(LocalProtocolError, match=r"'\$share/g/a'; leave it out"):
        await enter(client.subscribe("$share/g/a", no_local=True))


async def test_options_below_5(server: Server) -> None:
    async with open_client(connector=server.connect, protocol=MQTT_3_1_1) as client:
        with pytest.raises(FeatureNotSupported, match="leave out no_local"):
            await enter(client.subscribe("a", no_local=True))
        with pytest.raises(FeatureNotSupported, match='unsupported_properties="leave_out"'):
            await client.publish("a", user_properties=[("a", "b")])


async def publish_nowait(client: Any) -> None:
    client.publish_nowait("a")


AFTERWARDS: Final[list[Callable[[Any], Awaitable[object]]]] = [
    lambda c: c.publish("a"),
    lambda c: c.publish("a", qos=1),
    publish_nowait,
    lambda c: enter(c.subscribe("a")),
    lambda c: enter(c.events()),
    lambda c: c.wait_connected(),
    lambda c: c.request("a"),
]


@pytest.mark.parametrize("call", AFTERWARDS, ids=range(len(AFTERWARDS)))
async def test_after_the_block(server: Server, call: Callable[[Any], Awaitable[object]]) -> None:
    async with open_client("mqtt://me:secret@host", connector=server.connect) as client:
        pass
    with pytest.raises(trio.ClosedResourceError) as caught:
        await call(client)
    words = "the client of mqtt://host:1883 is closed; use it inside the block of open_client"
    assert str(caught.value) == words


async def test_after_inner_blocks(client: trio_mqtt.Client) -> None:
    async with client.subscribe("a") as messages, client.open_publisher() as publisher:
        pass
    with pytest.raises(trio.ClosedResourceError, match="the block of the subscription to 'a' was"):
        await in_async_for(messages)
    with pytest.raises(trio.ClosedResourceError, match="publisher was left; send inside it"):
        await publisher.send("a")


async def test_a_session_is_for_one_client_at_a_time(server: Server) -> None:
    same = Session("gateway-7", expiry=60)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(open_client(connector=server.connect, session=same))
        with pytest.raises(trio.BusyResourceError, match="'gateway-7' is in use by another client"):
            await enter(open_client(connector=server.connect, session=same))


async def test_a_payload_that_is_something_else(client: trio_mqtt.Client) -> None:
    async with client.subscribe("a/b") as messages:
        await client.publish("a/b", b"\xff{secret")
        message = await messages.receive()
    for read in (message.json, message.text):
        with pytest.raises(ValueError, match="decode") as caught:
            read()
        assert caught.value.__notes__ == ["this is the payload of a message to 'a/b'"]
        assert "secret" not in str(caught.value)


# -- refusals -----------------------------------------------------------------------------------


async def test_what_the_server_refuses(server: Server) -> None:
    server.authorize_publish = server.authorize_subscribe = never
    hint = "0x87 (not authorized); check what the server allows this client"
    async with open_client("mqtt://broker", connector=server.connect) as client:
        with pytest.raises(PublishRejected) as rejected:
            await client.publish("a", qos=1)
        with pytest.raises(SubscribeRejected) as refused:
            await enter(client.subscribe("a/#"))
    words = f"mqtt://broker:1883 refused the message to 'a' with {hint}"
    assert str(rejected.value) == words
    assert str(refused.value) == f"mqtt://broker:1883 refused to subscribe 'a/#' {hint}"


def never(_client_id: str, _asked: object) -> ReasonCode:
    return ReasonCode.NOT_AUTHORIZED


# -- without Trio -------------------------------------------------------------------------------


def test_under_asyncio() -> None:
    with pytest.raises(RuntimeError, match=r"start the program with trio\.run\(main\), not with"):
        asyncio.run(enter(open_client()))


async def test_from_a_thread(client: trio_mqtt.Client) -> None:
    def work() -> None:
        asyncio.run(enter(client.subscribe("a")))

    with pytest.raises(RuntimeError, match=r"calls a client with trio\.from_thread\.run"):
        await trio.to_thread.run_sync(work)


# -- another place than was meant ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            MalformedPacket,
            "it speaks HTTP there; with WebSocket the URL begins with ws://",
        ),
        (
            b"\x15\x03\x03\x00\x02\x02\x28",
            MalformedPacket,
            "it speaks TLS there; the URL has to begin with mqtts://",
        ),
        (b"", ConnectFailed, "is it an MQTT server, and does it speak MQTT 3.1.1, without TLS?"),
    ],
)
async def test_another_kind_of_server(answer: bytes, error: type[Exception], words: str) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            if answer:
                await stream.send_all(answer)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            listeners: list[trio.SocketListener] = await nursery.start(
                partial(trio.serve_tcp, serve, 0, host="127.0.0.1")
            )
            port = listeners[0].socket.getsockname()[1]
            with pytest.raises(error) as caught:
                await enter(open_client(f"mqtt://127.0.0.1:{port}"))
            nursery.cancel_scope.cancel()
    assert words in str(caught.value)


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ConnectFailed) as caught:
            await enter(open_client(f"mqtt://me:secret@127.0.0.1:{port}"))
    assert str(caught.value) == (
        f"cannot connect to mqtt://127.0.0.1:{port}: connection refused; "
        "check the address, the port and that the server runs"
    )
