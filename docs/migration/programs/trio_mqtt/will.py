import trio

from trio_mqtt import Will, open_client

TOPIC = "devices/pump"


async def main():
    will = Will(topic=TOPIC, payload="dead", qos=1)
    url = "mqtt://localhost"
    async with open_client(url, will=will) as client:
        await client.publish(TOPIC, "alive", qos=1)
        await trio.sleep_forever()


trio.run(main)
