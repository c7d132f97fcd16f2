import trio

from trio_mqtt import make_ssl_context, open_client


async def main():
    context = make_ssl_context(
        ca_file="authority.pem",
        certificate="client.pem",
        key="client.key",
        key_password="open sesame",
    )
    url = "mqtts://localhost"
    async with open_client(
        url, ssl_context=context
    ) as client:
        await client.publish("sensor/hall", "21.5", qos=1)
        print("acknowledged")


trio.run(main)
