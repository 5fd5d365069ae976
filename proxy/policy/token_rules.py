"""Which tokens name a caller: a JSON Web Token is read strictly, and its claims decide (RFC 7515, 7519, 8725, 9068).

Everything here is decided before or after the signature, which `Keys` of proxy.policy.issuer_keys checks.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from math import isfinite
from typing import Any, Final

import orjson

from proxy.config.principal_table import PrincipalTable
from proxy.http.caller import Place
from proxy.runtime.enums import FastStrEnum

MAX_TOKEN: Final = 8192  # bytes; a longer token is not verified
LONGEST_KID: Final = 256  # characters; the usual ones are thumbprints
_LATEST_S: Final = 1e12  # seconds of Unix time: 30,000 years
_JWS: Final = re.compile(rb"[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++")
_KEY_IN_HEADER: Final = frozenset({"jku", "jwk", "x5u", "x5c"})
_EXTENSIONS: Final = frozenset({"crit", "b64"})  # RFC 7515 section 4.1.11, RFC 7797
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt", "application/jwt"})
_OF_ID_TOKENS: Final = frozenset({"at_hash", "c_hash", "s_hash", "nonce"})  # OpenID Connect Core section 3.3.2.11
_OF_ACCESS_TOKENS: Final = frozenset({"scope", "scp"})  # RFC 9068 section 2.2.3, Entra
_OTHER_KINDS: Final = frozenset({"refresh", "offline", "logout", "initialaccesstoken", "registrationaccesstoken"})
_LOGOUT: Final = "http://schemas.openid.net/event/backchannel-logout"


class TokenFault(FastStrEnum):
    """Why a token is not verified. The value is a label of a metric."""

    MALFORMED = "malformed"  # not a JWS in compact form, too long, encrypted, or not strict JSON
    DUPLICATE = "duplicate_member"
    CRITICAL = "critical_extension"
    KEY_IN_HEADER = "key_in_header"
    TYPE = "type"
    ALGORITHM = "algorithm"
    SEVERAL = "several_tokens"  # in one place
    NO_KEYS = "no_keys"
    NO_KEY_ID = "no_key_id"
    UNKNOWN_KEY = "unknown_key"
    SIGNATURE = "signature"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    NO_SUBJECT = "no_subject"
    NO_EXPIRY = "no_expiry"
    EXPIRED = "expired"
    NOT_YET = "not_yet_valid"
    ID_TOKEN = "id_token"  # noqa: S105 - a kind of token
    TOO_MANY = "too_many_failures"


@dataclass(frozen=True, slots=True)
class PrincipalRules:
    """One `[principal.NAME]` table, as the policies read it. Times are in seconds."""

    name: str
    issuer: str
    audience: frozenset[str]
    place: Place
    algorithms: frozenset[str]
    volatile: frozenset[str]
    leeway_s: float
    max_offline_s: float
    allow_id_tokens: bool

    @classmethod
    def of(cls, name: str, table: PrincipalTable) -> "PrincipalRules":
        """Return the rules of a table."""
        field, _, cookie = table.token.partition(":")
        return cls(
            name, table.issuer, frozenset(table.audience), (field.encode(), cookie.encode()),
            frozenset(table.algorithms), frozenset(table.volatile_claims), table.leeway, table.max_offline,
            table.allow_id_tokens,
        )  # fmt: skip

    @property
    def who(self) -> object:
        """Return what determines which callers are one principal, for cached responses across a reload."""
        return (
            self.name, self.issuer, sorted(self.audience), self.place, sorted(self.volatile), self.allow_id_tokens
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was read, and not yet verified."""

    algorithm: str
    kid: str | None
    claims: Mapping[str, Any]
    subject: str
    expires: float


def read(token: bytes, rules: PrincipalRules, wall: float) -> Token | TokenFault:
    """Return a token whose header and claims satisfy the rules, whatever its signature; else why they do not.

    An expired token is returned: its signature tells whether stale responses may be used.
    """
    if len(token) > MAX_TOKEN or _JWS.fullmatch(token) is None:
        return TokenFault.MALFORMED
    try:
        header, claims = [_document(part) for part in token.split(b".")[:2]]
        _decoded(token.rpartition(b".")[2])
    except KeyError:
        return TokenFault.DUPLICATE
    except (ValueError, ArithmeticError, RecursionError):
        return TokenFault.MALFORMED
    fault = _header_fault(header, rules) or _claims_fault(claims, rules, wall)
    if fault is not None:
        return fault
    return Token(header["alg"], header.get("kid"), claims, claims["sub"], float(claims["exp"]))


def principal_of(rules: PrincipalRules, claims: Mapping[str, Any]) -> bytes:
    """Return a digest of the table's name, issuer, subject and every claim but the volatile ones.

    Two tokens that differ in another claim have different digests, even where only the order of a list differs.
    """
    told = {name: value for name, value in claims.items() if name not in rules.volatile}
    return blake2b(ascii((rules.name, told)).encode(), digest_size=32).hexdigest().encode()


