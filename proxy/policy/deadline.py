"""One deadline covers joining, waiting, backoff and attempts, up to the response head."""

from proxy.http.numbers import saturated

Deadline = float  # monotonic seconds; a class would cost 0.2 µs for each comparison


def remaining(deadline: Deadline, now: float) -> float:
    """Return the seconds left, never less than 0."""
    return deadline - now if deadline > now else 0.0


def callers_budget(value: bytes | None) -> float | None:
    """Return the caller's budget in seconds, from milliseconds, at most 24 days; None if it is absent or no number."""
    ms = None if value is None else saturated(value)
    return None if ms is None else ms / 1000
