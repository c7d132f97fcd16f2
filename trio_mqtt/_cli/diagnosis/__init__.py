"""What `trio-mqtt doctor` does: a connection made step by step, each with what is wrong with it."""
