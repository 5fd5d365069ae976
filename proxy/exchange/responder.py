"""Step 11: add the caller's fields to a response, and withhold it until its record is on disk if required."""

import logging

from proxy.errors import BrokenBody
from proxy.exchange.ports import DurabilityGate, Ports, Wiring
from proxy.exchange.recorder import Recorder
from proxy.exchange.state import Exchange
from proxy.http import problem_response
from proxy.http.fields import Lines
from proxy.http.message import (
    BodyReader,
    Failure,
    Response,
    response_in,
)
from proxy.http.problems import Problem, Reason, refused
from proxy.policy import added_headers, claim_rules
from proxy.policy.coalescing import JOINED
from proxy.policy.cors import exposing
from proxy.policy.event_source import hangs_up
from proxy.policy.latency_target import is_endless
from proxy.policy.recovery_plan import Result
from proxy.policy.routing import Route

_log = logging.getLogger("backstay.exchange")


class Responder:
    """Give each client its response, with its own correlation id."""

    __slots__ = ("_clock", "_cors", "_durability_gate", "_expose", "_recorder", "_route", "_silent")

    def __init__(self, route: Route, wiring: Wiring, ports: Ports, recorder: Recorder, *, silent: bool = False) -> None:
        """Take the collaborators; a `silent` responder adds no fields to a response."""
        self._route = route
        self._cors = wiring.cors
        self._expose = ports.expose
        self._durability_gate = ports.durability_gate
        self._clock = ports.clock
        self._recorder = recorder
        self._silent = silent

    def respond(self, x: Exchange, result: Result) -> Response | None:
        """Write the response, or return it if it must be streamed."""
        if x.gone:
            return None
        x.result, outcome = result, result.outcome
        response = response_in(outcome)
        if response is None:
            is_store = outcome == claim_rules.STORE_GONE.outcome
            problem = refused(claim_rules.store_gone()) if is_store else problem_response.problem_of(outcome)
            self.send_problem(x, problem, problem_response.retry_after_s(outcome))
            return None
        x.answered = response.status
        if not isinstance(response.body, bytes):
            return response
        x.bytes_out = len(response.body)
        self._give(x, response, self._beside(x, self._recorder.stop_the_clock(x)))
        return None

    def send_problem(self, x: Exchange, problem: Problem, retry_after_s: float | None = None) -> None:
        """Respond with a problem of the sidecar, unless the client has left or has a response.

        An EventSource gets no 5xx: its connection is closed.
        """
        if x.gone or x.answered:
            return
        x.problem, x.answered = problem, problem.status
        self._recorder.stop_the_clock(x)
        if x.hung_up:
            x.client.hang_up()
            return
        response, more = self._own(x, problem, retry_after_s)
        x.bytes_out = len(response.body) if isinstance(response.body, bytes) else 0
        self._give(x, response, more)

    def fail(self, x: Exchange) -> None:
        """Respond to an internal error, which is being handled, and log it."""
        _log.exception("an exchange failed: %r", x.request)
        self.send_problem(x, problem_response.problem_of(Failure(Reason.INTERNAL, sent=True)))

    async def may_open(self, x: Exchange, reader: BodyReader) -> bool:
        """Tell whether a streamed response may begin; respond with a problem if it could not be recorded in time."""
        if self._durability_gate is None or await self._durability_gate.opening(x):
            return True
        reader.close()
        x.answered = 0
        self.respond(x, Result(problem_response.WITHHELD))
        return False

    async def relay(self, x: Exchange, response: Response, reader: BodyReader, began_s: float) -> None:
        """Relay a streamed response; `began_s` is the client's wait for its head in seconds."""
        x.head_s, x.endless = began_s, is_endless(response)
        try:
            x.bytes_out = await x.client.relay(response, reader, self._beside(x, began_s))
        except BrokenBody:
            x.truncated = True

    def _give(self, x: Exchange, response: Response, more: Lines) -> None:
        """Write a complete response, after its record is on disk if required."""
        gate = self._durability_gate
        if gate is None:
            x.client.write(response, more)
        else:
            self._recorder.record(x)
            self._write_when_durable(gate, x, response, more)

    def _write_when_durable(self, gate: DurabilityGate, x: Exchange, response: Response, more: Lines) -> None:
        """Write a recorded response, or a refusal if its record is not on disk in time.

        A response that already is that refusal is sent unchanged: the record agrees with it.
        """

        def on_durable(durable: bool) -> None:
            if durable or x.unrecorded:
                x.client.write(response, more)
            else:
                self._withhold(x)

        gate.when_durable(x, on_durable)

    def _withhold(self, x: Exchange) -> None:
        """Replace a recorded and counted response whose record is not on disk in time by a problem."""
        self._recorder.withheld()
        problem = problem_response.problem_of(problem_response.NOT_ASKED if x.untouched else problem_response.WITHHELD)
        if hangs_up(x.request, problem.status):
            x.client.hang_up()
        else:
            x.client.write(*self._own(x, problem))

    def _own(self, x: Exchange, problem: Problem, retry_after_s: float | None = None) -> tuple[Response, Lines]:
        cors = exposing(self._cors.lines(x.request))
        response = problem_response.own_response(problem, x.correlation.id, cors, retry_after_s)
        if self._silent:
            return response, ()
        response_info = self._response_info(x, x.duration_s)._replace(error=problem.error)
        return response, added_headers.to_client(response_info, expose=self._expose)

    def _beside(self, x: Exchange, elapsed_s: float) -> Lines:
        """Return the lines to add to this caller's response."""
        if self._silent:
            return ()
        result, attempts = x.result, x.attempts
        plain = result.recovery is None and result.ttl_s is None and not self._route.explain
        if plain and len(attempts) == 1 and x.role is not JOINED:
            return added_headers.of_plain_response(x.correlation.id, elapsed_s * 1000, attempts[0].ms, self._expose)
        return added_headers.to_client(self._response_info(x, elapsed_s), expose=self._expose)

    def _response_info(self, x: Exchange, elapsed_s: float) -> added_headers.ResponseInfo:
        response_info = added_headers.response_info(
            x.correlation.id, x.result, x.role, x.attempts, elapsed_s, x.request
        )
        why = added_headers.explanation(self._route, x.request, x.alone_because, x.attempts)
        return response_info if why is None else response_info._replace(explanation=why)
