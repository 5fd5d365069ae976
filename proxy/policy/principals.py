"""Who asks, by verified tokens: how the tokens of a request are judged for its route.

| token in its place | principal, request key, owners | stale responses in an outage |
| --- | --- | --- |
| none, or another scheme than Bearer | the bytes of the fields, as without a table | as without a table |
| verified, `now < exp + leeway` | its claims without the volatile ones, in place of its bytes | yes |
| signature right, `now < exp + max_offline` | its bytes | those that its claims cached |
| anything else | its bytes | no |

The principal of claims begins with ":", the principal of bytes with a field name, so neither equals the other.
"""

from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from math import inf
from typing import Final, Protocol

from proxy.http.caller import Caller, Standing, combined
from proxy.http.fields import Fields
from proxy.policy.credentials import Name
from proxy.policy.issuer_keys import IssuerKeys
from proxy.policy.principal_splits import PrincipalSplits
from proxy.policy.token_memory import FailureLimit, JudgedToken, TokenMemory, digest_of
from proxy.policy.token_rules import (
    PrincipalRules,
    Token,
    TokenFault,
    claimed_subject,
    claims_issuer,
    principal_of,
    read,
    subject_of,
)

_BEARER: Final = b"bearer "  # RFC 6750 section 2.1; schemes are not case-sensitive (RFC 9110 section 11.1)
_REFUSED_S: Final = 3600.0  # seconds for which a refusal is remembered
_NOT_YET_S: Final = 5.0  # likewise, of a token that will be valid later
_UNUSABLE: Final = b""  # a place has something that is not one token


class PrincipalObserver(Protocol):
    """What is told about tokens. No method raises or waits."""

    def judged(self, principal: str, result: str) -> None:
        """Count a token that was examined: "verified", or why it was refused."""
        ...

    def split(self, principal: str, claims: tuple[str, ...]) -> None:
        """Count a token that differs from an earlier one of its subject in these claims."""
        ...


_NO_KEYS: Final = JudgedToken(0, -inf, None, TokenFault.NO_KEYS)  # not remembered, also by no connection
_TOO_MANY: Final = JudgedToken(0, -inf, None, TokenFault.TOO_MANY)


