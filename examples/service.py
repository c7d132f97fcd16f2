"""A service with several methods, and how to call it.

    python service.py [URL]                                              an instance of it
    python service.py [URL] --call factorize '{"number": 111111111}'     a call

Start several instances, and call: each call goes to one of them, and the reply names it. Kill one:
its calls are made again, and the others answer. Kill all: the call says that nobody answers.

A call is a JSON object of arguments, published to services/numbers/METHOD. The reply is a JSON
object with the "result", or with the "error" and a "message", which `call` raises as CallFailed:
what a caller got wrong never ends the service. A reply can be lost with a connection, so after a
while the call is made again, and methods must bear being called twice.

The URL may also stand in MQTT_URL; without either it is mqtt://localhost:1883. It takes a server
that speaks MQTT 5.0 and has shared subscriptions. Ctrl-C and SIGTERM end an instance.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, cast

import trio

import trio_mqtt

ROOT: Final = "services/numbers"
FILTER: Final = f"$share/numbers/{ROOT}/+"
LONGEST_CALL: Final = 10  # seconds
ATTEMPTS: Final = 3

Arguments = dict[str, object]
Method = Callable[[Arguments], Awaitable[object]]
logger = logging.getLogger("service")


class CallFailed(Exception):
    """A call has no result.

    Attributes:
        code: why, for programs.
        message: why, for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


# -- the methods ---------------------------------------------------------------------------------


def number_in(arguments: Arguments) -> int:
    """The argument that most methods have."""
    number = arguments.get("number")
    if not isinstance(number, int) or not 1 <= number <= 10**12:
        raise CallFailed("bad-arguments", "number has to be an integer from 1 to 10**12")
    return number


def prime_factors(number: int) -> list[int]:
    """What a number is the product of."""
    factors: list[int] = []
    divisor = 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors if number == 1 else [*factors, number]


async def factorize(arguments: Arguments) -> object:
    """The prime factors of a number; in a thread, since it takes its time."""
    return await trio.to_thread.run_sync(prime_factors, number_in(arguments))


async def wait(arguments: Arguments) -> object:
    """Answer after some seconds, as a slow method does."""
    seconds = arguments.get("seconds")
    if not isinstance(seconds, int | float):
        raise CallFailed("bad-arguments", "seconds has to be a number")
    await trio.sleep(seconds)
    return seconds


METHODS: Final[dict[str, Method]] = {"factorize": factorize, "wait": wait}


# -- the service ---------------------------------------------------------------------------------


async def run_method(request: trio_mqtt.Message) -> object:
    """Do what a request asks for.

    Raises:
        CallFailed: the caller got it wrong, or it takes too long.
    """
    name = request.topic.rpartition("/")[2]
    method = METHODS.get(name)
    if method is None:
        raise CallFailed("no-such-method", f"{name!r} is none of {', '.join(METHODS)}")
    try:
        arguments = request.json()
    except ValueError as error:
        raise CallFailed("bad-arguments", f"they are no JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise CallFailed("bad-arguments", "they have to be a JSON object")
    with trio.move_on_after(LONGEST_CALL):
        return await method(cast("Arguments", arguments))
    raise CallFailed("too-slow", f"it takes more than {LONGEST_CALL} s")


async def answer(instance: str, request: trio_mqtt.Message) -> str:
    """The reply to a request, whatever is wrong with that or with a method."""
    try:
        # JSON is made in here: a method may have returned what has none.
        return json.dumps({"instance": instance, "result": await run_method(request)})
    except CallFailed as error:
        code, message = error.code, error.message
    except Exception:  # a bug in one method: the others are still of use
        logger.exception("a call of %s failed", request.topic)
        code, message = "internal-error", "see the log of this instance"
    return json.dumps({"instance": instance, "error": code, "message": message})


async def serve(options: argparse.Namespace) -> str | None:
    """Be an instance until a signal; returns what went wrong."""
    handler = partial(answer, options.name)
    # An instance that dies has calls in hand, and the server goes on giving it some until it
    # forgets its Session. So that is soon, and leaving unsubscribes.
    session = trio_mqtt.Session(f"numbers-{options.name}", expiry=5)
    reconnect = trio_mqtt.Reconnect(initial="background", max_delay=15)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with (
            trio_mqtt.open_client(options.url, session=session, reconnect=reconnect) as client,
            trio.open_nursery() as nursery,
        ):
            try:
                await nursery.start(partial(client.serve, FILTER, handler, limit=20, keep=False))
            except trio_mqtt.MQTTError as error:
                return f"cannot serve: {error}"
            print(f"instance {options.name} serves {', '.join(METHODS)}", flush=True)
            await anext(signals)
            nursery.cancel_scope.cancel()
    return None


# -- the caller ----------------------------------------------------------------------------------


async def call(
    client: trio_mqtt.Client, method: str, arguments: Arguments, patience: int
) -> Arguments:
    """Call a method, again if there is no reply within `patience` seconds.

    Returns:
        The reply.

    Raises:
        CallFailed: the service says so, or there is no reply.
    """
    for _ in range(ATTEMPTS):
        with trio.move_on_after(patience):
            reply = await client.request(
                f"{ROOT}/{method}",
                json.dumps(arguments),
                content_type="application/json",
                message_expiry=patience,  # afterwards nobody waits for the reply
            )
            found = cast("Arguments", reply.json())
            if "error" in found:
                raise CallFailed(str(found["error"]), str(found.get("message", "")))
            return found
    raise CallFailed("no-reply", f"none within {patience} s, {ATTEMPTS} times")


async def call_once(options: argparse.Namespace) -> str | None:
    """Make the call of the command line, and print the reply; returns what went wrong."""
    method, arguments = options.call
    async with trio_mqtt.open_client(options.url) as client:
        try:
            print(json.dumps(await call(client, method, json.loads(arguments), options.patience)))
        except (CallFailed, ValueError) as error:
            return str(error)
    return None


# -- the command line ----------------------------------------------------------------------------


def parse() -> argparse.Namespace:
    """Read it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    url = os.environ.get("MQTT_URL", "mqtt://localhost:1883")
    parser.add_argument("url", nargs="?", default=url, help="the server")
    parser.add_argument("--name", default=secrets.token_hex(3), help="of the instance")
    parser.add_argument("--call", nargs=2, metavar=("METHOD", "ARGUMENTS"))
    parser.add_argument("--patience", type=int, default=3, help="seconds until a call is repeated")
    return parser.parse_args()


if __name__ == "__main__":
    chosen = parse()
    try:
        sys.exit(trio.run(call_once if chosen.call else serve, chosen))
    except KeyboardInterrupt:
        sys.exit(130)
    except trio_mqtt.MQTTError as failure:
        sys.exit(str(failure))
