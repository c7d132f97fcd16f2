"""What `trio-mqtt bench` does: messages sent, received, counted and timed."""
