"""Which of an upstream's addresses is asked. This file chooses and remembers who failed; it connects to nobody."""

from dataclasses import dataclass

from proxy.http.message import Failure, Outcome
from proxy.policy.classify import FAILURES, classify, tells


@dataclass(frozen=True, slots=True)
class EjectionRules:
    """Passive ejection of one address (Envoy's outlier detection in its plainest form); times in seconds."""

    consecutive_failures: int = 5
    ejection_s: float = 30.0


class AddressHealth:
    """How often one address failed since it last answered, and until when it is passed over."""

    __slots__ = ("ejected_until", "failures")

    def __init__(self) -> None:
        self.failures = 0
        self.ejected_until = 0.0


class Balancer:
    """Choose among `count` addresses in turn; an attempt after a failure goes to another one where there is one.

    An address that fails `consecutive_failures` times in a row is passed over for `ejection_s`, and again after one
    failure more; an answer forgives all. Where all are ejected, all are used: the circuit breaker decides about the
    upstream as a whole, not this file.
    """

    __slots__ = ("_addresses", "_next", "rules")

    def __init__(self, count: int, rules: EjectionRules) -> None:
        self._addresses = tuple(AddressHealth() for _ in range(count))
        self._next = 0
        self.rules = rules

    def choose(self, tried: frozenset[int], now: float) -> int:
        """Return the index of the address to ask."""
        count = len(self._addresses)
        if count == 1:
            return 0
        turn = [(self._next + step) % count for step in range(count)]
        standing = [index for index in turn if self._addresses[index].ejected_until <= now]
        untried = [index for index in standing if index not in tried] or [i for i in turn if i not in tried]
        chosen = (untried or standing or turn)[0]
        self._next = (chosen + 1) % count
        return chosen

    def report(self, index: int, outcome: Outcome, now: float) -> None:
        """Take down how an address did."""
        verdict, address = classify(outcome), self._addresses[index]
        if not tells(outcome, verdict):
            return
        if verdict not in FAILURES:
            address.failures = 0
            return
        address.failures += 1
        if address.failures >= self.rules.consecutive_failures:
            address.ejected_until = now + self.rules.ejection_s

    def passes_on(self, outcome: Outcome, tried: frozenset[int]) -> bool:
        """Tell whether an attempt goes on to another address: this one could not be reached, and nothing was sent."""
        unreached = isinstance(outcome, Failure) and not outcome.sent and classify(outcome) in FAILURES
        return unreached and len(tried) < len(self._addresses)

    @property
    def standing(self) -> bool:
        """Tell whether an address is left that has not failed since it last answered."""
        return any(not address.failures for address in self._addresses)

    def __repr__(self) -> str:
        failures = ",".join(str(address.failures) for address in self._addresses)
        return f"<Balancer {len(self._addresses)} addresses failures={failures}>"
