"""Timeouts and limits of the upstream connections."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Times in seconds, sizes in connections and bytes."""

    connect_timeout_s: float = 1.0
    max_idle: int = 64
    idle_timeout_s: float = 4.0  # below the 5 s of uvicorn
    unsafe_idle_s: float = 1.0  # an unsafe request does not use a connection that was idle longer
    head_limit: int = 65_536
    max_connections: int = 0  # 0 means no limit
    queue: int = 100  # requests that may wait for a connection
    queue_timeout_s: float = 0.5
    max_age_s: float = 60.0  # of a connection; a new one resolves the name again, because a Service's addresses change
