import asyncio

import aiomqtt

TOPIC = "devices/pump"


async def main():
    will = aiomqtt.Will(TOPIC, "dead", qos=1)
    async with aiomqtt.Client(
        "localhost", 1883, will=will
    ) as client:
        await client.publish(TOPIC, "alive", qos=1)
        await asyncio.Event().wait()


asyncio.run(main())
