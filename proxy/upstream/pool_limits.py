"""Timeouts and limits of the upstream connections."""

from dataclasses import dataclass

from proxy.config.settings import UpstreamTable


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """The settings of an upstream that concern its connections, with times in seconds, and some constants.

    A pool is built anew where they change, and only there.
    """

    connect_timeout_s: float
    max_idle: int
    idle_timeout_s: float
    max_connections: int  # 0 means no limit
    queue: int  # requests that may wait for a connection
    queue_timeout_s: float
    unsafe_idle_s: float = 1.0  # an unsafe request does not use a connection that was idle longer
    head_limit: int = 65_536  # bytes
    max_age_s: float = 60.0  # of a connection; a new one resolves the name again, because a Service's addresses change

    @classmethod
    def of(cls, settings: UpstreamTable) -> "PoolLimits":
        """Return the limits of an upstream's table."""
        return cls(
            settings.connect_timeout, settings.max_idle, settings.idle_timeout, settings.max_connections,
            settings.queue, settings.queue_timeout,
        )  # fmt: skip
