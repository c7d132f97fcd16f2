import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

properties = Properties(PacketTypes.CONNECT)
properties.SessionExpiryInterval = 3600


def on_connect(
    client, userdata, flags, reason, properties
):
    client.subscribe("orders", qos=1)


def on_message(client, userdata, message):
    print("order", message.payload.decode())


client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2,
    client_id="reader-7",
    protocol=mqtt.MQTTv5,
)
client.on_connect = on_connect
client.on_message = on_message
client.connect(
    "localhost",
    1883,
    clean_start=False,
    properties=properties,
)
client.loop_forever()
