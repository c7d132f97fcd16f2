import asyncio

import gmqtt


def on_connect(client, flags, rc, properties):
    client.subscribe("orders", qos=1)


def on_message(client, topic, payload, qos, properties):
    print("order", payload.decode())


async def main():
    client = gmqtt.Client(
        "reader-7",
        clean_session=False,
        session_expiry_interval=3600,
    )
    client.on_connect = on_connect
    client.on_message = on_message
    await client.connect("localhost", 1883)
    await asyncio.Event().wait()


asyncio.run(main())
