import asyncio

import aiomqtt


async def main():
    async with aiomqtt.Client(
        "localhost", 1883
    ) as client:
        await client.subscribe(
            "sensors/+/temperature", qos=1
        )
        await client.subscribe("alarms/#", qos=1)
        async for message in client.messages:
            topic = message.topic
            if topic.matches("sensors/+/temperature"):
                print(
                    "temperature",
                    message.payload.decode(),
                )
            elif topic.matches("alarms/#"):
                print("alarm", topic)


asyncio.run(main())
