import asyncio

import gmqtt

interval = {"seconds": 1.0}


def on_connect(client, flags, rc, properties):
    client.subscribe("pump/interval")


def on_message(client, topic, payload, qos, properties):
    interval["seconds"] = float(payload)
    print("interval", interval["seconds"])


async def main():
    client = gmqtt.Client("")
    client.on_connect = on_connect
    client.on_message = on_message
    await client.connect("localhost", 1883)
    while True:
        client.publish("pump/alive", "yes")
        await asyncio.sleep(interval["seconds"])


asyncio.run(main())
