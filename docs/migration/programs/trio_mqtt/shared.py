import trio

from trio_mqtt import Session, open_client


async def main():
    session = Session("worker-1", expiry=3600)
    url = "mqtt://localhost"
    async with (
        open_client(url, session=session) as client,
        client.subscribe(
            "$share/pool/jobs", qos=1
        ) as jobs,
    ):
        async for job in jobs:
            print("job", job.text())


trio.run(main)
