import asyncio

import gmqtt


def on_connect(client, flags, rc, properties):
    client.subscribe("$share/pool/jobs", qos=1)


def on_message(client, topic, payload, qos, properties):
    print("job", payload.decode())


async def main():
    client = gmqtt.Client("")
    client.on_connect = on_connect
    client.on_message = on_message
    await client.connect("localhost", 1883)
    await asyncio.Event().wait()


asyncio.run(main())
