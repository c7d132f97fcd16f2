import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

properties = Properties(PacketTypes.PUBLISH)
properties.MessageExpiryInterval = 60
properties.ContentType = "application/json"
properties.UserProperty = ("unit", "7")

client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5
)
client.connect("localhost", 1883)
client.loop_start()
info = client.publish(
    "sensor/hall",
    '{"celsius": 21.5}',
    qos=1,
    properties=properties,
)
info.wait_for_publish(timeout=10)
if info.is_published():
    print("acknowledged")
client.disconnect()
client.loop_stop()
