"""Step 11's handing over: an answer is dressed for its own caller, and kept back where the trail must have it first."""

import asyncio

from proxy.bag import Bag
from proxy.errors import Problem
from proxy.fields import Lines
from proxy.message import Reader, Response
from proxy.policy import answers, disclosure
from proxy.policy.coalescing import JOINED
from proxy.policy.recovery import Result


class Answering(Bag):
    """How an exchange gives its client an answer. The page says which answer, and when."""

    __slots__ = ()

    def _record(self) -> None:
        """Leave the exchange's one record: step 10, which is the page's."""
        raise NotImplementedError

    def _record_later(self) -> None:
        """Leave it after whatever the loop is about to do, with the time of now."""
        if not self.duration_s:
            self._stop_the_clock()
        asyncio.get_running_loop().call_soon(self._record)

    def _stop_the_clock(self) -> float:
        self.duration_s = self._parts.clock.now() - self.started
        return self.duration_s

    def _own(self, problem: Problem, retry_after_s: float | None = None) -> tuple[Response, Lines]:
        response = answers.own_answer(problem, self.correlation.id, self._wiring.cors.lines(self.request))
        story = self._story(self.duration_s)._replace(error=problem.error, retry_after_s=retry_after_s)
        return response, self._to_client(story)

    def _give(self, response: Response, more: Lines) -> None:
        """Write a whole answer; where the trail must have it first, once it has, or else a refusal instead (A2)."""
        witness = self._parts.witness
        if witness is None:
            self._client.write(response, more)
            return
        self._record()
        told = (response, more)
        witness.answer(
            self, lambda kept: self._client.write(*(told if kept else self._own(answers.problem_of(answers.WITHHELD))))
        )

    def _beside(self, elapsed_s: float) -> Lines:
        """Return what goes with this caller's answer."""
        result, attempts = self.result, self.attempts
        untold = result.recovery is None and result.ttl_s is None and not self.route.explain
        if untold and len(attempts) == 1 and self.role is not JOINED:
            return self._in_short(elapsed_s * 1000, attempts[0].ms)
        return self._to_client(self._story(elapsed_s))

    def _in_short(self, total_ms: float, upstream_ms: float) -> Lines:
        return disclosure.of_plain_answer(self.correlation.id, total_ms, upstream_ms, expose=self._parts.expose)

    def _to_client(self, story: disclosure.Story) -> Lines:
        return disclosure.to_client(story, expose=self._parts.expose)

    def _story(self, elapsed_s: float) -> disclosure.Story:
        result = self.result
        story = disclosure.story(self.correlation.id, result, self.role, self.attempts, elapsed_s, self.request)
        why = disclosure.explanation(self.route, self.request, self.alone_because, self.attempts)
        return story if why is None else story._replace(explanation=why)


def opened(result: Result | None) -> Reader | None:
    """Open a reader on a streamed result, at its first byte, before anybody reads on."""
    if result is None:
        return None
    outcome = result.outcome
    response = outcome if isinstance(outcome, Response) else outcome.partial
    return None if response is None or isinstance(response.body, bytes) else response.body.open()
