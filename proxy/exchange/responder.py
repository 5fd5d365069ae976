"""Step 11: an answer is dressed for its own caller, and kept back where the trail must have it first."""

import logging

from proxy.errors import BrokenBody
from proxy.exchange.ports import Ports, Wiring
from proxy.exchange.recorder import Recorder
from proxy.exchange.state import Exchange
from proxy.http import problem_response
from proxy.http.fields import Lines
from proxy.http.message import (
    BodyReader,
    Failure,
    Response,
    answer_in,
)
from proxy.http.problems import Problem, Reason
from proxy.policy import added_headers
from proxy.policy.coalescing import JOINED
from proxy.policy.recovery_plan import Result
from proxy.policy.routing import Route

_log = logging.getLogger("backstay.exchange")


class Responder:
    """Gives each client its answer, with this caller's own correlation id."""

    __slots__ = ("_clock", "_cors", "_durability_gate", "_expose", "_recorder", "_route", "_silent")

    def __init__(self, route: Route, wiring: Wiring, ports: Ports, recorder: Recorder, *, silent: bool = False) -> None:
        """Take what it needs; a `silent` one adds no fields of the sidecar's own to an answer."""
        self._route = route
        self._cors = wiring.cors
        self._expose = ports.expose
        self._durability_gate = ports.durability_gate
        self._clock = ports.clock
        self._recorder = recorder
        self._silent = silent

    def answer(self, x: Exchange, result: Result) -> Response | None:
        """Give the client its answer, or return the one that is relayed as it comes."""
        if x.gone:
            return None
        x.result, outcome = result, result.outcome
        response = answer_in(outcome)
        if response is None:
            self.say(x, problem_response.problem_of(outcome), problem_response.retry_after_s(outcome))
            return None
        x.answered = response.status
        if not isinstance(response.body, bytes):
            return response
        x.bytes_out = len(response.body)
        self._give(x, response, self._beside(x, self._recorder.stop_the_clock(x)))
        return None

    def say(self, x: Exchange, problem: Problem, retry_after_s: float | None = None) -> None:
        """Answer with a problem of our own, unless the client has left or has an answer already."""
        if x.gone or x.answered:
            return
        x.problem, x.answered = problem, problem.status
        self._recorder.stop_the_clock(x)
        response, more = self._own(x, problem, retry_after_s)
        x.bytes_out = len(response.body) if isinstance(response.body, bytes) else 0
        self._give(x, response, more)

    def fail(self, x: Exchange) -> None:
        """Answer for a mistake of our own, which is being handled, and log it."""
        _log.exception("an exchange failed: %r", x.request)
        self.say(x, problem_response.problem_of(Failure(Reason.INTERNAL, sent=True)))

    async def may_open(self, x: Exchange, reader: BodyReader) -> bool:
        """Tell whether a streamed answer may begin; where the trail cannot have it first, the client is told so."""
        if self._durability_gate is None or await self._durability_gate.opening(x):
            return True
        reader.close()
        x.answered = 0
        self.answer(x, Result(problem_response.WITHHELD))
        return False

    async def relay(self, x: Exchange, response: Response, reader: BodyReader, began_s: float) -> None:
        """Pass a streamed answer on as it comes; `began_s` is how long the client waited for its head."""
        try:
            x.bytes_out = await x.client.relay(response, reader, self._beside(x, began_s))
        except BrokenBody:
            x.truncated = True

    def _give(self, x: Exchange, response: Response, more: Lines) -> None:
        """Write a whole answer; where the trail must have it first, once it has, or else a refusal instead."""
        durability_gate = self._durability_gate
        if durability_gate is None:
            x.client.write(response, more)
            return
        self._recorder.record(x)

        def tell(kept: bool) -> None:
            told = (response, more) if kept else self._own(x, problem_response.problem_of(problem_response.WITHHELD))
            x.client.write(*told)

        durability_gate.answer(x, tell)

    def _own(self, x: Exchange, problem: Problem, retry_after_s: float | None = None) -> tuple[Response, Lines]:
        response = problem_response.own_answer(problem, x.correlation.id, self._cors.lines(x.request))
        if self._silent:
            return response, ()
        response_info = self._response_info(x, x.duration_s)._replace(error=problem.error, retry_after_s=retry_after_s)
        return response, added_headers.to_client(response_info, expose=self._expose)

    def _beside(self, x: Exchange, elapsed_s: float) -> Lines:
        """Return the lines that go with this caller's answer."""
        if self._silent:
            return ()
        result, attempts = x.result, x.attempts
        plain = result.recovery is None and result.ttl_s is None and not self._route.explain
        if plain and len(attempts) == 1 and x.role is not JOINED:
            return added_headers.of_plain_answer(
                x.correlation.id, elapsed_s * 1000, attempts[0].ms, expose=self._expose
            )
        return added_headers.to_client(self._response_info(x, elapsed_s), expose=self._expose)

    def _response_info(self, x: Exchange, elapsed_s: float) -> added_headers.ResponseInfo:
        response_info = added_headers.response_info(
            x.correlation.id, x.result, x.role, x.attempts, elapsed_s, x.request
        )
        why = added_headers.explanation(self._route, x.request, x.alone_because, x.attempts)
        return response_info if why is None else response_info._replace(explanation=why)
