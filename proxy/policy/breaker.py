"""Decide whether requests may be sent to an upstream. This module never waits and never reads a clock."""

from collections import deque
from collections.abc import Callable
from enum import Enum
from math import inf
from typing import Final, NamedTuple

from proxy.config.settings import Breaker
from proxy.policy.classify import FAILURES, Verdict
from proxy.runtime.random import RandomSource

LEASE_S: Final = 60.0  # a probe permit that was not settled expires this long after its attempt must have ended


class CircuitState(Enum):
    """CLOSED admits requests, OPEN refuses them, HALF_OPEN admits probes. The value is the gauge's."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class CircuitMode(Enum):
    """What decides: the breaker, or an operator; OBSERVE counts and never refuses."""

    AUTO = "auto"
    FORCED_OPEN = "open"
    FORCED_CLOSED = "close"
    OBSERVE = "observe"


class Permit(NamedTuple):
    """Permission for one attempt. Report it exactly once, whatever happens."""

    generation: int
    probe: int | None = None  # the lease of a half-open circuit's probe
    since: float = -inf  # when the generation began


class Refused(NamedTuple):
    """No attempt is allowed; the circuit probes in `retry_after_s` seconds. `circuit`: its name, if two were asked."""

    retry_after_s: float
    circuit: str = ""


_CLOSED: Final = CircuitState.CLOSED
_FORCED_OPEN: Final = CircuitMode.FORCED_OPEN
_OUTDATED: Final = Permit(-1)  # of no generation: its report is ignored
_NEUTRAL: Final = frozenset({Verdict.RATE_LIMITED, Verdict.REFUSED, Verdict.CANCELLED})


class _FailureRun:
    """The failures since the last success.

    A timeout of a route is weaker evidence than other failures: it counts only if another route has timed out since
    the last success.
    """

    __slots__ = ("_late", "cause", "count", "timeouts")

    def __init__(self) -> None:
        self.count = 0
        self.timeouts = 0  # how many of them are timeouts of routes
        self.cause = ""  # the newest one, for logs: the error and its address
        self._late = frozenset[str]()  # the routes that have timed out

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing has failed."""
        return not self.count and not self._late

    def add(self, late: str) -> None:
        """Add a failure: a timeout of the route `late`, or another one."""
        others = self._late - {late}
        if not late or others:
            self.count += 1
        if late:
            self._late = others | {late}
            self.timeouts += 1 if others else 0

    def explain(self) -> None:
        """Say in the cause how many routes have timed out."""
        self.cause = f"{len(self._late)} routes timed out; {self.cause}"

    def clear(self) -> None:
        """Begin again after a success."""
        self.count = self.timeouts = 0
        self._late = frozenset()


