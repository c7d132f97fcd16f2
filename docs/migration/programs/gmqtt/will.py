import asyncio

import gmqtt

TOPIC = "devices/pump"


async def main():
    will = gmqtt.Message(TOPIC, "dead", qos=1)
    client = gmqtt.Client("", will_message=will)
    await client.connect("localhost", 1883)
    client.publish(TOPIC, "alive", qos=1)
    await asyncio.Event().wait()


asyncio.run(main())
