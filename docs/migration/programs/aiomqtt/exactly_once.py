import asyncio

import aiomqtt


async def main():
    async with aiomqtt.Client(
        "localhost",
        1883,
        identifier="till-7",
        clean_session=False,
    ) as client:
        await client.publish("payments", "12.50", qos=2)
        print("acknowledged")


asyncio.run(main())
