import paho.mqtt.client as mqtt


def on_connect(
    client, userdata, flags, reason, properties
):
    print("connected")
    client.subscribe("sensors/#", qos=1)


def on_disconnect(
    client, userdata, flags, reason, properties
):
    print("disconnected")


def on_message(client, userdata, message):
    print(message.topic, message.payload.decode())


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.on_connect = on_connect
client.on_disconnect = on_disconnect
client.on_message = on_message
client.reconnect_delay_set(min_delay=1, max_delay=60)
client.connect("localhost", 1883)
client.loop_forever()
