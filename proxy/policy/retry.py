"""Decide whether and when to retry, with a reason. This module never waits."""

from typing import Final, NamedTuple

from proxy.config.routes import Retry
from proxy.http.headers import WRITE_CONDITIONS
from proxy.http.message import (
    IDEMPOTENT_METHODS,
    SAFE_METHODS,
    Failure,
    Outcome,
    Request,
    Response,
)
from proxy.http.numbers import saturated
from proxy.http.problems import Reason
from proxy.policy.classify import Verdict, classify
from proxy.policy.dates import unix_seconds
from proxy.policy.routing import Idempotency, Route
from proxy.runtime.random import RandomSource

_DOUBLINGS = 62  # of a delay; more make no difference, and a float overflows at 1024
_JITTER: Final = 0.2  # largest share by which a delay is varied
_LONGEST_DATE = 64  # bytes; every form of RFC 9110 section 5.6.7 is shorter


class Again(NamedTuple):
    """Retry after `delay_s` seconds."""

    delay_s: float
    reason: str


class Stop(NamedTuple):
    """Do not retry. `denied`: a retry was desirable but refused, which is counted."""

    reason: str
    denied: bool = False


Decision = Again | Stop

DONE: Final = Stop("answered")
_OFF: Final = Idempotency.OFF
_REPLAY: Final = Idempotency.REPLAY


class RetrySchedule(NamedTuple):
    """The delays for one cause: `first` x initial delay, doubling, at most `limit` retries."""

    cause: str
    first: float
    limit: int | None = None


_SCHEDULES = {
    Verdict.NETWORK: RetrySchedule("network", 1),
    Verdict.UNAVAILABLE: RetrySchedule("unavailable", 1),
    Verdict.RATE_LIMITED: RetrySchedule("rate_limited", 2),
    Verdict.TIMEOUT: RetrySchedule("timeout", 1, 2),
}  # a cause without a schedule is never retried
CAUSES: Final = frozenset(schedule.cause for schedule in _SCHEDULES.values())  # `why` of an attempt that was retried
_UNPROCESSED = frozenset({429, 503})
_BAD_ANSWER = Reason.PROTOCOL_ERROR
_UNKNOWING = frozenset({502, 504})
_TIMED_OUT = Failure(Reason.RESPONSE_TIMEOUT, sent=True)


class RetryRequest(NamedTuple):
    """What the retry policy knows about a request; it is fixed for the whole flight."""

    method: str
    replayable: bool
    honours_idempotency: bool
    rejected_means_unprocessed: bool
    resend: bool
    min_attempt_s: float
    unread: bool  # the body is a stream that is not read before an attempt is sent
    # a write with a precondition that its own first attempt may invalidate (RFC 9110 section 13.1)
    conditional: bool

    @classmethod
    def of(cls, route: Route, request: Request, *, minted: bool = False) -> "RetryRequest":
        """Return the retry policy's view of a request; `minted`: the sidecar adds an idempotency key.

        An upstream honours only a key that it receives.
        """
        keyed = minted or b"idempotency-key" in request.fields
        return cls(
            request.method, request.replayable, route.honours_idempotency and keyed, route.rejected_means_unprocessed,
            route.resend, route.min_attempt_s, b"expect" in request.fields,
            not request.safe and not request.fields.keys().isdisjoint(WRITE_CONDITIONS),
        )  # fmt: skip


class RetryBudget:
    """Limit retries to `share` of recent requests plus a floor (Finagle's token bucket).

    Each request deposits `share`, each retry withdraws 1. At most `depth` is saved, so that quiet times do not allow a
    retry storm. The floor refills by one per second.
    """

    __slots__ = ("_depth", "_floor", "_refilled", "_tokens", "share")

    def __init__(self, share: float, floor: float = 10.0, depth: float = 100.0) -> None:
        self.share = share
        self._floor = floor
        self._depth = depth
        self._tokens = floor
        self._refilled = 0.0

    def change(self, share: float) -> None:
        """Change the share. A smaller one reduces the savings to the floor, so that it takes effect at once."""
        if share < self.share:
            self._tokens = min(self._tokens, self._floor)
        self.share = share

    def deposit(self) -> None:
        """Count one request."""
        tokens = self._tokens + self.share
        self._tokens = tokens if tokens < self._depth else self._depth

    def withdraw(self, now: float) -> bool:
        """Withdraw one retry; return False if the budget is used up."""
        if self._tokens < self._floor:
            self._tokens = min(self._floor, self._tokens + max(0.0, now - self._refilled))
        self._refilled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def __repr__(self) -> str:
        return f"<RetryBudget tokens={self._tokens:.1f}>"


