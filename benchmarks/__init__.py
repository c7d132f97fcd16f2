"""Messages a second, beside other clients; ``python -m benchmarks --help``.

A *work* is done by each *client* in turn, against each *server*, several rounds over. To add

- a client: a module in `clients` whose WORK has a function for each kind of work, and its row in
  `clients.CLIENTS`;
- a kind of work: rows in `jobs.WORKS`, and a function in the WORK of each client that can do it;
- a server: a function in `servers.SERVERS`.

Every client runs in a process of its own, so that none pays for what another has imported or
left behind. A run counts only if all messages arrived, or were acknowledged.
"""
