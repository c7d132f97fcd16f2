import asyncio

import aiomqtt


async def work(job):
    await asyncio.sleep(0.1)
    print("done", job.payload.decode())


async def main():
    async with aiomqtt.Client(
        "localhost", 1883
    ) as client:
        await client.subscribe("jobs", qos=1)
        async for job in client.messages:
            # acknowledged before it came here
            await work(job)


asyncio.run(main())
