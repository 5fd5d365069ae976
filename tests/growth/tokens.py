"""What reads tokens and keys: signed ones too, since a user may hold a token of any content that its issuer signs."""

import json
from contextlib import suppress
from typing import Any

from proxy.http.fields import Fields
from proxy.http.message import Peer, Request
from proxy.policy.coalescing import shows_same_token
from proxy.policy.principals import RoutePrincipals, TokenJudge
from proxy.policy.request_key import Identifier
from proxy.policy.token_memory import digest_of
from proxy.policy.token_rules import claimed_subject
from proxy.principals.keys import KeysError, read_keys
from tests.growth.case import TEXT, Case
from tests.growth.inputs import Around
from tests.settings import OWN_FIELDS, a_route
from tests.tokens import NOW, Issuer, Told, a_judge, claims, known_keys, rules

_ISSUER = Issuer("k1")
_COOKIE = rules("device", token="cookie:at")
_PARTNER = rules("partner", issuer="https://partner.example")
_NAMED: dict[str, Any] = {"principal": ("user", "partner", "device", "cookie:sid")}


def _requested(token: bytes, cookie: bytes = b"") -> Request:
    """Return a request whose tokens are judged, and identify it."""
    others = [TokenJudge(each, known_keys(_ISSUER), Told()) for each in (_PARTNER, _COOKIE)]
    judges = [a_judge(_ISSUER), *others]
    line = b"a=1; at=" + token + b"; " + cookie
    fields = Fields(((b"Authorization", b"Bearer " + token), (b"Cookie", line)))
    request = Request("GET", b"/", fields, Peer("10.0.0.1", 1), authority=b"a")
    request.standing = RoutePrincipals(judges).standing(fields, "10.0.0.1", NOW, 0.0)
    route = a_route(**_NAMED, verified=tuple(judge.rules for judge in judges))
    identifier = Identifier(route, OWN_FIELDS)
    identifier.identify(request, None)
    tuple(identifier.owners(request))
    return request


def _unsigned(data: bytes) -> None:
    _requested(data)
    claimed_subject(data, _COOKIE)


def _signed(data: bytes) -> None:
    _requested(_ISSUER.token(data))


def _claimed(data: bytes) -> None:
    """Judge tokens with much in a claim, in many claims, in their audience and beside the token; two of a subject."""
    text = data.decode(TEXT)
    many = {text[at : at + 8] + str(at): at for at in range(0, len(text), 64)}
    for more in ({"x": text}, many, {"aud": ["sessions", *text[::64]]}):
        _requested(_ISSUER.token({**more, **claims(aud=more.get("aud", "sessions"))}))
    judge = a_judge(_ISSUER)
    for said in ({"x": text}, {**many, "x": text[:8]}):
        token = _ISSUER.token({**said, **claims()})
        judge.judge(token, digest_of(token), "10.0.0.1", NOW, 0.0)
    one = _requested(_ISSUER.token(claims()), data)
    assert one.standing is not None
    assert one.standing.caller is not None
    shows_same_token(one, one)


def _keys(data: bytes) -> None:
    for document in (data, json.dumps({"keys": [{"kty": "RSA", "n": data.decode(TEXT), "e": "AQAB"}]}).encode()):
        with suppress(KeysError):
            read_keys(document, ("RS256", "ES256"))


IN_TOKENS = (Around(), Around(b"a.", b".a"))
IN_CLAIMS = (Around(), Around(b'{"a":"', b'"}'), Around(b'{"a":[', b"]}"))
TOKENS = (
    Case(
        "principals.RoutePrincipals.standing, token_rules.claimed_subject, token_rules.claims_issuer",
        _unsigned,
        IN_TOKENS,
    ),
    Case("token_rules.read, of what is signed", _signed, IN_CLAIMS, times=8),
    Case("token_rules.principal_of, principal_splits, caller.Caller.rest", _claimed, times=16),
    Case("keys.read_keys", _keys, (Around(), Around(b'{"keys":[', b"]}")), times=8),
)
