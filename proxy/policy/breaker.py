"""Whether an upstream may be asked. This file decides and remembers; it never waits and never reads a clock."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import NamedTuple

from proxy.policy.classify import Verdict


class State(Enum):
    """CLOSED lets traffic through, OPEN refuses, HALF_OPEN probes. The value is the gauge's."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Mode(Enum):
    """Who decides (B6): the breaker, an operator, or nobody (observe counts and never refuses)."""

    AUTO = "auto"
    FORCED_OPEN = "open"
    FORCED_CLOSED = "close"
    OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """The seed document's figures; times in seconds."""

    failure_threshold: int = 5
    reset_timeout_s: float = 30.0
    success_threshold: int = 2
    jitter: float = 0.1  # upward only, so that replicas do not probe in step (B4)
    max_probes: int = 2


class Permit(NamedTuple):
    """Leave to make one attempt. Report it exactly once, whatever happens."""

    generation: int
    probe: bool


class Refused(NamedTuple):
    """No attempt now; the circuit probes in `retry_after_s`."""

    retry_after_s: float


FAILURES = frozenset({Verdict.NETWORK, Verdict.TIMEOUT, Verdict.UNAVAILABLE})  # B1
_NEUTRAL = frozenset({Verdict.RATE_LIMITED, Verdict.REFUSED, Verdict.CANCELLED})


class CircuitBreaker:
    """Guard one circuit.

    ::

        CLOSED --failure_threshold consecutive failures--> OPEN --reset_timeout--> HALF_OPEN
        HALF_OPEN --success_threshold successes--> CLOSED
        HALF_OPEN --one failed probe--> OPEN

    Every transition begins a new generation; a permit of an older one reports into the void (B2), so a straggler from
    before the trip can neither close nor open anything. `admit` takes its permit in the same synchronous step (B4).
    """

    __slots__ = (
        "_generation", "_on_transition", "_probe_at", "_probes", "_random", "failures", "mode", "name",
        "opened_at", "rules", "state", "successes",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        rules: BreakerRules,
        random: Random,
        on_transition: Callable[["CircuitBreaker", State, float], None] | None = None,
    ) -> None:
        self.name = name
        self.rules = rules
        self.state = State.CLOSED
        self.mode = Mode.AUTO
        self.failures = 0
        self.successes = 0
        self.opened_at: float | None = None
        self._generation = 0
        self._probes = 0
        self._probe_at = 0.0
        self._random = random
        self._on_transition = on_transition

    def admit(self, now: float) -> Permit | Refused:
        """Return a permit, or the seconds until one may be had."""
        if self.mode is not Mode.AUTO:
            if self.mode is Mode.FORCED_OPEN:
                return Refused(self.rules.reset_timeout_s)
            return Permit(self._generation, probe=False)
        if self.state is State.CLOSED:
            return Permit(self._generation, probe=False)
        if self.state is State.OPEN:
            if now < self._probe_at:
                return Refused(self._probe_at - now)
            self._enter(State.HALF_OPEN, now)
        if self._probes >= self.rules.max_probes:
            return Refused(1.0)  # probes are under way: their verdict is a matter of one deadline
        self._probes += 1
        return Permit(self._generation, probe=True)

    def report(self, permit: Permit, verdict: Verdict, now: float, *, counted: bool = True) -> None:
        """Settle a permit. `counted=False` for a flight's second and later failures (B5)."""
        if permit.generation != self._generation:
            return
        if permit.probe:
            self._probes -= 1
        if verdict in FAILURES or (permit.probe and verdict is Verdict.RATE_LIMITED):
            self._failed(now, counted=counted)
        elif verdict not in _NEUTRAL:
            self._succeeded(now)

    def _failed(self, now: float, *, counted: bool) -> None:
        if self.state is State.HALF_OPEN:
            self._enter(State.OPEN, now)
        elif counted:
            self.failures += 1
            if self.failures >= self.rules.failure_threshold and self.mode is not Mode.FORCED_CLOSED:
                self._enter(State.OPEN, now)

    def _succeeded(self, now: float) -> None:
        self.failures = 0
        if self.state is State.HALF_OPEN:
            self.successes += 1
            if self.successes >= self.rules.success_threshold:
                self._enter(State.CLOSED, now)

    def _enter(self, state: State, now: float) -> None:
        self.state = state
        self._generation += 1
        self._probes = 0
        self.successes = 0
        if state is State.OPEN:
            self.opened_at = now
            self._probe_at = now + self.rules.reset_timeout_s * (1 + self.rules.jitter * self._random.random())
        elif state is State.CLOSED:
            self.failures = 0
            self.opened_at = None
        if self._on_transition is not None:
            self._on_transition(self, state, now)

    def probes_in(self, now: float) -> float:
        """Return the seconds until the circuit asks its upstream again; 0 unless it is open."""
        return max(0.0, self._probe_at - now) if self.state is State.OPEN else 0.0

    def reset(self, now: float) -> None:
        """Close the circuit and forget its failures (an operator's word)."""
        self.failures = 0
        if self.state is not State.CLOSED:
            self._enter(State.CLOSED, now)

    def force(self, mode: Mode) -> None:
        """Put an operator's decision in the place of the breaker's own, or give it back (AUTO)."""
        self.mode = mode

    def __repr__(self) -> str:
        mode = "" if self.mode is Mode.AUTO else f" mode={self.mode.value}"
        return f"<CircuitBreaker {self.name} {self.state.name} failures={self.failures}{mode}>"
