"""Which tokens are read, and who they name. Signatures are checked in tests/unit/principals."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.policy.token_rules import PrincipalRules, Token, TokenFault, claimed_subject, principal_of, read
from tests.tokens import ISSUER, NOW, SHAPES, Issuer, claims, rules

ISSUED = Issuer("k1")
RULES = rules()


def judged(said: Any, header: Any = None, of: PrincipalRules = RULES, **more: Any) -> Token | TokenFault:
    """Return how a signed token of these claims is read."""
    return read(ISSUED.token(said, header, **more), of, NOW)


def test_a_token_of_the_issuer_is_read() -> None:
    """Its key, its subject and its expiry are known."""
    found = judged(claims())
    assert isinstance(found, Token)
    assert (found.algorithm, found.kid, found.subject, found.expires) == ("ES256", "k1", "ada", NOW + 600)


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ({"crit": ["x"], "x": 1}, TokenFault.CRITICAL),
        ({"crit": []}, TokenFault.CRITICAL),
        ({"b64": False}, TokenFault.CRITICAL),
        ({"jku": "https://evil.example/keys"}, TokenFault.KEY_IN_HEADER),
        ({"x5u": "https://evil.example/keys"}, TokenFault.KEY_IN_HEADER),
        ({"jwk": {"kty": "oct", "k": "AA"}}, TokenFault.KEY_IN_HEADER),
        ({"x5c": ["AA"]}, TokenFault.KEY_IN_HEADER),
        ({"alg": "none"}, TokenFault.ALGORITHM),
        ({"alg": "None"}, TokenFault.ALGORITHM),
        ({"alg": "HS256"}, TokenFault.ALGORITHM),
        ({"alg": "RS512"}, TokenFault.ALGORITHM),
        ({"alg": 5}, TokenFault.ALGORITHM),
        ({"alg": ["ES256"]}, TokenFault.ALGORITHM),
        ({"kid": 7}, TokenFault.MALFORMED),
        ({"kid": "k" * 300}, TokenFault.MALFORMED),
        ({"typ": "logout+jwt"}, TokenFault.TYPE),
        ({"typ": "dpop+jwt"}, TokenFault.TYPE),
        ({"typ": None}, TokenFault.TYPE),
    ],
)
def test_a_header_that_changes_the_rules_is_refused(header: dict[str, Any], fault: TokenFault) -> None:
    """Nothing that a header says is followed: no key in it, no extension, no algorithm but the table's."""
    assert judged(claims(), **header) is fault


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"iss": "https://id.example/"}, TokenFault.ISSUER),
        ({"iss": None}, TokenFault.ISSUER),
        ({"iss": [ISSUER]}, TokenFault.ISSUER),
        ({"sub": None}, TokenFault.NO_SUBJECT),
        ({"sub": ""}, TokenFault.NO_SUBJECT),
        ({"sub": 7}, TokenFault.NO_SUBJECT),
        ({"exp": None}, TokenFault.NO_EXPIRY),
        ({"exp": "1900000000"}, TokenFault.NO_EXPIRY),
        ({"exp": True}, TokenFault.NO_EXPIRY),
        ({"exp": 10**400}, TokenFault.NO_EXPIRY),
        ({"exp": -1}, TokenFault.NO_EXPIRY),
        ({"nbf": NOW + 31}, TokenFault.NOT_YET),
        ({"iat": NOW + 31}, TokenFault.NOT_YET),
        ({"nbf": "soon"}, TokenFault.NOT_YET),
        ({"aud": None}, TokenFault.AUDIENCE),
        ({"aud": "other"}, TokenFault.AUDIENCE),
        ({"aud": ["other", 7]}, TokenFault.AUDIENCE),
        ({"aud": {"sessions": 1}}, TokenFault.AUDIENCE),
        ({"aud": None, "client_id": "sessions"}, TokenFault.AUDIENCE),
        ({"token_use": "id"}, TokenFault.ID_TOKEN),
        ({"typ": "ID"}, TokenFault.ID_TOKEN),
        ({"nonce": "n"}, TokenFault.ID_TOKEN),
        ({"at_hash": "h"}, TokenFault.ID_TOKEN),
        ({"typ": "Refresh"}, TokenFault.TYPE),
        ({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}, TokenFault.TYPE),
    ],
)
def test_claims_that_name_no_caller_are_refused(changes: dict[str, Any], fault: TokenFault) -> None:
    """Another issuer or audience, no subject, no expiry, another kind of token."""
    assert judged(claims(**changes)) is fault


@pytest.mark.parametrize(
    "changes",
    [
        {"nbf": NOW + 29}, {"iat": NOW + 29}, {"exp": NOW + 0.5}, {"aud": ["other", "sessions"]},
        {"nonce": "n", "scope": "read"}, {"typ": "Bearer", "nonce": "n"},
    ],
)  # fmt: skip
def test_what_issuers_do_in_practice_is_accepted(changes: dict[str, Any]) -> None:
    """Clocks differ by less than the leeway; audiences are lists; access tokens may have a nonce."""
    assert isinstance(judged(claims(**changes)), Token)


def test_id_tokens_are_accepted_only_where_the_table_says_so() -> None:
    """A refresh token is not, even then."""
    allowed = rules(allow_id_tokens=True)
    assert isinstance(judged(claims(nonce="n", at_hash="h"), of=allowed), Token)
    assert judged(claims(typ="Refresh"), of=allowed) is TokenFault.TYPE


