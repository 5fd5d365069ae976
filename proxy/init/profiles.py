"""The tuning recommendations of the seed document, as settings of tables."""

from collections.abc import Mapping
from enum import StrEnum

Table = tuple[str, ...]
BREAKER: Table = ("upstreams", "backend", "breaker")
DEFAULTS: Table = ("defaults",)
RETRY: Table = ("defaults", "retry")
TARGET: Table = ("defaults", "target")


class Profile(StrEnum):
    """Name the deployments that the seed document has recommendations for."""

    HIGH_TRAFFIC = "high-traffic"
    LOW_LATENCY = "low-latency"
    HIGH_LATENCY = "high-latency"


PROFILES: Mapping[Profile, Mapping[tuple[Table, str], object]] = {
    Profile.HIGH_TRAFFIC: {
        (BREAKER, "failure_threshold"): 10,
        (BREAKER, "reset_timeout"): "20s",
        (RETRY, "initial_delay"): "200ms",
    },
    Profile.LOW_LATENCY: {
        (BREAKER, "reset_timeout"): "15s",
        (RETRY, "initial_delay"): "50ms",
    },
    Profile.HIGH_LATENCY: {  # thresholds are twice the defaults
        (BREAKER, "failure_threshold"): 8,
        (DEFAULTS, "total_timeout"): "4s",
        (RETRY, "max_delay"): "5s",
        (TARGET, "ideal"): "1s",
        (TARGET, "acceptable"): "2s",
        (TARGET, "slow"): "4s",
    },
}
"""More than 100 concurrent users; a fast network between sidecar and backend; a slow one."""