def subject_of(rules: PrincipalRules, subject: str) -> bytes:
    """Return a digest of issuer and subject: one user, whatever the other claims are."""
    return blake2b(ascii((rules.issuer, subject)).encode(), digest_size=16).digest()


def claimed_subject(token: bytes, rules: PrincipalRules) -> str | None:
    """Return the subject of this issuer that a token names, whether or not it is verified; None if it names none."""
    claims = _claims(token)
    subject = claims.get("sub") if claims.get("iss") == rules.issuer else None
    return subject if isinstance(subject, str) else None


def claims_issuer(token: bytes, issuer: str) -> bool:
    """Tell whether a token names this issuer, whether or not it is verified."""
    return _claims(token).get("iss") == issuer


def _claims(token: bytes) -> Mapping[str, Any]:
    """Return what a token of any length says of its caller, unverified and read without care; nothing if unreadable."""
    parts = token.split(b".", 3)
    if len(parts) != 3:
        return {}
    try:
        claims = orjson.loads(urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}


def _decoded(part: bytes) -> bytes:
    """Return the bytes of base64url without padding. Raise ValueError if another text has the same bytes."""
    decoded = urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    if urlsafe_b64encode(decoded).rstrip(b"=") != part:
        raise ValueError
    return decoded


def _document(part: bytes) -> dict[str, Any]:
    """Return a JSON object. Raise KeyError for a repeated member, else ValueError, ArithmeticError, RecursionError.

    Parsers differ in which of two equal members they use, so the backend could see other claims (RFC 8725 section 2.6).
    """
    found = json.loads(
        _decoded(part).decode("utf-8"),
        object_pairs_hook=_once_each, parse_float=Decimal, parse_constant=_no_number,
    )  # fmt: skip
    if not isinstance(found, dict):
        raise ValueError
    return found


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members in the order of their names, so that equal objects look equal."""
    members = dict(sorted(pairs, key=_name_of))
    if len(members) != len(pairs):
        raise KeyError
    return members


def _name_of(pair: tuple[str, Any]) -> str:
    return pair[0]


def _no_number(text: str) -> Any:
    raise ValueError


def _header_fault(header: Mapping[str, Any], rules: PrincipalRules) -> TokenFault | None:
    if not _EXTENSIONS.isdisjoint(header):
        return TokenFault.CRITICAL
    if not _KEY_IN_HEADER.isdisjoint(header):
        return TokenFault.KEY_IN_HEADER
    kind, kid = header.get("typ", "JWT"), header.get("kid")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        return TokenFault.TYPE
    if kid is not None and not (isinstance(kid, str) and len(kid) <= LONGEST_KID):
        return TokenFault.MALFORMED
    algorithm = header.get("alg")
    known = isinstance(algorithm, str) and algorithm in rules.algorithms
    return None if known else TokenFault.ALGORITHM


def _claims_fault(claims: Mapping[str, Any], rules: PrincipalRules, wall: float) -> TokenFault | None:
    subject = claims.get("sub")
    if claims.get("iss") != rules.issuer:
        return TokenFault.ISSUER
    if not isinstance(subject, str) or not subject:
        return TokenFault.NO_SUBJECT
    if not 0 < _seconds(claims.get("exp")) < _LATEST_S:
        return TokenFault.NO_EXPIRY
    for name in ("nbf", "iat"):
        if name in claims and not _seconds(claims[name]) <= wall + rules.leeway_s:
            return TokenFault.NOT_YET
    if rules.audience.isdisjoint(_audience(claims)):
        return TokenFault.AUDIENCE
    return _kind_fault(claims, rules)


def _kind_fault(claims: Mapping[str, Any], rules: PrincipalRules) -> TokenFault | None:
    """Refuse what is no access token: Cognito says the kind in `token_use`, Keycloak in `typ`."""
    said = claims.get("token_use", claims.get("typ"))
    kind = said.lower() if isinstance(said, str) else ""
    if kind in _OTHER_KINDS or (isinstance(claims.get("events"), dict) and _LOGOUT in claims["events"]):
        return TokenFault.TYPE
    if rules.allow_id_tokens or kind in ("access", "bearer", "dpop"):
        return None
    hints = not _OF_ID_TOKENS.isdisjoint(claims) and _OF_ACCESS_TOKENS.isdisjoint(claims)
    return TokenFault.ID_TOKEN if kind == "id" or hints else None


def _seconds(value: object) -> float:
    """Return a NumericDate (RFC 7519 section 2); NaN, which every comparison refuses, if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return float("nan")
    try:
        seconds = float(value)
    except (OverflowError, ValueError):
        return float("nan")
    return seconds if isfinite(seconds) else float("nan")


def _audience(claims: Mapping[str, Any]) -> list[str]:
    """Return the members of `aud`: one string or a list (RFC 7519 section 4.1.3).

    Cognito's access tokens have no `aud`, and name the client that they are for in `client_id`.
    """
    without = "aud" not in claims and claims.get("token_use") == "access"
    value = claims.get("client_id" if without else "aud")
    members = value if isinstance(value, list) else [value]
    return [member for member in members if isinstance(member, str)]
