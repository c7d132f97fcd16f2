import asyncio

import aiomqtt


async def main():
    client = aiomqtt.Client("localhost", 1883)
    while True:
        try:
            async with client:
                print("connected")
                await client.subscribe("sensors/#", qos=1)
                async for message in client.messages:
                    text = message.payload.decode()
                    print(message.topic, text)
        except aiomqtt.MqttError:
            print("disconnected")
            await asyncio.sleep(1)


asyncio.run(main())
