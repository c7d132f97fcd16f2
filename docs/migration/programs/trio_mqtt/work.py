import trio

from trio_mqtt import open_client


async def work(job):
    await trio.sleep(0.1)
    print("done", job.text())


async def main():
    async with (
        open_client("mqtt://localhost") as client,
        client.subscribe("jobs", qos=1) as jobs,
    ):
        async for job in jobs:
            await work(job)
            # asking for the next one acknowledges it


trio.run(main)
