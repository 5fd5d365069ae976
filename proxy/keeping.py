"""What a write makes old, and what is kept of a read: before the write, after it, and while its outcome is unknown."""

from proxy.attempting import Attempting
from proxy.message import Response
from proxy.parts import Scope
from proxy.policy import kept
from proxy.policy.attempts import Effect
from proxy.policy.conditional import CONDITIONS
from proxy.policy.kept import Keep, Kept
from proxy.policy.recovery import Result

NEVER_FRESH = -1  # older than any seal


class Keeping(Attempting):
    """Seals, doubts and kept answers, as an exchange deals with them. The page says when."""

    __slots__ = ()

    def _begin_write(self) -> None:
        """Close the flights that a write may make old, before it is sent."""
        self._parts.flights.seals.begin(self.subject.value, self.owners)

    def _end_write(self, effect: Effect) -> bool:
        """Make old what a write has made old, before its answer goes out; tell whether there was anything to.

        While its outcome is unknown nothing is kept either of what the backend may still change.
        """
        if effect is Effect.NONE:
            return False
        seals, subject, owners = self._parts.flights.seals, self.subject.value, tuple(self.owners)
        seals.seal(subject, owners)
        if self.route.ends_session:
            seals.drop_owners(owners)
        if effect is Effect.IN_DOUBT:
            seals.doubt(self.route.total_timeout_s, subject, owners, self._parts.clock.now())
        return True

    def _in_doubt(self) -> bool:
        return self._parts.flights.seals.doubts.about(self.subject.value, self.owners, self._parts.clock.now())

    def _stamp(self) -> int:
        """Return the mark under which an answer may be kept that is asked for now."""
        return NEVER_FRESH if self._in_doubt() else self._parts.flights.seals.stamp()

    def _fresh(self, stamp: int) -> bool:
        seals = self._parts.flights.seals
        return seals.fresh(stamp, self.subject.value, self.owners) and not self._in_doubt()

    async def _look(self) -> Kept | None:
        """Return what is kept for this question, old or not, if the request says the same where the answer varies."""
        found, self._mark = await self._parts.store.look(self._kept_key, self._scope)
        self._found = found if found is not None and found.fits(self.request) else None
        return self._found

    async def _keep(self, result: Result, stamp: int) -> None:
        """Keep an answer, or what a 304 is about with its new fields; drop what is true no more."""
        route, store = self.route, self._parts.store
        result = kept.merged(self._found, result)
        verdict, answer = kept.judge(route, self.request, result, anonymous=self.identity.anonymous), result.outcome
        if verdict is Keep.STORE and isinstance(answer, Response) and self._fresh(stamp):
            entry = Kept(answer, self._parts.clock.wall(), stamp, kept.varied(answer, self.request))
            scope = self._scope._replace(holder=self.holder)
            await store.put(self._kept_key, entry, kept.keep_for(route), scope, self._mark)
        elif verdict is Keep.DROP and self._found is not None:
            await store.drop(self._kept_key)

    @property
    def _kept_key(self) -> bytes:
        if CONDITIONS.isdisjoint(self.request.fields):
            return self.identity.question
        return self._wiring.identifier.kept_question(self.request, self.subject.value)

    @property
    def _scope(self) -> Scope:
        return Scope(self.subject.value, self.owners)
