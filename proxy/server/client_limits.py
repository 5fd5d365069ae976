"""How long each leg waits, and how much it takes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Limits on clients. Times in seconds; each ends a connection that keeps us waiting longer."""

    head_timeout_s: float = 10.0
    keepalive_timeout_s: float = 75.0
    idle_timeout_s: float = 60.0
    max_connections: int = 20_000
    expose: bool = True
    tunnel_idle_s: float = 3600.0
