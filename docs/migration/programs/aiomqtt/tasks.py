import asyncio

import aiomqtt

interval = {"seconds": 1.0}


async def obey(client):
    await client.subscribe("pump/interval")
    async for order in client.messages:
        interval["seconds"] = float(order.payload)
        print("interval", interval["seconds"])


async def main():
    async with (
        aiomqtt.Client("localhost", 1883) as client,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(obey(client))
        while True:
            await client.publish("pump/alive", "yes")
            await asyncio.sleep(interval["seconds"])


asyncio.run(main())
