import trio

from trio_mqtt import open_client


async def main():
    async with open_client("mqtt://localhost") as client:
        await client.publish(
            "sensor/hall",
            '{"celsius": 21.5}',
            qos=1,
            message_expiry=60,
            content_type="application/json",
            user_properties=[("unit", "7")],
        )
        print("acknowledged")


trio.run(main)
