import asyncio

import gmqtt


def on_connect(client, flags, rc, properties):
    client.subscribe("sensors/+/temperature", qos=1)
    client.subscribe("alarms/#", qos=1)


def on_message(client, topic, payload, qos, properties):
    if topic.startswith("alarms/"):
        print("alarm", topic)
    else:
        print("temperature", payload.decode())


async def main():
    client = gmqtt.Client("")
    client.on_connect = on_connect
    client.on_message = on_message
    await client.connect("localhost", 1883)
    await asyncio.Event().wait()


asyncio.run(main())
