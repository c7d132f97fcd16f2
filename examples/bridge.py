"""A bridge between two servers: each gets the other's messages, under topics of its own.

    python bridge.py LOCAL REMOTE [--out FILTER ...] [--in FILTER ...] [--prefix PREFIX]
                                  [--keep-trying SECONDS]

LOCAL and REMOTE are URLs. What is published at LOCAL for a FILTER of --out goes to REMOTE, with
PREFIX before its topic. What is published at REMOTE for PREFIX and a FILTER of --in goes to LOCAL,
without PREFIX. Unless you say otherwise, "plant/#" goes out, "commands/#" comes in, and PREFIX is
"site-1/": what is published to site-1/commands/x at REMOTE comes to commands/x at LOCAL.

QoS, RETAIN and properties are kept. A message is acknowledged where it comes from once the other
server has it. So while that one is away messages wait: stop either server and see. Only those of
QoS 0 are dropped then. What the other server refuses is told, and goes no further; only what is
beyond a quota is tried again until it expires, for ten minutes or as long as --keep-trying says,
and may so come behind later ones. While the bridge is away, both servers keep messages for it, for
an hour.

Nothing goes round in circles: a server does not send back what the bridge has published (No Local),
and a User Property names the bridges that a message has crossed, in case there are several. Each of
them has a NAME. QoS 2 is exactly once however often connections break; if the bridge is killed, or
told to stop while a server is away, what was under way may come twice. It takes MQTT 5.0. Ctrl-C
and SIGTERM end it well.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
from collections import Counter
from functools import partial
from typing import Final, cast

import trio

import trio_mqtt
from trio_mqtt.events import Connected, Disconnected

CROSSED: Final = "crossed-bridge"
HOUR: Final = 60 * 60
PATIENCE: Final = 5  # seconds, for what is under way as it is told to stop
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0  # seconds before what was beyond a quota is tried again
NOT_TAKEN: Final = (
    trio_mqtt.PublishRejected,
    trio_mqtt.MessageDropped,  # it has expired
    trio_mqtt.PacketTooLarge,
    trio_mqtt.FeatureNotSupported,
    trio_mqtt.LocalProtocolError,  # a topic that is too long with its prefix
)


class Direction:
    """One way over the bridge.

    Args:
        name: that of the bridge.
        source: where messages come from.
        target: where they go.
        keep_trying: for how long what is beyond a quota is tried again, in seconds.
        remove: what their topics begin with there.
        add: what they begin with here.

    Attributes:
        taking: is cancelled to end it well.
        counts: what became of messages.
    """

    def __init__(  # noqa: PLR0913 - each by name
        self,
        *,
        name: str,
        source: trio_mqtt.Client,
        target: trio_mqtt.Client,
        filters: list[str],
        keep_trying: float,
        remove: str = "",
        add: str = "",
    ) -> None:
        self.taking = trio.CancelScope()
        self.counts: Counter[str] = Counter()
        self._name = name
        self._source = source
        self._target = target
        self._filters = [remove + topic_filter for topic_filter in filters]
        self._keep_trying = keep_trying
        self._remove = remove
        self._add = add

    async def run(self) -> None:
        """Pass messages on until `taking` is cancelled and those under way have arrived."""
        subscribing = self._source.subscribe(
            *self._filters,
            qos=2,
            no_local=True,
            retain_as_published=True,
            # Not at each start: those who listen at the target would get them again.
            retain_handling=trio_mqtt.RetainHandling.SEND_IF_NEW,
            overflow="drop_oldest",  # of QoS 0, if they come faster than they go
            ack="manual",
        )
        async with subscribing as messages, trio.open_nursery() as under_way:
            print(f"passing on {', '.join(self._filters)}", flush=True)
            with self.taking:
                async for message in messages:
                    # One is handed over after the other, which keeps their order, and none waits
                    # for the acknowledgement of another. The source bounds how many they are.
                    try:
                        delivery = await self._hand_over(message)
                    except NOT_TAKEN as error:
                        self._give_up(message, error)
                    else:
                        under_way.start_soon(self._settle, message, delivery)

    async def _hand_over(
        self, message: trio_mqtt.Message, age: float = 0
    ) -> trio_mqtt.Delivery | None:
        """Give a message to the session of the target; None if it goes no further."""
        if (CROSSED, self._name) in message.user_properties:
            self.counts["in a circle"] += 1
            return None
        topic, payload = self._translate(message.topic), payload_of(message)
        retain = message.retain and self._target.server.retain_available
        options = trio_mqtt.PublishOptions(
            content_type=message.content_type,
            response_topic=message.response_topic and self._translate(message.response_topic),
            correlation_data=message.correlation_data,
            message_expiry=message.message_expiry and max(message.message_expiry - int(age), 1),
            user_properties=[*message.user_properties, (CROSSED, self._name)],
        )
        if message.qos:
            qos = min(message.qos, self._target.server.maximum_qos)
            return await self._target.enqueue(topic, payload, qos=qos, retain=retain, **options)
        try:
            return self._target.publish_nowait(topic, payload, retain=retain, **options)
        except trio.WouldBlock:
            self.counts["dropped"] += 1  # the target is away
            return None

    def _translate(self, topic: str) -> str:
        return self._add + topic.removeprefix(self._remove)

    async def _settle(
        self, message: trio_mqtt.Message, delivery: trio_mqtt.Delivery | None
    ) -> None:
        """Acknowledge a message once the target has it."""
        try:
            if delivery is not None:
                await self._complete(message, delivery)
                self.counts["passed on"] += 1
        except NOT_TAKEN as error:
            self._give_up(message, error)
        else:
            message.ack()

    async def _complete(
        self, message: trio_mqtt.Message, delivery: trio_mqtt.Delivery | None
    ) -> None:
        """Wait until the target has a message, which may have to come again for its quota.

        Meanwhile the source gets no acknowledgement of later ones either, and so sends no more than
        it may have unacknowledged: what is too fast slows down.
        """
        began, pause = trio.current_time(), FIRST_PAUSE
        lasts = min(self._keep_trying, message.message_expiry or math.inf)
        while delivery is not None:
            try:
                await delivery.wait()
            except trio_mqtt.PublishRejected as error:
                waited = trio.current_time() - began
                is_quota = error.reason_code == trio_mqtt.ReasonCode.QUOTA_EXCEEDED
                if not is_quota or waited + pause > lasts:
                    raise
            else:
                return
            self.counts["over quota"] += 1
            await trio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            delivery = await self._hand_over(message, trio.current_time() - began)

    def _give_up(self, message: trio_mqtt.Message, error: trio_mqtt.MQTTError) -> None:
        """The target will hardly take it later, so it must not hold up the others."""
        self.counts["not taken"] += 1
        print(f"not passed on: {error}", flush=True)
        if message.qos:
            message.reject(trio_mqtt.ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR)


def payload_of(message: trio_mqtt.Message) -> bytes | str:
    """The payload, as text if it is marked as such and is."""
    try:
        return message.text() if message.properties.payload_format_indicator else message.payload
    except UnicodeDecodeError:
        return message.payload


async def watch(side: str, client: trio_mqtt.Client) -> None:
    """Tell how it goes with one server."""
    async with client.events() as events:
        async for event in events:
            if isinstance(event, Connected):
                print(f"{side}: connected to {event.server}", flush=True)
            elif isinstance(event, Disconnected):
                print(f"{side}: {event.error}", flush=True)


async def main(options: argparse.Namespace) -> None:
    """Bridge until a signal."""
    open_side = partial(
        trio_mqtt.open_client,
        protocol=trio_mqtt.MQTT_5,
        reconnect=trio_mqtt.Reconnect(initial="background", max_delay=15),
        # What one server may have had before it lost its memory is rather sent twice than never.
        on_session_lost="republish",
    )
    session = partial(trio_mqtt.Session, expiry=HOUR)  # in memory: nothing is acknowledged early
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with (
            open_side(options.local, session=session(f"{options.name}-local")) as local,
            open_side(options.remote, session=session(f"{options.name}-remote")) as remote,
            trio.open_nursery() as watching,
        ):
            watching.start_soon(watch, "local", local)
            watching.start_soon(watch, "remote", remote)
            new = partial(Direction, name=options.name, keep_trying=options.keep_trying)
            prefix = options.prefix
            directions = {
                "out": new(source=local, target=remote, filters=options.outward, add=prefix),
                "in": new(source=remote, target=local, filters=options.inward, remove=prefix),
            }
            async with trio.open_nursery() as passing_on:
                for direction in directions.values():
                    passing_on.start_soon(direction.run)
                await anext(signals)
                for direction in directions.values():
                    direction.taking.cancel()
                passing_on.cancel_scope.deadline = trio.current_time() + PATIENCE
            watching.cancel_scope.cancel()
        for name, direction in directions.items():
            counts = ", ".join(f"{count} {what}" for what, count in direction.counts.items())
            print(f"{name}: {counts or 'nothing'}", flush=True)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("local", help="one server")
    parser.add_argument("remote", help="the other")
    parser.add_argument("--out", dest="outward", nargs="+", default=["plant/#"])
    parser.add_argument("--in", dest="inward", nargs="+", default=["commands/#"])
    parser.add_argument("--prefix", default="site-1/", help="of topics at REMOTE")
    parser.add_argument("--keep-trying", type=float, default=600.0, metavar="SECONDS")
    parser.add_argument("--name", default="bridge", help="its own, unlike that of other bridges")
    return parser.parse_args()


def first_of(error: BaseException) -> BaseException:
    """An error, without the groups that nurseries have put it in."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


if __name__ == "__main__":
    status: int | str = 0
    try:
        trio.run(main, parse())
    except* KeyboardInterrupt:
        status = 130  # the first Ctrl-C ends it well; this one came behind it
    except* trio_mqtt.MQTTError as failures:
        status = f"the bridge has failed: {first_of(failures)}"
    sys.exit(status)
