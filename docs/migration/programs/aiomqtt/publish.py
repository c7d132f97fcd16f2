import asyncio

import aiomqtt


async def main():
    async with aiomqtt.Client(
        "localhost", 1883
    ) as client:
        await client.publish("sensor/hall", "21.5", qos=1)
        print("acknowledged")


asyncio.run(main())
