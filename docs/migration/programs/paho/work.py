import time

import paho.mqtt.client as mqtt


def on_connect(
    client, userdata, flags, reason, properties
):
    client.subscribe("jobs", qos=1)


def on_message(client, userdata, message):
    time.sleep(0.1)  # nothing else is received meanwhile
    print("done", message.payload.decode())
    client.ack(message.mid, message.qos)


client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2, manual_ack=True
)
client.on_connect = on_connect
client.on_message = on_message
client.connect("localhost", 1883)
client.loop_forever()
