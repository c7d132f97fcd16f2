import trio

from trio_mqtt import open_client

interval = {"seconds": 1.0}


async def obey(client):
    async with client.subscribe(
        "pump/interval"
    ) as orders:
        async for order in orders:
            interval["seconds"] = float(order.text())
            print("interval", interval["seconds"])


async def main():
    async with (
        open_client("mqtt://localhost") as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(obey, client)
        while True:
            await client.publish("pump/alive", "yes")
            await trio.sleep(interval["seconds"])


trio.run(main)
