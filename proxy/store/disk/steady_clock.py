"""The clock of ages and lifetimes across restarts: a wrong clock makes nothing younger, and expires nothing at once.

The highest time that was seen is kept in the file. A clock that is behind it counts on from there. A clock that is
more than an hour ahead of it is believed for ages, because older is safe; what it would expire is parked until the
clock has stayed there for an hour. A sidecar that was down for a long time looks the same.
"""

from proxy.clock import Clock

BELIEVED_S = 3600.0  # a larger step forward is not believed at once


class SteadyClock:
    """A clock whose `wall` never goes back."""

    __slots__ = ("_at", "_clock", "_from", "_stepped_at")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = clock.now()
        self._from = clock.wall()
        self._stepped_at: float | None = None

    def go_on_from(self, high_water: float) -> None:
        """Go on from the highest wall time in seconds that was ever seen."""
        self._at, self._from, self._stepped_at = self._clock.now(), high_water, None

    def now(self) -> float:
        """Return monotonic seconds."""
        return self._clock.now()

    def wall(self) -> float:
        """Return Unix seconds: those of the system, or those that follow from the highest that were seen."""
        now, wall = self._clock.now(), self._clock.wall()
        own = self._from + now - self._at
        if wall <= own:
            self._stepped_at = None
            return own
        if wall - own > BELIEVED_S:
            if self._stepped_at is None:
                self._stepped_at = now
            if now - self._stepped_at < BELIEVED_S:
                return wall
        self._from, self._at, self._stepped_at = wall, now, None
        return wall

    @property
    def high_water(self) -> float:
        """Return the time at which lifetimes end for good: without a step forward that is not yet believed."""
        wall = self.wall()
        return wall if self._stepped_at is None else self._from + self._clock.now() - self._at

    async def sleep(self, seconds: float) -> None:
        """Sleep for `seconds`."""
        await self._clock.sleep(seconds)
