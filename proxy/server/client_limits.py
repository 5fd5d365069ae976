"""Timeouts and limits of client connections."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Limits on clients. Times are in seconds; each closes a connection that exceeds it."""

    head_timeout_s: float = 10.0
    keepalive_timeout_s: float = 75.0
    idle_timeout_s: float = 60.0
    max_connections: int = 20_000
    expose: bool = True
    tunnel_idle_s: float = 3600.0
