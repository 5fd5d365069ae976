"""One instant covers joining, waiting, backoff and attempts, up to the response head."""

HEADER = "X-Request-Deadline-Ms"  # the field's default name, in both directions
Deadline = float  # an instant in monotonic seconds; a class of its own would cost 0.2 µs at each look


def remaining(deadline: Deadline, now: float) -> float:
    """Return the seconds left, never less than 0."""
    return deadline - now if deadline > now else 0.0


def callers_budget(value: bytes | None) -> float | None:
    """Return the caller's own budget in seconds, which came in milliseconds; None if absent or not a number."""
    if value is None or not value.isdigit() or len(value) > 9:
        return None
    return int(value) / 1000
