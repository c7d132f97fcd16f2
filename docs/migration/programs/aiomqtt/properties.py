import asyncio

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

properties = Properties(PacketTypes.PUBLISH)
properties.MessageExpiryInterval = 60
properties.ContentType = "application/json"
properties.UserProperty = ("unit", "7")


async def main():
    async with aiomqtt.Client(
        "localhost",
        1883,
        protocol=aiomqtt.ProtocolVersion.V5,
    ) as client:
        await client.publish(
            "sensor/hall",
            '{"celsius": 21.5}',
            qos=1,
            properties=properties,
        )
        print("acknowledged")


asyncio.run(main())
