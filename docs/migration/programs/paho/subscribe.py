import paho.mqtt.client as mqtt


def on_connect(
    client, userdata, flags, reason, properties
):
    client.subscribe("sensors/+/temperature", qos=1)
    client.subscribe("alarms/#", qos=1)


def on_temperature(client, userdata, message):
    print("temperature", message.payload.decode())


def on_alarm(client, userdata, message):
    print("alarm", message.topic)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.on_connect = on_connect
client.message_callback_add(
    "sensors/+/temperature", on_temperature
)
client.message_callback_add("alarms/#", on_alarm)
client.connect("localhost", 1883)
client.loop_forever()
