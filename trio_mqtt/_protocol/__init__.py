"""The protocol without I/O: Session State and one Network Connection.

Nothing here waits, reads a clock or knows of Trio. Methods change state synchronously and say
what follows: bytes to send, events to act on.
"""
