import trio

from trio_mqtt import open_client


async def main():
    async with open_client("mqtt://localhost") as client:
        await client.publish("sensor/hall", "21.5", qos=1)
        print("acknowledged")


trio.run(main)
