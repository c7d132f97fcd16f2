import paho.mqtt.client as mqtt


def on_connect(
    client, userdata, flags, reason, properties
):
    client.subscribe("$share/pool/jobs", qos=1)


def on_message(client, userdata, message):
    print("job", message.payload.decode())


client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5
)
client.on_connect = on_connect
client.on_message = on_message
client.connect("localhost", 1883)
client.loop_forever()
