"""One upstream attempt, and the reason why another followed or not."""

from collections.abc import Sequence
from enum import Enum
from typing import Final

from proxy.http.message import (
    Failure,
    Outcome,
    Response,
    response_in,
)
from proxy.http.problems import Reason
from proxy.policy.classify import CANCELLED, Verdict, classify, label
from proxy.policy.retry import CAUSES
from proxy.policy.routing import Route

_UNFINISHED: Final = Failure(Reason.CANCELLED, sent=True)  # an attempt that is cut off counts as sent


class Attempt:
    """The recorded facts of one attempt. `waited_ms` is the backoff before it, `why` the decision after it.

    `safe`: it only reads. Recovery may read during a write. `address`: of the backend, if the attempt failed.
    """

    __slots__ = ("address", "ms", "n", "outcome", "safe", "verdict", "waited_ms", "why")

    def __init__(self, n: int, waited_s: float, safe: bool = False) -> None:
        self.n = n
        self.safe = safe
        self.address = ""
        self.waited_ms = waited_s * 1000
        self.ms = 0.0
        self.outcome: Outcome = _UNFINISHED
        self.verdict: Verdict = CANCELLED
        self.why = "unfinished"

    def ended(self, outcome: Outcome, seconds: float = 0.0) -> Verdict:
        """Set the outcome and the duration in seconds; return the verdict."""
        self.outcome = outcome
        self.ms = seconds * 1000
        self.verdict = verdict = classify(outcome)
        return verdict

    @property
    def sent(self) -> bool:
        """Tell whether the request may have reached the backend."""
        return isinstance(self.outcome, Response) or self.outcome.sent

    @property
    def status(self) -> int | None:
        """Return the response status, None without a response."""
        return self.outcome.status if isinstance(self.outcome, Response) else None

    @property
    def result(self) -> str:
        """Return the bounded name of the result."""
        return label(self.outcome)

    def __repr__(self) -> str:
        return f"<Attempt {self.n} {self.result} {self.ms:.1f} ms, {self.why}>"


def schedule_outcome(attempts: list[Attempt]) -> Outcome:
    """Return the last outcome of a retry schedule, or the one before if the circuit then refused."""
    last = attempts[-1].outcome
    if len(attempts) == 1 or not isinstance(last, Failure) or last.reason is not Reason.CIRCUIT_OPEN:
        return last
    attempts[-2].why = "circuit_open"
    before = attempts[-2].outcome
    response = response_in(before)
    # A streamed response was discarded when the retry was decided.
    return before if response is None or response.whole else last


class Effect(Enum):
    """The effect of a write, as far as is known."""

    NONE = "none"  # it was not sent, or was refused
    DONE = "done"  # it succeeded, or failed in the backend after a possible partial effect
    UNKNOWN = "unknown"  # it was sent without a final response: the backend may still process it


_NONE, _DONE, _UNKNOWN = Effect.NONE, Effect.DONE, Effect.UNKNOWN
_OF_A_GATEWAY = (502, 504)  # statuses of a gateway that does not know the effect either
_UNABLE = 503  # RFC 9110 section 15.6.4: the server is unable to handle the request


def effect_of(outcome: Outcome) -> Effect:
    """Return the effect of a write with this outcome. A 4xx and a 503 refuse it."""
    if not isinstance(outcome, Response):
        return _UNKNOWN if outcome.sent else _NONE
    status = outcome.status
    if status in _OF_A_GATEWAY:
        return _UNKNOWN
    return _NONE if 400 <= status < 500 or status == _UNABLE else _DONE


def effect(attempts: list[Attempt]) -> Effect:
    """Return the combined effect of a write's attempts: an unknown effect takes precedence."""
    found = [effect_of(attempt.outcome) for attempt in attempts if not attempt.safe]
    if _UNKNOWN in found:
        return _UNKNOWN
    return _DONE if _DONE in found else _NONE


def attempt_timeout(route: Route, attempts: list[Attempt], remaining_s: float) -> float:
    """Return the timeout of the next attempt in seconds: doubled after each timeout, within the deadline."""
    if route.attempt_timeout_s is None:
        return remaining_s
    timeouts = sum(attempt.verdict is Verdict.TIMEOUT for attempt in attempts)
    return min(remaining_s, route.attempt_timeout_s * float(1 << timeouts))


def retries(attempts: Sequence[Attempt]) -> int:
    """Return how many attempts repeat a failed one; a request that a recovery makes repeats nothing."""
    return sum(attempt.why in CAUSES for attempt in attempts[:-1])
