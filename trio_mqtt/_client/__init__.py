"""The client on Trio: what application code talks to."""
