"""Timeouts and limits of the control plane."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AdminLimits:
    """Times are in seconds. `allowed_hosts` are further host names, without a port, that a request may use.

    `socket_mode` is the file mode of a Unix socket; None uses the umask.
    """

    max_connections: int = 128
    max_viewers: int = 32
    head_timeout_s: float = 10.0
    keepalive_timeout_s: float = 75.0
    idle_timeout_s: float = 10.0
    allowed_hosts: tuple[str, ...] = ()
    socket_mode: int | None = 0o600
