import asyncio

import gmqtt
from gmqtt.storage import PersistentStorage


async def main():
    storage = PersistentStorage()
    client = gmqtt.Client("", persistent_storage=storage)
    await client.connect("localhost", 1883)
    client.publish(
        "sensor/hall",
        '{"celsius": 21.5}',
        qos=1,
        message_expiry_interval=60,
        content_type="application/json",
        user_property=("unit", "7"),
    )
    await storage.wait_empty()
    print("acknowledged")
    await client.disconnect()


asyncio.run(main())
