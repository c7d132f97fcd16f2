import trio

from trio_mqtt import open_client


async def temperatures(client):
    topic = "sensors/+/temperature"
    async with client.subscribe(topic, qos=1) as messages:
        async for message in messages:
            print("temperature", message.text())


async def alarms(client):
    async with client.subscribe(
        "alarms/#", qos=1
    ) as messages:
        async for message in messages:
            print("alarm", message.topic)


async def main():
    async with (
        open_client("mqtt://localhost") as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(temperatures, client)
        nursery.start_soon(alarms, client)


trio.run(main)