class CircuitBreaker:
    """Guard one circuit.

    ::

        CLOSED --failure_threshold consecutive failures--> OPEN --reset_timeout--> HALF_OPEN
        HALF_OPEN --success_threshold successes--> CLOSED
        HALF_OPEN --one failed or slow probe--> OPEN
        CLOSED --slow_call_rate of the last slow_call_window calls took longer than slow_call--> OPEN
        OPEN (hung) --success_threshold successes of routes that did not time out--> CLOSED

    Every transition starts a new generation. A report under an older generation's permit is ignored, so a late
    attempt can neither close nor open the circuit. `admit` takes its permit synchronously.

    A circuit that timeouts of routes opened is `hung` (`route_circuit` has the rule); any other failure ends that.
    """

    __slots__ = (
        "_leases", "_on_transition", "_probe_at", "_probes", "_random", "_rules", "_run", "_slow",
        "mode", "name", "opened_at", "permit", "quiet", "state", "successes",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        rules: Breaker,
        random: RandomSource,
        on_transition: Callable[["CircuitBreaker", CircuitState, float], None] | None = None,
    ) -> None:
        self.name = name
        self._rules = rules
        self.state = CircuitState.CLOSED
        self.mode = CircuitMode.AUTO
        self.successes = 0
        self.opened_at: float | None = None
        self._run = _FailureRun()
        self.permit = Permit(0)  # of this generation; shared by all attempts that are no probes
        self._leases: dict[int, float] = {}  # probe number -> expiry
        self._probes = 0
        self._probe_at = 0.0
        self._slow: deque[bool] = deque()  # of the most recent calls: was it slow?
        self._random = random
        self._on_transition = on_transition
        # closed, without failures and without a limit on slow calls: a success changes nothing, and nobody is refused
        self.quiet = True
        self._look()

    @property
    def rules(self) -> Breaker:
        """Return the settings, which a reload replaces."""
        return self._rules

    @rules.setter
    def rules(self, rules: Breaker) -> None:
        self._rules = rules
        self._look()

    def admit(self, now: float, within_s: float = 0.0) -> Permit | Refused:
        """Return a permit, or how many seconds until one may be available.

        `within_s`: the attempt ends after this many seconds at the latest.
        """
        mode = self.mode
        if mode is _FORCED_OPEN:
            return Refused(self.rules.reset_timeout)
        if self.state is _CLOSED or mode is CircuitMode.FORCED_CLOSED:
            return self.permit
        if self.state is CircuitState.OPEN:
            if now >= self._probe_at:
                self._enter(CircuitState.HALF_OPEN, now)
            elif self.mode is CircuitMode.OBSERVE:
                return self.permit
            else:
                return Refused(self._probe_at - now)
        return self._probe(now, within_s)

    def _probe(self, now: float, within_s: float) -> Permit | Refused:
        self._leases = {probe: lapses for probe, lapses in self._leases.items() if lapses > now}
        if len(self._leases) >= self.rules.max_probes:
            # probes are running: they end within one deadline
            return self.permit if self.mode is CircuitMode.OBSERVE else Refused(1.0)
        self._probes += 1
        self._leases[self._probes] = now + within_s + LEASE_S
        return Permit(self.permit.generation, self._probes, self.permit.since)

    def counts(self, permit: Permit) -> bool:
        """Tell whether a report under this permit is still counted."""
        return permit.generation == self.permit.generation and (permit.probe is None or permit.probe in self._leases)

    def give_back(self, permit: Permit) -> None:
        """Settle a permit whose attempt is no evidence about the backend."""
        if permit.probe is not None and permit.generation == self.permit.generation:
            self._leases.pop(permit.probe, None)

    def permit_of(self, sent_at: float) -> Permit:
        """Return the permit of an attempt that was sent at that time because the circuit was quiet."""
        return self.permit if sent_at > self.permit.since else _OUTDATED

    def report(
        self, permit: Permit, verdict: Verdict, now: float, *, took_s: float | None = 0.0, counted: bool = True,
        late: str = "",
    ) -> None:  # fmt: skip
        """Settle a permit. `counted` is False for a flight's second and later failures.

        `took_s` is None if the call's duration did not depend on the backend alone: slow_call ignores it. `late` is the
        route whose timeout the failure is, "" for any other failure and if the route has no circuit before this one.
        """
        if permit is not self.permit and not self._ends_probe(permit):
            return
        slow_s, closed = self.rules.slow_call, self.state is _CLOSED
        slow = slow_s is not None and took_s is not None and took_s > slow_s
        if verdict in FAILURES or (not closed and self._fails_probe(verdict, slow=slow)):
            self._failed(now, late, counted=counted)
        elif verdict not in _NEUTRAL:
            if closed:
                self._forgive()
            else:
                self._succeeded(now)
        if slow_s is not None and took_s is not None and verdict not in _NEUTRAL:
            self._watch_slowness(slow, now)

    def _ends_probe(self, permit: Permit) -> bool:
        """Take back a probe's permit; return False for another generation, or if the lease expired: another probes."""
        if permit.probe is None or permit.generation != self.permit.generation:
            return False
        return self._leases.pop(permit.probe, None) is not None

    def _fails_probe(self, verdict: Verdict, *, slow: bool) -> bool:
        return self.state is CircuitState.HALF_OPEN and (slow or verdict is Verdict.RATE_LIMITED)

    def _watch_slowness(self, slow: bool, now: float) -> None:
        """Open the circuit if too many recent calls were slow (resilience4j's second condition)."""
        window = self.rules.slow_call_window
        self._slow.append(slow)
        while len(self._slow) > window:
            self._slow.popleft()
        full = len(self._slow) == window
        if self.state is CircuitState.CLOSED and full and sum(self._slow) >= self.rules.slow_call_rate * window:
            self._run.cause = "slow calls"
            self._trip(now)

    def _forgive(self) -> None:
        self._run.clear()
        self._look()

    def _look(self) -> None:
        """Set `quiet`, after a change of anything that it depends on."""
        closed = self.state is _CLOSED and self.mode is not _FORCED_OPEN
        self.quiet = closed and self._run.is_empty and self._rules.slow_call is None

    def _failed(self, now: float, late: str, *, counted: bool) -> None:
        if self.state is CircuitState.HALF_OPEN:
            self._trip(now, hung=late != "")
        elif self.state is CircuitState.OPEN:
            if not late:
                self._run.timeouts = 0
        elif counted:
            self._run.add(late)
            self._look()
            if self._run.count >= self.rules.failure_threshold:
                self._trip(now, hung=self._run.timeouts > 0)

    def _trip(self, now: float, *, hung: bool = False) -> None:
        if self.mode is CircuitMode.FORCED_CLOSED:
            return
        if hung and self.state is _CLOSED:
            self._run.explain()
        self._run.timeouts = max(1, self._run.timeouts) if hung else 0
        self._enter(CircuitState.OPEN, now)

    def _succeeded(self, now: float) -> None:
        if self.state is CircuitState.HALF_OPEN or self.hung:
            self.successes += 1
            if self.successes >= self.rules.success_threshold:
                self._enter(CircuitState.CLOSED, now)

    def _enter(self, state: CircuitState, now: float) -> None:
        self.state = state
        self.permit = Permit(self.permit.generation + 1, None, now)
        self._leases = {}
        self._slow.clear()
        self.successes = 0
        if state is CircuitState.OPEN:
            self.opened_at = now
            self._probe_at = now + self.rules.reset_timeout * (1 + self.rules.jitter * self._random.random())
        elif state is CircuitState.CLOSED:
            self.opened_at = None
            self._run.clear()
        self._look()
        if self._on_transition is not None:
            self._on_transition(self, state, now)

    def probes_in(self, now: float) -> float:
        """Return how many seconds until the circuit probes its upstream; 0 unless it is open."""
        return max(0.0, self._probe_at - now) if self.state is CircuitState.OPEN else 0.0

    def refuses_for(self, now: float) -> float:
        """Return for how many seconds every attempt will be refused; 0 if one may be admitted."""
        if self.mode is CircuitMode.FORCED_OPEN:
            return inf
        return self.probes_in(now) if self.mode is CircuitMode.AUTO else 0.0

    def reset(self, now: float) -> None:
        """Close the circuit and reset its failures, by an operator's command."""
        self._forgive()
        if self.state is not CircuitState.CLOSED:
            self._enter(CircuitState.CLOSED, now)

    def force(self, mode: CircuitMode, now: float) -> None:
        """Override the breaker by an operator's command, or return to AUTO."""
        before = self.shown
        self.take_mode(mode)
        if self.shown is not before and self._on_transition is not None:
            self._on_transition(self, self.shown, now)

    @property
    def failures(self) -> int:
        """Return how many failures in a row have counted."""
        return self._run.count

    @property
    def cause(self) -> str:
        """Return the newest failure, for logs."""
        return self._run.cause

    @cause.setter
    def cause(self, cause: str) -> None:
        self._run.cause = cause

    @property
    def hung(self) -> bool:
        """Tell whether the circuit is not closed because of timeouts of several routes."""
        return self.state is not _CLOSED and self._run.timeouts > 0

    def take_mode(self, mode: CircuitMode) -> None:
        """Change the mode without a transition."""
        self.mode = mode
        self._look()

    @property
    def shown(self) -> CircuitState:
        """Return the effective state: an operator's override takes precedence."""
        if self.mode is CircuitMode.FORCED_OPEN:
            return CircuitState.OPEN
        return CircuitState.CLOSED if self.mode is CircuitMode.FORCED_CLOSED else self.state

    def __repr__(self) -> str:
        mode = "" if self.mode is CircuitMode.AUTO else f" mode={self.mode.value}"
        return f"<CircuitBreaker {self.name} {self.state.name} failures={self.failures}{mode}>"
