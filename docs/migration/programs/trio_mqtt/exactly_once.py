import trio

from trio_mqtt import Session, SQLiteStorage, open_client

STORAGE = SQLiteStorage("payments.db")


async def main():
    session = Session(
        "till-7", expiry=3600, storage=STORAGE
    )
    url = "mqtt://localhost"
    async with open_client(
        url, session=session
    ) as client:
        await client.publish("payments", "12.50", qos=2)
        print("acknowledged")


trio.run(main)
