"""Choose one of an upstream's addresses and remember failures. This module opens no connections."""

from collections.abc import Iterable
from dataclasses import dataclass

from proxy.http.message import Failure, Outcome
from proxy.policy.classify import FAILURES, classify, is_evidence


@dataclass(frozen=True, slots=True)
class EjectionRules:
    """Passive ejection of an address (a simple form of Envoy's outlier detection); times are in seconds."""

    consecutive_failures: int = 5
    ejection_s: float = 30.0


class AddressHealth:
    """Consecutive failures of one address, and until when it is ejected."""

    __slots__ = ("ejected_until", "failures")

    def __init__(self) -> None:
        self.failures = 0
        self.ejected_until = 0.0


class Balancer:
    """Choose among `count` addresses in turn; an attempt after a failure uses another address if there is one.

    An address with `consecutive_failures` failures in a row is ejected for `ejection_s` seconds, and again after
    one more failure; a response resets the count. If all are ejected, all are used: the circuit breaker decides
    about the upstream.
    """

    __slots__ = ("_addresses", "_next", "rules")

    def __init__(self, count: int, rules: EjectionRules, known: Iterable[AddressHealth] = ()) -> None:
        """Take how many addresses there are; `known` is the health of each, if it is known."""
        self._addresses = tuple(known) or tuple(AddressHealth() for _ in range(count))
        self._next = 0
        self.rules = rules

    def choose(self, tried: frozenset[int], now: float) -> int:
        """Return the index of the address to use."""
        count = len(self._addresses)
        if count == 1:
            return 0
        turn = [(self._next + step) % count for step in range(count)]
        healthy = [index for index in turn if self._addresses[index].ejected_until <= now]
        untried = [index for index in healthy if index not in tried] or [i for i in turn if i not in tried]
        chosen = (untried or healthy or turn)[0]
        self._next = (chosen + 1) % count
        return chosen

    def report(self, index: int, outcome: Outcome, now: float) -> None:
        """Record the outcome of an attempt at an address."""
        verdict, address = classify(outcome), self._addresses[index]
        if not is_evidence(outcome, verdict):
            return
        if verdict not in FAILURES:
            address.failures = 0
            return
        address.failures += 1
        if address.failures >= self.rules.consecutive_failures:
            address.ejected_until = now + self.rules.ejection_s

    def passes_on(self, outcome: Outcome, tried: frozenset[int]) -> bool:
        """Tell whether to try another address: this one was unreachable and nothing was sent."""
        unreached = isinstance(outcome, Failure) and not outcome.sent and classify(outcome) in FAILURES
        return unreached and len(tried) < len(self._addresses)

    @property
    def health(self) -> tuple[AddressHealth, ...]:
        """Return the health of each address."""
        return self._addresses

    @property
    def has_healthy_address(self) -> bool:
        """Tell whether an address has not failed since its last response."""
        return any(not address.failures for address in self._addresses)

    def __repr__(self) -> str:
        failures = ",".join(str(address.failures) for address in self._addresses)
        return f"<Balancer {len(self._addresses)} addresses failures={failures}>"
