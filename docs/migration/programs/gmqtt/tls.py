import asyncio
import ssl

import gmqtt
from gmqtt.storage import PersistentStorage


async def main():
    context = ssl.create_default_context(
        cafile="authority.pem"
    )
    context.load_cert_chain(
        "client.pem", "client.key", "open sesame"
    )
    storage = PersistentStorage()
    client = gmqtt.Client("", persistent_storage=storage)
    await client.connect("localhost", 8883, ssl=context)
    client.publish("sensor/hall", "21.5", qos=1)
    await storage.wait_empty()
    print("acknowledged")
    await client.disconnect()


asyncio.run(main())
