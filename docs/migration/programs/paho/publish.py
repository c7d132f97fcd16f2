import paho.mqtt.client as mqtt

client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.connect("localhost", 1883)
client.loop_start()
info = client.publish("sensor/hall", "21.5", qos=1)
info.wait_for_publish(timeout=10)
if info.is_published():
    print("acknowledged")
client.disconnect()
client.loop_stop()
