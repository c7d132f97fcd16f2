import asyncio

import gmqtt
from gmqtt.storage import PersistentStorage


async def main():
    storage = PersistentStorage()
    client = gmqtt.Client("", persistent_storage=storage)
    await client.connect("localhost", 1883)
    client.publish("sensor/hall", "21.5", qos=1)
    await storage.wait_empty()
    print("acknowledged")
    await client.disconnect()


asyncio.run(main())
