"""What `benchmarks.instructions` runs under an instrument that counts instructions.

Nothing in it may depend on the machine, so that two runs count the same: there are no sockets, and
time passes by the look at the clock.
"""
