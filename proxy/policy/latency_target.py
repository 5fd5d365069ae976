"""Compare an operation's duration with its limits (the seed document's performance targets)."""

from typing import Final, NamedTuple

from proxy.config.routes import TargetTable
from proxy.http.message import Response
from proxy.runtime.enums import FastStrEnum


class Level(FastStrEnum):
    """The level of a duration; the seed document logs them at debug, info, warning and error."""

    IDEAL = "ideal"
    ACCEPTABLE = "acceptable"
    SLOW = "slow"
    CRITICAL = "critical"


_SWITCHING_PROTOCOLS: Final = 101
_IDEAL: Final = Level.IDEAL  # module constant: an Enum member look-up costs 0.1 µs in Python 3.11


def is_endless(response: Response) -> bool:
    """Tell whether a response is a tunnel or server-sent events. Its duration is no latency."""
    if response.status == _SWITCHING_PROTOCOLS:
        return True
    return response.fields.get(b"content-type", b"")[:17].lower() == b"text/event-stream"


class Target(NamedTuple):
    """Upper limits in seconds."""

    ideal_s: float
    acceptable_s: float
    slow_s: float

    @classmethod
    def of(cls, settings: TargetTable) -> "Target":
        """Return the limits of a route's `target`."""
        return cls(settings.ideal, settings.acceptable, settings.slow)

    def level(self, seconds: float) -> Level:
        """Return the level of a duration. A limit itself belongs to the better level."""
        if seconds <= self.ideal_s:
            return _IDEAL
        if seconds <= self.acceptable_s:
            return Level.ACCEPTABLE
        return Level.SLOW if seconds <= self.slow_s else Level.CRITICAL
