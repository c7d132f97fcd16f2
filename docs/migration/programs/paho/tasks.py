import time

import paho.mqtt.client as mqtt

interval = {"seconds": 1.0}


def on_connect(
    client, userdata, flags, reason, properties
):
    client.subscribe("pump/interval")


def on_message(client, userdata, message):
    interval["seconds"] = float(message.payload)
    print("interval", interval["seconds"])


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.on_connect = on_connect
client.on_message = on_message
client.connect("localhost", 1883)
client.loop_start()  # a thread that calls the callbacks
while True:
    client.publish("pump/alive", "yes")
    time.sleep(interval["seconds"])
