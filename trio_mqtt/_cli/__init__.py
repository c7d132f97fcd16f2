"""The ``trio-mqtt`` command, one module for each of its commands."""
