"""A client leaves, or its own deadline comes first. Nothing ends that somebody else waits for."""

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
from proxy.policy.deadline import remaining


class Leaving:
    """Ends what nobody waits for any more, and only that."""

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
        """Take note that the client left; `mid_upload`: before its whole body came, without which nothing is done."""
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
        """Answer with the refusal of the rest of the body, and end; too late where an answer has begun."""
        if not x.answered:
            self._responder.say(x, refused(refusal))
            self.abandon(x, mid_upload=True)

    def deserted(self, x: Exchange, lead: Lead) -> None:
        """End what nobody waits for. A write that is under way runs to its end; a read may go on as a probe."""
        if lead.permit is not None and not (x.request.safe and x.attempts[-1].safe):
            return
        if lead.flight is not None:
            self._joining.abandon(lead.flight)
        if self._attempts.goes_on(x, lead):
            self._recorder.record(x)
        elif x.task is not None:
            x.task.cancel()

    def unanswered(self, x: Exchange) -> None:
        """Take note that it ended without an answer, unless its own time was over and it has been told so."""
        if x.problem is None:
            x.result = LEFT

    def watch(self, x: Exchange, lead: Lead) -> None:
        """Look, until it lands, whether anybody waits for what it brings home."""
        x.lead = lead
        if lead.flight is not None:
            lead.flight.when_deserted = partial(self.deserted, x, lead)
        # a caller whose own deadline comes first is answered in time; a body that streams has its own pace
        if x.deadline < lead.deadline and isinstance(x.request.body, bytes):
            own_s = remaining(x.deadline, self._clock.now())
            lead.own_time = asyncio.get_running_loop().call_later(own_s, self._out_of_time, x)

    def _out_of_time(self, x: Exchange) -> None:
        if not x.gone:
            x.result = OUT_OF_TIME
            self._responder.say(x, problem_response.problem_of(Failure(Reason.RESPONSE_TIMEOUT, sent=True)))
            self.abandon(x)
