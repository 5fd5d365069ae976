"""Byte-facing functions without a case, with the reason: a whole package or one function, one line each."""

EXCEPTIONS = {
    "demo": "the demonstration talks to a backend, a sidecar and clients of its own",
    "audit.analytics": "DuckDB reads the trail and runs the statement",
    "admin.application._listed": "the names of the circuits or switches that are configured",
    "admin.read_ahead.ReadAhead._next_size": "one read of 4 KiB at the most",
    "admin.status.Viewers._make_room": "one step a viewer: admin.max_viewers",
    "assembly.Assembly._balancer": "one step an address of an upstream, at a reload",
    "audit.instants._in_utc": "one instant",
    "audit.record_schema._meanings": "a table of the source, once",
    "audit.trail_file.rotated_name": "a path of the configuration and the time",
    "cli.check.check": "one step a route, on an operator's call",
    "cli.named_files": "one step a file that the operator's own configuration names",
    "cli.route_explanation": "one step a route and a setting, for one request that an operator types",
    "config.meant": "one pass over one value of the operator's own configuration",
    "config.doubts": "one step a route of the operator's own configuration",
    "cli.circuits.circuits": "the words of one command line",
    "cli.circuits._send": "the response of the operator's own sidecar: a row a circuit",
    "config.schema": "reads the models of the settings and their source, which are code",
    "cli.inject.inject.<locals>.transform": "prints a hint for each workload",
    "cli.run.run": "the words of one command line",
    "exchange.claims.Claiming._settle_when_whole.<locals>.settle": "one step a claim: each caller has one at the most",
    "exchange.dry_run.DryRunJoining.join": "joins a flight, and looks at no byte",
    "exchange.recovery.Recovery._preflight": "splits a method from the name of an operation",
    "exchange.handler.RequestHandler._follow": "one step a flight that it follows: at most a few elections",
    "memory_budget.resident": "one line that the kernel writes",
    "observe.instruments.Counter.keep_only": "one step a series, whose number is bounded, at a reload and a scrape",
    "observe.instruments.Histogram.keep_only": "one step a series, whose number is bounded, at a reload and a scrape",
    "observe.instruments.Counter.total": "sums over labels, whose number is bounded",
    "observe.queued_output.QueuedOutput._drop": "counts the lines of one block of the log, which is bounded",
    "observe.queued_output._write_all": "writes one block of the log, each byte once",
    "policy.balancing.Balancer.__repr__": "one word an address of an upstream",
    "policy.probing.Probes.__repr__": "one word a circuit",
    "store.redis_claims.RedisClaims._taking": "retries while Redis is away, and looks at no byte",
    "store.memory_store.MemoryStore.forget": "one step a cached response, in bounded number, at a reload",
    "policy.restoration.Restorations.erase": "one step a restoration, whose number is bounded, on an operator's call",
    "store.local_claims.LocalClaims.erase": "one step a stored response, in bounded number, on an operator's call",
    "store.memory_store.MemoryStore.erase": "one step a cached response, in bounded number, on an operator's call",
    "store.redis_erasure": "one step a value in Redis, on an operator's call",
    "upstream.balancer.BalancedUpstream.send": "one try an address of an upstream",
    "upstream.connector.Connector._race": "one step an address that the resolver found",
    "upstream.connector.interleaved": "one step an address that the resolver found",
    "transport.broadcast.Broadcast.push": "one step a reader that waits",
    "server.socket_file._lock": "at most a few tries",
    "transport.tls._load": "the names of three files",
}  # fmt: skip


def excepted(name: str) -> bool:
    """Tell whether a function, or the room it is in, stands above."""
    parts = name.split(".")
    return any(".".join(parts[:size]) in EXCEPTIONS for size in range(1, len(parts) + 1))
