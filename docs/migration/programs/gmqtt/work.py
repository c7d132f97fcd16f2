import asyncio

import gmqtt


def on_connect(client, flags, rc, properties):
    client.subscribe("jobs", qos=1)


async def on_message(
    client, topic, payload, qos, properties
):
    await asyncio.sleep(0.1)
    print("done", payload.decode())
    return 0  # the Reason Code of the PUBACK


async def main():
    client = gmqtt.Client(
        "", optimistic_acknowledgement=False
    )
    client.on_connect = on_connect
    client.on_message = on_message
    await client.connect("localhost", 1883)
    await asyncio.Event().wait()


asyncio.run(main())
