"""Handle a client that leaves or whose deadline passes, without ending what other callers wait for."""

import asyncio
from functools import partial

from proxy.exchange.attempts import Attempts
from proxy.exchange.joining import Joining
from proxy.exchange.ports import Ports
from proxy.exchange.recorder import Recorder
from proxy.exchange.responder import Responder
from proxy.exchange.state import LEFT, OUT_OF_TIME, WAITING, Exchange, Lead
from proxy.http import problem_response
from proxy.http.message import Failure
from proxy.http.problems import Reason, Refusal, refused
from proxy.policy.classify import Verdict
from proxy.policy.deadline import remaining

_OWN_DEADLINE = Failure(
    Reason.RESPONSE_TIMEOUT, sent=True, detail="the client's own deadline passed before the backend's response"
)


class Leaving:
    """End requests that have no caller left."""

    __slots__ = ("_attempts", "_clock", "_joining", "_recorder", "_responder")

    def __init__(
        self, ports: Ports, joining: Joining, attempts: Attempts, recorder: Recorder, responder: Responder
    ) -> None:
        self._clock = ports.clock
        self._joining = joining
        self._attempts = attempts
        self._recorder = recorder
        self._responder = responder

    def abandon(self, x: Exchange, *, mid_upload: bool = False) -> None:
        """Record that the client left; `mid_upload`: before its body was complete, so the request is not sent."""
        if x.gone:
            return
        x.gone = True
        if mid_upload or x.lead is None:
            if x.task is not None and (mid_upload or x.phase is not WAITING):
                x.task.cancel()
        elif x.lead.flight is not None:
            x.lead.flight.leave()
        else:
            self.deserted(x, x.lead)

    def refuse(self, x: Exchange, refusal: Refusal) -> None:
        """Respond with the refusal of the rest of the body, and end; do nothing if a response has begun."""
        if not x.answered:
            self._responder.send_problem(x, refused(refusal))
            self.abandon(x, mid_upload=True)

    def deserted(self, x: Exchange, lead: Lead) -> None:
        """End a request without callers. A running write continues to its end; a read may continue as a probe.

        A write's end includes what follows its outcome: its claims must be settled.
        """
        if lead.permit is not None and not (x.request.safe and x.attempts[-1].safe):
            return
        if lead.known and not x.request.safe:
            return
        if lead.flight is not None:
            self._joining.abandon(lead.flight)
        if self._attempts.goes_on(x, lead):
            _note_own_deadline(x)
            self._recorder.record(x)
        elif x.task is not None:
            x.task.cancel()

    def unanswered(self, x: Exchange) -> None:
        """Record that there was no response, unless the caller got a 504 at its own deadline."""
        if x.problem is None:
            x.result = LEFT
        _note_own_deadline(x)

    def watch(self, x: Exchange, lead: Lead) -> None:
        """Watch the flight's callers until it lands."""
        x.lead = lead
        if lead.flight is not None:
            lead.flight.when_deserted = partial(self.deserted, x, lead)
        # a caller gets a response at its own deadline; a streamed body has its own idle timeout
        if x.deadline < lead.deadline and isinstance(x.request.body, bytes):
            own_s = remaining(x.deadline, self._clock.now())
            lead.own_time = asyncio.get_running_loop().call_later(own_s, self._out_of_time, x)

    def _out_of_time(self, x: Exchange) -> None:
        if not x.gone:
            x.result = OUT_OF_TIME
            self._responder.send_problem(x, problem_response.problem_of(_OWN_DEADLINE))
            self.abandon(x)


def _note_own_deadline(x: Exchange) -> None:
    """Note in an attempt that was cut off, or continues as a probe, that the client's own deadline passed first."""
    last = x.attempts[-1] if x.attempts else None
    if x.result is OUT_OF_TIME and last is not None and last.verdict is Verdict.CANCELLED:
        last.ended(_OWN_DEADLINE, last.ms / 1000)
        last.why = "client_deadline"