class TokenJudge:
    """Judge the tokens of one table. A token is examined once and then remembered."""

    __slots__ = ("_failures", "_memory", "_observer", "keys", "rules", "splits")

    def __init__(self, rules: PrincipalRules, keys: IssuerKeys, observer: PrincipalObserver) -> None:
        self.rules = rules
        self.keys = keys
        self.splits = PrincipalSplits()
        self._observer = observer
        self._memory = TokenMemory()
        self._failures = FailureLimit()

    @property
    def remembered(self) -> int:
        """Return the number of remembered tokens."""
        return len(self._memory)

    def recall(self, digest: bytes, wall: float) -> JudgedToken | None:
        """Return how the token with this digest was judged with the current keys, None if that is not remembered."""
        return self._memory.get(digest, self.keys.generation, wall)

    def judge(self, token: bytes, digest: bytes, address: str, wall: float, now: float) -> JudgedToken:
        """Return how a token is judged. `address` is the client's, which is charged for a token that fails."""
        known = self.recall(digest, wall)
        if known is not None:
            return known
        if not self.keys.count:
            self.keys.wanted = True
            self.refuse(TokenFault.NO_KEYS)
            return _NO_KEYS
        if not self._may_examine(digest, address, wall, now):
            self.refuse(TokenFault.TOO_MANY)
            return _TOO_MANY
        judged = self._examined(token, wall)
        if judged.fault is not None:
            self._failures.count(address, now)
        self._observer.judged(self.rules.name, judged.fault or "verified")
        self._memory.put(digest, judged, address, wall)
        return judged

    def refuse(self, fault: TokenFault) -> None:
        """Count a request whose token is not examined."""
        self._observer.judged(self.rules.name, fault)

    def verifies(self, judged: JudgedToken, wall: float) -> bool:
        """Tell whether a judged token's caller is the principal now."""
        return judged.caller is not None and wall < judged.caller.expires + self.rules.leeway_s

    def verifies_offline(self, judged: JudgedToken, wall: float) -> bool:
        """Tell whether a judged token permits stale responses now."""
        return judged.caller is not None and wall < judged.caller.expires + self.rules.max_offline_s

    def _may_examine(self, digest: bytes, address: str, wall: float, now: float) -> bool:
        failures = self._failures
        if failures.allows(address, now):
            return True
        return self._memory.was_verified(digest, wall) and failures.allows(address, now, known=True)

    def claimed(self, token: bytes) -> bytes:
        """Return the owner of what the token's subject has read, b"" if it names none."""
        subject = claimed_subject(token, self.rules)
        return b"" if subject is None else _owner(b"subject", subject_of(self.rules, subject))

    def _examined(self, token: bytes, wall: float) -> JudgedToken:
        rules, generation = self.rules, self.keys.generation
        found = read(token, rules, wall)
        fault = found if isinstance(found, TokenFault) else self.keys.check(token, found.algorithm, found.kid)
        if fault is TokenFault.UNKNOWN_KEY:
            self.keys.wanted = True
        if fault is not None or isinstance(found, TokenFault):
            until = wall + (_NOT_YET_S if fault is TokenFault.NOT_YET else _REFUSED_S)
            return JudgedToken(generation, until, None, fault, self.claimed(token))
        until = found.expires + max(rules.leeway_s, rules.max_offline_s)
        if wall >= until:
            claimed = self.claimed(token)
            return JudgedToken(generation, wall + _REFUSED_S, None, TokenFault.EXPIRED, claimed, since=until)
        expired = TokenFault.EXPIRED if wall >= found.expires + rules.leeway_s else None
        try:
            caller = self._caller(found, known=expired is None)
        except RecursionError:  # its claims could be read, at the limit of the stack
            return JudgedToken(generation, wall + _REFUSED_S, None, TokenFault.MALFORMED, self.claimed(token))
        return JudgedToken(generation, until, caller, expired, caller.owners[0])

    def _caller(self, token: Token, *, known: bool) -> Caller:
        rules = self.rules
        principal, subject = principal_of(rules, token.claims), subject_of(rules, token.subject)
        if known:
            told = {name: value for name, value in token.claims.items() if name not in rules.volatile}
            if differing := self.splits.note(subject, principal, told):
                self._observer.split(rules.name, differing)
        owners = (_owner(b"subject", subject), _owner(b"principal", principal))
        return Caller(b":" + rules.name.encode() + b"\n" + principal, owners, (rules.place,), subject, token.expires)

    def __repr__(self) -> str:
        return f"<TokenJudge {self.rules.name} remembered={len(self._memory)} {self.keys!r}>"


class RoutePrincipals:
    """The tables of one route, by place."""

    __slots__ = ("_judges", "_places")

    def __init__(self, judges: Sequence[TokenJudge]) -> None:
        """Take the judges in the order of the route's `principal`: in each place, the first that verifies decides."""
        self._judges = tuple(judges)
        places = dict.fromkeys(judge.rules.place for judge in judges)
        self._places = tuple([(Name(*place), tuple([j for j in judges if j.rules.place == place])) for place in places])

    def standing(self, fields: Fields, address: str, wall: float, now: float) -> Standing:
        """Return how a request's tokens are judged: remembered for a connection that repeats its fields."""
        generation = 0
        for judge in self._judges:
            generation += judge.keys.generation
        known = fields.judged
        if known is not None and known[0] is self and wall < known[2] and known[3] == generation:
            return known[1]
        standing, until = self._judged(fields, address, wall, now)
        fields.judged = (self, standing, until, generation)
        return standing

    def _judged(self, fields: Fields, address: str, wall: float, now: float) -> tuple[Standing, float]:
        """Return the standing, and the wall time until which it holds."""
        verified: list[Caller] = []
        late: list[Caller] = []
        claimed: list[bytes] = []
        unread: list[Callable[[], bytes]] = []
        refused, until = False, inf
        for name, judges in self._places:
            token = _token_in(fields, name)
            if token is None:
                continue
            found = _of_place(token, judges, (address, wall, now))
            until = min(until, found.until)
            claimed += found.claimed
            unread += found.unread
            if found.caller is not None:
                verified.append(found.caller)
            elif found.offline is not None:
                late.append(found.offline)
            else:
                refused = True
        offline = combined([*verified, *late]) if late and not refused else None
        others = (tuple(claimed), tuple(unread))
        return Standing(combined(verified), offline, refused=refused, claimed=others[0], unread=others[1]), until


