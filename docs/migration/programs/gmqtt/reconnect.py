import asyncio

import gmqtt


def on_connect(client, flags, rc, properties):
    print("connected")
    client.subscribe("sensors/#", qos=1)


def on_disconnect(client, packet, exc=None):
    print("disconnected")


def on_message(client, topic, payload, qos, properties):
    print(topic, payload.decode())


async def main():
    client = gmqtt.Client("")
    client.on_connect = on_connect
    client.on_disconnect = on_disconnect
    client.on_message = on_message
    client.set_config({"reconnect_delay": 1})
    await client.connect("localhost", 1883)
    await asyncio.Event().wait()


asyncio.run(main())
