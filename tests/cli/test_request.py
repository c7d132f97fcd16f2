"""``trio-mqtt request``, through pipes."""

from __future__ import annotations

import trio

from tests.cli.support import COMMAND, LONG, environment, new_topic, place, run
from trio_mqtt import Message, open_client


async def ask(*args: str, data: bytes = b"") -> tuple[int, bytes, str]:
    with trio.fail_after(LONG):
        process = await trio.run_process(
            [*COMMAND, "request", *args],
            stdin=data,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=environment(),
        )
    return process.returncode, process.stdout, process.stderr.decode()


async def shout(message: Message) -> bytes:
    return message.payload.upper()


async def test_the_reply_is_printed(url: str) -> None:
    topic = new_topic()
    async with open_client(url) as client, trio.open_nursery() as nursery:
        await nursery.start(client.serve, topic, shout)
        assert await ask(*place(url), "-t", topic, "-m", "hello") == (0, b"HELLO\n", "")
        replies = f"{topic}/replies"
        arguments = ("-t", topic, "-s", "-e", replies, "-v", "-q", "1")
        status, output, errors = await ask(*place(url), *arguments, data=b"hello")
        assert (status, output, errors) == (0, f"{replies} HELLO\n".encode(), "")
        nursery.cancel_scope.cancel()


async def test_an_older_service_replies_to_a_topic_agreed_upon(url: str) -> None:
    topic = new_topic()
    replies = f"{topic}/replies"
    async with open_client(url) as client:
        await client.publish(replies, "old", retain=True, qos=1)
        async with client.subscribe(topic) as requests, trio.open_nursery() as nursery:

            async def answer() -> None:
                async for request in requests:
                    await client.publish(replies, request.payload.upper())

            nursery.start_soon(answer)
            arguments = ("-t", topic, "-m", "hello", "-V", "311", "-e", replies)
            assert await ask(*place(url), *arguments, "-R") == (0, b"HELLO\n", "")
            assert await ask(*place(url), *arguments) == (0, b"old\n", "")
            nursery.cancel_scope.cancel()


def test_without_a_reply_the_exit_status_is_27(url: str) -> None:
    outcome = run("request", *place(url), "-t", new_topic(), "-m", "hello", "-W", "0.4")
    assert (outcome.status, outcome.output) == (27, b"")
    assert outcome.errors == "trio-mqtt: timed out: the 0.4 s of -W are up\n"


def test_what_a_server_cannot_do_is_told_with_what_to_do(url: str) -> None:
    outcome = run("request", *place(url), "-t", "a", "-m", "hello", "-V", "311", "-W", "9")
    assert outcome.status == 1
    assert outcome.errors.endswith(
        "; -e TOPIC names a topic for the reply, which any server can do\n"
    )


def test_it_asks_once(broker: str) -> None:
    for arguments in (["-m", "a", "-m", "b"], [], ["-m", "a", "-n"]):
        assert run("request", *place(broker), "-t", "a", *arguments).status == 2
    outcome = run(
        "request", *place(broker), "-t", "a", "-m", "x", "-D", "publish", "correlation-data", "1"
    )
    assert "needs -e" in outcome.errors
