"""The keys of an issuer as they are known now. proxy.principals reads them in the background and replaces them."""

from collections.abc import Callable

from proxy.policy.token_rules import TokenFault

Check = Callable[[bytes, str, str | None], TokenFault | None]  # a token, its algorithm, and the id of its key


def _nothing_known(token: bytes, algorithm: str, kid: str | None) -> TokenFault | None:
    return TokenFault.NO_KEYS


class IssuerKeys:
    """The current keys. `generation` grows with each change: what was judged with earlier keys is judged again."""

    __slots__ = ("check", "count", "generation", "wanted")

    def __init__(self) -> None:
        self.check: Check = _nothing_known
        self.count = 0
        self.generation = 0
        self.wanted = False  # a token names a key that is not known: newer keys may have it

    def replace(self, check: Check, count: int) -> None:
        """Use these keys from now on."""
        self.check = check
        self.count = count
        self.generation += 1

    def __repr__(self) -> str:
        return f"<IssuerKeys {self.count} generation={self.generation}{' wanted' if self.wanted else ''}>"
