import asyncio

import aiomqtt


async def main():
    async with aiomqtt.Client(
        "localhost",
        1883,
        protocol=aiomqtt.ProtocolVersion.V5,
    ) as client:
        await client.subscribe("$share/pool/jobs", qos=1)
        async for job in client.messages:
            print("job", job.payload.decode())


asyncio.run(main())