class _Found:
    """What a place holds: a verified caller, or one that only gets stale responses, until when, and who is claimed."""

    __slots__ = ("caller", "claimed", "offline", "unread", "until")

    def __init__(self) -> None:
        self.caller: Caller | None = None
        self.offline: Caller | None = None
        self.until = inf
        self.claimed: list[bytes] = []
        self.unread: list[Callable[[], bytes]] = []


def _of_place(token: bytes, judges: tuple[TokenJudge, ...], asked: tuple[str, float, float]) -> _Found:
    """Judge the token of a place. `asked` is the client's address, the wall time and the monotonic time."""
    address, wall, now = asked
    found = _Found()
    if token == _UNUSABLE:
        judges[0].refuse(TokenFault.SEVERAL)
        return found
    digest = digest_of(token)
    for judge in judges if len(judges) == 1 else _concerned(token, digest, judges, wall):
        judged = judge.judge(token, digest, address, wall, now)
        caller = judged.caller
        if caller is not None and judge.verifies(judged, wall):
            verified = _Found()
            verified.caller, verified.until = caller, caller.expires + judge.rules.leeway_s
            return verified
        # a clock that is set back may make an expired token valid again, so no connection remembers that it has expired
        expired = caller is not None or judged.fault is TokenFault.EXPIRED
        found.until = min(found.until, -inf if expired else judged.until)
        if judged.claimed:
            found.claimed.append(judged.claimed)
        elif judged.is_unread:
            found.unread.append(partial(judge.claimed, token))
        if caller is not None and found.offline is None and judge.verifies_offline(judged, wall):
            found.offline = caller
    return found


def _concerned(token: bytes, digest: bytes, judges: tuple[TokenJudge, ...], wall: float) -> tuple[TokenJudge, ...]:
    """Return the judges of the issuer that a token names, so that it is no failure of another issuer.

    A known token is judged where it was verified. A token of no issuer is refused by the first judge.
    """
    known = tuple([judge for judge in judges if _remembers_as_verified(judge, digest, wall)])
    if known:
        return known
    return tuple([judge for judge in judges if claims_issuer(token, judge.rules.issuer)]) or judges[:1]


def _remembers_as_verified(judge: TokenJudge, digest: bytes, wall: float) -> bool:
    known = judge.recall(digest, wall)
    return known is not None and judge.verifies(known, wall)


def _token_in(fields: Fields, name: Name) -> bytes | None:
    """Return the token in a place, None if there is none, `_UNUSABLE` if there is not exactly one.

    A cookie without a value counts: the backend may read it in place of the other one.
    """
    if name.field not in fields:
        return None
    if name.cookie:
        values = name.values(fields)
        if not values:
            return None
        return values[0] if len(values) == 1 and not name.is_repeated(fields) else _UNUSABLE
    if name.is_repeated(fields):
        return _UNUSABLE
    value = fields[name.field]
    return value[len(_BEARER) :] if value[: len(_BEARER)].lower() == _BEARER else None


def _owner(kind: bytes, value: bytes) -> bytes:
    """Return a digest for invalidation, which no digest of a credential's bytes equals: those are of other input."""
    return blake2b(b"\0" + kind + b"\0" + value, digest_size=12).digest()
