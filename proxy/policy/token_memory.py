"""What is remembered of tokens, by their digests, and how many failing ones are examined."""

from collections import Counter, deque
from hashlib import sha256
from math import inf
from typing import Final

from proxy.http.caller import Caller
from proxy.policy.bounded import Bounded, Holder
from proxy.policy.token_rules import TokenFault

MOST_VERIFIED: Final = 8_000  # tokens of one table
MOST_REFUSED: Final = 2_000  # likewise; a flood of refused tokens never displaces a verified one
ENTRY_BYTES: Final = 1_536  # of an entry with its caller, digests and places in the tables, measured
MOST_FAILURES: Final = 200  # in any second
_FOR_KNOWN: Final = 50  # of these, for tokens that earlier keys verified


class JudgedToken:
    """How a token was judged: `caller` is set if its signature is right, also after its expiry.

    That holds from the wall time `since` to `until`, while the keys are those of `generation`. `claimed` is the
    digest of the subject that the token names, verified or not; b"" if it names none.
    """

    __slots__ = ("caller", "claimed", "fault", "generation", "since", "until")

    def __init__(
        self,
        generation: int,
        until: float,
        caller: Caller | None,
        fault: TokenFault | None = None,
        claimed: bytes = b"",
        since: float = -inf,
    ) -> None:
        self.generation = generation
        self.since = since
        self.until = until
        self.caller = caller
        self.fault = fault
        self.claimed = claimed

    @property
    def is_unread(self) -> bool:
        """Tell whether nobody has looked at the token: then what it claims is not known either."""
        return self.until == -inf


class TokenMemory:
    """Judged tokens by digest: nothing of a token is kept. Who holds most loses its oldest entry.

    Verified tokens are charged to their subject, refused ones to the client's address.
    """

    __slots__ = ("_refused", "_verified")

    def __init__(self) -> None:
        self._verified: Bounded[bytes, JudgedToken] = Bounded(MOST_VERIFIED, MOST_VERIFIED * ENTRY_BYTES)
        self._refused: Bounded[bytes, JudgedToken] = Bounded(MOST_REFUSED, MOST_REFUSED * ENTRY_BYTES)

    def __len__(self) -> int:
        return len(self._verified) + len(self._refused)

    def get(self, digest: bytes, generation: int, wall: float) -> JudgedToken | None:
        """Return what is remembered, unless it holds no more or the keys have changed since."""
        held = self._verified.get(digest, wall) or self._refused.get(digest, wall)
        if held is None or held.value.generation != generation or wall < held.value.since:
            return None
        return held.value

    def was_verified(self, digest: bytes, wall: float) -> bool:
        """Tell whether a token's signature was right, with the current keys or earlier ones."""
        return self._verified.get(digest, wall) is not None

    def put(self, digest: bytes, judged: JudgedToken, address: str, wall: float) -> None:
        """Remember how a token was judged."""
        caller = judged.caller
        if caller is None:
            self._verified.drop(digest)
            self._refused.put(digest, judged, ENTRY_BYTES, judged.until, wall, Holder(address))
        else:
            self._refused.drop(digest)
            self._verified.put(digest, judged, ENTRY_BYTES, judged.until, wall, Holder(caller.subject.hex()))


class FailureLimit:
    """At most `MOST_FAILURES` tokens that fail are examined in any second.

    An address that has failed may fail again while it has less than half of what is left. So one address gets a
    quarter of the examinations, and a hundred together leave some for an address without failures. `_FOR_KNOWN` are
    left for tokens that were verified before the keys changed.
    """

    __slots__ = ("_by_address", "_recent")

    def __init__(self) -> None:
        self._recent: deque[tuple[float, str]] = deque()
        self._by_address: Counter[str] = Counter()

    def allows(self, address: str, now: float, *, known: bool = False) -> bool:
        """Tell whether another token may be examined. `known`: earlier keys verified it."""
        recent = self._recent
        while recent and recent[0][0] <= now - 1.0:
            self._forget(recent.popleft()[1])
        left = MOST_FAILURES - len(recent)
        return left > 0 if known else 2 * self._by_address[address] < left - _FOR_KNOWN

    def count(self, address: str, now: float) -> None:
        """Count a token that failed."""
        self._recent.append((now, address))
        self._by_address[address] += 1

    def _forget(self, address: str) -> None:
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


def digest_of(token: bytes) -> bytes:
    """Return the digest by which a token is remembered: 1 µs for 1 KiB, half of what blake2b takes."""
    return sha256(token).digest()
