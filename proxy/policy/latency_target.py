"""How fast an operation was, against its own limits (the seed document's performance targets)."""

from typing import Final, NamedTuple

from proxy.runtime.enums import FastStrEnum


class Level(FastStrEnum):
    """Where a duration lies; the seed logs them at debug, info, warning and error."""

    IDEAL = "ideal"
    ACCEPTABLE = "acceptable"
    SLOW = "slow"
    CRITICAL = "critical"


_IDEAL: Final = Level.IDEAL  # a name of its own: in Python 3.11 a look into an Enum costs 0.1 µs


class Target(NamedTuple):
    """Upper limits in seconds."""

    ideal_s: float
    acceptable_s: float
    slow_s: float

    def level(self, seconds: float) -> Level:
        """Return the level a duration reaches: a limit itself still belongs to the better level."""
        if seconds <= self.ideal_s:
            return _IDEAL
        if seconds <= self.acceptable_s:
            return Level.ACCEPTABLE
        return Level.SLOW if seconds <= self.slow_s else Level.CRITICAL
