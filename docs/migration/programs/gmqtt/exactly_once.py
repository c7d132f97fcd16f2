import asyncio

import gmqtt
from gmqtt.storage import PersistentStorage


async def main():
    storage = PersistentStorage()
    client = gmqtt.Client(
        "till-7",
        clean_session=False,
        session_expiry_interval=3600,
        persistent_storage=storage,
    )
    await client.connect("localhost", 1883)
    client.publish("payments", "12.50", qos=2)
    await storage.wait_empty()
    print("acknowledged")
    await client.disconnect()


asyncio.run(main())
