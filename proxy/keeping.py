"""What a write makes old, and what is kept of a read (C4): before the write, after it, and while nobody knows."""

from proxy.attempting import Attempting
from proxy.parts import Scope
from proxy.policy import kept
from proxy.policy.attempts import Attempt, in_doubt
from proxy.policy.recovery import Result

NEVER_FRESH = -1  # older than any seal


class Keeping(Attempting):
    """Seals, doubts and kept answers, as an exchange deals with them. The page says when."""

    __slots__ = ()

    def _seal(self) -> None:
        """Make old what a write makes old (C4)."""
        seals = self._parts.flights.seals
        seals.seal(self.subject.value, self.owners)
        if self.route.ends_session:
            seals.drop_owners(self.owners)

    def _seal_again(self) -> None:
        """Do so once more before the answer goes out (C4)."""
        self._seal()
        self._doubt(self.attempts)

    def _doubt(self, attempts: list[Attempt]) -> None:
        """Have nothing kept for a while of what the backend may still change."""
        if in_doubt(attempts):
            seals, now = self._parts.flights.seals, self._parts.clock.now()
            seals.doubt(self.route.total_timeout_s, self.subject.value, self.owners, now)

    def _in_doubt(self) -> bool:
        return self._parts.flights.seals.doubts.about(self.subject.value, self.owners, self._parts.clock.now())

    def _stamp(self) -> int:
        """Return the mark under which an answer may be kept that is asked for now."""
        return NEVER_FRESH if self._in_doubt() else self._parts.flights.seals.stamp()

    def _fresh(self, stamp: int) -> bool:
        seals = self._parts.flights.seals
        return seals.fresh(stamp, self.subject.value, self.owners) and not self._in_doubt()

    async def _keep(self, result: Result, stamp: int) -> None:
        parts, answer = self._parts, kept.to_keep(self.route, self.request, result)
        if answer is not None and self._fresh(stamp):
            entry = kept.Kept(answer, parts.clock.wall(), stamp)
            seconds = kept.keep_for(self.route)
            await parts.store.put(self.identity.question, entry, seconds, self._scope, self._mark)

    @property
    def _scope(self) -> Scope:
        return Scope(self.subject.value, self.owners, self.holder)
