import asyncio
import ssl

import aiomqtt


async def main():
    context = ssl.create_default_context(
        cafile="authority.pem"
    )
    context.load_cert_chain(
        "client.pem", "client.key", "open sesame"
    )
    async with aiomqtt.Client(
        "localhost", 8883, tls_context=context
    ) as client:
        await client.publish("sensor/hall", "21.5", qos=1)
        print("acknowledged")


asyncio.run(main())
