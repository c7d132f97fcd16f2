import paho.mqtt.client as mqtt

client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2,
    client_id="till-7",
    clean_session=False,
)
client.connect("localhost", 1883)
client.loop_start()
info = client.publish("payments", "12.50", qos=2)
info.wait_for_publish(timeout=10)
if info.is_published():
    print("acknowledged")
client.disconnect()
client.loop_stop()
