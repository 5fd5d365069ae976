"""The control plane's own limits: how long it waits, and how much it takes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AdminLimits:
    """Times in seconds. `allowed_hosts` are names, without a port, that a request may be for besides our own.

    `socket_mode` is that of a Unix socket's file, None: as the process's umask has it.
    """

    max_connections: int = 128
    max_viewers: int = 32
    head_timeout_s: float = 10.0
    keepalive_timeout_s: float = 75.0
    idle_timeout_s: float = 10.0
    allowed_hosts: tuple[str, ...] = ()
    socket_mode: int | None = 0o600
