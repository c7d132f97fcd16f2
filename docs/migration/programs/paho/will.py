import paho.mqtt.client as mqtt

TOPIC = "devices/pump"


def on_connect(
    client, userdata, flags, reason, properties
):
    client.publish(TOPIC, "alive", qos=1)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.will_set(TOPIC, "dead", qos=1)
client.on_connect = on_connect
client.connect("localhost", 1883)
client.loop_forever()
