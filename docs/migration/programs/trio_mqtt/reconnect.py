import trio

from trio_mqtt import open_client
from trio_mqtt.events import Connected, Disconnected


async def report(client):
    async with client.events() as events:
        async for event in events:
            if isinstance(event, Connected):
                print("connected")
            elif isinstance(event, Disconnected):
                print("disconnected")


async def main():
    async with (
        open_client("mqtt://localhost") as client,
        client.subscribe("sensors/#", qos=1) as messages,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(report, client)
        async for message in messages:
            print(message.topic, message.text())


trio.run(main)