@pytest.mark.parametrize(
    ("header", "payload", "fault"),
    [
        (b'{"alg":"none","alg":"ES256","kid":"k1"}', claims(), TokenFault.DUPLICATE),
        (None, b'{"sub":"ada","sub":"eve"}', TokenFault.DUPLICATE),
        (None, b'{"sub":"ada","a":{"role":1,"role":2}}', TokenFault.DUPLICATE),
        (None, b'{"sub":"ada","s\\u0075b":"eve"}', TokenFault.DUPLICATE),
        (None, b"[]", TokenFault.MALFORMED),
        (None, b"\xff{}", TokenFault.MALFORMED),
        (None, '{"iss":"x"}'.encode("utf-16"), TokenFault.MALFORMED),
        (None, b'{"exp":NaN}', TokenFault.MALFORMED),
        (None, b'{"exp":1e9999999999999999999999}', TokenFault.MALFORMED),
        (None, b'{"exp":' + b"9" * 5000 + b"}", TokenFault.MALFORMED),
        (None, b'{"a":' + b"[" * 5900, TokenFault.MALFORMED),
    ],
)  # fmt: skip
def test_json_that_parsers_read_differently_is_refused(header: Any, payload: Any, fault: TokenFault) -> None:
    """The backend may see other claims: of two equal members it may take the other one."""
    assert judged(payload, header) is fault


def test_what_is_no_compact_signature_is_refused() -> None:
    """An encrypted token, padding, other bytes, unused bits, and whatever is too long."""
    token = ISSUED.token(claims())
    head, _, rest = token.partition(b".")
    for changed in (
        b"", b".", b"..", head, token + b".", b".".join((token, b"AA", b"AA")), token + b"=", b" " + token,
        token + b"\n", head + b"=." + rest, token.replace(b".", b"..", 1), token + b"AAA", token[:-1] + b"B",
        b"a." + b"A" * 8190 + b".b",
    ):  # fmt: skip
        assert read(changed, RULES, NOW) is TokenFault.MALFORMED


@pytest.mark.parametrize("name", SHAPES)
def test_a_refresh_is_the_same_principal_and_another_role_is_another(name: str) -> None:
    """For the access tokens of four providers, with the default volatile claims."""
    shape, settings_, other = SHAPES[name]
    first, later = shape(NOW - 500, 1), shape(NOW - 3, 2)
    of = rules(issuer=first["iss"], **settings_)
    for said in (first, later, {**later, **other}):
        assert isinstance(judged(said, of=of), Token)
    assert first != later
    assert principal_of(of, first) == principal_of(of, later)
    assert principal_of(of, later) != principal_of(of, {**later, **other})


SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=6)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["scope", "role", "x", "sid", "jti", "iat", "nonce"]) | st.text(min_size=1, max_size=5)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=5)


def as_read(said: dict[str, Any]) -> Any:
    """Return claims as they are read from a token."""
    found = judged({**said, **claims(scope=said.get("scope", "s"))}, of=rules(allow_id_tokens=True))
    return found.claims if isinstance(found, Token) else None


@settings(max_examples=150, deadline=None)
@given(one=DOCUMENTS, other=DOCUMENTS)
def test_tokens_that_differ_in_a_claim_that_is_not_volatile_are_never_one_principal(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    """And those that differ in volatile ones alone always are."""
    first, second = as_read(one), as_read(other)
    if first is None or second is None:
        return
    told = [
        json.dumps({k: v for k, v in each.items() if k not in RULES.volatile}, sort_keys=True)
        for each in (first, second)
    ]
    assert (principal_of(RULES, first) == principal_of(RULES, second)) is (told[0] == told[1])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"1", b"1.0"), (b"1", b"true"), (b"0.1", b'"0.1"'), (b"0.1", b"0.10000000000000000001"), (b"1e400", b"1e401"),
        (b'"Decimal(\'0.1\')"', b"0.1"), (b"null", b'"None"'), (b"[]", b"{}"), (b'["a","b"]', b'["b","a"]'),
        ('"é"'.encode(), '"e\u0301"'.encode()), (b'"\\ud800"', b'"\\ud801"'),
    ],
)  # fmt: skip
def test_values_that_look_alike_are_different_principals(one: bytes, other: bytes) -> None:
    """Numbers by their digits, texts by their characters, lists by their order."""
    found = [
        judged(json.dumps(claims()).encode()[:-1] + b',"x":' + value + b"}") for value in (one, other)
    ]  # fmt: skip
    first, second = (principal_of(RULES, each.claims) for each in found if isinstance(each, Token))
    assert first != second


def test_the_order_of_members_is_no_difference() -> None:
    """JSON objects have none."""
    one = judged(b'{"x":{"a":1,"b":2},' + json.dumps(claims()).encode()[1:])
    other = judged(json.dumps(claims()).encode()[:-1] + b',"x":{"b":2,"a":1}}')
    assert isinstance(one, Token)
    assert isinstance(other, Token)
    assert principal_of(RULES, one.claims) == principal_of(RULES, other.claims)


def test_two_tables_never_have_one_principal() -> None:
    """Not even with one issuer: their volatile claims may differ."""
    assert principal_of(rules("a"), claims()) != principal_of(rules("b"), claims())


def test_whom_an_unverified_token_claims() -> None:
    """Only its issuer's subjects, whatever its signature."""
    assert claimed_subject(ISSUED.token(claims(sub="eve")) + b"x", RULES) == "eve"
    assert claimed_subject(ISSUED.token(claims(iss="https://other")), RULES) is None
    for other in (b"", b"a.b.c", b"a.%%%.c", b"opaque"):
        assert claimed_subject(other, RULES) is None
