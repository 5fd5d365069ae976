"""One instant covers joining, waiting, backoff and attempts, up to the response head (T3)."""

from typing import NamedTuple


class Deadline(NamedTuple):
    """An instant in monotonic seconds."""

    at: float

    def remaining(self, now: float) -> float:
        """Return the seconds left, never less than 0."""
        return max(0.0, self.at - now)

    def passed(self, now: float) -> bool:
        """Tell whether the instant is over."""
        return now >= self.at

    def no_later_than(self, at: float) -> "Deadline":
        """Return the earlier of the two."""
        return self if self.at <= at else Deadline(at)


def callers_budget(value: bytes | None) -> float | None:
    """Return the caller's own budget in seconds, which came in milliseconds; None if absent or not a number."""
    if value is None or not value.isdigit() or len(value) > 9:
        return None
    return int(value) / 1000
