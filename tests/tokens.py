"""Issuers and their tokens, for tests: the shapes of Entra, Keycloak, Auth0 and Cognito, made up here."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from proxy.config.principal_table import PrincipalTable
from proxy.policy.issuer_keys import IssuerKeys
from proxy.policy.principals import TokenJudge
from proxy.policy.token_rules import PrincipalRules
from proxy.principals.keys import read_keys

ISSUER = "https://id.example"
NOW = 1_800_000_000.0  # wall time, in 2027
LIFETIME_S = 600


@cache
def key(kind: str, number: int = 0) -> Any:
    """Return a private key, the same one for the same arguments."""
    if kind == "RSA":
        return RSAKey.generate_key(2048)
    return OKPKey.generate_key("Ed25519") if kind == "OKP" else ECKey.generate_key("P-256")


KINDS = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}


def segment(document: bytes | Mapping[str, Any]) -> bytes:
    """Return a part of a token. Bytes go in as they are."""
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return urlsafe_b64encode(raw).rstrip(b"=")


Document = bytes | Mapping[str, Any]


class Issuer:
    """Keys by id, and tokens that they sign."""

    def __init__(self, *kids: str, algorithm: str = "ES256", first: int = 0) -> None:
        self.algorithm = algorithm
        self.keys = {kid: key(KINDS[algorithm], first + n) for n, kid in enumerate(kids or ("k1",))}

    def jwks(self, **more: Any) -> bytes:
        """Return the document of the public keys, each with the members `more`."""
        return json.dumps(
            {"keys": [{**one.as_dict(private=False), "kid": kid, **more} for kid, one in self.keys.items()]}
        ).encode()

    def token(
        self, claims: Mapping[str, Any] | bytes, header: Mapping[str, Any] | bytes | None = None, **more: Any
    ) -> bytes:
        """Return a signed token. `more` is put into the header; `header` replaces it."""
        kid = next(iter(self.keys))
        said = {"alg": self.algorithm, "kid": kid, "typ": "JWT", **more} if header is None else header
        return self.signed(segment(said) + b"." + segment(claims), kid)

    def signed(self, text: bytes, kid: str) -> bytes:
        """Return a text with its signature."""
        algorithm = JWSRegistry.algorithms[self.algorithm]
        return text + b"." + segment(algorithm.sign(text, self.keys[kid]))


def claims(at: float = NOW, **more: Any) -> dict[str, Any]:
    """Return the claims of a token that was issued at `at`; None removes one."""
    said = {"iss": ISSUER, "sub": "ada", "aud": "sessions", "iat": int(at), "exp": int(at) + LIFETIME_S, **more}
    return {name: value for name, value in said.items() if value is not None}


def rules(name: str = "user", **more: Any) -> PrincipalRules:
    """Return the rules of a table with the default settings but these."""
    return PrincipalRules.of(name, table(**more))


def table(**more: Any) -> PrincipalTable:
    """Return a table with the default settings but these."""
    said = {"issuer": ISSUER, "audience": "sessions", "jwks": "https://id.example/jwks", **more}
    return PrincipalTable.model_validate(said)


class Told:
    """An observer that writes down what it is told."""

    def __init__(self) -> None:
        self.results: list[str] = []
        self.splits: list[tuple[str, ...]] = []
        self.keys: list[int | str] = []

    def judged(self, principal: str, result: str) -> None:
        self.results.append(str(result))

    def split(self, principal: str, claims: tuple[str, ...]) -> None:
        self.splits.append(claims)

    def keys_read(self, principal: str, count: int) -> None:
        self.keys.append(count)

    def keys_failed(self, principal: str, detail: str) -> None:
        self.keys.append(detail)


def known_keys(issuer: Issuer) -> IssuerKeys:
    """Return an issuer's keys as they are known."""
    keys = IssuerKeys()
    found = read_keys(issuer.jwks(), ("RS256", "PS256", "ES256", "EdDSA"))
    keys.replace(found.check, len(found))
    return keys


def a_judge(signer: Issuer, told: Told | None = None, /, **more: Any) -> TokenJudge:
    """Return the judge of a table with the default settings but these."""
    return TokenJudge(rules(**more), known_keys(signer), told or Told())


def entra(at: float, refresh: int = 0, **more: Any) -> dict[str, Any]:
    """Return an access token of Entra, version 2."""
    return claims(
        at, iss="https://login.microsoftonline.com/9f3a/v2.0", aud="6e74172b", nbf=int(at), sub="k0QyS", oid="690222be",
        tid="9f3a", azp="11a4", azpacr="1", name="Ada", preferred_username="ada@example.com", ver="2.0",
        scp="access_as_user", roles=["reader"], sid=f"s{refresh}", aio=f"AXQAi{refresh}", rh=f"0.AU{refresh}.",
        uti=f"uti{refresh}", **more,
    )  # fmt: skip


def keycloak(at: float, refresh: int = 0, **more: Any) -> dict[str, Any]:
    """Return an access token of Keycloak."""
    return claims(
        at, iss="https://kc.example/realms/main", aud=["sessions", "account"], sub="f:12:ada", typ="Bearer", azp="web",
        auth_time=int(at) - 5, jti=f"onrtro:{refresh}", sid=f"s{refresh}", session_state=f"s{refresh}", acr="1",
        realm_access={"roles": ["user"]}, resource_access={"sessions": {"roles": ["read"]}}, scope="openid profile",
        email_verified=True, preferred_username="ada", **more,
    )  # fmt: skip


def auth0(at: float, refresh: int = 0, **more: Any) -> dict[str, Any]:
    """Return an access token of Auth0."""
    return claims(
        at, iss="https://x.eu.auth0.com/", sub="auth0|64", aud=["https://api.example", "https://x.eu.auth0.com/userinfo"],
        azp="mAbC", scope="openid read:sessions", permissions=["read:sessions"], jti=f"{refresh}", **more,
    )  # fmt: skip


def cognito(at: float, refresh: int = 0, **more: Any) -> dict[str, Any]:
    """Return an access token of Cognito, which has no `aud`."""
    return claims(
        at, iss="https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_x", aud=None, sub="aaaaaaaa",
        token_use="access", client_id="57cb", username="ada", scope="aws.cognito.signin.user.admin",
        auth_time=int(at) - 9, jti=f"j{refresh}", origin_jti="o1", event_id="e1", version=2,
        **{"cognito:groups": ["reader"], **more},
    )  # fmt: skip


Shape = Callable[..., dict[str, Any]]
# By provider: a token, its table, and a claim that decides what the caller may do, with another value.
SHAPES: dict[str, tuple[Shape, dict[str, Any], dict[str, Any]]] = {
    "entra": (entra, {"audience": "6e74172b"}, {"roles": ["reader", "writer"]}),
    "keycloak": (keycloak, {}, {"realm_access": {"roles": ["user", "admin"]}}),
    "auth0": (auth0, {"audience": "https://api.example"}, {"permissions": []}),
    "cognito": (cognito, {"audience": "57cb"}, {"cognito:groups": ["reader", "admin"]}),
}
