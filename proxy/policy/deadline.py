"""One deadline covers joining, waiting, backoff and attempts, up to the response head."""

Deadline = float  # monotonic seconds; a class would cost 0.2 µs for each comparison


def remaining(deadline: Deadline, now: float) -> float:
    """Return the seconds left, never less than 0."""
    return deadline - now if deadline > now else 0.0


def callers_budget(value: bytes | None) -> float | None:
    """Return the caller's budget in seconds, from milliseconds; None if it is absent or not a number."""
    if value is None or not value.isdigit() or len(value) > 9:
        return None
    return int(value) / 1000
