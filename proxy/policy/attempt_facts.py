"""One upstream call and why it was, or was not, the last."""

from collections.abc import Sequence
from enum import Enum
from typing import Final

from proxy.http.message import (
    Failure,
    Outcome,
    Response,
    answer_in,
)
from proxy.http.problems import Reason
from proxy.policy.classify import Verdict, classify, label
from proxy.policy.retry import CAUSES
from proxy.policy.routing import Route

_UNFINISHED: Final = Failure(Reason.CANCELLED, sent=True)  # what is cut off in mid-call is taken as sent


class Attempt:
    """What the record tells of one call. `waited_ms` is the backoff before it, `why` what was decided after it.

    `safe` tells whether it asked only to read: recovery may read in the middle of a write.
    """

    __slots__ = ("ms", "n", "outcome", "safe", "verdict", "waited_ms", "why")

    def __init__(self, n: int, waited_s: float, safe: bool = False) -> None:
        self.n = n
        self.safe = safe
        self.waited_ms = waited_s * 1000
        self.ms = 0.0
        self.outcome: Outcome = _UNFINISHED
        self.verdict = Verdict.CANCELLED
        self.why = "unfinished"

    def ended(self, outcome: Outcome, seconds: float = 0.0) -> Verdict:
        """Take what it brought and how long it was under way; return what that means."""
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
        """Return the status that came back, None if nothing did."""
        return self.outcome.status if isinstance(self.outcome, Response) else None

    @property
    def result(self) -> str:
        """Return the bounded name of its result."""
        return label(self.outcome)

    def __repr__(self) -> str:
        return f"<Attempt {self.n} {self.result} {self.ms:.1f} ms, {self.why}>"


def schedule_outcome(attempts: list[Attempt]) -> Outcome:
    """Return what a ladder brought: its last outcome, or the one before where the circuit opened meanwhile."""
    last = attempts[-1].outcome
    if len(attempts) == 1 or not isinstance(last, Failure) or last.reason is not Reason.CIRCUIT_OPEN:
        return last
    attempts[-2].why = "circuit_open"
    before = attempts[-2].outcome
    answer = answer_in(before)
    return before if answer is None or answer.whole else last  # a streamed one was let go of when the retry was decided


class Effect(Enum):
    """What a write has done, as far as is known here."""

    NONE = "none"  # it was never sent, or refused
    DONE = "done"  # it succeeded, or failed inside the backend, which may have done a part of it
    IN_DOUBT = "in doubt"  # it was sent and got no final answer: the backend may still be at it


_NONE, _DONE, _IN_DOUBT = Effect.NONE, Effect.DONE, Effect.IN_DOUBT
_OF_A_GATEWAY = (502, 504)  # what one behind us says when it does not know either
_UNABLE = 503  # RFC 9110 section 15.6.4: the server is unable to handle the request


def effect_of(outcome: Outcome) -> Effect:
    """Return what a write with this outcome has done. A 4xx refuses it, and so does a 503."""
    if not isinstance(outcome, Response):
        return _IN_DOUBT if outcome.sent else _NONE
    status = outcome.status
    if status in _OF_A_GATEWAY:
        return _IN_DOUBT
    return _NONE if 400 <= status < 500 or status == _UNABLE else _DONE


def effect(attempts: list[Attempt]) -> Effect:
    """Return what the attempts of a write have done together: what is in doubt weighs most."""
    found = [effect_of(attempt.outcome) for attempt in attempts if not attempt.safe]
    if _IN_DOUBT in found:
        return _IN_DOUBT
    return _DONE if _DONE in found else _NONE


def attempt_timeout(route: Route, attempts: list[Attempt], remaining_s: float) -> float:
    """Return the seconds the next attempt may take: doubled after each timeout, never past the deadline."""
    if route.attempt_timeout_s is None:
        return remaining_s
    timeouts = sum(attempt.verdict is Verdict.TIMEOUT for attempt in attempts)
    return min(remaining_s, route.attempt_timeout_s * float(1 << timeouts))


def retries(attempts: Sequence[Attempt]) -> int:
    """Return how many attempts repeat a failed one; a request that a recovery makes repeats nothing."""
    return sum(attempt.why in CAUSES for attempt in attempts[:-1])
