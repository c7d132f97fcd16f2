import asyncio

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

properties = Properties(PacketTypes.CONNECT)
properties.SessionExpiryInterval = 3600


async def main():
    async with aiomqtt.Client(
        "localhost",
        1883,
        identifier="reader-7",
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=False,
        properties=properties,
    ) as client:
        await client.subscribe("orders", qos=1)
        async for order in client.messages:
            print("order", order.payload.decode())


asyncio.run(main())