class RetryPolicy:
    """Decide after each attempt. `enabled` is the operator's switch."""

    __slots__ = ("_random", "enabled")

    def __init__(self, random: RandomSource) -> None:
        self._random = random
        self.enabled = True

    def decide(
        self,
        rules: Retry,
        request: RetryRequest,
        outcome: Outcome,
        attempt: int,
        remaining_s: float,
        budget: RetryBudget,
        now: float,
        wall: float,
        *,
        wanted: bool = True,
        refused_s: float = 0.0,
    ) -> Decision:
        """Return whether attempt number `attempt` (from 1) is retried. The checks are in the order of the reasons.

        `refused_s` is how many seconds the circuit will refuse every attempt: a retry within them is useless.
        """
        verdict = classify(outcome)
        if verdict is Verdict.SUCCESS:
            return DONE
        schedule = _SCHEDULES.get(verdict)
        if schedule is None:
            return Stop("not_retryable")
        if not wanted:
            return Stop("nobody_waits")
        if not self.enabled:
            return Stop("switched_off", denied=True)
        if attempt > min(rules.max_retries, schedule.limit or rules.max_retries):
            return Stop("exhausted", denied=True)
        if (forbidden := _must_not_repeat(request, outcome)) is not None:
            return Stop(forbidden, denied=True)
        delay = self._delay(rules, schedule, attempt, outcome, wall)
        if delay + request.min_attempt_s > remaining_s:
            return Stop("deadline", denied=True)
        if refused_s > delay:
            return Stop("circuit_open", denied=True)
        if not budget.withdraw(now):
            return Stop("budget", denied=True)
        return Again(delay, schedule.cause)

    def repeats_timeouts(self, rules: Retry, request: RetryRequest) -> bool:
        """Tell whether an attempt that timed out may be retried: only then is an attempt shorter than the deadline."""
        return self.enabled and rules.max_retries > 0 and _must_not_repeat(request, _TIMED_OUT) is None

    def _delay(self, rules: Retry, schedule: RetrySchedule, attempt: int, outcome: Outcome, wall: float) -> float:
        doubled = float(1 << min(attempt - 1, _DOUBLINGS))
        nominal = min(rules.max_delay, rules.initial_delay * schedule.first * doubled)
        spread = (_JITTER if rules.jitter else 0.0) * self._random.uniform(-1, 1)
        requested = retry_after(outcome, wall)
        if requested is not None and requested >= nominal:
            return requested * (1 + abs(spread))  # never earlier than Retry-After
        return max(nominal * (1 + spread), requested or 0.0)


def _must_not_repeat(request: RetryRequest, outcome: Outcome) -> str | None:
    """Return why the request must not be sent a second time, None if it may (RFC 9110 section 9.2.2)."""
    unsent = isinstance(outcome, Failure) and not outcome.sent
    if not request.replayable and not (unsent and request.unread):
        return "body_not_replayable"
    if unsent:
        return None
    if not request.resend:
        return "sent"
    if isinstance(outcome, Failure) and outcome.reason is _BAD_ANSWER and request.method not in SAFE_METHODS:
        return "bad_answer"  # the backend read the request and sent no HTTP: a retry could execute it twice
    if request.honours_idempotency:
        return None
    if request.conditional and _is_lost(outcome):
        return "precondition"  # if the first attempt succeeded, a retry would wrongly return 412
    if request.method in IDEMPOTENT_METHODS:
        return None
    if request.rejected_means_unprocessed and isinstance(outcome, Response) and outcome.status in _UNPROCESSED:
        return None
    return "not_idempotent"


def _is_lost(outcome: Outcome) -> bool:
    """Tell whether the effect is unknown: no response, or one of a gateway that does not know either."""
    return not isinstance(outcome, Response) or outcome.status in _UNKNOWING


def sent_once(route: Route, request: Request) -> bool:
    """Tell whether the request is sent at most once, and only the backend reads its body.

    Then its body may be streamed, and the backend may decide about 100 Continue.
    """
    if route.idempotency is _REPLAY or (route.subject is not None and route.subject.source == "body"):
        return False
    if not route.resend or not route.retry.max_retries:
        return True
    keyed = route.honours_idempotency and (route.idempotency is not _OFF or b"idempotency-key" in request.fields)
    return not (keyed or route.rejected_means_unprocessed or request.method in IDEMPOTENT_METHODS)


def retry_after(outcome: Outcome, wall: float) -> float | None:
    """Return the seconds of Retry-After in either form, at most 2**31; None if it is absent, invalid or past."""
    value = outcome.fields.get(b"retry-after") if isinstance(outcome, Response) else None
    if value is None:
        return None
    if (delay_s := saturated(value)) is not None:
        return float(delay_s)
    at = unix_seconds(value) if len(value) <= _LONGEST_DATE else None
    return at - wall if at is not None and at > wall else None
