import trio

from trio_mqtt import Session, SQLiteStorage, open_client

STORAGE = SQLiteStorage("reader.db")


async def main():
    session = Session(
        "reader-7", expiry=3600, storage=STORAGE
    )
    async with (
        open_client(
            "mqtt://localhost", session=session
        ) as client,
        client.subscribe("orders", qos=1) as orders,
    ):
        async for order in orders:
            print("order", order.text())


trio.run(main)
