"""`[principal.NAME]`: which tokens name a caller, who issues them, and where the issuer's keys are."""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from proxy.config.field_types import Duration, Many, OrNone, Section, objecting
from proxy.config.objections import Objection

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "EdDSA", "Ed25519"]
# A token's own times and ids, which a refresh changes (RFC 7519 section 4.1, OpenID Connect Core section 2, Entra).
VOLATILE = (
    "iat", "exp", "nbf", "jti", "auth_time", "nonce", "at_hash", "c_hash", "sid", "session_state", "uti", "aio", "rh",
    "updated_at",
)  # fmt: skip
# Claims by which backends decide what a caller may do. A volatile one joins callers with different rights.
AUTHORIZING = (
    "scope", "scp", "roles", "role", "groups", "permissions", "realm_access", "resource_access", "authorities",
    "entitlements", "wids", "tid", "tenant", "org_id", "cognito:groups", "azp", "client_id", "acr", "amr", "cnf", "act",
    "aud",
)  # fmt: skip
NAMES_THE_CALLER = frozenset({"iss", "sub"})
_LONGEST_LEEWAY_S = 300.0
_PLACE = re.compile(r"authorization|cookie:[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def _place(text: str) -> str:
    if _PLACE.fullmatch(text) is None:
        raise Objection(f'"{text}" is not a place of a token', '"authorization" or "cookie:NAME"')
    return text


def _keys_url(text: str) -> str:
    """Accept https, and http on this machine: whoever can change keys on their way can sign tokens."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.username is not None or parts.password is not None:
        raise Objection("keys are public, and it contains a user name or a password", '"https://id.example/keys"')
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise Objection(f'"{text}" is not encrypted, so keys can be replaced on their way', '"https://..."')
    if parts.scheme not in ("http", "https") or not host or parts.fragment:
        raise Objection(f'"{text}" is not the URL of keys', '"https://id.example/.well-known/jwks.json"')
    return text


def _leeway(seconds: float) -> float:
    if seconds > _LONGEST_LEEWAY_S:
        raise Objection("it is more than 5 minutes, which no clock is off", '"30s"')
    return seconds


def _volatile(claim: str) -> str:
    if claim in NAMES_THE_CALLER:
        raise Objection(f'"{claim}" names the caller, so it cannot be left out', "a list without it")
    return claim


def _one_or_several(value: object) -> object:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Audience = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    Field(min_length=1),
    BeforeValidator(_one_or_several),
    WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}, "minItems": 1, "format": "name or list"}),
]
Place = Annotated[str, AfterValidator(objecting(_place))]
KeysUrl = Annotated[str, AfterValidator(objecting(_keys_url))]
Leeway = Annotated[Duration, AfterValidator(objecting(_leeway))]
Claim = Annotated[str, Field(min_length=1), AfterValidator(objecting(_volatile))]


class PrincipalTable(Section):
    """Callers that a verified token names. A route says `principal = ["NAME"]`."""

    issuer: str = Field(min_length=1)
    """Who signs the tokens: exactly their claim `iss`."""
    audience: Audience
    """For whom the tokens are, one or several: one of them must be in the claim `aud`."""
    jwks: OrNone[KeysUrl] = None
    """URL of the issuer's keys (RFC 7517). They are read in the background, at most once a minute."""
    jwks_file: OrNone[str] = None
    """File of the issuer's keys, in place of `jwks`. It is read again when it changes."""
    tls_ca: OrNone[str] = None
    """PEM file with the authorities of `jwks`. `"none"`: those of the system."""
    token: Place = "authorization"  # noqa: S105 - a place
    """Where the token is: a Bearer token in `authorization`, or `cookie:NAME`."""
    leeway: Leeway = 30.0
    """How far the issuer's clock may be off, at most 5 minutes."""
    algorithms: Annotated[Many[Algorithm], Field(min_length=1)] = ("RS256", "ES256", "EdDSA")
    """Signatures that are accepted. Each key verifies only those of its own type."""
    allow_id_tokens: bool = False
    """Accept ID tokens too, which tell a client who logged in and are not meant for an API."""
    max_offline: Duration = 3600.0
    """How long after its expiry a token still gets stale responses during an outage. 0: not at all."""
    volatile_claims: Many[Claim] = VOLATILE
    """Claims that do not tell callers apart, because a refreshed token changes them."""
