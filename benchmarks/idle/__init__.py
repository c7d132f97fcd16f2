"""Many idle clients in one process: memory, connecting, keeping alive, closing."""
