"""An issuer's public keys, each with the algorithms that it may verify (RFC 7517, RFC 8725 section 3.1).

joserfc reads the keys and checks the signatures; docs/decisions.md says why it and no other library.
"""

import json
import warnings
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from joserfc import jwk, jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import Key, RSAKey

from proxy.policy.token_rules import LONGEST_KID, TokenFault

MOST_KEYS: Final = 100  # of one document
_RSA_BITS = range(2048, 4097)  # shorter ones are weak (NIST SP 800-131A), longer ones take over 0.3 ms
_MOST_EXPONENT: Final = 2**32  # a large one makes a signature as slow to check as to make
_PRIVATE: Final = frozenset({"d", "p", "q", "k"})  # members of private and symmetric keys (RFC 7518 section 6)
# What a key without `alg` may verify, by type and curve. P-384 and P-521 take over 0.5 ms a signature.
_BY_TYPE: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("RSA", ""): frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    ("EC", "P-256"): frozenset({"ES256"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA", "Ed25519"}),
}

warnings.filterwarnings("ignore", category=SecurityWarning)  # "EdDSA" is the older name of Ed25519 (RFC 9864)


class KeysError(ValueError):
    """A document has no key that can be used."""


class _IssuerKey(NamedTuple):
    """A public key, and the library's registry with the algorithms that it may verify, and no other."""

    key: Key
    registry: jws.JWSRegistry
    member: str  # what the document says of it, as far as it is used


class KeySet:
    """The usable keys of one document. A key is found by its id; without an id in the token there must be one key."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Mapping[str | None, _IssuerKey]) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def members(self) -> frozenset[str]:
        """Return what tells this set from another one: the keys, their ids and their algorithms, in any order."""
        return frozenset([key.member for key in self._keys.values()])

    def check(self, token: bytes, algorithm: str, kid: str | None) -> TokenFault | None:
        """Check a token's signature; return why it is not verified. `jku`, `x5u` and `jwk` are never looked at."""
        if kid is None and len(self._keys) != 1:
            return TokenFault.NO_KEY_ID
        found = self._keys.get(kid) if kid is not None else next(iter(self._keys.values()))
        if found is None:
            return TokenFault.UNKNOWN_KEY
        if algorithm not in (found.registry.allowed or ()):
            return TokenFault.ALGORITHM
        try:
            jws.deserialize_compact(token, found.key, registry=found.registry)
        except JoseError:
            return TokenFault.SIGNATURE
        except Exception:  # the library met something that it does not expect: then nothing is verified
            return TokenFault.MALFORMED
        return None


def read_keys(document: bytes, algorithms: Collection[str]) -> KeySet:
    """Return the keys of a JWK Set that can verify one of `algorithms`; the others are left out.

    Raise KeysError if there is none. Two keys with one id are both left out: nothing says which one is meant.
    """
    try:
        members = json.loads(document)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise KeysError("it is not a JWK Set (a JSON object with keys)") from None
    if not isinstance(members, list) or len(members) > MOST_KEYS:
        raise KeysError(f"keys is not a list of at most {MOST_KEYS}")
    usable: dict[str | None, _IssuerKey] = {}
    repeated: set[str | None] = set()
    for member in members:
        found = _issuer_key(member, frozenset(algorithms))
        if found is not None:
            kid = member.get("kid")
            repeated |= {kid} & usable.keys()
            usable[kid] = found
    usable = {kid: key for kid, key in usable.items() if kid not in repeated}
    if not usable:
        raise KeysError(f"it has no public key with an id of its own for {', '.join(sorted(algorithms))}")
    return KeySet(usable)


def _issuer_key(member: Any, algorithms: frozenset[str]) -> _IssuerKey | None:
    """Return a key that can be used, else None."""
    if not isinstance(member, dict) or not _PRIVATE.isdisjoint(member):
        return None
    kid, use, operations = member.get("kid"), member.get("use", "sig"), member.get("key_ops", ["verify"])
    known = kid is None or (isinstance(kid, str) and len(kid) <= LONGEST_KID)
    if not known or use != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    allowed = _BY_TYPE.get((str(member.get("kty")), str(member.get("crv", ""))), frozenset()) & algorithms
    if "alg" in member:
        allowed &= {str(member["alg"])}
    if not allowed:
        return None
    used = {name: member[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in member}
    try:
        key = jwk.import_key(used)
    except Exception:  # whatever the library meets in it: the other keys of the document are used
        return None
    if not _is_strong(key):
        return None
    registry = jws.JWSRegistry(algorithms=sorted(allowed), strict_check_header=False)
    return _IssuerKey(key, registry, json.dumps((kid, used, sorted(allowed)), sort_keys=True))


def _is_strong(key: Key) -> bool:
    if not isinstance(key, RSAKey):
        return True
    public = key.public_key
    assert isinstance(public, RSAPublicKey)
    exponent = public.public_numbers().e
    return public.key_size in _RSA_BITS and exponent % 2 == 1 and 3 <= exponent <= _MOST_EXPONENT
